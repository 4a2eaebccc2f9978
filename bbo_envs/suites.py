"""Suites: named lists of tasks with arguments and seeds, so that a benchmark names one word."""

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from bbo_envs.errors import UnknownNameError
from bbo_envs.functions.bbob import DIMS as BBOB_DIMS
from bbo_envs.hpo import shipped_table
from bbo_envs.hpo.simple import DATASETS, simple_table
from bbo_envs.seeds import evaluation_seeds
from bbo_envs.tasks import TASKS

_SEEDS = evaluation_seeds(100)
_QUICK_SEEDS = evaluation_seeds(10)
_BBOB_INSTANCES = 15
# Fourier features, so that a seed means the same function for every optimiser.
FOURIER = {"sampler": "fourier", "features": 1024}
# Functions that are one and the same otherwise.
_PERTURBED = {"perturb": True}


@dataclass(frozen=True)
class TaskSpec:
    """A task, its arguments, and the seeds of the functions that it is evaluated on.

    Attributes:
        id: As for ``gymnasium.make``.
        arguments: Likewise, without the budget.
        seeds: For ``env.reset(seed=...)``; see ``bbo_envs.seeds`` for the rule. Where a task is one
            and the same function, as a single table is, they are repetitions of the optimiser.
    """

    id: str
    arguments: dict[str, Any] = field(default_factory=dict)
    seeds: range = _SEEDS

    def __post_init__(self) -> None:
        """Takes a copy of the arguments, so that changing those of one task changes no other."""
        object.__setattr__(self, "arguments", copy.deepcopy(self.arguments))

    def __iter__(self) -> Iterator[Any]:
        """Unpacks as (id, arguments, seeds)."""
        return iter((self.id, self.arguments, self.seeds))

    @property
    def arguments_json(self) -> str:
        """The arguments as they are stored."""
        return json.dumps(self.arguments, sort_keys=True)


def suite(name: str) -> list[TaskSpec]:
    """The tasks of a suite.

    Args:
        name: ``"paper"`` (all tasks of Chen et al. 2017), ``"bbob"`` (the 24 noiseless functions in
            six numbers of dimensions, 15 instances each), ``"hpo"`` (exhaustive tables; needs the
            extra ``hpo``), or ``"quick"`` (one small task of each family).

    Raises:
        UnknownNameError: If there is no such suite.

    Example:
        >>> import gymnasium
        >>> for task, arguments, seeds in suite("quick"):
        ...     env = gymnasium.make(task, **arguments, budget=20)
        ...     observation, info = env.reset(seed=seeds[0])
    """
    if name not in SUITES:
        raise UnknownNameError("suite", name, SUITES)
    return SUITES[name]()


def _paper() -> list[TaskSpec]:
    return [
        *(TaskSpec(f"BBO-GP-{dim}d-v0", FOURIER) for dim in (1, 3, 6, 9)),
        *(
            TaskSpec(f"BBO-{name}-v0", _PERTURBED)
            for name in ("Branin-2d", "GoldsteinPrice-2d", "Hartmann-3d", "Hartmann-6d")
        ),
        TaskSpec("BBO-Repellers-6d-v0"),
        *(TaskSpec(f"BBO-HPO-{name}-v0") for name in ("SVM-3d", "LDA-3d", "LogReg-4d")),
        TaskSpec("BBO-HPO-ResNet-6d-v0"),
        TaskSpec("BBO-HPO-ResNet-6d-v0", {"workers": 5}),
    ]


def _bbob() -> list[TaskSpec]:
    return [
        TaskSpec(f"BBO-BBOB-f{function}-{dim}d-v0", {"instance": instance}, evaluation_seeds(1))
        for dim in BBOB_DIMS
        for function in range(1, 25)
        for instance in range(1, _BBOB_INSTANCES + 1)
    ]


def _hpo() -> list[TaskSpec]:
    own = [TaskSpec(name) for name, task in TASKS.items() if task.build is shipped_table]
    published = [
        TaskSpec(name, {"dataset": dataset})
        for name, task in TASKS.items()
        if task.build is simple_table
        for dataset in DATASETS[task.fixed["benchmark"]]
    ]
    return own + published


def _quick() -> list[TaskSpec]:
    return [
        TaskSpec("BBO-GP-2d-v0", FOURIER, _QUICK_SEEDS),
        TaskSpec("BBO-Branin-2d-v0", _PERTURBED, _QUICK_SEEDS),
        TaskSpec("BBO-BBOB-f15-2d-v0", {"instance": list(range(1, 11))}, _QUICK_SEEDS),
        TaskSpec("BBO-Repellers-6d-v0", {}, _QUICK_SEEDS),
        TaskSpec("BBO-HPO-SVM-3d-v0", {}, _QUICK_SEEDS),
    ]


SUITES: dict[str, Callable[[], list[TaskSpec]]] = {
    "bbob": _bbob,
    "hpo": _hpo,
    "paper": _paper,
    "quick": _quick,
}
