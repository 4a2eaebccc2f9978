"""Task ids: what is behind each, for Gymnasium and for ``make_problem`` alike."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import gymnasium
import torch

from bbo_envs.core import FunctionDistribution
from bbo_envs.errors import UnknownNameError
from bbo_envs.functions.gp import ExactGP, FourierGP
from bbo_envs.functions.kernels import make_kernel
from bbo_envs.problem import Problem


def gp_length_scale(dim: int) -> float:
    """The length scale of the GP tasks: 0.1 for d = 1, 0.2 for d = 2 to 5, 0.3 from 6 on.

    *Inferred*: Chen et al. publish none, and no single one fits all four of their plots.
    """
    if dim == 1:
        return 0.1
    return 0.2 if dim < 6 else 0.3


def gp_functions(
    dim: int,
    *,
    budget: int,
    kernel: str = "rbf",
    length_scale: float | None = None,
    sampler: str = "exact",
    features: int = 512,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> FunctionDistribution:
    """GP prior samples.

    Args:
        dim: The number of coordinates.
        budget: The number of evaluations that the exact sampler makes room for.
        kernel: ``"rbf"`` or ``"matern52"``.
        length_scale: Defaults to ``gp_length_scale(dim)``.
        sampler: ``"exact"`` (along the queries) or ``"fourier"`` (random Fourier features).
        features: The number of features of the Fourier sampler.
        dtype: Of all tensors.
        device: Of all tensors.
    """
    covariance = make_kernel(
        kernel, gp_length_scale(dim) if length_scale is None else length_scale
    )
    if sampler == "exact":
        return ExactGP(dim, covariance, budget, dtype=dtype, device=device)
    if sampler == "fourier":
        return FourierGP(dim, covariance, features, dtype=dtype, device=device)
    raise UnknownNameError("sampler", sampler, ["exact", "fourier"])


TASKS: dict[str, tuple[Callable[..., FunctionDistribution], dict[str, Any]]] = {
    "BBO-GP-6d-v0": (gp_functions, {"dim": 6}),
    "BBO-GP-2d-v0": (gp_functions, {"dim": 2}),
}


def make_problem(id: str, budget: int = 100, **kwargs: Any) -> Problem:
    build, defaults = TASKS[id]
    names = inspect.signature(Problem).parameters
    mine = {k: kwargs.pop(k) for k in list(kwargs) if k in names}
    return Problem(build(budget=budget, **defaults, **kwargs), budget, **mine)
