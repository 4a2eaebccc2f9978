"""Beyond the horizon that a network was trained for: it begins anew."""

import math
from typing import Any, NamedTuple

import torch
from gymnasium.spaces import Box
from torch import Tensor

from agents.features import pick
from agents.networks import Network
from agents.pending import Pending, ask, instead, none_pending, returned
from agents.posterior_guided import PosteriorGuidedAgent
from agents.pretrained import card
from bbo_envs.checks import positive_integer
from bbo_envs.core import Observation


class RestartingState(NamedTuple):
    """State of a ``Restarting`` agent.

    Attributes:
        network: The network's own.
        space: The unit cube.
        generator: The source of all randomness.
        budget: The number of queries there will be.
        told: What the network was told that its budget is.
        made: Queries so far.
        since: Queries since the network began.
        pending: Queries that are out.
    """

    network: Any
    space: Box
    generator: torch.Generator
    budget: int
    told: int
    made: int
    since: int
    pending: Pending


class Restarting:
    """A network that begins anew, and knows nothing, when its horizon is over.

    A budget beyond the horizon is divided into runs of one length, none longer than the horizon,
    and each run is told its own length as its budget. A new run knows which queries are still out.
    Up to the horizon nothing differs from the network itself. What this gains over going on, and
    over a sliding memory, is measured in docs/minimize.md.

    Args:
        network: The network.
        horizon: The longest run.

    Raises:
        ValueError: If the horizon is not positive.

    Example:
        >>> from agents.pretrained import load
        >>> agent = Restarting(load("lstm-oi-2d"), horizon=60)
        >>> state = agent.init(1, Box(0, 1, (2,)), 150, torch.Generator())
        >>> state.told
        50
    """

    def __init__(self, network: Network, horizon: int) -> None:
        self.network = network
        self.horizon = positive_integer("horizon", horizon)

    def init(
        self, batch: int, space: Box, budget: int, generator: torch.Generator
    ) -> RestartingState:
        """The network's first state."""
        told = self._length(budget)
        network = self.network.init(batch, space, told, generator)
        points = torch.zeros(batch, *space.shape, dtype=next(self.network.parameters()).dtype)
        return RestartingState(network, space, generator, budget, told, 0, 0, none_pending(points))

    def step(
        self, state: RestartingState, observation: Observation
    ) -> tuple[Tensor, RestartingState]:
        """The network's next query ``[B, d]``."""
        state = state._replace(pending=returned(state.pending, observation))
        # Past the budget there is no telling how much there will be: a run goes on to the horizon.
        ended = state.since >= state.told and state.made < state.budget
        if ended or state.since >= self.horizon:
            state, observation = self._anew(state, observation)
        x, network = self.network.step(state.network, observation)
        return x, state._replace(
            network=network,
            made=state.made + 1,
            since=state.since + 1,
            pending=ask(state.pending, x.detach()),
        )

    def asked(self, state: RestartingState, x: Tensor | None) -> RestartingState:
        """The state where another query ``[B, d]`` was made than the one proposed, or none."""
        state = state._replace(
            network=self.network.asked(state.network, x), pending=instead(state.pending, x)
        )
        if x is not None:
            return state
        return state._replace(made=state.made - 1, since=state.since - 1)

    def announced(self, state: RestartingState, x: Tensor) -> RestartingState:
        """The state where somebody else made a query ``[B, d]`` too, which no budget counts."""
        return state._replace(
            network=self.network.announced(state.network, x), pending=ask(state.pending, x)
        )

    def parameters(self) -> Any:
        """Those of the network."""
        return self.network.parameters()

    def _length(self, budget: int) -> int:
        """How long runs are that share a budget evenly."""
        return math.ceil(budget / math.ceil(budget / self.horizon))

    def _anew(
        self, state: RestartingState, observation: Observation
    ) -> tuple[RestartingState, Observation]:
        """A new run, and the empty observation that it begins with."""
        left = state.budget - state.made
        told = self._length(left) if left > 0 else self.horizon
        network = self.network.init(len(observation.y), state.space, told, state.generator)
        nothing = Observation(*(torch.zeros_like(part) for part in observation))
        for x in _out(state.pending):
            _, network = self.network.step(network, nothing)
            network = self.network.asked(network, x)
        return state._replace(network=network, told=told, since=0), nothing


def _out(pending: Pending) -> tuple[Tensor, ...]:
    """The queries ``[B, d]`` that are out, the oldest first; every row has as many."""
    number = int(pending.there[0].sum()) if pending.there.shape[1] else 0
    order = pending.there.argsort(stable=True, dim=1, descending=True)
    return pick(pending.x, order[:, :number]).unbind(1)


def restarted(network: Network, name: str) -> Network | Restarting:
    """A trained network as one goes on with it beyond its horizon.

    A ``posterior-guided`` network, which conditions a Gaussian process on everything it has seen,
    just goes on, which is better than to restart; so does a network whose card does not tell the
    horizon. All others restart.

    Args:
        network: The network.
        name: What its card is found by.
    """
    if name.endswith(".zip") or isinstance(network, PosteriorGuidedAgent):
        return network
    horizon = horizon_of(name)
    return network if horizon is None else Restarting(network, horizon)


def horizon_of(name: str) -> int | None:
    """The longest runs that a network was trained on, if its card tells.

    Example:
        >>> horizon_of("lstm-oi-6d"), horizon_of("recurrent-ppo-6d")
        (60, 30)
    """
    config = card(name).get("training", {}).get("config", {})
    # Models of Stable-Baselines3 are trained on runs of a whole budget.
    horizon: int | None = config.get("horizon", config.get("budget"))
    return horizon
