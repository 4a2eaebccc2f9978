"""A user's own objective as a function distribution."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bbo_envs.checks import positive_integer
from bbo_envs.errors import ObjectiveError
from bbo_envs.functions.base import Functions
from bbo_envs.space import Space


class Objective(Functions):
    """A Python function of one point, evaluated row by row; it passes no gradients.

    Args:
        function: Takes a float64 array ``[d]`` in the unit cube or, where a space is given, a dict
            of the parameters' values, and returns a number.
        dim: The number of coordinates, d, where no space is given.
        prior_mean: What a first evaluation is rewarded against: an ordinary value of the function.
        space: The search space.

    Raises:
        ValueError: If neither or both of dim and space are given.

    Example:
        >>> from bbo_envs import BlackBoxEnv, Problem
        >>> sphere = Objective(lambda x: float(((x - 0.3) ** 2).sum()), dim=2)
        >>> env = BlackBoxEnv(Problem(sphere, budget=20))
        >>> observation, info = env.reset(seed=0)
        >>> observation, *_ = env.step(np.array([0.3, 0.4]))
        >>> round(float(observation.y), 4)
        0.01
        >>> depth = Objective(lambda values: values["depth"], space=Space({"depth": (1, 8)}))
        >>> depth.evaluate((), torch.tensor([[0.0], [0.99]]))[0].tolist()
        [1.0, 8.0]
    """

    differentiable = False

    def __init__(
        self,
        function: Callable[[Any], float],
        dim: int | None = None,
        prior_mean: float = 0.0,
        space: Space | None = None,
    ) -> None:
        if (dim is None) == (space is None):
            raise ValueError(f"give an Objective either dim or space, got {dim=} and {space=}")
        self.function = function
        self.space = space
        self.dim = space.dim if space is not None else positive_integer("dim", dim)  # type: ignore[arg-type]
        self.prior_mean = prior_mean

    def sample(self, batch: int, generator: torch.Generator) -> tuple[()]:
        """There is one function only: its state is empty."""
        return ()

    def value(self, state: tuple[()], x: Tensor) -> tuple[Tensor, tuple[()]]:
        """Calls the function once per row.

        Raises:
            ObjectiveError: If it raises, or returns what is not a number.
        """
        points = x.detach().double().cpu().numpy()
        return torch.tensor([self._call(point) for point in points], dtype=self.dtype), state

    def native(self, state: object, x: Tensor) -> Tensor:
        """The parameters' values, with the index of a choice; without a space the points."""
        return x if self.space is None else self.space.native(x)

    def spread(self) -> float:
        """Not known without evaluations.

        Raises:
            ValueError: Always.
        """
        raise ValueError(
            "WarpValues needs the spread of values, which for an Objective would take evaluations; "
            "warp the values in the function itself"
        )

    def surface(self, state: object, points: Tensor) -> None:
        """None: the function may be dear, and a call of it is an evaluation."""
        return

    def _call(self, point: NDArray[np.float64]) -> float:
        try:
            given = point.copy() if self.space is None else self.space.decode(point)
            value: Any = self.function(given)
            if isinstance(value, str | bytes) or np.iscomplexobj(value):
                raise TypeError(f"it returned {value!r}, where a real number is expected")
            return float(value)
        except Exception as error:
            raise ObjectiveError(
                f"the objective failed at x = {point.tolist()}: {type(error).__name__}: {error}. "
                "The evaluations before this one are kept; mend the objective, or return a large "
                "finite value for a failed evaluation"
            ) from error
