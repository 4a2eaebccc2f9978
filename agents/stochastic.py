"""The stochastic form of a network, whose queries have densities: what REINFORCE trains."""

import math
from typing import Any, ClassVar, NamedTuple

import torch
from gymnasium.spaces import Box
from torch import Tensor, nn

from agents.features import (
    VALUE_FEATURES,
    History,
    asked,
    empty_history,
    update,
    value_features,
)
from agents.policy import Policy, entropy, log_density, sample
from agents.recurrent import initialise
from bbo_envs.checks import number_between
from bbo_envs.core import Observation
from bbo_envs.functions.streams import Stream, streams, uniform

# The scale stays between these.
SCALES = (1e-3, 2.0)

_HIDDEN = 16


class Draw(NamedTuple):
    """What is known of how a query was drawn.

    Attributes:
        log_density: ``[B]`` of the query, which is a constant for its gradient.
        entropy: ``[B]`` of what it was drawn from.
    """

    log_density: Tensor
    entropy: Tensor


class StochasticState(NamedTuple):
    """State of a ``StochasticAgent``; B rows, d coordinates.

    Attributes:
        network: The state of the network within.
        history: Running statistics of the evaluations.
        hidden: ``[B, 16]`` of the LSTM that decides about the scale.
        cell: ``[B, 16]`` likewise.
        stream: ``[B * d]`` the random numbers of each coordinate.
        draw: How the last query was drawn.
    """

    network: Any
    history: History
    hidden: Tensor
    cell: Tensor
    stream: Stream
    draw: Draw


class StochasticAgent(nn.Module):
    """Queries points around those that a network proposes, at a distance that is learned.

    The network within stays as it is, so that one trained by back-propagation goes on by REINFORCE
    and the other way round. Its own random numbers count as something that it observes: given
    them, its proposal is certain, and the query is drawn around it (``agents.policy``). One scale
    for all coordinates comes from a small LSTM of its own, which sees how the values and the budget
    go, and how far from the incumbent the proposal is.

    Args:
        network: The network; where it says that it chooses among proposals, the density is that of
            the mixture over the choice.
        scale: The scale before training, between 0.001 and 2.
        generator: Draws the initial weights of the LSTM.

    Raises:
        ValueError: If the scale is out of range.

    Attributes:
        dim: That of the network.
        architecture: What makes the same network again, save for its weights.

    Example:
        >>> from agents.recurrent import LSTMAgent
        >>> agent = StochasticAgent(LSTMAgent(2, hidden=8), scale=0.1)
        >>> state = agent.init(3, Box(0, 1, (2,)), 10, torch.Generator())
        >>> x, state = agent.step(state, Observation(torch.zeros(3, 2), *torch.zeros(2, 3)))
        >>> x.shape, state.draw.log_density.shape
        (torch.Size([3, 2]), torch.Size([3]))
    """

    kind: ClassVar[str] = "stochastic"

    def __init__(
        self, network: Any, scale: float = 0.2, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        number_between("scale", scale, *SCALES)
        self.network = network
        self.scale = scale
        self.memory = nn.LSTMCell(VALUE_FEATURES + 1, _HIDDEN)
        self.head = nn.Linear(_HIDDEN, 1)
        initialise(self.memory, generator)
        first, last = map(math.log, SCALES)
        # Clamped, for a sigmoid comes to neither end.
        share = min(max((math.log(scale) - first) / (last - first), 0.01), 0.99)
        with torch.no_grad():
            self.head.weight.zero_()
            self.head.bias.fill_(math.log(share / (1.0 - share)))

    @property
    def dim(self) -> int | None:
        dim: int | None = self.network.dim
        return dim

    @property
    def architecture(self) -> dict[str, Any]:
        network = {"kind": self.network.kind, **self.network.architecture}
        return {"network": network, "scale": self.scale}

    def init(
        self, batch: int, space: Box, budget: int, generator: torch.Generator
    ) -> StochasticState:
        """The network's first state, and the keys of the random numbers."""
        network = self.network.init(batch, space, budget, generator)
        (dim,) = space.shape
        weight = self.head.weight
        zeros = weight.new_zeros(batch, _HIDDEN)
        nothing = torch.zeros(batch, dtype=torch.float64, device=weight.device)
        return StochasticState(
            network,
            empty_history(batch, dim, budget, weight.dtype, weight.device),
            zeros,
            zeros,
            streams(batch * dim, generator, weight.device),
            Draw(nothing, nothing),
        )

    def distribution(
        self, state: StochasticState, observation: Observation
    ) -> tuple[Policy, StochasticState]:
        """What the next query is to be drawn from, in float64, and the state before it is drawn."""
        history = update(state.history, observation)
        chosen, network = self.network.step(state.network, observation)
        reach = (chosen - history.best_x).detach().norm(dim=-1, keepdim=True)
        reach = (reach / chosen.shape[1] ** 0.5 + SCALES[0]).log() / 5.0
        signal = torch.cat([value_features(history, observation), reach], -1)
        hidden, cell = self.memory(signal, (state.hidden, state.cell))
        first, last = map(math.log, SCALES)
        scale = (first + (last - first) * self.head(hidden).double().sigmoid()).exp()
        chosen = chosen.double()
        choice = getattr(network, "proposals", None)
        location = chosen.unsqueeze(1) if choice is None else choice.x.double()
        weight = location[..., 0].new_zeros(1) if choice is None else choice.log_weight.double()
        policy = Policy(location, weight.expand(location.shape[:2]), chosen, scale)
        return policy, state._replace(network=network, history=history, hidden=hidden, cell=cell)

    def asked(self, state: StochasticState, x: Tensor | None) -> StochasticState:
        """The state where another query ``[B, d]`` was made than the one drawn, or none."""
        history = asked(state.history, x)
        return state._replace(network=self.network.asked(state.network, x), history=history)

    def announced(self, state: StochasticState, x: Tensor) -> StochasticState:
        """The state where somebody else made a query ``[B, d]`` too, which no budget counts."""
        return state._replace(network=self.network.announced(state.network, x))

    def step(
        self, state: StochasticState, observation: Observation
    ) -> tuple[Tensor, StochasticState]:
        """The next query ``[B, d]``, in the network's dtype.

        Its gradient passes to what it was drawn from, ``state.draw`` holds it constant.
        """
        policy, state = self.distribution(state, observation)
        draws, stream = uniform(state.stream, 1, torch.float64)
        x = sample(policy, draws.view_as(policy.chosen)).to(self.head.weight.dtype)
        query = x.detach()
        draw = Draw(log_density(policy, query.double()), entropy(policy))
        return x, self.asked(state, query)._replace(stream=stream, draw=draw)
