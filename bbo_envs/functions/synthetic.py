"""Published benchmark functions: formulas, boxes and optima as class data.

Each class is a distribution over a single function on the unit cube, which maps affinely to the
published box. Sources: Surjanovic & Bingham, "Virtual Library of Simulation Experiments", and for
the rescaled forms Picheny, Wagner & Ginsbourger 2013, "A benchmark of kriging-based infill criteria
for noisy optimization", section 4.
"""

import math
from typing import ClassVar

import torch
from torch import Tensor

from bbo_envs.functions.base import Functions


class Synthetic(Functions):
    """A published function on its published box.

    Subclasses give the facts and ``formula``.

    Attributes:
        lower: The box's lower corner.
        upper: The box's upper corner.
        minimum: The published minimum, raw.
        argmin: All points of the box that attain it.
        mean: The mean of the raw function over the box (by quadrature).

    Args:
        rescaled: Give the form with mean zero and variance one over the box, instead of raw values.
        dtype: Of all tensors.
        device: Of all tensors.

    Example:
        >>> branin = Branin()
        >>> y, _ = branin.evaluate((), branin.minimisers(())[0])
        >>> [round(value, 6) for value in y.tolist()]
        [0.397887, 0.397887, 0.397887]
    """

    lower: tuple[float, ...]
    upper: tuple[float, ...]
    minimum: float
    argmin: tuple[tuple[float, ...], ...]
    mean: float

    extends = True

    def __init__(
        self,
        rescaled: bool = False,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> None:
        self.dim = len(self.lower)
        self.rescaled = rescaled
        self.prior_mean = 0.0 if rescaled else self.mean
        self.dtype = dtype
        self.device = torch.device(device)
        self.low = torch.tensor(self.lower, dtype=dtype, device=device)
        self.high = torch.tensor(self.upper, dtype=dtype, device=device)

    def formula(self, x: Tensor) -> Tensor:
        """The raw function of points ``[..., d]`` of the published box -> ``[...]``."""
        raise NotImplementedError

    def rescale(self, y: Tensor) -> Tensor:
        """The raw values ``y`` brought to mean zero and variance one over the box."""
        raise NotImplementedError

    def sample(self, batch: int, generator: torch.Generator) -> tuple[()]:
        """There is one function only: its state is empty."""
        return ()

    def value(self, state: tuple[()], x: Tensor) -> tuple[Tensor, tuple[()]]:
        y = self.formula(self.native(state, x))
        return (self.rescale(y) if self.rescaled else y), state

    def optimum(self, state: object) -> Tensor:
        """The published minimum, ``[1]``, in the form that ``evaluate`` gives."""
        minimum = torch.tensor([self.minimum], dtype=self.dtype, device=self.device)
        return self.rescale(minimum) if self.rescaled else minimum

    def native(self, state: object, x: Tensor) -> Tensor:
        """The points of the published box."""
        return self.low + x.to(self.dtype) * (self.high - self.low)

    def minimisers(self, state: object) -> Tensor:
        """The published minimisers ``[1, k, d]`` in the unit cube."""
        points = torch.tensor([self.argmin], dtype=self.dtype, device=self.device)
        return (points - self.low) / (self.high - self.low)


class Branin(Synthetic):
    """Branin on [-5, 10] x [0, 15]; rescaled as in Picheny et al. 2013: minimum -1.0474."""

    lower = (-5.0, 0.0)
    upper = (10.0, 15.0)
    minimum = 10.0 / (8.0 * math.pi)
    argmin = ((-math.pi, 12.275), (math.pi, 2.275), (3.0 * math.pi, 2.475))
    mean = 54.3071983

    def formula(self, x: Tensor) -> Tensor:
        x1, x2 = x.unbind(-1)
        valley = x2 - 5.1 / (4.0 * math.pi**2) * x1.square() + 5.0 / math.pi * x1 - 6.0
        return valley.square() + 10.0 * (1.0 - 1.0 / (8.0 * math.pi)) * x1.cos() + 10.0

    def rescale(self, y: Tensor) -> Tensor:
        return (y - 54.81) / 51.95


class GoldsteinPrice(Synthetic):
    """Goldstein-Price on [-2, 2]^2; rescaled is its logarithm as in Picheny et al.: min -3.129."""

    lower = (-2.0, -2.0)
    upper = (2.0, 2.0)
    minimum = 3.0
    argmin = ((0.0, -1.0),)
    mean = 53315.8857

    def formula(self, x: Tensor) -> Tensor:
        x1, x2 = x.unbind(-1)
        mixed = x1 * x2
        one = 19 - 14 * x1 + 3 * x1**2 - 14 * x2 + 6 * mixed + 3 * x2**2
        two = 18 - 32 * x1 + 12 * x1**2 + 48 * x2 - 36 * mixed + 27 * x2**2
        return (1 + (x1 + x2 + 1) ** 2 * one) * (30 + (2 * x1 - 3 * x2) ** 2 * two)

    def rescale(self, y: Tensor) -> Tensor:
        return (y.log() - 8.693) / 2.427


class _Hartmann(Synthetic):
    """-sum_i alpha_i exp(-sum_j a_ij (x_j - p_ij)^2) on the unit cube (Hartman 1973)."""

    alpha = (1.0, 1.2, 3.0, 3.2)
    a: ClassVar[tuple[tuple[float, ...], ...]]
    p: ClassVar[tuple[tuple[float, ...], ...]]
    deviation: ClassVar[float]

    def formula(self, x: Tensor) -> Tensor:
        alpha, a, p = (x.new_tensor(part) for part in (self.alpha, self.a, self.p))
        exponent = (a * (x.unsqueeze(-2) - 1e-4 * p).square()).sum(-1)
        return -(alpha * torch.exp(-exponent)).sum(-1)

    def rescale(self, y: Tensor) -> Tensor:
        return (y - self.mean) / self.deviation


class Hartmann3(_Hartmann):
    """Hartmann in three dimensions; rescaled is standardised (Chen et al. 2017 plot it raw)."""

    lower = (0.0,) * 3
    upper = (1.0,) * 3
    # The published digits (-3.86278 at (0.114614, 0.555649, 0.852547)), refined by Newton's method.
    minimum = -3.862779787332663
    argmin = ((0.11458887665506896, 0.5556488946169301, 0.8525469846866774),)
    mean = -0.943533738
    deviation = 0.955586276
    a = ((3.0, 10, 30), (0.1, 10, 35), (3.0, 10, 30), (0.1, 10, 35))
    p = ((3689, 1170, 2673), (4699, 4387, 7470), (1091, 8732, 5547), (381, 5743, 8828))


class Hartmann6(_Hartmann):
    """Hartmann in six dimensions; rescaled is standardised (Chen et al. 2017 plot it raw)."""

    lower = (0.0,) * 6
    upper = (1.0,) * 6
    # The published digits (-3.32237 at (0.20169, 0.150011, ...)), refined by Newton's method.
    minimum = -3.322368011415515
    argmin = (
        (
            0.20168951100670543,
            0.15001069182345797,
            0.47687397422189703,
            0.2753324304940561,
            0.31165161660011326,
            0.6573005340656204,
        ),
    )
    mean = -0.258927499
    deviation = 0.384827213
    a = (
        (10, 3, 17, 3.5, 1.7, 8),
        (0.05, 10, 17, 0.1, 8, 14),
        (3, 3.5, 1.7, 10, 17, 8),
        (17, 8, 0.05, 10, 0.1, 14),
    )
    p = (
        (1312, 1696, 5569, 124, 8283, 5886),
        (2329, 4135, 8307, 3736, 1004, 9991),
        (2348, 1451, 3522, 2883, 3047, 6650),
        (4047, 8828, 8732, 5743, 1091, 381),
    )
