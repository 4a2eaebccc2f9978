"""Random changes of functions: of the axes before them, of the values after them.

``bbo_envs.functions.transformed`` puts them to work.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bbo_envs.checks import number_between
from bbo_envs.functions.streams import Stream, normal

_EDGE = 1e-6


class Draw(NamedTuple):
    """Where a transform draws what it needs, once per function.

    Attributes:
        batch: The number of functions.
        dim: The number of coordinates.
        uniform: Takes a shape; values in (0, 1) of the functions' dtype and device.
        streams: Takes nothing; a random stream for each function.
        level: Takes nothing; an ordinary value of the functions, and their spread about it.
    """

    batch: int
    dim: int
    uniform: Callable[..., Tensor]
    streams: Callable[[], Stream]
    level: Callable[[], tuple[float, float]]


class Transform(ABC):
    """A random change of a function; what is drawn for it is a tensor or a tuple of tensors.

    Points are ``[B, k, d]``, k for each function. A transform of y gives ``level`` or, where there
    is noise in it, ``value``.

    Attributes:
        keeps_cube: Whether ``forward`` maps the cube onto itself.
        keeps_minimum: Whether the minimum stays what it was where a minimiser is in the cube.
        passes_gradients: Whether gradients pass through it.
    """

    keeps_cube = True
    keeps_minimum = True
    passes_gradients = True

    @abstractmethod
    def draw(self, draw: Draw) -> Any:
        """Draws the change of each function."""

    def forward(self, drawn: Any, x: Tensor) -> Tensor:
        """Where the function is evaluated when it is asked at x."""
        return x

    def inverse(self, drawn: Any, x: Tensor) -> Tensor:
        """Where to ask, for the function to be evaluated at x."""
        return x

    def value(self, drawn: Any, y: Tensor) -> tuple[Tensor, Any]:
        """What is returned for the value y, and what is drawn from then on."""
        return self.level(drawn, y), drawn

    def level(self, drawn: Any, y: Tensor) -> Tensor:
        """What becomes of values y ``[n]`` or ``[1]`` of one function or ``[B]``, without noise."""
        return y


class Permute(Transform):
    """A uniformly random permutation of the axes."""

    def draw(self, draw: Draw) -> Tensor:
        return draw.uniform(draw.batch, draw.dim).argsort(1)

    def forward(self, drawn: Tensor, x: Tensor) -> Tensor:
        return torch.take_along_dim(x, drawn.unsqueeze(1), -1)

    def inverse(self, drawn: Tensor, x: Tensor) -> Tensor:
        return self.forward(drawn.argsort(1), x)


class Flip(Transform):
    """Each axis is reversed with probability one half."""

    def draw(self, draw: Draw) -> Tensor:
        uniform = draw.uniform(draw.batch, draw.dim)
        return torch.where(uniform < 0.5, -1.0, 1.0).to(uniform)

    def forward(self, drawn: Tensor, x: Tensor) -> Tensor:
        return 0.5 + drawn.unsqueeze(1) * (x - 0.5)

    def inverse(self, drawn: Tensor, x: Tensor) -> Tensor:
        return self.forward(drawn, x)


class Scale(Transform):
    """Distances from the centre of the cube times Uniform(low, high), common to all axes."""

    keeps_cube = False

    def __init__(self, low: float = 0.9, high: float = 1.1) -> None:
        self.low = number_between("low", low, 1e-6)
        self.high = number_between("high", high, low)

    def draw(self, draw: Draw) -> Tensor:
        return self.low + (self.high - self.low) * draw.uniform(draw.batch)

    def forward(self, drawn: Tensor, x: Tensor) -> Tensor:
        return 0.5 + drawn.view(-1, 1, 1) * (x - 0.5)

    def inverse(self, drawn: Tensor, x: Tensor) -> Tensor:
        return 0.5 + (x - 0.5) / drawn.view(-1, 1, 1)


class Translate(Transform):
    """Each axis moved by Uniform(-largest, largest), in units of the cube's edge."""

    keeps_cube = False

    def __init__(self, largest: float = 0.1) -> None:
        self.largest = number_between("largest", largest, 0.0)

    def draw(self, draw: Draw) -> Tensor:
        return self.largest * (2.0 * draw.uniform(draw.batch, draw.dim) - 1.0)

    def forward(self, drawn: Tensor, x: Tensor) -> Tensor:
        return x + drawn.unsqueeze(1)

    def inverse(self, drawn: Tensor, x: Tensor) -> Tensor:
        return x - drawn.unsqueeze(1)


class Rotate(Transform):
    """A rotation or reflection about the centre of the cube, uniform over the orthogonal group.

    By the QR factorisation of a Gaussian matrix with the signs of R taken out (Mezzadri 2007, "How
    to generate random matrices from the classical compact groups").
    """

    keeps_cube = False

    def draw(self, draw: Draw) -> Tensor:
        gaussian: Tensor = torch.special.ndtri(draw.uniform(draw.batch, draw.dim, draw.dim))
        q, r = torch.linalg.qr(gaussian)
        rotation: Tensor = q * r.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)
        return rotation

    def forward(self, drawn: Tensor, x: Tensor) -> Tensor:
        return (x - 0.5).matmul(drawn) + 0.5

    def inverse(self, drawn: Tensor, x: Tensor) -> Tensor:
        return (x - 0.5).matmul(drawn.mT) + 0.5


class Warp(Transform):
    """A monotone warp of each axis: 1 - (1 - x^a)^b with a and b log-normal.

    The distribution function of Kumaraswamy 1980 stands for the Beta one of Snoek et al. 2014,
    "Input Warping for Bayesian Optimization of Non-Stationary Functions": it is as flexible, and
    its inverse is elementary.

    Args:
        deviation: The standard deviation of log a and of log b, at most 0.75: beyond it, axes get
            so steep that queries in float32 miss a minimum.
    """

    def __init__(self, deviation: float = 0.5) -> None:
        self.deviation = number_between("deviation", deviation, 0.0, 0.75)

    def draw(self, draw: Draw) -> Tensor:
        exponents: Tensor = torch.special.ndtri(draw.uniform(draw.batch, 2, draw.dim))
        return (self.deviation * exponents).exp()

    def forward(self, drawn: Tensor, x: Tensor) -> Tensor:
        a, b = drawn.unsqueeze(2).unbind(1)
        # The slope may be infinite on the faces: theirs is taken a little inside.
        inside = x + (x.clamp(_EDGE, 1.0 - _EDGE) - x).detach()
        warped = _kumaraswamy(inside, a, b)
        return warped + (_kumaraswamy(x.clamp(0.0, 1.0), a, b) - warped).detach()

    def inverse(self, drawn: Tensor, x: Tensor) -> Tensor:
        a, b = drawn.unsqueeze(2).unbind(1)
        return (torch.log(-torch.expm1(torch.log1p(-x) / b)) / a).exp()


class WarpValues(Transform):
    """A monotone warp of y: c + s (sinh(a asinh((y - c) / s) + e) - sinh e).

    The sinh-arcsinh transformation (Jones & Pewsey 2009): e skews, a < 1 makes tails lighter. They
    are never made heavier, as functions that span decades would leave the range of floating point.
    c is the functions' ``prior_mean``, which stays where it is, and s their ``spread``.

    Args:
        deviation: Of e, which is normal, and of -log a, the modulus of a normal.
    """

    def __init__(self, deviation: float = 0.5) -> None:
        self.deviation = number_between("deviation", deviation, 0.0)

    def draw(self, draw: Draw) -> Tensor:
        normal: Tensor = torch.special.ndtri(draw.uniform(draw.batch, 2))
        tail, skew = (self.deviation * normal).unbind(1)
        centre, spread = draw.level()
        return torch.stack(
            [
                (-tail.abs()).exp(),
                skew,
                torch.full_like(tail, centre),
                torch.full_like(tail, spread),
            ],
            1,
        )

    def level(self, drawn: Tensor, y: Tensor) -> Tensor:
        tail, skew, centre, spread = drawn.unbind(1)
        bent = torch.sinh(tail * torch.asinh((y - centre) / spread) + skew)
        return centre + spread * (bent - skew.sinh())


class Noise(Transform):
    """Gaussian noise that is part of the function itself.

    The noise of a measurement, which the true f is free of, is the argument ``noise`` of
    ``Problem`` and of every id. The optimum stays that of the function without noise.

    Args:
        deviation: Its standard deviation.
    """

    def __init__(self, deviation: float = 0.1) -> None:
        self.deviation = number_between("deviation", deviation, 0.0)

    def draw(self, draw: Draw) -> Stream:
        return draw.streams()

    def value(self, drawn: Stream, y: Tensor) -> tuple[Tensor, Stream]:
        noise, drawn = normal(drawn, 1, y.dtype)
        return y + self.deviation * noise.squeeze(1), drawn


def _kumaraswamy(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    # By logarithms, as x^a may round to 1 where x is below 1: then the slope would be infinite.
    return _rest(b * torch.log(_rest(a * torch.log(x))))


def _rest(z: Tensor) -> Tensor:
    """1 - e^z for z <= 0; value and slope keep their digits near 0 and far from it."""
    return torch.where(z < -0.7, 1.0 - z.exp(), -torch.expm1(z.clamp_min(-0.7)))
