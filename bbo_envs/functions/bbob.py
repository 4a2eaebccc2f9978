"""The noiseless BBOB suite: its functions and instances as distributions on the unit cube.

Definitions are those of Hansen, Finck, Ros & Auger 2009, "Real-Parameter Black-Box Optimization
Benchmarking 2009: Noiseless Functions Definitions"; values agree with coco-experiment, the package
of Hansen et al. 2021, "COCO: a platform for comparing continuous optimizers in a black-box
setting". The unit cube maps affinely to [-5, 5]^d.

**Instances 1 to 1000 are for tests and benchmarks; 1001 to 2000 are for training**, and are what
``instance=None`` draws from.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from bbo_envs.checks import integer_between
from bbo_envs.core import stack
from bbo_envs.functions.base import Functions, sobol_points
from bbo_envs.functions.bbob_formulas import FUNCTIONS
from bbo_envs.functions.bbob_instances import (
    BBOBState,
    draw_instances,
    instance_numbers,
    instance_state,
)

__all__ = ["BBOB", "DIMS", "FUNCTIONS"]

DIMS = (2, 3, 5, 10, 20, 40)
"""The numbers of dimensions of the suite."""


class BBOB(Functions):
    """A function of the BBOB suite: one instance of it, or a distribution over its instances.

    ``minimisers`` gives the suite's x_opt. f7 is flat around it, f16 and f23 repeat their minimum
    on a lattice, and outside of the cube f5 does not fall below its minimum at a corner.

    Args:
        function: The function's number, 1 to 24.
        dim: The number of coordinates, at least 2.
        instance: A number, a sequence of numbers to draw from uniformly, or None to draw from the
            instances for training, 1001 to 2000.
        dtype: Of all tensors. What distinguishes instances is computed in float64 in any case.
        device: Of all tensors.

    Raises:
        ValueError: If there is no such function, dimension or instance.

    Example:
        >>> sphere = BBOB(1, dim=2, instance=1)
        >>> state = sphere.sample(3, torch.Generator())
        >>> y, _ = sphere.evaluate(state, torch.full((3, 2), 0.5, dtype=torch.float64))
        >>> [round(value, 6) for value in y.tolist()], sphere.optimum(state).tolist()
        ([80.882094, 80.882094, 80.882094], [79.48, 79.48, 79.48])
    """

    def __init__(
        self,
        function: int,
        dim: int,
        instance: int | Sequence[int] | None = 1,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> None:
        self.function = FUNCTIONS[integer_between("function", function, 1, len(FUNCTIONS))]
        self.dim = integer_between("dim", dim, 2)
        self.instances = instance_numbers(instance)
        self.dtype = dtype
        self.device = torch.device(device)
        # f7 is made of plateaus: its gradient is zero almost everywhere, and tells nothing.
        self.differentiable = self.function.number != 7
        # No value of f5 outside is below the minimum, but that is at a corner of the cube, which
        # hardly any translation or rotation keeps inside.
        self.extends = self.function.number != 5
        self._rows: dict[int, BBOBState] = {}
        self.prior_mean = self._mean()

    def sample(self, batch: int, generator: torch.Generator) -> BBOBState:
        """Draws the instance of each row; a single one is drawn without random numbers."""
        return self._state(draw_instances(self.instances, batch, generator))

    def value(self, state: BBOBState, x: Tensor) -> tuple[Tensor, BBOBState]:
        return self.function.formula(self.native(state, x), state) + state.f_opt, state

    def optimum(self, state: BBOBState) -> Tensor:
        """The minima f_opt ``[B]``."""
        return state.f_opt

    def minimisers(self, state: BBOBState) -> Tensor:
        """The suite's x_opt, ``[B, 1, d]`` in units of the cube."""
        return ((state.x_opt + 5.0) / 10.0).unsqueeze(1)

    def native(self, state: BBOBState, x: Tensor) -> Tensor:
        """The points of [-5, 5]^d."""
        return 10.0 * x.to(self.dtype) - 5.0

    def _state(self, numbers: Sequence[int]) -> BBOBState:
        for number in set(numbers) - set(self._rows):
            self._rows[number] = instance_state(
                self.function.number, self.dim, number, self.dtype, self.device
            )
        rows = [self._rows[number] for number in numbers]
        if len(set(numbers)) > 1:
            mixed: BBOBState = stack(rows)
            return mixed
        return BBOBState(*(part.expand(len(rows), *part.shape[1:]) for part in rows[0]))

    def _mean(self) -> float:
        """The mean over 1,024 Sobol points and the first instances, eight at most."""
        points = sobol_points(self.dim).to(self.device)
        means = []
        with torch.no_grad():
            for number in self.instances[:8]:
                y, _ = self.value(self._state([number] * len(points)), points)
                means.append(y.double().mean().item())
        return sum(means) / len(means)
