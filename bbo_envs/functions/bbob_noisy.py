"""The noisy BBOB suite, f101 to f130, evaluated by its reference library.

Definitions are those of Hansen, Finck, Ros & Auger 2009, "Real-Parameter Black-Box Optimization
Benchmarking 2009: Noisy Functions Definitions"; values come from the suite bbob-noisy of
coco-experiment. Instances are shared out as those of the noiseless suite are: 1 to 1000 are for
tests and benchmarks, 1001 to 2000 for training.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bbo_envs.checks import integer_between
from bbo_envs.errors import require_extra
from bbo_envs.functions.base import Functions, sobol_points
from bbo_envs.functions.bbob import DIMS
from bbo_envs.functions.bbob_instances import (
    draw_instances,
    instance_numbers,
    minimum_value,
)

STARTS = 1024
"""How many places of the sequence of noise a function may start from."""

_NOISELESS = (1, 8, 1, 8, 7, 10, 14, 17, 19, 21)
"""The noiseless functions behind f101 to f103, f104 to f106, and so on."""


class BBOBNoisyState(NamedTuple):
    """State of ``BBOBNoisy``.

    Attributes:
        instance: ``[B]`` the number of the instance.
        noise: ``[B]`` the place in the sequence of noise of the next evaluation.
    """

    instance: Tensor
    noise: Tensor


class BBOBNoisy(Functions):
    """A noisy function of the BBOB suite: one instance of it, or a distribution over instances.

    Evaluations are the library's own, one point at a time, and pass no gradients. They carry the
    noise: what a task counts as f is noisy too.

    Noise is a function of the state. The library draws it from one sequence per process, which no
    call can wind to a given place, but which starts again whenever a suite is made. So a function's
    noise starts at a random place of the first 1,024 and goes on from there, and every evaluation
    rewinds the sequence and then lets earlier places pass: up to some milliseconds for a batch. Two
    functions with the same start have the same noise, and others may meet it a few evaluations
    later. Evaluating in several threads at a time would mix up their noise.

    The optimum is f_opt, that of the function without noise. No value is below it; but the Cauchy
    noise of every third function adds about 10, from f109 on about 1000, to every value.

    Args:
        function: The function's number, 101 to 130.
        dim: The number of coordinates: 2, 3, 5, 10, 20 or 40.
        instance: A number, a sequence of numbers to draw from uniformly, or None to draw from the
            instances for training, 1001 to 2000.
        dtype: Of all tensors. The library computes in float64.
        device: Of all tensors. The library computes on the CPU.

    Raises:
        ValueError: If there is no such function, dimension or instance.
        MissingExtraError: If the library is not installed.
    """

    differentiable = False

    def __init__(
        self,
        function: int,
        dim: int,
        instance: int | Sequence[int] | None = 1,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> None:
        self.number = integer_between("function", function, 101, 130)
        if dim not in DIMS:
            raise ValueError(f"dim must be one of {', '.join(map(str, DIMS))}, got {dim!r}")
        self.dim = int(dim)
        self.instances = instance_numbers(instance)
        self.dtype = dtype
        self.device = torch.device(device)
        require_extra("the noisy BBOB suite", "bbob", "cocoex")
        self._problems: dict[int, _Reference] = {}
        self.prior_mean = self._median()

    def sample(self, batch: int, generator: torch.Generator) -> BBOBNoisyState:
        """Draws the instance of each row, and where its noise starts."""
        numbers = draw_instances(self.instances, batch, generator)
        noise = torch.randint(STARTS, (batch,), generator=generator, device=generator.device)
        return BBOBNoisyState(torch.tensor(numbers, device=self.device), noise.to(self.device))

    def value(self, state: BBOBNoisyState, x: Tensor) -> tuple[Tensor, BBOBNoisyState]:
        points = self.native(state, x.detach()).double().cpu().numpy()
        y = self._evaluate(state.instance.tolist(), state.noise.tolist(), points)
        values = torch.tensor(y, dtype=self.dtype, device=self.device)
        return values, state._replace(noise=state.noise + 1)

    def surface(self, state: BBOBNoisyState, points: Tensor) -> Tensor:
        """Values with noise of their own at each point."""
        native = self.native(state, points).double().cpu().numpy()
        instances = state.instance.tolist() * len(points)
        return torch.tensor(self._evaluate(instances, list(range(len(points))), native))

    def optimum(self, state: BBOBNoisyState) -> Tensor:
        """The minima f_opt ``[B]`` of the functions without noise."""
        noiseless = _NOISELESS[(self.number - 101) // 3]
        minima = [minimum_value(noiseless, instance) for instance in state.instance.tolist()]
        return torch.tensor(minima, dtype=self.dtype, device=self.device)

    def native(self, state: BBOBNoisyState, x: Tensor) -> Tensor:
        """The points of [-5, 5]^d."""
        return 10.0 * x.to(self.dtype) - 5.0

    def _evaluate(
        self, instances: list[int], places: list[int], points: NDArray[np.float64]
    ) -> list[float]:
        """Evaluates rows in the order of their noise, so that it is mostly wound forward."""
        problems = [self._problem(instance) for instance in instances]
        values = [math.nan] * len(places)
        at = math.inf
        for row in sorted(range(len(places)), key=places.__getitem__):
            if places[row] < at:
                # Any function with noise of this kind, the cheapest one: that it is made anew
                # starts the noise again.
                prelude, at = _Reference(101 + (self.number - 101) % 3, 2, 1), 0
            while at < places[row]:
                prelude((0.0, 0.0))
                at += 1
            values[row] = problems[row](points[row])
            at += 1
        return values

    def __getstate__(self) -> dict[str, Any]:
        """Leaves out the library's objects, which cannot be copied; they are made when needed."""
        return self.__dict__ | {"_problems": {}}

    def _problem(self, instance: int) -> "_Reference":
        if instance not in self._problems:
            self._problems[instance] = _Reference(self.number, self.dim, instance)
        return self._problems[instance]

    def _median(self) -> float:
        """The median over 1,024 Sobol points: heavy noise may have no mean."""
        points = 10.0 * sobol_points(self.dim).numpy() - 5.0
        medians = [
            np.median(self._evaluate([number] * len(points), list(range(len(points))), points))
            for number in self.instances[:8]
        ]
        return float(np.mean(medians))


class _Reference:
    """The library's function; making one starts the noise of all again."""

    def __init__(self, function: int, dim: int, instance: int) -> None:
        import cocoex

        chosen = f"dimensions: {dim} function_indices: {function - 100}"
        self.suite = cocoex.Suite("bbob-noisy", f"instances: {instance}", chosen)
        self.problem = self.suite.get_problem(0)

    def __call__(self, point: Sequence[float] | NDArray[np.float64]) -> float:
        return float(self.problem(point))
