"""Stationary kernels of unit variance, and their spectral densities.

Rasmussen & Williams 2006, "Gaussian Processes for Machine Learning", section 4.2.1; the Student-t
form of the Matérn spectrum is their equation 4.15.
"""

import math
from typing import Any, Protocol

import torch
from torch import Tensor

from bbo_envs.checks import number_between
from bbo_envs.errors import UnknownNameError


class Kernel(Protocol):
    """A stationary kernel with k(x, x) = 1.

    Attributes:
        length_scale: The length scale, in units of the unit cube's edge.
    """

    length_scale: float

    def __call__(self, x1: Tensor, x2: Tensor) -> Tensor:
        """The covariances ``[..., n, m]`` between points ``[..., n, d]`` and ``[..., m, d]``."""

    def frequencies(self, shape: tuple[int, int, int], generator: torch.Generator) -> Tensor:
        """Draws frequencies ``[B, features, d]`` (float64) from the spectral density."""


class _SquaredDistance(torch.autograd.Function):
    """Squared distances ``[..., n, m]`` of points ``[..., n, d]`` and ``[..., m, d]``.

    By differences, not the |a|^2 + |b|^2 - 2ab expansion, which cancels for points that repeat.
    ``torch.cdist`` does not hold the differences in memory, but has no second derivative, which
    those who differentiate through a GP sample twice need.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(a, b)
        return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist").square()

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor, Tensor]:
        (gradient,), (a, b) = outputs, ctx.saved_tensors
        to_a = gradient.sum(-1).unsqueeze(-1) * a - gradient @ b
        to_b = gradient.sum(-2).unsqueeze(-1) * b - gradient.mT @ a
        return 2.0 * to_a.sum_to_size(a.shape), 2.0 * to_b.sum_to_size(b.shape)


def _squared_distance(x1: Tensor, x2: Tensor, length_scale: float) -> Tensor:
    scaled = x1 / length_scale, x2 / length_scale
    distance: Tensor = _SquaredDistance.apply(*scaled)  # type: ignore[no-untyped-call]
    return distance


class RBF:
    """The squared exponential kernel exp(-r^2 / 2)."""

    def __init__(self, length_scale: float) -> None:
        self.length_scale = _positive(length_scale)

    def __call__(self, x1: Tensor, x2: Tensor) -> Tensor:
        return torch.exp(-0.5 * _squared_distance(x1, x2, self.length_scale))

    def frequencies(self, shape: tuple[int, int, int], generator: torch.Generator) -> Tensor:
        return standard_normal(shape, generator) / self.length_scale


class Matern52:
    """The Matérn kernel with smoothness 5/2."""

    def __init__(self, length_scale: float) -> None:
        self.length_scale = _positive(length_scale)

    def __call__(self, x1: Tensor, x2: Tensor) -> Tensor:
        squared = _squared_distance(x1, x2, self.length_scale)
        # The floor keeps the gradient of the root finite (and zero, as it should be) at r = 0.
        r = math.sqrt(5.0) * squared.clamp_min(torch.finfo(squared.dtype).tiny ** 0.5).sqrt()
        return (1.0 + r + r.square() / 3.0) * torch.exp(-r)

    def frequencies(self, shape: tuple[int, int, int], generator: torch.Generator) -> Tensor:
        batch, features, _ = shape
        chi_squared = (
            standard_normal((batch, features, 5), generator).square().sum(-1, keepdim=True)
        )
        return standard_normal(shape, generator) * (5.0 / chi_squared).sqrt() / self.length_scale


_KERNELS: dict[str, type[RBF] | type[Matern52]] = {"rbf": RBF, "matern52": Matern52}


def make_kernel(name: str, length_scale: float) -> Kernel:
    """Makes a kernel by name.

    Args:
        name: ``"rbf"`` or ``"matern52"``.
        length_scale: The length scale, > 0.

    Raises:
        UnknownNameError: If no kernel has this name.
        ValueError: If the length scale is not a positive number.

    Example:
        >>> make_kernel("rbf", 0.3)(torch.zeros(1, 2), torch.zeros(1, 2)).item()
        1.0
    """
    if not isinstance(name, str) or name not in _KERNELS:
        raise UnknownNameError("kernel", name, _KERNELS)
    return _KERNELS[name](length_scale)


def _positive(length_scale: float) -> float:
    if number_between("length_scale", length_scale, 0.0) == 0.0:
        raise ValueError("length_scale must be positive, got 0")
    return float(length_scale)


def standard_normal(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draws in float64, where the generator lives."""
    return torch.randn(shape, generator=generator, dtype=torch.float64, device=generator.device)
