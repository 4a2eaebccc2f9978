"""Random changes of functions, composable: of the axes before them, of the values after them.

>>> from bbo_envs.functions import Branin
>>> changed = Transformed(Branin(), [Permute(), Flip(), Translate(0.1), WarpValues()])
>>> state = changed.sample(3, torch.Generator().manual_seed(0))
>>> changed.evaluate(state, torch.full((3, 2), 0.5))[0].shape
torch.Size([3])
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bbo_envs.checks import number_between
from bbo_envs.functions.base import Functions
from bbo_envs.functions.streams import Stream, normal, streams

_EDGE = 1e-6


class Draw(NamedTuple):
    """Where a transform draws what it needs, once per function.

    Attributes:
        batch: The number of functions.
        dim: The number of coordinates.
        uniform: Takes a shape; values in (0, 1) of the functions' dtype and device.
        streams: Takes nothing; a random stream for each function.
    """

    batch: int
    dim: int
    uniform: Callable[..., Tensor]
    streams: Callable[[], Stream]


class Transform(ABC):
    """A random change of a function; what is drawn for it is a tensor or a tuple of tensors.

    Points are ``[B, k, d]``, k for each function; values are ``[B]``.

    Attributes:
        keeps_cube: Whether ``forward`` maps the cube onto itself.
        keeps_minimum: Whether the minimum stays what it was where a minimiser is in the cube.
    """

    keeps_cube = True
    keeps_minimum = True

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
        return y, drawn

    def minimum(self, drawn: Any, y: Tensor) -> Tensor:
        """What becomes of the minimum y."""
        return y


class Permute(Transform):
    """A uniformly random permutation of the axes."""

    def draw(self, draw: Draw) -> Tensor:
        return draw.uniform(draw.batch, draw.dim).argsort(1)

    def forward(self, drawn: Tensor, x: Tensor) -> Tensor:
        return x.gather(-1, drawn.unsqueeze(1).expand_as(x))

    def inverse(self, drawn: Tensor, x: Tensor) -> Tensor:
        return self.forward(drawn.argsort(1), x)


class Flip(Transform):
    """Each axis is reversed with probability one half."""

    def draw(self, draw: Draw) -> Tensor:
        uniform = draw.uniform(draw.batch, draw.dim)
        return 1.0 - 2.0 * (uniform < 0.5).to(uniform)

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
    """A rotation about the centre of the cube, uniform over the orthogonal group.

    By the QR factorisation of a Gaussian matrix with the signs of R taken out (Mezzadri 2007, "How
    to generate random matrices from the classical compact groups").
    """

    keeps_cube = False

    def draw(self, draw: Draw) -> Tensor:
        gaussian = torch.special.ndtri(draw.uniform(draw.batch, draw.dim, draw.dim))
        q, r = torch.linalg.qr(gaussian)
        return q * r.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)

    def forward(self, drawn: Tensor, x: Tensor) -> Tensor:
        return 0.5 + (x - 0.5) @ drawn

    def inverse(self, drawn: Tensor, x: Tensor) -> Tensor:
        return 0.5 + (x - 0.5) @ drawn.mT


class Warp(Transform):
    """A monotone warp of each axis: 1 - (1 - x^a)^b with a and b log-normal.

    The distribution function of Kumaraswamy 1980 stands for the Beta one of Snoek et al. 2014,
    "Input Warping for Bayesian Optimization of Non-Stationary Functions": it is as flexible, and
    its inverse is elementary.

    Args:
        deviation: The standard deviation of log a and of log b.
    """

    def __init__(self, deviation: float = 0.5) -> None:
        self.deviation = number_between("deviation", deviation, 0.0)

    def draw(self, draw: Draw) -> Tensor:
        exponents = torch.special.ndtri(draw.uniform(draw.batch, 2, draw.dim))
        return (self.deviation * exponents).exp()

    def forward(self, drawn: Tensor, x: Tensor) -> Tensor:
        a, b = drawn.unsqueeze(2).unbind(1)
        warped = _kumaraswamy(x.clamp(_EDGE, 1.0 - _EDGE), a, b)
        with torch.no_grad():  # the faces stay where they are, where the slope may be infinite
            correction = _kumaraswamy(x.clamp(0.0, 1.0), a, b) - warped
        return warped + correction

    def inverse(self, drawn: Tensor, x: Tensor) -> Tensor:
        a, b = drawn.unsqueeze(2).unbind(1)
        return (1.0 - (1.0 - x).pow(1.0 / b)).pow(1.0 / a)


class WarpValues(Transform):
    """A monotone warp of y: centre + scale sinh(a asinh((y - centre) / scale) + e) - the same at 0.

    The sinh-arcsinh transformation (Jones & Pewsey 2009): e skews, a makes the tails heavier
    (a > 1) or lighter.

    Args:
        centre: Where the warp is centred: an ordinary value of the functions.
        scale: Over what distance from there values are bent.
        deviation: The standard deviation of log a and of e.
    """

    def __init__(self, centre: float = 0.0, scale: float = 1.0, deviation: float = 0.5) -> None:
        self.centre = number_between("centre", centre, -torch.inf)
        self.scale = number_between("scale", scale, 1e-12)
        self.deviation = number_between("deviation", deviation, 0.0)

    def draw(self, draw: Draw) -> Tensor:
        return self.deviation * torch.special.ndtri(draw.uniform(draw.batch, 2))

    def value(self, drawn: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        log_tail, skew = drawn.unbind(1)
        bent = torch.sinh(log_tail.exp() * torch.asinh((y - self.centre) / self.scale) + skew)
        return self.centre + self.scale * (bent - skew.sinh()), drawn

    def minimum(self, drawn: Tensor, y: Tensor) -> Tensor:
        return self.value(drawn, y)[0]


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


class TransformedState(NamedTuple):
    """State of ``Transformed``.

    Attributes:
        drawn: What each transform drew.
        function: State of the functions that are transformed.
    """

    drawn: tuple[Any, ...]
    function: Any


class Transformed(Functions):
    """Functions under random changes, drawn anew for each function.

    A query passes through the transforms in their order, the value back through them in reverse
    order. Where the minimisers are known, draws that leave none in the cube are drawn again, so
    that the minimum stays known.

    Args:
        functions: The functions to change.
        transforms: The changes.

    Raises:
        ValueError: If a transform leaves the cube and the functions are not defined outside.
    """

    def __init__(self, functions: Functions, transforms: Sequence[Transform]) -> None:
        leaving = [type(t).__name__ for t in transforms if not t.keeps_cube]
        if leaving and not functions.extends:
            raise ValueError(
                f"{leaving[0]} asks for points outside the unit cube, where "
                f"{type(functions).__name__} is not defined; use transforms that map the cube onto "
                "itself: Permute, Flip, Warp, WarpValues, Noise"
            )
        self.functions = functions
        self.transforms = tuple(transforms)
        self.dim = functions.dim
        self.dtype = functions.dtype
        self.device = functions.device
        self.prior_mean = functions.prior_mean
        self.differentiable = functions.differentiable
        self.extends = functions.extends and all(t.keeps_cube for t in transforms)

    def sample(self, batch: int, generator: torch.Generator) -> TransformedState:
        function = self.functions.sample(batch, generator)
        state = TransformedState(self._draw(batch, generator), function)
        lost = self._lost(state)
        while lost is not None and lost.any():
            redrawn = self._draw(batch, generator)
            state = TransformedState(_where(lost, redrawn, state.drawn), function)
            lost = self._lost(state)
        return state

    def value(self, state: TransformedState, x: Tensor) -> tuple[Tensor, TransformedState]:
        y, function = self.functions.value(state.function, self._forward(state, x))
        drawn = list(state.drawn)
        for i in reversed(range(len(drawn))):
            y, drawn[i] = self.transforms[i].value(drawn[i], y)
        return y, TransformedState(tuple(drawn), function)

    def optimum(self, state: TransformedState) -> Tensor | None:
        minimum = self.functions.optimum(state.function)
        kept = all(t.keeps_minimum for t in self.transforms)
        inside = self.minimisers(state) is not None or all(t.keeps_cube for t in self.transforms)
        if minimum is None or not (kept and inside):
            return None
        for transform, drawn in zip(reversed(self.transforms), reversed(state.drawn), strict=True):
            minimum = transform.minimum(drawn, minimum)
        return minimum

    def minimisers(self, state: TransformedState) -> Tensor | None:
        """Where each function's minimisers lie: ``[B, k, d]``, some outside the cube."""
        points = self.functions.minimisers(state.function)
        if points is None or not all(t.keeps_minimum for t in self.transforms):
            return None
        for transform, drawn in zip(reversed(self.transforms), reversed(state.drawn), strict=True):
            points = transform.inverse(drawn, points)
        return points

    def native(self, state: TransformedState, x: Tensor) -> Tensor:
        """The points in the units of the functions; they may leave their box a little."""
        return self.functions.native(state.function, self._forward(state, x))

    def _forward(self, state: TransformedState, x: Tensor) -> Tensor:
        points = x.to(self.dtype).unsqueeze(1)
        for transform, drawn in zip(self.transforms, state.drawn, strict=True):
            points = transform.forward(drawn, points)
        return points.squeeze(1)

    def _lost(self, state: TransformedState) -> Tensor | None:
        minimisers = self.minimisers(state)
        if minimisers is None or all(t.keeps_cube for t in self.transforms):
            return None
        return ~((minimisers - 0.5).abs() <= 0.5).all(2).any(1)

    def _draw(self, batch: int, generator: torch.Generator) -> tuple[Any, ...]:
        def uniform(*shape: int) -> Tensor:
            draw = torch.rand(
                shape, generator=generator, dtype=torch.float64, device=generator.device
            )
            return draw.clamp_min(2.0**-54).to(self.device, self.dtype)

        draw = Draw(batch, self.dim, uniform, lambda: streams(batch, generator, self.device))
        return tuple(transform.draw(draw) for transform in self.transforms)


def perturbed(functions: Functions) -> Transformed:
    """The random translation, scaling, flips and permutation of Chen et al. 2017, section 3.2.

    Translation Uniform(-0.1, 0.1) per axis, in units of the cube's edge, and scaling
    Uniform(0.9, 1.1). *Inferred*: that the scaling is about the centre of the cube and common to
    all axes, and that a global minimiser stays in the cube.

    Example:
        >>> from bbo_envs.functions import Branin
        >>> [type(transform).__name__ for transform in perturbed(Branin()).transforms]
        ['Permute', 'Flip', 'Scale', 'Translate']
    """
    return Transformed(functions, [Permute(), Flip(), Scale(), Translate()])


def _where(rows: Tensor, new: Any, old: Any) -> Any:
    """Takes from ``new`` where ``rows`` is true, else from ``old``; both nested tuples."""
    if isinstance(new, Tensor):
        return torch.where(rows.view(-1, *[1] * (new.dim() - 1)), new, old)
    parts = [_where(rows, *pair) for pair in zip(new, old, strict=True)]
    return tuple(parts) if type(new) is tuple else type(new)(*parts)


def _kumaraswamy(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return 1.0 - (1.0 - x.pow(a)).pow(b)
