"""The dimension-agnostic network with a Gaussian-process posterior to refine its proposals."""

import math
from typing import Any, ClassVar, NamedTuple

import torch
from gymnasium.spaces import Box
from torch import Tensor, nn

from agents.features import History, pick
from agents.pending import Pending, ask, instead, none_pending, returned
from agents.posterior import (
    Beliefs,
    Posterior,
    condition,
    likeliest,
    log_probability_of_improvement,
    no_beliefs,
    observe,
    suppose,
)
from agents.recurrent import clamp_to_cube
from agents.universal import UniversalAgent, UniversalState
from bbo_envs.core import Observation
from bbo_envs.functions.streams import uniform

# The ascent's first step and its last before training, in length scales.
_SIZES = (0.5, 0.04)
# How far from the incumbent the nearest and the farthest of the candidates around it may be.
_NEAR = (0.01, 0.5)
# Where no candidate is likelier than this to improve by the margin, the margin is halved, so often.
_HOPELESS = math.log(1e-6)
_HALVINGS = 6


class PosteriorGuidedState(NamedTuple):
    """State of a ``PosteriorGuidedAgent``.

    Attributes:
        proposer: State of the network.
        beliefs: What the evaluations say about the function.
        pending: Queries that have not come back.
    """

    proposer: UniversalState
    beliefs: Beliefs
    pending: Pending


class PosteriorGuidedAgent(nn.Module):
    """Refines the proposal of a ``UniversalAgent`` by ascent on an exact GP posterior.

    A query is where the probability of improvement by a margin is largest (Kushner 1964), under a
    posterior that is averaged over kernels, length scales and noise levels (``agents.posterior``).
    The margin shrinks as the budget is used up, so that the search explores first and exploits at
    the end; and where no candidate has hope of it, as on a function that is known already, it gives
    way at once. The ascent starts from the network's proposal and from the likeliest of some random
    points, and moves along the normalised gradient by steps of learned sizes, in units of the
    likeliest length scale. The first ``alone * d`` queries start from the proposal alone: while the
    posterior knows little, a trained network knows better where to go.

    In training, the gradient passes to the proposal and to the step sizes; the directions of the
    ascent are constants for it. Queries that have not come back are conditioned on
    (``agents.posterior.suppose``), so that parallel workers look elsewhere.

    Args:
        hidden: Width of the network's LSTM.
        heads: Its attention heads.
        width: Width of the attention's hidden layer.
        starts: Points from which the ascent begins, the proposal included.
        ascent: Steps of the ascent.
        hypotheses: How many of the likeliest hypotheses it looks at.
        candidates: Random points all over the cube, and as many around the incumbent.
        margin: The margin at first, in amplitudes of the function.
        last_margin: The margin at the last query.
        margin_power: How it falls from one to the other: with this power of the budget left.
        alone: The queries per dimension that begin at the network's proposal alone.
        generator: Draws the initial weights.

    Attributes:
        dim: None, for any.
        architecture: The arguments that make the same network again, save for its weights.

    Example:
        >>> agent = PosteriorGuidedAgent(generator=torch.Generator().manual_seed(0))
        >>> state = agent.init(3, Box(0, 1, (2,)), 10, torch.Generator().manual_seed(0))
        >>> x, state = agent.step(state, Observation(torch.zeros(3, 2), *torch.zeros(2, 3)))
        >>> x.shape
        torch.Size([3, 2])
    """

    kind: ClassVar[str] = "posterior-guided"
    dim: None = None

    def __init__(
        self,
        hidden: int = 48,
        heads: int = 4,
        width: int = 16,
        starts: int = 5,
        ascent: int = 8,
        hypotheses: int = 2,
        candidates: int = 128,
        margin: float = 0.8,
        last_margin: float = 0.05,
        margin_power: float = 1.0,
        alone: int = 4,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.architecture: dict[str, Any] = {
            "hidden": hidden,
            "heads": heads,
            "width": width,
            "starts": starts,
            "ascent": ascent,
            "hypotheses": hypotheses,
            "candidates": candidates,
            "margin": margin,
            "last_margin": last_margin,
            "margin_power": margin_power,
            "alone": alone,
        }
        self.proposer = UniversalAgent(
            hidden, heads, width, proposals=1, points=8, generator=generator
        )
        first, last = (math.log(size) for size in _SIZES)
        self.log_sizes = nn.Parameter(torch.linspace(first, last, ascent))
        self.starts, self.hypotheses, self.candidates = starts, hypotheses, candidates
        self.margin, self.last_margin, self.margin_power = margin, last_margin, margin_power
        self.alone = alone

    def init(
        self, batch: int, space: Box, budget: int, generator: torch.Generator
    ) -> PosteriorGuidedState:
        """The network's all-zero state, and no beliefs."""
        proposer = self.proposer.init(batch, space, budget, generator)
        x = proposer.history.best_x
        return PosteriorGuidedState(
            proposer,
            no_beliefs(batch, x.shape[1], x.dtype, x.device),
            none_pending(x),
        )

    def step(
        self, state: PosteriorGuidedState, observation: Observation
    ) -> tuple[Tensor, PosteriorGuidedState]:
        """The next query ``[B, d]``, in the network's dtype."""
        proposal, proposer = self.proposer.step(state.proposer, observation)
        history = proposer.history
        stream = proposer.coordinate_stream
        observation = Observation(*(part.detach() for part in observation))
        with torch.no_grad():
            pending = returned(state.pending, observation)
            beliefs = state.beliefs
            if bool((observation.o > 0).any()):
                beliefs = observe(beliefs, *observation)
            posterior = suppose(condition(beliefs, self.hypotheses), *pending)
            starts = proposal.detach().unsqueeze(1)
            margin = proposal.new_full((len(proposal), 1), self._margin(history))
            if history.steps > self.alone * proposal.shape[1]:
                draws, stream = uniform(stream, self.candidates, proposal.dtype)
                points = draws.view(*proposal.shape, -1).mT
                points = torch.cat([points, _around(history.best_x.detach(), points)], 1)
                promising, margin = self._promising(posterior, points, margin)
                starts = torch.cat([starts, promising], 1)
            climbed = self._climb(posterior, starts, margin)
            pending = ask(pending, climbed.x)
        # Of value zero: they carry the gradient to the proposal and to the sizes.
        sizes = self.log_sizes.exp()
        from_proposal = climbed.own.unsqueeze(-1) * (proposal - proposal.detach())
        from_sizes = (climbed.directions * (sizes - sizes.detach()).unsqueeze(-1)).sum(1)
        x = clamp_to_cube(climbed.x + from_proposal + from_sizes)
        proposer = proposer._replace(
            queries=torch.cat([state.proposer.queries, x.detach().unsqueeze(1)], 1),
            coordinate_stream=stream,
        )
        return x, PosteriorGuidedState(proposer, beliefs, pending)

    def asked(self, state: PosteriorGuidedState, x: Tensor | None) -> PosteriorGuidedState:
        """The state where another query ``[B, d]`` was made than the one proposed, or none."""
        return state._replace(
            proposer=self.proposer.asked(state.proposer, x),
            pending=instead(state.pending, x),
        )

    def announced(self, state: PosteriorGuidedState, x: Tensor) -> PosteriorGuidedState:
        """The state where somebody else made a query ``[B, d]`` too, which no budget counts."""
        return state._replace(
            proposer=self.proposer.announced(state.proposer, x), pending=ask(state.pending, x)
        )

    def _margin(self, history: History) -> float:
        """The margin of the next query: ``margin`` at the first, ``last_margin`` at the last."""
        left = max(history.budget - history.steps, 0) / max(history.budget - 1, 1)
        falling: float = left**self.margin_power
        return self.last_margin + (self.margin - self.last_margin) * falling

    def _promising(
        self, posterior: Posterior, points: Tensor, margin: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The points likeliest to improve, one fewer than starts, and margins with hope of it."""
        posterior = likeliest(posterior)
        scores = log_probability_of_improvement(posterior, points, margin)
        for _ in range(_HALVINGS):
            hopeless = scores.amax(1, keepdim=True) < _HOPELESS
            if not hopeless.any():
                break
            margin = torch.where(hopeless, 0.5 * margin, margin)
            scores = log_probability_of_improvement(posterior, points, margin)
        most = min(self.starts - 1, scores.shape[1])
        return pick(points, scores.topk(most).indices), margin

    def _climb(self, posterior: Posterior, x: Tensor, margin: Tensor) -> "_Climbed":
        """Ascends from points ``[B, n, d]``, the proposal first, and keeps the best point met."""
        length_scale = posterior.hypotheses.length_scale[:, :1, None]
        points, scores, directions = [], [], []
        for size in self.log_sizes.exp():
            score, direction = _uphill(posterior, x, margin)
            points.append(x)
            scores.append(score)
            directions.append(length_scale * direction)
            x = (x + size * directions[-1]).clamp(0.0, 1.0)
        points.append(x)
        scores.append(log_probability_of_improvement(posterior, x, margin))
        # Steps of a given length may end lower than they passed: the best point on the way counts.
        best = torch.stack(scores, 2).flatten(1).argmax(1, keepdim=True)
        start, taken = best // len(points), best % len(points)
        way = pick(torch.stack(directions, 2).flatten(2), start).view(len(x), -1, x.shape[-1])
        before = torch.arange(way.shape[1], device=x.device) < taken
        return _Climbed(
            x=pick(torch.stack(points, 2).flatten(1, 2), best).squeeze(1),
            directions=way * before.unsqueeze(-1),
            own=(start == 0).to(x).squeeze(1),
        )


class _Climbed(NamedTuple):
    """The best point that an ascent met.

    Attributes:
        x: ``[B, d]`` where it is.
        directions: ``[B, steps, d]`` the way there, a length scale long each; zero after it.
        own: ``[B]`` 1 where it began at the network's proposal.
    """

    x: Tensor
    directions: Tensor
    own: Tensor


def _uphill(posterior: Posterior, x: Tensor, margin: Tensor) -> tuple[Tensor, Tensor]:
    """The score ``[B, n]`` and its normalised gradient, without what points out of the cube."""
    with torch.enable_grad():
        z = x.detach().requires_grad_()
        scores = log_probability_of_improvement(posterior, z, margin)
        (gradient,) = torch.autograd.grad(scores.sum(), z)
    outward = ((x <= 0.0) & (gradient < 0.0)) | ((x >= 1.0) & (gradient > 0.0))
    direction = nn.functional.normalize(gradient.masked_fill(outward, 0.0), dim=-1)
    return scores.detach(), direction


def _around(incumbent: Tensor, points: Tensor) -> Tensor:
    """Moves random points ``[B, n, d]`` of the cube to within some distance of the incumbent."""
    first, last = (math.log(distance) for distance in _NEAR)
    reach = torch.linspace(first, last, points.shape[1]).exp().to(points)
    return (incumbent.unsqueeze(1) + reach.unsqueeze(-1) * (2.0 * points - 1.0)).clamp(0.0, 1.0)
