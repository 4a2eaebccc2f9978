"""What every room of the house speaks: distributions over objectives, and observations."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor


class Observation(NamedTuple):
    """What an optimiser sees after each query: the (x, y, o) of Chen et al. 2017, section 2.3.

    Attributes:
        x: ``[B, d]`` the query that came back, in the unit cube; zeros where ``o`` is 0.
        y: ``[B]`` its value as the objective gave it, raw; zero where ``o`` is 0.
        o: ``[B]`` 1 where an evaluation came back, 0 where a worker is still free.
    """

    x: Any
    y: Any
    o: Any


@runtime_checkable
class FunctionDistribution(Protocol):
    """A distribution p(f) over objectives on the unit cube, batch first, to be minimised.

    ``sample`` draws whatever makes a function; ``evaluate`` is pure. Every tensor of a state has
    the batch as its leading axis, so that rows can be stacked.

    Attributes:
        dim: The number of coordinates, d.
        differentiable: Whether ``evaluate`` passes gradients from y to x.
        dtype: Of its values, and of a problem's state.
        device: Likewise.
        prior_mean: An ordinary value: E[f(x)] over functions and uniform x, of the unperturbed
            function where axes are perturbed, or the median where tails are heavy. It is the
            reference m_0 against which a first evaluation counts as an improvement; agents never
            see it.
    """

    dim: int
    differentiable: bool
    dtype: torch.dtype
    device: torch.device
    prior_mean: float

    def sample(self, batch: int, generator: torch.Generator) -> Any:
        """Draws ``batch`` functions and returns their state."""

    def evaluate(self, state: Any, x: Tensor) -> tuple[Tensor, Any]:
        """Evaluates each function once: x ``[B, d]`` -> y ``[B]`` and the state that follows."""

    def optimum(self, state: Any) -> Tensor | None:
        """The minima, in a shape that broadcasts to ``[B]``, or None where they are not known."""

    def native(self, state: Any, x: Tensor) -> Tensor:
        """The points ``[B, d]`` in the objective's own units at which queries x are evaluated."""


def map_tensors(function: Callable[..., Tensor], first: Any, *others: Any) -> Any:
    """Applies a function to the tensors at each place of states, which are nested tuples.

    Leaves that are not tensors must be equal in all states, and stay as they are.

    Raises:
        ValueError: If such a leaf differs, as when rows are at different steps.

    Example:
        >>> here = Observation(torch.zeros(1, 2), torch.zeros(1), torch.ones(1))
        >>> map_tensors(torch.add, here, here).o
        tensor([2.])
    """
    if isinstance(first, Tensor):
        return function(first, *others)
    if isinstance(first, tuple):
        columns = zip(first, *others, strict=True)
        parts = [map_tensors(function, *column) for column in columns]
        return tuple(parts) if type(first) is tuple else type(first)(*parts)
    if any(other != first for other in others):
        raise ValueError(f"rows can be joined only in step with each other; got {first}, {others}")
    return first


def stack(states: Sequence[Any]) -> Any:
    """Concatenates states along the batch axis; see ``map_tensors``.

    Example:
        >>> a = Observation(torch.zeros(1, 2), torch.zeros(1), torch.ones(1))
        >>> stack([a, a, a]).x.shape
        torch.Size([3, 2])
    """
    return map_tensors(lambda *rows: torch.cat(rows), *states)
