"""Functions under transforms: composition, minimisers that stay in the cube, and what is known.

>>> from bbo_envs.functions import Branin
>>> from bbo_envs.functions.transforms import WarpValues
>>> changed = Transformed(Branin(), [Permute(), Flip(), Translate(0.1), WarpValues()])
>>> state = changed.sample(3, torch.Generator().manual_seed(0))
>>> changed.evaluate(state, torch.full((3, 2), 0.5))[0].shape
torch.Size([3])
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bbo_envs.core import map_tensors
from bbo_envs.functions.base import Functions
from bbo_envs.functions.streams import inside_unit, streams
from bbo_envs.functions.transforms import Draw, Flip, Permute, Scale, Transform, Translate

_MOST_DRAWS = 10_000


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
    that the minimum stays known; rotations, scales and translations are then no longer uniform.

    Args:
        functions: The functions to change.
        transforms: The changes.

    Raises:
        ValueError: If a transform leaves the cube and the functions are not defined outside.
            ``sample`` raises it where hardly any draw leaves a minimiser in the cube.
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
        self.differentiable = functions.differentiable and all(
            t.passes_gradients for t in transforms
        )
        self.extends = functions.extends
        self._keeps_cube = not leaving
        self._keeps_minimum = all(t.keeps_minimum for t in transforms)
        self._spread: float | None = None

    def sample(self, batch: int, generator: torch.Generator) -> TransformedState:
        function = self.functions.sample(batch, generator)
        state = TransformedState(self._draw(batch, generator), function)
        lost = self._lost(state)
        for _ in range(_MOST_DRAWS):
            if lost is None or not lost.any():
                return state
            redrawn = self._draw(batch, generator)
            state = TransformedState(_where(lost, redrawn, state.drawn), function)
            lost = self._lost(state)
        raise ValueError(
            f"{_MOST_DRAWS} draws left no minimiser of {type(self.functions).__name__} in the "
            f"{self.dim}-dimensional cube; give Scale or Translate a smaller range"
        )

    def value(self, state: TransformedState, x: Tensor) -> tuple[Tensor, TransformedState]:
        y, function = self.functions.value(state.function, self._moved(state, x))
        drawn = list(state.drawn)
        for i in reversed(range(len(drawn))):
            y, drawn[i] = self.transforms[i].value(drawn[i], y)
        return y, TransformedState(tuple(drawn), function)

    def optimum(self, state: TransformedState) -> Tensor | None:
        minimum = self.functions.optimum(state.function)
        inside = self._keeps_cube or self.minimisers(state) is not None
        if minimum is None or not (self._keeps_minimum and inside):
            return None
        return self._level_of(state, minimum)

    def minimisers(self, state: TransformedState) -> Tensor | None:
        """Where each function's minimisers lie: ``[B, k, d]``, some outside the cube."""
        points = self.functions.minimisers(state.function)
        if points is None or not self._keeps_minimum:
            return None
        for transform, drawn in zip(reversed(self.transforms), reversed(state.drawn), strict=True):
            points = transform.inverse(drawn, points)
        return points

    def native(self, state: TransformedState, x: Tensor) -> Tensor:
        """The points in the units of the functions; they may leave their box a little."""
        return self.functions.native(state.function, self._moved(state, x))

    def surface(self, state: TransformedState, points: Tensor) -> Tensor | None:
        moved = self._forward(state, points.unsqueeze(0)).squeeze(0)
        values = self.functions.surface(state.function, moved)
        return None if values is None else self._level_of(state, values)

    def trace(self, state: TransformedState, x: Tensor) -> Tensor | None:
        return self.functions.trace(state.function, self._moved(state, x))

    def _level_of(self, state: TransformedState, y: Tensor) -> Tensor:
        """What becomes of values y of the functions, without noise."""
        for transform, drawn in zip(reversed(self.transforms), reversed(state.drawn), strict=True):
            y = transform.level(drawn, y)
        return y

    def _level(self) -> tuple[float, float]:
        if self._spread is None:
            self._spread = self.functions.spread()
        return self.functions.prior_mean, self._spread

    def _moved(self, state: TransformedState, x: Tensor) -> Tensor:
        """Moves one point for each function, ``[B, d]``."""
        return self._forward(state, x.unsqueeze(1)).squeeze(1)

    def _forward(self, state: TransformedState, points: Tensor) -> Tensor:
        """Moves points ``[B, k, d]``."""
        points = points.to(self.dtype)
        for transform, drawn in zip(self.transforms, state.drawn, strict=True):
            points = transform.forward(drawn, points)
        return points

    def _lost(self, state: TransformedState) -> Tensor | None:
        minimisers = self.minimisers(state)
        if minimisers is None or self._keeps_cube:
            return None
        return ~((minimisers - 0.5).abs() <= 0.5).all(2).any(1)

    def _draw(self, batch: int, generator: torch.Generator) -> tuple[Any, ...]:
        def uniform(*shape: int) -> Tensor:
            draw = torch.rand(
                shape, generator=generator, dtype=torch.float64, device=generator.device
            )
            return inside_unit(draw.clamp_min(2.0**-54).to(self.device, self.dtype))

        draw = Draw(
            batch, self.dim, uniform, lambda: streams(batch, generator, self.device), self._level
        )
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
    return map_tensors(
        lambda a, b: torch.where(rows.view(-1, *[1] * (a.dim() - 1)), a, b), new, old
    )
