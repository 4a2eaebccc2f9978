"""Random changes of axes, as Chen et al. 2017 apply to the benchmark functions."""

from typing import NamedTuple

import torch
from torch import Tensor

from bbo_envs.functions.synthetic import Synthetic

_LARGEST_SHIFT = 0.1
_SMALLEST_SCALE, _LARGEST_SCALE = 0.9, 1.1


class PerturbedState(NamedTuple):
    """How the axes of each function are changed.

    A query x is evaluated at ``centre + scale * flip * (x - centre)[permutation] + shift``.

    Attributes:
        permutation: ``[B, d]`` int64.
        flip: ``[B, d]`` of +1 and -1.
        scale: ``[B]``.
        shift: ``[B, d]``.
    """

    permutation: Tensor
    flip: Tensor
    scale: Tensor
    shift: Tensor


class Perturbed:
    """A published function under a random translation, scaling, flip and permutation of its axes.

    Chen et al. 2017, section 3.2: translation Uniform(-0.1, 0.1) per axis, in units of the cube's
    edge, and scaling Uniform(0.9, 1.1). *Inferred*: that the scaling is about the centre of the
    cube and common to all axes, and that draws which leave no global minimiser in the cube are
    drawn again, so that the minimum stays the published one.

    Args:
        functions: The function to perturb.

    Example:
        >>> from bbo_envs.functions.synthetic import Branin
        >>> perturbed = Perturbed(Branin())
        >>> state = perturbed.sample(3, torch.Generator().manual_seed(0))
        >>> perturbed.evaluate(state, torch.full((3, 2), 0.5))[0].shape
        torch.Size([3])
    """

    differentiable = True

    def __init__(self, functions: Synthetic) -> None:
        self.functions = functions
        self.dim = functions.dim
        self.dtype = functions.dtype
        self.device = functions.device
        self.prior_mean = functions.prior_mean

    def sample(self, batch: int, generator: torch.Generator) -> PerturbedState:
        state = self._draw(batch, generator)
        lost = self._lost(state)
        while lost.any():
            again = self._draw(batch, generator)
            state = PerturbedState(
                *(
                    torch.where(lost.view(-1, *[1] * (new.dim() - 1)), new, old)
                    for new, old in zip(again, state, strict=True)
                )
            )
            lost = self._lost(state)
        return state

    def evaluate(self, state: PerturbedState, x: Tensor) -> tuple[Tensor, PerturbedState]:
        y, _ = self.functions.evaluate((), self._move(state, x))
        return y, state

    def optimum(self, state: PerturbedState) -> Tensor:
        """The published minimum: ``sample`` keeps a minimiser in the cube."""
        return self.functions.optimum(()).expand(len(state.scale))

    def native(self, state: PerturbedState, x: Tensor) -> Tensor:
        """The points of the published function's own axes; they may leave its box a little."""
        return self.functions.native((), self._move(state, x))

    def minimisers(self, state: PerturbedState) -> Tensor:
        """Where each function's global minimisers lie: ``[B, k, d]``, some outside the cube."""
        target = self.functions.unit_minimisers() - 0.5 - state.shift.unsqueeze(1)
        target = target * state.flip.unsqueeze(1) / state.scale.view(-1, 1, 1)
        order = state.permutation.argsort(1).unsqueeze(1).expand_as(target)
        return 0.5 + target.gather(2, order)

    def _move(self, state: PerturbedState, x: Tensor) -> Tensor:
        turned = state.flip * (x.to(self.dtype) - 0.5).gather(1, state.permutation)
        return 0.5 + state.scale.unsqueeze(1) * turned + state.shift

    def _lost(self, state: PerturbedState) -> Tensor:
        inside = (self.minimisers(state) - 0.5).abs() <= 0.5
        return ~inside.all(2).any(1)

    def _draw(self, batch: int, generator: torch.Generator) -> PerturbedState:
        def uniform(*shape: int) -> Tensor:
            draw = torch.rand(
                shape, generator=generator, dtype=torch.float64, device=generator.device
            )
            return draw.to(self.device, self.dtype)

        return PerturbedState(
            permutation=uniform(batch, self.dim).argsort(1),
            flip=1.0 - 2.0 * (uniform(batch, self.dim) < 0.5).to(self.dtype),
            scale=_SMALLEST_SCALE + (_LARGEST_SCALE - _SMALLEST_SCALE) * uniform(batch),
            shift=_LARGEST_SHIFT * (2.0 * uniform(batch, self.dim) - 1.0),
        )
