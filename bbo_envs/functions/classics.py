"""The usual test functions, at any number of dimensions.

Formulas, boxes and optima from Surjanovic & Bingham, "Virtual Library of Simulation Experiments",
and Jamil & Yang 2013, "A Literature Survey of Benchmark Functions For Global Optimisation
Problems"; each class names the origin of its function.
"""

import math
from abc import abstractmethod
from functools import cache
from typing import ClassVar

import torch
from torch import Tensor

from bbo_envs.checks import positive_integer
from bbo_envs.functions.synthetic import Synthetic


class Scalable(Synthetic):
    """A function that is defined for every number of dimensions.

    Subclasses give ``interval``, ``source``, ``formula``, and the optimum: ``argmin_at`` and, where
    it is not zero, ``minimum_at``. The mean and the standard deviation over the box, for
    ``prior_mean`` and the rescaled form, come from 4,096 fixed Sobol points. These are scrambled:
    one of the plain ones is the centre, which is Ackley's minimiser.

    Args:
        dim: The number of coordinates.
        rescaled: Give the form with mean zero and variance one over the box, instead of raw values.
        dtype: Of all tensors.
        device: Of all tensors.
    """

    interval: ClassVar[tuple[float, float]]
    source: ClassVar[str]
    smallest_dim: ClassVar[int] = 1

    def __init__(
        self,
        dim: int,
        rescaled: bool = False,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> None:
        if positive_integer("dim", dim) < self.smallest_dim:
            raise ValueError(
                f"{type(self).__name__} needs at least {self.smallest_dim} dimensions, got {dim}"
            )
        low, high = self.interval
        self.lower, self.upper = (low,) * dim, (high,) * dim
        self.minimum = self.minimum_at(dim)
        self.argmin = self.argmin_at(dim)
        engine = torch.quasirandom.SobolEngine(dim, True, 0)  # type: ignore[no-untyped-call]
        values = self.formula(low + engine.draw(4096, dtype=torch.float64) * (high - low))
        self.mean, self.deviation = values.mean().item(), values.std().item()
        super().__init__(rescaled, dtype, device)

    @staticmethod
    @abstractmethod
    def argmin_at(dim: int) -> tuple[tuple[float, ...], ...]:
        """All minimisers in the box."""

    @staticmethod
    def minimum_at(dim: int) -> float:  # noqa: ARG004 (zero in every dimension)
        """The minimum."""
        return 0.0

    def rescale(self, y: Tensor) -> Tensor:
        return (y - self.mean) / self.deviation


class Sphere(Scalable):
    """sum x_i^2 on [-5.12, 5.12]^d (De Jong 1975)."""

    source = "De Jong 1975"
    interval = (-5.12, 5.12)

    def formula(self, x: Tensor) -> Tensor:
        return x.square().sum(-1)

    @staticmethod
    def argmin_at(dim: int) -> tuple[tuple[float, ...], ...]:
        return ((0.0,) * dim,)


class Ackley(Scalable):
    """Ackley 1987 with a = 20, b = 0.2, c = 2 pi, on [-32.768, 32.768]^d."""

    source = "Ackley 1987"
    interval = (-32.768, 32.768)

    def formula(self, x: Tensor) -> Tensor:
        wells = (2.0 * math.pi * x).cos().mean(-1).exp()
        return -20.0 * torch.exp(-0.2 * _root(x.square().mean(-1))) - wells + 20.0 + math.e

    @staticmethod
    def argmin_at(dim: int) -> tuple[tuple[float, ...], ...]:
        return ((0.0,) * dim,)


class Griewank(Scalable):
    """1 + sum x_i^2 / 4000 - prod cos(x_i / sqrt(i)) on [-600, 600]^d (Griewank 1981)."""

    source = "Griewank 1981"
    interval = (-600.0, 600.0)

    def formula(self, x: Tensor) -> Tensor:
        return 1.0 + x.square().sum(-1) / 4000.0 - (x / _index(x).sqrt()).cos().prod(-1)

    @staticmethod
    def argmin_at(dim: int) -> tuple[tuple[float, ...], ...]:
        return ((0.0,) * dim,)


class Rastrigin(Scalable):
    """10 d + sum (x_i^2 - 10 cos(2 pi x_i)) on [-5.12, 5.12]^d (Rastrigin 1974)."""

    source = "Rastrigin 1974"
    interval = (-5.12, 5.12)

    def formula(self, x: Tensor) -> Tensor:
        return (10.0 + x.square() - 10.0 * (2.0 * math.pi * x).cos()).sum(-1)

    @staticmethod
    def argmin_at(dim: int) -> tuple[tuple[float, ...], ...]:
        return ((0.0,) * dim,)


class Rosenbrock(Scalable):
    """sum 100 (x_{i+1} - x_i^2)^2 + (1 - x_i)^2 on [-5, 10]^d (Rosenbrock 1960)."""

    source = "Rosenbrock 1960"
    interval = (-5.0, 10.0)
    smallest_dim = 2

    def formula(self, x: Tensor) -> Tensor:
        here, following = x[..., :-1], x[..., 1:]
        return (100.0 * (following - here.square()).square() + (1.0 - here).square()).sum(-1)

    @staticmethod
    def argmin_at(dim: int) -> tuple[tuple[float, ...], ...]:
        return ((1.0,) * dim,)


class Levy(Scalable):
    """Levy & Montalvo 1985, function 8 with w = 1 + (x - 1) / 4, on [-10, 10]^d."""

    source = "Levy & Montalvo 1985"
    interval = (-10.0, 10.0)

    def formula(self, x: Tensor) -> Tensor:
        w = 1.0 + (x - 1.0) / 4.0
        first = (math.pi * w[..., 0]).sin().square()
        inner = w[..., :-1]
        middle = (inner - 1.0).square() * (1.0 + 10.0 * (math.pi * inner + 1.0).sin().square())
        last = w[..., -1]
        end = (last - 1.0).square() * (1.0 + (2.0 * math.pi * last).sin().square())
        return first + middle.sum(-1) + end

    @staticmethod
    def argmin_at(dim: int) -> tuple[tuple[float, ...], ...]:
        return ((1.0,) * dim,)


class StyblinskiTang(Scalable):
    """sum (x_i^4 - 16 x_i^2 + 5 x_i) / 2 on [-5, 5]^d (Styblinski & Tang 1990)."""

    source = "Styblinski & Tang 1990"
    interval = (-5.0, 5.0)
    # The lowest root of 4 x^3 - 32 x + 5; published as -2.903534, with -39.16617 per dimension.
    lowest = -2.903534027771177

    def formula(self, x: Tensor) -> Tensor:
        return (x.pow(4) - 16.0 * x.square() + 5.0 * x).sum(-1) / 2.0

    @staticmethod
    def argmin_at(dim: int) -> tuple[tuple[float, ...], ...]:
        return ((StyblinskiTang.lowest,) * dim,)

    @staticmethod
    def minimum_at(dim: int) -> float:
        x = StyblinskiTang.lowest
        return dim * (x**4 - 16.0 * x**2 + 5.0 * x) / 2.0


class Michalewicz(Scalable):
    """-sum sin(x_i) sin(i x_i^2 / pi)^20 on [0, pi]^d (Michalewicz 1992).

    The coordinates are independent, so that the minimiser is found one by one: the peak nearest to
    pi / 2, refined by Newton's method. Published: -1.8013 (d = 2), -4.687658 (d = 5), -9.66015
    (d = 10).
    """

    source = "Michalewicz 1992"
    interval = (0.0, math.pi)
    extends = False

    def formula(self, x: Tensor) -> Tensor:
        return -(x.sin() * (_index(x) * x.square() / math.pi).sin().pow(20)).sum(-1)

    @staticmethod
    def argmin_at(dim: int) -> tuple[tuple[float, ...], ...]:
        return (tuple(_lowest_michalewicz(i) for i in range(1, dim + 1)),)

    @staticmethod
    def minimum_at(dim: int) -> float:
        terms = [(i, _lowest_michalewicz(i)) for i in range(1, dim + 1)]
        return -sum(math.sin(x) * math.sin(i * x * x / math.pi) ** 20 for i, x in terms)


class Schwefel(Scalable):
    """418.9829 d - sum x_i sin(sqrt(|x_i|)) on [-500, 500]^d (Schwefel 1981).

    The constant is taken with all digits, so that the minimum is zero.
    """

    source = "Schwefel 1981"
    interval = (-500.0, 500.0)
    extends = False
    lowest = 420.968746359982

    def formula(self, x: Tensor) -> Tensor:
        offset = self.lowest * math.sin(math.sqrt(self.lowest))
        return (offset - x * _root(x.abs()).sin()).sum(-1)

    @staticmethod
    def argmin_at(dim: int) -> tuple[tuple[float, ...], ...]:
        return ((Schwefel.lowest,) * dim,)


class Zakharov(Scalable):
    """s_2 + s^2 + s^4, s_2 = sum x_i^2, s = sum i x_i / 2, on [-5, 10]^d (Zakharov 1975)."""

    source = "Zakharov 1975"
    interval = (-5.0, 10.0)

    def formula(self, x: Tensor) -> Tensor:
        slope = (0.5 * _index(x) * x).sum(-1)
        return x.square().sum(-1) + slope.square() + slope.pow(4)

    @staticmethod
    def argmin_at(dim: int) -> tuple[tuple[float, ...], ...]:
        return ((0.0,) * dim,)


class DixonPrice(Scalable):
    """(x_1 - 1)^2 + sum i (2 x_i^2 - x_{i-1})^2 on [-10, 10]^d (Dixon & Price 1989).

    Minimisers: x_i = 2^(-(2^i - 2) / 2^i), where the last coordinate may have either sign.
    """

    source = "Dixon & Price 1989"
    interval = (-10.0, 10.0)
    smallest_dim = 2

    def formula(self, x: Tensor) -> Tensor:
        steps = 2.0 * x[..., 1:].square() - x[..., :-1]
        return (x[..., 0] - 1.0).square() + (_index(x)[1:] * steps.square()).sum(-1)

    @staticmethod
    def argmin_at(dim: int) -> tuple[tuple[float, ...], ...]:
        point = [2.0 ** (-(2.0**i - 2.0) / 2.0**i) for i in range(1, dim + 1)]
        return (tuple(point), (*point[:-1], -point[-1]))


CLASSICS: dict[str, type[Scalable]] = {
    function.__name__: function
    for function in (
        Ackley,
        DixonPrice,
        Griewank,
        Levy,
        Michalewicz,
        Rastrigin,
        Rosenbrock,
        Schwefel,
        Sphere,
        StyblinskiTang,
        Zakharov,
    )
}


def _index(x: Tensor) -> Tensor:
    """1, 2, ..., d."""
    return torch.arange(1, x.shape[-1] + 1, dtype=x.dtype, device=x.device)


def _root(x: Tensor) -> Tensor:
    """The square root, with gradient zero at zero, where the true one is infinite."""
    positive = x > 0.0
    return torch.where(positive, torch.where(positive, x, 1.0).sqrt(), 0.0)


@cache
def _lowest_michalewicz(i: int) -> float:
    """The minimiser of -sin(x) sin(i x^2 / pi)^20 over [0, pi]."""
    # The second factor peaks i times; of these, where sin is largest.
    x = max((math.pi * math.sqrt((k + 0.5) / i) for k in range(i)), key=math.sin)
    for _ in range(50):  # the root of the logarithm's derivative
        angle = i * x * x / math.pi
        inner = 2.0 * i * x / math.pi
        slope = 1.0 / math.tan(x) + 20.0 * inner / math.tan(angle)
        curvature = (
            -1.0 / math.sin(x) ** 2
            + 20.0 * (2.0 * i / math.pi) / math.tan(angle)
            - 20.0 * (inner / math.sin(angle)) ** 2
        )
        x -= slope / curvature
    return x
