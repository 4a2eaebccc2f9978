"""The formulas of the 24 noiseless BBOB functions, and what they share.

Definitions, numbers and names are those of Hansen, Finck, Ros & Auger 2009, "Real-Parameter
Black-Box Optimization Benchmarking 2009: Noiseless Functions Definitions" (INRIA RR-6829), cited
below as RR-6829 with the function's number. Where its text and the code of COCO differ (Hansen et
al. 2021, "COCO: a platform for comparing continuous optimizers in a black-box setting"), the code
counts.

Formulas take points ``[B, d]`` of [-5, 5]^d and the instance of each row, and return f - f_opt
``[B]``. They are sums of terms that cannot be negative, so that rounding does not take a value
below the minimum. Gradients are finite everywhere: where a function has none, as at a cusp, zero
stands for it.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from bbo_envs.functions.bbob_instances import BBOBState, rosenbrock_factor

Formula = Callable[[Tensor, BBOBState], Tensor]

SEPARABLE = "separable"
MODERATE = "low or moderate conditioning"
ILL_CONDITIONED = "high conditioning and unimodal"
MULTIMODAL = "multimodal with adequate global structure"
WEAK_STRUCTURE = "multimodal with weak global structure"

TWO_PI = 2.0 * math.pi


class BBOBFunction(NamedTuple):
    """What is registered of a function.

    Attributes:
        number: 1 to 24.
        name: Its name in RR-6829.
        group: Its group there.
        formula: f - f_opt of points ``[B, d]`` of [-5, 5]^d.
    """

    number: int
    name: str
    group: str
    formula: Formula


FUNCTIONS: dict[int, BBOBFunction] = {}
"""The 24 functions by number."""


def _register(number: int, name: str, group: str) -> Callable[[Formula], Formula]:
    def register(formula: Formula) -> Formula:
        FUNCTIONS[number] = BBOBFunction(number, name, group, formula)
        return formula

    return register


# What the functions share: RR-6829, section 0.2.


def ramp(x: Tensor) -> Tensor:
    """(i - 1) / (d - 1) for the coordinates i of x: from 0 to 1."""
    return torch.linspace(0.0, 1.0, x.shape[-1], dtype=x.dtype, device=x.device)


def conditioned(x: Tensor, condition: float) -> Tensor:
    """Lambda^condition: coordinates times 1 to sqrt(condition), in geometric progression."""
    return x * math.sqrt(condition) ** ramp(x)


def rotated(x: Tensor, rotation: Tensor) -> Tensor:
    """The rotation of each row applied to it."""
    return (rotation @ x.unsqueeze(-1)).squeeze(-1)


def power(x: Tensor, exponent: float | Tensor) -> Tensor:
    """x^exponent for x >= 0, with gradient zero at zero."""
    positive = x > 0.0
    return torch.where(positive, torch.where(positive, x, 1.0) ** exponent, 0.0)


def oscillated(x: Tensor) -> Tensor:
    """T_osz: a change of x by smooth oscillations in its logarithm, different for either sign."""
    log = torch.where(x == 0.0, 1.0, x).abs().log()
    waves = torch.where(
        x > 0.0, (10.0 * log).sin() + (7.9 * log).sin(), (5.5 * log).sin() + (3.1 * log).sin()
    )
    return torch.where(x == 0.0, x, x.sign() * (log + 0.049 * waves).exp())


def skewed(x: Tensor, beta: float) -> Tensor:
    """T_asy: positive coordinates are raised to powers that grow with i and with them."""
    positive = torch.where(x > 0.0, x, 1.0)
    return torch.where(x > 0.0, positive ** (1.0 + beta * ramp(x) * positive.sqrt()), x)


def penalty(x: Tensor) -> Tensor:
    """f_pen: the squared distance from [-5, 5]^d."""
    return (x.abs() - 5.0).clamp_min(0.0).square().sum(-1)


def squares(z: Tensor, condition: float) -> Tensor:
    """The ellipsoid: squares weighted by 1 to condition, in geometric progression."""
    return (condition ** ramp(z) * z.square()).sum(-1)


def waves(z: Tensor) -> Tensor:
    """10 (d - sum of cos 2 pi z), the ripples of Rastrigin's function."""
    return 10.0 * (1.0 - (TWO_PI * z).cos()).sum(-1)


def valley(z: Tensor) -> Tensor:
    """The summands 100 (z_i^2 - z_i+1)^2 + (z_i - 1)^2 of Rosenbrock's function."""
    head, tail = z[..., :-1], z[..., 1:]
    return 100.0 * (head.square() - tail).square() + (head - 1.0).square()


def sandwiched(x: Tensor, s: BBOBState, condition: float) -> Tensor:
    """R Lambda^condition Q (x - x_opt)."""
    return rotated(conditioned(rotated(x - s.x_opt, s.q), condition), s.r)


# The functions.


@_register(1, "Sphere", SEPARABLE)
def sphere(x: Tensor, s: BBOBState) -> Tensor:
    """f1, the sphere (RR-6829, 1)."""
    return (x - s.x_opt).square().sum(-1)


@_register(2, "Ellipsoidal, separable", SEPARABLE)
def separable_ellipsoid(x: Tensor, s: BBOBState) -> Tensor:
    """f2, the separable ellipsoid of condition 1e6 (RR-6829, 2)."""
    return squares(oscillated(x - s.x_opt), 1e6)


@_register(3, "Rastrigin, separable", SEPARABLE)
def separable_rastrigin(x: Tensor, s: BBOBState) -> Tensor:
    """f3, Rastrigin's separable function (RR-6829, 3)."""
    z = conditioned(skewed(oscillated(x - s.x_opt), 0.2), 10.0)
    return waves(z) + z.square().sum(-1)


@_register(4, "Büche-Rastrigin", SEPARABLE)
def bueche_rastrigin(x: Tensor, s: BBOBState) -> Tensor:
    """f4, Büche and Rastrigin's function (RR-6829, 4)."""
    z = oscillated(x - s.x_opt)
    odd = torch.arange(z.shape[-1], device=z.device) % 2 == 0
    z = conditioned(torch.where(odd & (z > 0.0), 10.0 * z, z), 10.0)
    return waves(z) + z.square().sum(-1) + 100.0 * penalty(x)


@_register(5, "Linear slope", SEPARABLE)
def linear_slope(x: Tensor, s: BBOBState) -> Tensor:
    """f5, the linear slope, flat beyond the corner with the minimum (RR-6829, 5)."""
    towards = (x * s.x_opt.sign()).clamp_max(5.0)
    return (10.0 ** ramp(x) * (5.0 - towards)).sum(-1)


@_register(6, "Attractive sector", MODERATE)
def attractive_sector(x: Tensor, s: BBOBState) -> Tensor:
    """f6, the attractive sector (RR-6829, 6)."""
    z = sandwiched(x, s, 10.0)
    z = torch.where(z * s.x_opt > 0.0, 100.0 * z, z)
    return power(oscillated(z.square().sum(-1)), 0.9)


@_register(7, "Step ellipsoidal", MODERATE)
def step_ellipsoid(x: Tensor, s: BBOBState) -> Tensor:
    """f7, the ellipsoid of condition 100 in steps (RR-6829, 7)."""
    z = conditioned(rotated(x - s.x_opt, s.q), 10.0)
    steps = torch.where(z.abs() > 0.5, (0.5 + z).floor(), (0.5 + 10.0 * z).floor() / 10.0)
    plateaus = squares(rotated(steps, s.r), 100.0)
    return 0.1 * torch.maximum(z[..., 0].abs() / 1e4, plateaus) + penalty(x)


@_register(8, "Rosenbrock, original", MODERATE)
def rosenbrock(x: Tensor, s: BBOBState) -> Tensor:
    """f8, Rosenbrock's function (RR-6829, 8)."""
    return valley(rosenbrock_factor(x.shape[-1]) * (x - s.x_opt) + 1.0).sum(-1)


@_register(9, "Rosenbrock, rotated", MODERATE)
def rotated_rosenbrock(x: Tensor, s: BBOBState) -> Tensor:
    """f9, Rosenbrock's function rotated (RR-6829, 9)."""
    return valley(rosenbrock_factor(x.shape[-1]) * rotated(x, s.q) + 0.5).sum(-1)


@_register(10, "Ellipsoidal", ILL_CONDITIONED)
def ellipsoid(x: Tensor, s: BBOBState) -> Tensor:
    """f10, the rotated ellipsoid of condition 1e6 (RR-6829, 10)."""
    return squares(oscillated(rotated(x - s.x_opt, s.r)), 1e6)


@_register(11, "Discus", ILL_CONDITIONED)
def discus(x: Tensor, s: BBOBState) -> Tensor:
    """f11, the discus: one direction 1000 times as sensitive (RR-6829, 11)."""
    z = oscillated(rotated(x - s.x_opt, s.r)).square()
    return 1e6 * z[..., 0] + z[..., 1:].sum(-1)


@_register(12, "Bent cigar", ILL_CONDITIONED)
def bent_cigar(x: Tensor, s: BBOBState) -> Tensor:
    """f12, the bent cigar: all directions but one 1000 times as sensitive (RR-6829, 12)."""
    z = rotated(skewed(rotated(x - s.x_opt, s.r), 0.5), s.r).square()
    return z[..., 0] + 1e6 * z[..., 1:].sum(-1)


@_register(13, "Sharp ridge", ILL_CONDITIONED)
def sharp_ridge(x: Tensor, s: BBOBState) -> Tensor:
    """f13, the sharp ridge (RR-6829, 13)."""
    z = sandwiched(x, s, 10.0).square()
    return z[..., 0] + 100.0 * power(z[..., 1:].sum(-1), 0.5)


@_register(14, "Different powers", ILL_CONDITIONED)
def different_powers(x: Tensor, s: BBOBState) -> Tensor:
    """f14, the sum of different powers (RR-6829, 14)."""
    z = rotated(x - s.x_opt, s.r).abs()
    return power((z ** (2.0 + 4.0 * ramp(z))).sum(-1), 0.5)


@_register(15, "Rastrigin", MULTIMODAL)
def rastrigin(x: Tensor, s: BBOBState) -> Tensor:
    """f15, Rastrigin's function rotated (RR-6829, 15)."""
    z = skewed(oscillated(rotated(x - s.x_opt, s.r)), 0.2)
    z = rotated(conditioned(rotated(z, s.q), 10.0), s.r)
    return waves(z) + z.square().sum(-1)


@_register(16, "Weierstrass", MULTIMODAL)
def weierstrass(x: Tensor, s: BBOBState) -> Tensor:
    """f16, Weierstrass's function, of twelve frequencies (RR-6829, 16)."""
    z = oscillated(rotated(x - s.x_opt, s.r))
    z = rotated(conditioned(rotated(z, s.q), 0.01), s.r).unsqueeze(-1)
    k = torch.arange(12, dtype=z.dtype, device=z.device)
    ripples = (0.5**k * (1.0 + (TWO_PI * 3.0**k * (z + 0.5)).cos())).sum(-1)
    return 10.0 * ripples.mean(-1) ** 3 + 10.0 / x.shape[-1] * penalty(x)


def _schaffers(x: Tensor, s: BBOBState, condition: float) -> Tensor:
    z = skewed(rotated(x - s.x_opt, s.r), 0.5)
    z = conditioned(rotated(z, s.q), condition).square()
    pairs = z[..., :-1] + z[..., 1:]
    summands = power(pairs, 0.25) * (1.0 + (50.0 * power(pairs, 0.1)).sin().square())
    return summands.mean(-1).square() + 10.0 * penalty(x)


@_register(17, "Schaffers F7", MULTIMODAL)
def schaffers(x: Tensor, s: BBOBState) -> Tensor:
    """f17, Schaffer's F7 of condition 10 (RR-6829, 17)."""
    return _schaffers(x, s, 10.0)


@_register(18, "Schaffers F7, moderately ill-conditioned", MULTIMODAL)
def ill_conditioned_schaffers(x: Tensor, s: BBOBState) -> Tensor:
    """f18, Schaffer's F7 of condition 1000 (RR-6829, 18)."""
    return _schaffers(x, s, 1e3)


@_register(19, "Composite Griewank-Rosenbrock F8F2", MULTIMODAL)
def griewank_rosenbrock(x: Tensor, s: BBOBState) -> Tensor:
    """f19, Griewank's function of the summands of Rosenbrock's (RR-6829, 19)."""
    terms = valley(rosenbrock_factor(x.shape[-1]) * rotated(x, s.q) + 0.5)
    return 10.0 * (terms / 4000.0 + (1.0 - terms.cos())).mean(-1)


@_register(20, "Schwefel", WEAK_STRUCTURE)
def schwefel(x: Tensor, s: BBOBState) -> Tensor:
    """f20, Schwefel's function (RR-6829, 20)."""
    centre = 2.0 * s.x_opt.abs()
    z = 2.0 * x * s.x_opt.sign()
    drift = 0.25 * (z - centre)[..., :-1]
    z = z + torch.nn.functional.pad(drift, (1, 0))
    z = 100.0 * (conditioned(z - centre, 10.0) + centre)
    outside = (z.abs() - 500.0).clamp_min(0.0).square().sum(-1)
    # The constant is the maximum of the summands, rounded up.
    return 0.01 * (outside + 418.9828872724339 - (z * power(z.abs(), 0.5).sin()).mean(-1))


def _gallagher(x: Tensor, s: BBOBState) -> Tensor:
    peaks = s.peaks.shape[-2]
    heights = torch.linspace(1.1, 9.1, peaks - 1, dtype=x.dtype, device=x.device)
    heights = torch.cat([heights.new_tensor([10.0]), heights])
    away = rotated(x, s.q).unsqueeze(-2) - s.peaks
    bumps = heights * (-0.5 * (s.scales * away.square()).mean(-1)).exp()
    return oscillated(10.0 - bumps.amax(-1)).square() + penalty(x)


@_register(21, "Gallagher's Gaussian 101-me peaks", WEAK_STRUCTURE)
def gallagher_101(x: Tensor, s: BBOBState) -> Tensor:
    """f21, Gallagher's 101 Gaussian peaks (RR-6829, 21)."""
    return _gallagher(x, s)


@_register(22, "Gallagher's Gaussian 21-hi peaks", WEAK_STRUCTURE)
def gallagher_21(x: Tensor, s: BBOBState) -> Tensor:
    """f22, Gallagher's 21 Gaussian peaks, of a higher condition (RR-6829, 22)."""
    return _gallagher(x, s)


@_register(23, "Katsuura", WEAK_STRUCTURE)
def katsuura(x: Tensor, s: BBOBState) -> Tensor:
    """f23, Katsuura's function, rugged at 32 scales (RR-6829, 23)."""
    return rugged(sandwiched(x, s, 100.0)) + penalty(x)


def rugged(z: Tensor) -> Tensor:
    """Katsuura's function before any change of variables."""
    dim = z.shape[-1]
    scales = 2.0 ** torch.arange(1, 33, dtype=z.dtype, device=z.device)
    teeth = scales * z.unsqueeze(-1)
    roughness = ((teeth - (teeth + 0.5).floor()).abs() / scales).sum(-1)
    rows = torch.arange(1, dim + 1, dtype=z.dtype, device=z.device)
    factors: Tensor = (1.0 + rows * roughness) ** (10.0 / dim**1.2)
    return 10.0 / dim**2 * (factors.prod(-1) - 1.0)


@_register(24, "Lunacek bi-Rastrigin", WEAK_STRUCTURE)
def lunacek(x: Tensor, s: BBOBState) -> Tensor:
    """f24, Lunacek's bi-Rastrigin function: two funnels (RR-6829, 24)."""
    dim = x.shape[-1]
    size = 1.0 - 0.5 / (math.sqrt(dim + 20.0) - 4.1)
    deep, shallow = 2.5, -math.sqrt((2.5**2 - 1.0) / size)
    hat = 2.0 * s.x_opt.sign() * x
    z = rotated(conditioned(rotated(hat - deep, s.q), 100.0), s.r)
    funnels = torch.minimum(
        (hat - deep).square().sum(-1), dim + size * (hat - shallow).square().sum(-1)
    )
    return funnels + waves(z) + 1e4 * penalty(x)
