"""What the suite's own distributions share: the check of the domain, and the defaults."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from bbo_envs.checks import check_queries
from bbo_envs.core import map_tensors


class Functions(ABC):
    """Base of the suite's distributions over objectives on the unit cube.

    A subclass gives ``sample`` and ``value``, sets ``dim``, ``dtype``, ``device`` and
    ``prior_mean``, and tells what it knows of the optimum. See
    ``bbo_envs.FunctionDistribution`` for what is common to all distributions.

    Attributes:
        differentiable: Whether ``evaluate`` passes gradients from y to x.
        extends: Whether ``value`` is defined, and not below the minimum, outside the cube too, so
            that the axes may be translated, scaled and rotated.
    """

    dim: int
    dtype: torch.dtype = torch.float64
    device: torch.device = torch.device("cpu")
    prior_mean: float = 0.0
    differentiable: bool = True
    extends: bool = False

    @abstractmethod
    def sample(self, batch: int, generator: torch.Generator) -> Any:
        """Draws ``batch`` functions and returns their state."""

    @abstractmethod
    def value(self, state: Any, x: Tensor) -> tuple[Tensor, Any]:
        """``evaluate`` without its check of the domain."""

    def evaluate(self, state: Any, x: Tensor) -> tuple[Tensor, Any]:
        """Evaluates each function once: x ``[B, d]`` -> y ``[B]`` and the state that follows.

        Raises:
            QueryError: If a point is not in the unit cube, or has another number of coordinates.
        """
        check_queries(x, self.dim)
        return self.value(state, x)

    def optimum(self, state: Any) -> Tensor | None:
        """The minima, in a shape that broadcasts to ``[B]``, or None where they are not known."""
        return None

    def minimisers(self, state: Any) -> Tensor | None:
        """Where they are, ``[B, k, d]`` or ``[1, k, d]`` in units of the cube, or None."""
        return None

    def native(self, state: Any, x: Tensor) -> Tensor:
        """The points ``[B, d]`` in the objective's own units: here the unit cube itself."""
        return x

    def spread(self) -> float:
        """How far values lie from ``prior_mean``: the median of 256 functions at Sobol points."""
        points = sobol_points(self.dim, 256).to(self.device)
        with torch.no_grad():
            # The generator is fixed: the spread is a property of the distribution.
            state = self.sample(len(points), torch.Generator().manual_seed(0))
            values, _ = self.value(state, points)
        return (values - self.prior_mean).abs().median().item() or 1.0

    def trace(self, state: Any, x: Tensor) -> Tensor | None:
        """What a picture shows of the evaluations ``[B, d]`` that come next, beside their points.

        Returns:
            Positions ``[B, steps, 2]`` on a map, or None where there is none.
        """
        return None

    def surface(self, state: Any, points: Tensor) -> Tensor | None:
        """What a picture shows of one function.

        Args:
            state: Of one row.
            points: ``[n, d]`` of the cube.

        Returns:
            Values ``[n]``, or None where a look would be an evaluation.
        """
        rows = map_tensors(lambda part: part.expand(len(points), *part.shape[1:]), state)
        return self.value(rows, points)[0]


def sobol_points(dim: int, number: int = 1024) -> Tensor:
    """Fixed points ``[number, dim]`` that fill the unit cube evenly, for estimates of E[f]."""
    engine = torch.quasirandom.SobolEngine(dim)  # type: ignore[no-untyped-call]
    points: Tensor = engine.draw(number, dtype=torch.float64)
    return points
