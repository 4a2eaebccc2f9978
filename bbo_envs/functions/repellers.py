"""A control task: placing repellers that steer a falling ball through regions of reward.

Hoffman, Kueck, de Freitas & Doucet 2009, "New inference strategies for solving Markov decision
processes using reversible jump MCMC"; the benchmark of Chen et al. 2017, section 3.3. State and
constants are those of the original; *inferred* is what neither paper states: the discount of 0.95,
which fits the axis of Chen et al.'s plot.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from bbo_envs.checks import integer_between, number_between
from bbo_envs.errors import UnknownNameError
from bbo_envs.functions.base import Functions, sobol_points
from bbo_envs.functions.streams import Stream, normal, streams

_DRAG, _GRAVITY, _OFFSET = 0.9, -0.03, 0.001
_MOST_REPELLERS = 5


@dataclass(frozen=True)
class Map:
    """Where reward is found: a sum of Gaussian bumps.

    Attributes:
        weights: The height of each bump.
        centres: Where each is, (x, y).
        widths: The standard deviation of each.
        strongest: The upper end of a repeller's strength.
        steps: The length of a trajectory.
    """

    weights: tuple[float, ...]
    centres: tuple[tuple[float, float], ...]
    widths: tuple[float, ...]
    strongest: float
    steps: int


MAPS = {
    "a": Map(
        weights=(1.0, 1.0, 1.0, 1.0),
        centres=((0.0, -2.0), (-3.0, -3.0), (-2.0, -2.0), (-2.0, -4.3)),
        widths=(0.5, 0.3, 0.5, 0.3),
        strongest=0.5,
        steps=50,
    ),
    "b": Map(
        weights=(1.0, 2.0, 2.0, 3.0),
        centres=((2.0, -7.0), (-3.0, -3.0), (3.0, -3.0), (-6.0, -4.0)),
        widths=(0.5, 0.5, 0.5, 0.5),
        strongest=0.25,
        steps=100,
    ),
}


class RepellersState(NamedTuple):
    """State of ``Repellers``.

    Attributes:
        start: ``[B, 2]`` where the ball starts, at rest.
        stream: Where the process noise of each evaluation is drawn from.
    """

    start: Tensor
    stream: Stream


class Repellers(Functions):
    """Minus the discounted reward of a ball that falls past repellers.

    Three coordinates for each repeller: strength, x, y (``native`` gives them in these units). A
    function is a starting point, x ~ U[-0.5, 0.5] and y ~ U[-0.2, 0.3]. Each step adds the force of
    the repellers and gravity to the velocity, of which 0.9 is kept, and the velocity to the
    position; reward is collected before each move. The force of a repeller at c on a ball at p is
    strength d / |d|^(power + 1) with d = p - c + 0.001.

    Args:
        repellers: How many, 1 to 5.
        map: ``"a"`` (50 steps) or ``"b"`` (100 steps).
        process_noise: The standard deviation of Gaussian noise that each step adds to each
            component of the velocity, drawn anew in each evaluation: 0 as in Chen et al., 0.02 in
            Hoffman et al.
        discount: Of reward, per step.
        power: How force falls with distance: 2 as in the original; Chen et al. write "inversely
            proportional to distance", which would be 1.
        dtype: Of all tensors.
        device: Of all tensors.

    Raises:
        ValueError: If a number is out of range.
        UnknownNameError: If there is no such map.

    Example:
        >>> repellers = Repellers(2)
        >>> state = repellers.sample(4, torch.Generator().manual_seed(0))
        >>> y, _ = repellers.evaluate(state, torch.full((4, 6), 0.5))
        >>> y.shape
        torch.Size([4])
    """

    def __init__(
        self,
        repellers: int = 2,
        map: str = "a",
        process_noise: float = 0.0,
        discount: float = 0.95,
        power: float = 2.0,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> None:
        self.repellers = integer_between("repellers", repellers, 1, _MOST_REPELLERS)
        if map not in MAPS:
            raise UnknownNameError("map", map, MAPS)
        self.map = MAPS[map]
        self.process_noise = number_between("process_noise", process_noise, 0.0)
        self.discount = number_between("discount", discount, 0.0, 1.0)
        self.power = number_between("power", power, 0.0, 10.0)
        self.dim = 3 * self.repellers
        self.dtype = dtype
        self.device = torch.device(device)

        def tensor(values: object) -> Tensor:
            return torch.tensor(values, dtype=dtype, device=device)

        self._low = tensor((0.0, -8.0, -8.0)).repeat(self.repellers)
        self._high = tensor((self.map.strongest, 8.0, 0.0)).repeat(self.repellers)
        self._weights, self._centres = tensor(self.map.weights), tensor(self.map.centres)
        self._widths = tensor(self.map.widths)
        self._discounts = self.discount ** torch.arange(self.map.steps).to(self._low)
        points = sobol_points(self.dim).to(self._low)
        state = self.sample(len(points), torch.Generator().manual_seed(0))
        self.prior_mean = self.value(state, points)[0].mean().item()

    def sample(self, batch: int, generator: torch.Generator) -> RepellersState:
        uniform = torch.rand(
            batch, 2, generator=generator, dtype=torch.float64, device=generator.device
        ).to(self._low)
        start = uniform * uniform.new_tensor((1.0, 0.5)) - uniform.new_tensor((0.5, 0.2))
        return RepellersState(start, streams(batch, generator, self.device))

    def value(self, state: RepellersState, x: Tensor) -> tuple[Tensor, RepellersState]:
        path, stream = self._roll(state, x)
        reward = (self.reward(path[:, :-1]) * self._discounts).sum(1)
        return -reward, state._replace(stream=stream)

    def trace(self, state: RepellersState, x: Tensor) -> Tensor:
        """The ball's positions ``[B, steps + 1, 2]`` in the evaluation that comes next."""
        return self._roll(state, x)[0]

    def reward(self, position: Tensor) -> Tensor:
        """The reward of positions ``[..., 2]`` -> ``[...]``."""
        distance = (position.unsqueeze(-2) - self._centres) / self._widths.unsqueeze(-1)
        return (self._weights * torch.exp(-0.5 * distance.square().sum(-1))).sum(-1)

    def native(self, state: object, x: Tensor) -> Tensor:
        """Strength, x and y of each repeller."""
        return self._low + x.to(self.dtype) * (self._high - self._low)

    def _roll(self, state: RepellersState, x: Tensor) -> tuple[Tensor, Stream]:
        repellers = self.native(state, x).view(-1, self.repellers, 3)
        strength, place = repellers[..., :1], repellers[..., 1:]
        steps, stream = self.map.steps, state.stream
        noise = torch.zeros(len(x), steps, 2, dtype=self.dtype, device=self.device)
        if self.process_noise > 0.0:
            drawn, stream = normal(stream, 2 * steps, self.dtype)
            noise = self.process_noise * drawn.view(-1, steps, 2)
        push = noise + noise.new_tensor((0.0, _GRAVITY))
        position, velocity = state.start, torch.zeros_like(state.start)
        path = [position]
        for step in range(steps):
            apart = position.unsqueeze(1) - place + _OFFSET
            distance = apart.square().sum(-1, keepdim=True).sqrt()
            force = (strength * apart / distance.pow(self.power + 1.0)).sum(1)
            velocity = _DRAG * velocity + force + push[:, step]
            position = position + velocity
            path.append(position)
        return torch.stack(path, 1), stream
