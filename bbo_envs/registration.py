"""Task ids for Gymnasium, and the problems behind them."""

import inspect
from collections.abc import Mapping
from typing import Any

import gymnasium

from bbo_envs.env import BlackBoxEnv, BlackBoxVectorEnv
from bbo_envs.errors import UnknownNameError
from bbo_envs.functions.transformed import Transformed
from bbo_envs.functions.transforms import TRANSFORMS, Transform
from bbo_envs.problem import Problem
from bbo_envs.tasks import TASKS

_PROBLEM_ARGUMENTS = set(inspect.signature(Problem).parameters) - {"functions"}


def make_problem(
    task: str,
    *,
    budget: int = 100,
    transforms: Mapping[str, Mapping[str, Any]] | None = None,
    **arguments: Any,
) -> Problem:
    """Makes the ``Problem`` behind an id, which is differentiable where the task is.

    Args:
        task: An id, such as ``"BBO-GP-6d-v0"``.
        budget: The number of evaluations.
        transforms: Random changes of the functions, drawn anew at every reset: names in
            ``bbo_envs.functions.transforms.TRANSFORMS`` with their arguments, in the order in
            which a query passes through them.
        **arguments: Those of ``Problem`` (workers, runtime_spread, noise, reward) and of the
            task's builder (``TASKS[task].build``), dtype and device included.

    Raises:
        UnknownNameError: If there is no such task or transform, or it has no such argument.
        ValueError: If an argument is missing or out of range.

    Example:
        >>> make_problem("BBO-GP-v0", dim=4, sampler="fourier").functions.dim
        4
        >>> turned = make_problem("BBO-Ackley-5d-v0", transforms={"rotate": {}, "flip": {}})
        >>> [type(transform).__name__ for transform in turned.functions.transforms]
        ['Rotate', 'Flip']
    """
    if task not in TASKS:
        raise UnknownNameError("task", task, TASKS)
    entry = TASKS[task]
    known = entry.arguments()
    for name in arguments:
        if name not in known | _PROBLEM_ARGUMENTS:
            raise UnknownNameError(f"argument of {task}", name, known | _PROBLEM_ARGUMENTS)
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
    if transforms is not None:
        functions = Transformed(functions, make_transforms(transforms))
    return Problem(functions, budget, **shared)


def make_transforms(transforms: Mapping[str, Mapping[str, Any]]) -> list[Transform]:
    """Makes transforms from their names and arguments.

    Raises:
        UnknownNameError: If there is no such transform, or it has no such argument.

    Example:
        >>> make_transforms({"translate": {"largest": 0.2}})[0].largest
        0.2
    """
    made = []
    for name, arguments in transforms.items():
        if name not in TRANSFORMS:
            raise UnknownNameError("transform", name, TRANSFORMS)
        known = inspect.signature(TRANSFORMS[name]).parameters
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
