"""Task ids for Gymnasium, and the problems behind them."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import torch

from bbo_envs.env import BlackBoxEnv, BlackBoxVectorEnv
from bbo_envs.errors import UnknownNameError
from bbo_envs.functions.rounded import Rounded
from bbo_envs.functions.transformed import Transformed
from bbo_envs.functions.transforms import (
    Flip,
    Noise,
    Permute,
    Rotate,
    Scale,
    Transform,
    Translate,
    Warp,
    WarpValues,
)
from bbo_envs.problem import Problem
from bbo_envs.tasks import TASKS

TRANSFORMS: dict[str, type[Transform]] = {
    "permute": Permute,
    "flip": Flip,
    "scale": Scale,
    "translate": Translate,
    "rotate": Rotate,
    "warp": Warp,
    "rounded": Rounded,
    "warp_values": WarpValues,
    "noise": Noise,
}

_PROBLEM_ARGUMENTS = set(inspect.signature(Problem).parameters) - {"functions"}
_TRANSFORMS_FORM = (
    "transforms must be a list of names and of mappings with a name, such as "
    '["rotate", {{"name": "translate", "largest": 0.2}}], got {!r}'
)
_DTYPES = {"float32": torch.float32, "float64": torch.float64}


def make_problem(
    task: str,
    *,
    budget: int = 100,
    transforms: Sequence[str | Mapping[str, Any]] = (),
    **arguments: Any,
) -> Problem:
    """Makes the ``Problem`` behind an id, which is differentiable where the task is.

    Args:
        task: An id, such as ``"BBO-GP-6d-v0"``.
        budget: The number of evaluations.
        transforms: Random changes of the functions, drawn anew at every reset, in the order in
            which a query passes through them: names of ``TRANSFORMS``, or
            ``{"name": ..., argument: ...}``.
        **arguments: Those of ``Problem`` (workers, runtime_spread, noise, reward) and of the
            task's builder (``TASKS[task].build``), dtype (``"float32"`` or ``"float64"``) and
            device included.

    Raises:
        UnknownNameError: If there is no such task or transform, or it has no such argument.
        ValueError: If an argument is missing or out of range.

    Example:
        >>> make_problem("BBO-GP-v0", dim=4, sampler="fourier").functions.dim
        4
        >>> turned = make_problem("BBO-Ackley-5d-v0", transforms=["rotate", "flip"])
        >>> [type(transform).__name__ for transform in turned.functions.transforms]
        ['Rotate', 'Flip']
    """
    if task not in TASKS:
        raise UnknownNameError("task", task, TASKS)
    entry = TASKS[task]
    known = entry.arguments()
    every = known | _PROBLEM_ARGUMENTS | {"budget", "transforms", "render_mode"}
    for name in arguments:
        if name not in known | _PROBLEM_ARGUMENTS:
            raise UnknownNameError(f"argument of {task}", name, every)
    dtype = arguments.get("dtype")
    if isinstance(dtype, str):  # as a specification in JSON has it
        if dtype not in _DTYPES:
            raise UnknownNameError("dtype", dtype, _DTYPES)
        arguments["dtype"] = _DTYPES[dtype]
    own = entry.defaults | {name: value for name, value in arguments.items() if name in known}
    missing = [name for name in entry.needs if name not in own]
    if missing:
        raise ValueError(
            f"{task} reads data that you have: give it {', '.join(entry.needs)}; "
            f"missing: {', '.join(missing)}"
        )
    shared = {name: value for name, value in arguments.items() if name not in known}
    if "budget" in inspect.signature(entry.build).parameters:
        own["budget"] = budget
    functions = entry.build(**entry.fixed, **own)
    if transforms:
        functions = Transformed(functions, make_transforms(transforms))
    return Problem(functions, budget, **shared)


def make_transforms(transforms: Sequence[str | Mapping[str, Any]]) -> list[Transform]:
    """Makes transforms from their names and arguments.

    Raises:
        ValueError: If this is no list of names and of mappings with a name.
        UnknownNameError: If there is no such transform, or it has no such argument.

    Example:
        >>> make_transforms(["flip", {"name": "translate", "largest": 0.2}])[1].largest
        0.2
    """
    if isinstance(transforms, str | Mapping):
        raise ValueError(_TRANSFORMS_FORM.format(transforms))
    made = []
    for entry in transforms:
        arguments = {"name": entry} if isinstance(entry, str) else entry
        if not isinstance(arguments, Mapping) or "name" not in arguments:
            raise ValueError(_TRANSFORMS_FORM.format(entry))
        name, arguments = arguments["name"], {k: v for k, v in arguments.items() if k != "name"}
        if name not in TRANSFORMS:
            raise UnknownNameError("transform", name, TRANSFORMS)
        known = inspect.signature(TRANSFORMS[name]).parameters if arguments else {}
        for argument in arguments:
            if argument not in known:
                raise UnknownNameError(f"argument of the transform {name}", argument, known)
        made.append(TRANSFORMS[name](**arguments))
    return made


def make_env(task: str, *, render_mode: str | None = None, **arguments: Any) -> BlackBoxEnv:
    """Entry point of every id for ``gymnasium.make``."""
    return BlackBoxEnv(make_problem(task, **arguments), render_mode)


def make_vector_env(
    task: str, num_envs: int = 1, *, render_mode: str | None = None, **arguments: Any
) -> BlackBoxVectorEnv:
    """Entry point of every id for ``gymnasium.make_vec``."""
    return BlackBoxVectorEnv(num_envs, make_problem(task, **arguments), render_mode)


def register_all() -> None:
    """Registers every id with Gymnasium."""
    for task in TASKS:
        if task not in gymnasium.registry:
            gymnasium.register(
                task,
                entry_point="bbo_envs.registration:make_env",
                vector_entry_point="bbo_envs.registration:make_vector_env",
                kwargs={"task": task},
            )
