"""One network for every number of dimensions: weights shared over the coordinates."""

import math
from typing import Any, ClassVar, NamedTuple

import torch
from gymnasium.spaces import Box
from torch import Tensor, nn

from agents.acquisition import Acquisition, Proposals, choose
from agents.features import (
    EVALUATION_FEATURES,
    FORGOTTEN,
    VALUE_FEATURES,
    Evaluations,
    History,
    Known,
    asked,
    empty_history,
    evaluation_features,
    no_evaluations,
    record,
    update,
    value_features,
)
from agents.recurrent import clamp_to_cube, initialise, linear_of_both
from bbo_envs.core import Observation
from bbo_envs.functions.streams import Stream, normal, streams, uniform

_CODES = 2
# The length of the first steps, e^-1.
_FIRST_STEP = -1.0
# Where the logarithms of the steps and the logits of the gates begin, from the first proposal to
# the last.
_STEPS = (0.0, -3.0)
_GATES = (-4.0, 4.0)


class UniversalState(NamedTuple):
    """State of a ``UniversalAgent``; B rows, d coordinates.

    Attributes:
        hidden: ``[B, d, hidden]``.
        cell: ``[B, d, hidden]``.
        history: Running statistics of the evaluations.
        evaluations: The evaluations themselves.
        queries: ``[B, t, d]`` all queries asked for, whether or not they have come back.
        code: ``[B, d, 2]`` what tells coordinates apart that have seen the same.
        flip: ``[B, d]`` the direction, 1 or -1, in which the network sees each axis.
        coordinate_stream: ``[B * d]`` the random numbers of each coordinate.
        row_stream: ``[B]`` those of each row.
        proposals: What the last query was chosen from.
    """

    hidden: Tensor
    cell: Tensor
    history: History
    evaluations: Evaluations
    queries: Tensor
    code: Tensor
    flip: Tensor
    coordinate_stream: Stream
    row_stream: Stream
    proposals: Proposals


class UniversalAgent(nn.Module):
    """Proposes in any number of dimensions.

    Every coordinate has an LSTM of its own with the same weights, as in the optimisers of
    Andrychowicz et al. 2016; the mean of their outputs tells each about the others. Four things
    are added, since there is no gradient to feed it:

    - a memory of all evaluations, from which attention heads draw directions: weighted sums of
      the differences to the incumbent, with weights that depend on value, distance and age;
    - random points at each step, far from all queries, and gates that lead towards them;
    - several proposals, among which an acquisition function of its own chooses
      (``agents.acquisition``), so that it can weigh a step nearby against one into the unknown;
    - random codes, which tell coordinates apart that have seen the same, and random flips of the
      axes. All randomness belongs to a coordinate or to a row: permute the coordinates of the
      state and of the observation, and the query is permuted.

    No gradient passes through the memory. The gradient of training passes through the recurrent
    state, through the last query that came back, and, where a loss averages over the choice, to
    what was proposed and to the choice.

    Args:
        hidden: Width of the LSTM.
        heads: Attention heads.
        width: Width of the attention's hidden layer.
        proposals: Points among which it chooses; with one, there is no acquisition function.
        points: Random points for each of them, of which it is shown the one farthest from all
            queries.
        generator: Draws the initial weights.

    Attributes:
        dim: None, for any.
        architecture: The arguments that make the same network again, save for its weights.

    Example:
        >>> agent = UniversalAgent(hidden=8, generator=torch.Generator().manual_seed(0))
        >>> for d in (2, 5):
        ...     state = agent.init(3, Box(0, 1, (d,)), 10, torch.Generator().manual_seed(0))
        ...     x, _ = agent.step(state, Observation(torch.zeros(3, d), *torch.zeros(2, 3)))
        ...     print(tuple(x.shape))
        (3, 2)
        (3, 5)
    """

    kind: ClassVar[str] = "universal"
    dim: None = None

    def __init__(
        self,
        hidden: int = 64,
        heads: int = 6,
        width: int = 16,
        proposals: int = 16,
        points: int = 4,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.architecture: dict[str, Any] = {
            "hidden": hidden,
            "heads": heads,
            "width": width,
            "proposals": proposals,
            "points": points,
        }
        self.heads, self.proposals, self.points = heads, proposals, points
        shared = VALUE_FEATURES + 1 + proposals + heads
        # The four gates of an LSTM: what a coordinate sees itself, and what all see.
        self.own = nn.Linear(4 + proposals + _CODES + 2 * heads + hidden, 4 * hidden, bias=False)
        self.shared = nn.Linear(shared + hidden, 4 * hidden)
        self.attend = nn.Linear(hidden + EVALUATION_FEATURES, width)
        self.weigh = nn.Linear(width, 2 * heads)
        self.head = nn.Linear(2 * hidden, proposals)
        self.common = nn.Linear(hidden, proposals * (heads + 2))
        self.acquisition = Acquisition(hidden, heads) if proposals > 1 else None
        initialise(self, generator)
        if proposals > 1:
            # So that from the first iteration on there are proposals near and far to choose from.
            bias = self.common.bias.detach().view(proposals, -1)
            bias[:, heads] += torch.linspace(*_STEPS, proposals)
            bias[:, heads + 1] += torch.linspace(*_GATES, proposals)

    def init(
        self, batch: int, space: Box, budget: int, generator: torch.Generator
    ) -> UniversalState:
        """The all-zero state, and the keys of its random numbers."""
        (dim,) = space.shape
        weight = self.head.weight
        dtype, device = weight.dtype, weight.device
        zeros = weight.new_zeros(batch, dim, self.common.in_features)
        coordinates = streams(batch * dim, generator, device)
        code, coordinates = normal(coordinates, _CODES, dtype)
        side, coordinates = uniform(coordinates, 1, dtype)
        history = empty_history(batch, dim, budget, dtype, device)
        return UniversalState(
            hidden=zeros,
            cell=zeros,
            history=history,
            evaluations=no_evaluations(batch, dim, dtype, device),
            queries=weight.new_zeros(batch, 0, dim),
            code=code.view(batch, dim, _CODES),
            flip=torch.where(side < 0.5, -1.0, 1.0).view(batch, dim).to(dtype),
            coordinate_stream=coordinates,
            row_stream=streams(batch, generator, device),
            proposals=Proposals(
                weight.new_zeros(batch, self.proposals, dim),
                weight.new_zeros(batch, self.proposals),
            ),
        )

    def step(
        self, state: UniversalState, observation: Observation
    ) -> tuple[Tensor, UniversalState]:
        """The next query ``[B, d]``, in the network's dtype."""
        history = update(state.history, observation)
        evaluations = record(state.evaluations, observation)
        best, queries = history.best_x, state.queries
        batch, dim = best.shape
        number = self.proposals * self.points
        draws, coordinates = uniform(state.coordinate_stream, number, best.dtype)
        draws = draws.view(batch, dim, self.proposals, self.points).permute(0, 2, 3, 1)
        point, gap = loneliest(draws, queries)
        away = point - best.unsqueeze(1)
        direction, size = self._directions(state.hidden.mean(1), history, evaluations)
        unit = direction / size.unsqueeze(-1).clamp_min(1e-6)

        ways = torch.cat([away, direction, unit], 1)
        own = _own_features(state, observation, best, ways)
        sizes = torch.cat([gap.clamp_min(1e-6).log(), size.clamp_min(1e-6).log() / 5.0], -1)
        hidden, cell = self._recur(state, own, value_features(history, observation), sizes)
        x = self._propose(hidden, best, state.flip, unit, away)

        rows = state.row_stream
        if self.acquisition is None:
            proposals, x = Proposals(x, torch.zeros_like(x[..., 0])), x[:, 0]
        else:
            known = Known(history, evaluations, queries, unit)
            proposals = Proposals(x, self.acquisition(hidden.mean(1), known, x.detach()))
            choice, rows = uniform(rows, self.proposals, best.dtype)
            x = choose(proposals, choice)
        return x, state._replace(
            hidden=hidden,
            cell=cell,
            history=history,
            evaluations=evaluations,
            queries=torch.cat([queries, x.detach().unsqueeze(1)], 1),
            coordinate_stream=coordinates,
            row_stream=rows,
            proposals=proposals,
        )

    def asked(self, state: UniversalState, x: Tensor | None) -> UniversalState:
        """The state where another query ``[B, d]`` was made than the one proposed, or none."""
        queries = state.queries[:, :-1]
        if x is not None:
            queries = torch.cat([queries, x.unsqueeze(1)], 1)
        return state._replace(queries=queries, history=asked(state.history, x))

    def announced(self, state: UniversalState, x: Tensor) -> UniversalState:
        """The state where somebody else made a query ``[B, d]`` too, which no budget counts."""
        return state._replace(queries=torch.cat([state.queries, x.unsqueeze(1)], 1))

    def _recur(
        self, state: UniversalState, own: Tensor, values: Tensor, sizes: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The step of the LSTM: its hidden state and its cell, ``[B, d, hidden]`` each."""
        dim = torch.full_like(values[:, :1], math.log(own.shape[1]) / 3.0)
        shared = torch.cat([values, dim, sizes, state.hidden.mean(1)], -1)
        signal = torch.cat([own, state.code, state.hidden], -1)
        gates = self.own(signal) + self.shared(shared).unsqueeze(1)
        enter, keep, new, leave = gates.chunk(4, -1)
        cell = keep.sigmoid() * state.cell + enter.sigmoid() * new.tanh()
        return leave.sigmoid() * cell.tanh(), cell

    def _propose(
        self, hidden: Tensor, best: Tensor, flip: Tensor, unit: Tensor, away: Tensor
    ) -> Tensor:
        """The proposals ``[B, P, d]``: from the incumbent by an offset, and towards a far point."""
        pooled = hidden.mean(1)
        drift = self.head(torch.cat([hidden, pooled.unsqueeze(1).expand_as(hidden)], -1))
        common = self.common(pooled).view(len(best), self.proposals, -1)
        mixed, step, gate = common.split_with_sizes([self.heads, 1, 1], -1)
        offset = drift.mT * flip.unsqueeze(1) + mixed @ unit
        reach = (step + _FIRST_STEP).exp()
        return clamp_to_cube(best.unsqueeze(1) + reach * offset + gate.sigmoid() * away)

    def _directions(
        self, pooled: Tensor, history: History, evaluations: Evaluations
    ) -> tuple[Tensor, Tensor]:
        """Weighted sums ``[B, heads, d]`` of the differences to the incumbent, and their sizes."""
        features, difference = evaluation_features(history, evaluations)
        attended = linear_of_both(self.attend, pooled, features).tanh()
        logits, values = self.weigh(attended).chunk(2, -1)
        logits = logits.masked_fill(evaluations.o.unsqueeze(-1) == 0, FORGOTTEN)
        direction = (logits.softmax(1) * values).mT @ difference
        return direction, direction.norm(dim=-1)


def _own_features(
    state: UniversalState, observation: Observation, best: Tensor, ways: Tensor
) -> Tensor:
    """What each coordinate sees, ``[B, d, ...]``, in its own direction of the axis.

    They are the incumbent and the last point that came back, against the centre; that point and the
    last query against the incumbent; and the coordinates of some vectors ``[B, n, d]``.
    """
    last = torch.where(observation.o.unsqueeze(-1) > 0, observation.x.to(best), best)
    asked = state.queries[:, -1] if state.queries.shape[1] else best
    own = torch.stack([best - 0.5, last - 0.5, last - best, asked - best], -1)
    return torch.cat([own, ways.mT], -1) * state.flip.unsqueeze(-1)


def loneliest(points: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
    """The points ``[B, P, d]`` farthest from all queries, and their distances ``[B, P]``.

    Args:
        points: ``[B, P, n, d]``; each is chosen from n. The distances are per root of d.
        queries: ``[B, t, d]``; where there are none, the first point is as good as any.
    """
    batch, count, number, dim = points.shape
    if not queries.shape[1]:
        return points[:, :, 0], points.new_ones(batch, count)
    distance = torch.cdist(points.flatten(1, 2), queries).amin(-1).view(batch, count, number)
    gap, index = distance.max(-1)
    point = points.gather(2, index[:, :, None, None].expand(-1, -1, 1, dim)).squeeze(2)
    return point, gap / dim**0.5
