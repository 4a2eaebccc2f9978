"""Task ids: what is behind each, for Gymnasium and for ``make_problem`` alike."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import torch

from bbo_envs.core import FunctionDistribution
from bbo_envs.env import BlackBoxEnv, BlackBoxVectorEnv
from bbo_envs.errors import UnknownNameError
from bbo_envs.functions.gp import ExactGP, FourierGP
from bbo_envs.functions.kernels import make_kernel
from bbo_envs.functions.synthetic import Branin, GoldsteinPrice, Hartmann3, Hartmann6, Synthetic
from bbo_envs.functions.transforms import perturbed
from bbo_envs.problem import Problem


def gp_length_scale(dim: int) -> float:
    """The length scale of the GP tasks: 0.1 for d = 1, 0.2 for d = 2 to 5, 0.3 from 6 on.

    *Inferred*: Chen et al. 2017 publish none, and no single one fits all four of their plots.

    Example:
        >>> gp_length_scale(6)
        0.3
    """
    if dim == 1:
        return 0.1
    return 0.2 if dim < 6 else 0.3


def gp_functions(
    dim: int = 2,
    *,
    budget: int,
    kernel: str = "rbf",
    length_scale: float | None = None,
    sampler: str = "exact",
    features: int = 512,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> FunctionDistribution:
    """GP prior samples: the ``BBO-GP`` tasks.

    Args:
        dim: The number of coordinates.
        budget: The number of evaluations that the exact sampler makes room for.
        kernel: ``"rbf"`` or ``"matern52"``.
        length_scale: Defaults to ``gp_length_scale(dim)``.
        sampler: ``"exact"`` (drawn along the queries) or ``"fourier"`` (random Fourier features:
            faster, and a seed means the same function for every optimiser).
        features: The number of features of the Fourier sampler.
        dtype: Of all tensors.
        device: Of all tensors.

    Raises:
        UnknownNameError: If no kernel or sampler has this name.
        ValueError: If a number is out of range.
    """
    scale = gp_length_scale(dim) if length_scale is None else length_scale
    if sampler == "exact":
        return ExactGP(dim, make_kernel(kernel, scale), budget, dtype=dtype, device=device)
    if sampler == "fourier":
        return FourierGP(dim, make_kernel(kernel, scale), features, dtype=dtype, device=device)
    raise UnknownNameError("sampler", sampler, ["exact", "fourier"])


def synthetic_functions(
    function: type[Synthetic],
    *,
    perturb: bool = False,
    rescaled: bool = False,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> FunctionDistribution:
    """A published function: raw on its published box, unless asked otherwise.

    Args:
        function: The function.
        perturb: Draw the random translation, scaling, flips and permutation of Chen et al. 2017
            at every reset.
        rescaled: Give the form with mean zero and variance one.
        dtype: Of all tensors.
        device: Of all tensors.
    """
    published = function(rescaled, dtype, device)
    return perturbed(published) if perturb else published


@dataclass(frozen=True)
class Task:
    """What is behind an id: a builder of a function distribution, and the arguments it fixes."""

    build: Callable[..., FunctionDistribution]
    fixed: dict[str, Any] = field(default_factory=dict)

    def arguments(self) -> set[str]:
        """The names of the arguments that a user may give, beside those of ``Problem``."""
        return set(inspect.signature(self.build).parameters) - set(self.fixed) - {"budget"}


TASKS: dict[str, Task] = {
    **{f"BBO-GP-{dim}d-v0": Task(gp_functions, {"dim": dim}) for dim in (1, 2, 3, 6, 9)},
    "BBO-GP-v0": Task(gp_functions),
    "BBO-Branin-2d-v0": Task(synthetic_functions, {"function": Branin}),
    "BBO-GoldsteinPrice-2d-v0": Task(synthetic_functions, {"function": GoldsteinPrice}),
    "BBO-Hartmann-3d-v0": Task(synthetic_functions, {"function": Hartmann3}),
    "BBO-Hartmann-6d-v0": Task(synthetic_functions, {"function": Hartmann6}),
}

_PROBLEM_ARGUMENTS = set(inspect.signature(Problem).parameters) - {"functions"}


def make_problem(task: str, *, budget: int = 100, **arguments: Any) -> Problem:
    """Makes the differentiable ``Problem`` behind an id.

    Args:
        task: An id, such as ``"BBO-GP-6d-v0"``.
        budget: The number of evaluations.
        **arguments: Those of ``Problem`` (workers, runtime_spread, noise, reward) and of the
            task's family (``gp_functions``, ``synthetic_functions``), dtype and device included.

    Raises:
        UnknownNameError: If there is no such task, or it has no such argument.
        ValueError: If an argument is missing or out of range.

    Example:
        >>> make_problem("BBO-GP-v0", dim=4, sampler="fourier").functions.dim
        4
    """
    if task not in TASKS:
        raise UnknownNameError("task", task, TASKS)
    entry = TASKS[task]
    known = entry.arguments()
    for name in arguments:
        if name not in known | _PROBLEM_ARGUMENTS:
            raise UnknownNameError(f"argument of {task}", name, known | _PROBLEM_ARGUMENTS)
    own = {name: value for name, value in arguments.items() if name in known}
    shared = {name: value for name, value in arguments.items() if name not in known}
    parameters = inspect.signature(entry.build).parameters
    if "budget" in parameters:
        own["budget"] = budget
    return Problem(entry.build(**entry.fixed, **own), budget, **shared)


def make_env(task: str, *, render_mode: None = None, **arguments: Any) -> BlackBoxEnv:
    """Entry point of every id for ``gymnasium.make``; there are no render modes yet."""
    return BlackBoxEnv(make_problem(task, **arguments))


def make_vector_env(
    task: str, num_envs: int = 1, *, render_mode: None = None, **arguments: Any
) -> BlackBoxVectorEnv:
    """Entry point of every id for ``gymnasium.make_vec``."""
    return BlackBoxVectorEnv(num_envs, make_problem(task, **arguments))


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
