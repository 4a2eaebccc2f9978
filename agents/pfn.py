"""A prior-data fitted network: in-context Bayesian optimisation in any number of dimensions.

Müller, Hollmann, Arango, Grabocka & Hutter 2022, "Transformers Can Do Bayesian Inference", and
Müller, Feurer, Hollmann & Hutter 2023, "PFNs4BO": a transformer trained on samples of a prior
answers, in one forward pass, what a posterior would say. Here it is told of the points by their
distances alone, so that one network serves all numbers of dimensions, and it is taught to weigh
candidates as an acquisition function does (``training.acquisition``).
"""

import math
from typing import Any, ClassVar, NamedTuple

import torch
from gymnasium.spaces import Box
from torch import Tensor, nn

from agents.features import (
    Evaluations,
    History,
    asked,
    empty_history,
    no_evaluations,
    pick,
    record,
    update,
)
from agents.pending import Pending, ask, instead, none_pending, returned
from agents.recurrent import initialise
from agents.warps import WARPS, warp
from bbo_envs.core import Observation
from bbo_envs.functions.streams import Stream, normal, streams, uniform

# The lengths, per root of d, over which heads look before training.
_LENGTHS = (0.08, 1.0)
# How far candidates lie from the points that they are drawn around.
NEAR = (0.01, 0.5)
# Points around which candidates are drawn.
CENTRES = 8
_LEAST = 1e-3
_BEYOND = 1e6


class Memory(NamedTuple):
    """All that is known of the functions.

    Attributes:
        history: Running statistics, and the incumbent.
        evaluations: What came back.
        pending: What is out.
    """

    history: History
    evaluations: Evaluations
    pending: Pending


class Belief(NamedTuple):
    """What the network says of candidates.

    Attributes:
        logit: ``[B, P]`` the larger, the better a candidate is to query.
        mean: ``[B, P]`` the posterior mean of f, in running deviations from the running mean.
        log_deviation: ``[B, P]`` the logarithm of its posterior deviation, in the same unit.
    """

    logit: Tensor
    mean: Tensor
    log_deviation: Tensor


class PFNState(NamedTuple):
    """State of a ``PFNAgent``.

    Attributes:
        memory: All that is known of the functions.
        coordinate_stream: ``[B * d]`` the random numbers of each coordinate.
        row_stream: ``[B]`` those of each row.
    """

    memory: Memory
    coordinate_stream: Stream
    row_stream: Stream


def no_memory(
    batch: int, dim: int, budget: int, dtype: torch.dtype, device: torch.device
) -> Memory:
    """What is known before the first query."""
    history = empty_history(batch, dim, budget, dtype, device)
    evaluations = no_evaluations(batch, dim, dtype, device)
    return Memory(history, evaluations, none_pending(history.best_x))


def remember(memory: Memory, observation: Observation) -> Memory:
    """Takes in an observation."""
    evaluations = memory.evaluations
    if bool((observation.o > 0).any()):
        evaluations = record(evaluations, observation)
    pending = returned(memory.pending, observation)
    return Memory(update(memory.history, observation), evaluations, pending)


class PFNAgent(nn.Module):
    """Weighs candidates by a transformer over the evaluations.

    Every evaluation is a token: its value, plain and warped (``agents.warps``), and its distance
    from the incumbent. A query that is out is a token without a value. Attention falls with the
    distance, over lengths that are learned, and with what the tokens hold; candidates look at the
    tokens in every layer, and do not see each other. No matrix is inverted.

    Candidates are random points of the cube and around the best points so far. ``rounds`` times,
    further ones are drawn around the most promising; the best of all is the query. Every coordinate
    draws from a stream of its own: permute the coordinates of state and observation, and the query
    is permuted. What the network says of a candidate does not change when axes are flipped.

    Args:
        width: Of the tokens.
        heads: Attention heads.
        layers: Layers of attention.
        candidates: Random points before the first round; each round draws half as many.
        rounds: How often further candidates are drawn around the best.
        generator: Draws the initial weights.

    Attributes:
        dim: None, for any.
        architecture: The arguments that make the same network again, save for its weights.

    Example:
        >>> agent = PFNAgent(width=8, heads=2, generator=torch.Generator().manual_seed(0))
        >>> state = agent.init(3, Box(0, 1, (2,)), 10, torch.Generator().manual_seed(0))
        >>> x, state = agent.step(state, Observation(torch.zeros(3, 2), *torch.zeros(2, 3)))
        >>> x.shape
        torch.Size([3, 2])
    """

    kind: ClassVar[str] = "pfn"
    dim: None = None

    def __init__(
        self,
        width: int = 48,
        heads: int = 6,
        layers: int = 4,
        candidates: int = 128,
        rounds: int = 3,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.architecture: dict[str, Any] = {
            "width": width,
            "heads": heads,
            "layers": layers,
            "candidates": candidates,
            "rounds": rounds,
        }
        self.candidates, self.rounds = candidates, rounds
        shared = len(WARPS) + 2
        self.token = nn.Linear(2 * len(WARPS) + 3 + shared, width)
        self.candidate = nn.Linear(3 + shared, width)
        self.layers = nn.ModuleList(_Layer(width, heads) for _ in range(layers))
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 3))
        initialise(self, generator)

    def init(self, batch: int, space: Box, budget: int, generator: torch.Generator) -> PFNState:
        """No memory, and the keys of its random numbers."""
        (dim,) = space.shape
        weight = self.token.weight
        return PFNState(
            no_memory(batch, dim, budget, weight.dtype, weight.device),
            streams(batch * dim, generator, weight.device),
            streams(batch, generator, weight.device),
        )

    def step(self, state: PFNState, observation: Observation) -> tuple[Tensor, PFNState]:
        """The next query ``[B, d]``, in the network's dtype; no gradient passes to it."""
        with torch.no_grad():
            memory = remember(state.memory, observation)
            draws = _Draws(memory, state.coordinate_stream, state.row_stream)
            x = draws.everywhere(self.candidates // 2)
            x = torch.cat([x, draws.around(memory, self.candidates - x.shape[1])], 1)
            seen = self.read(memory)
            logit = self.weigh(seen, x).logit
            for _ in range(self.rounds):
                best = pick(x, logit.topk(min(CENTRES, logit.shape[1]), 1).indices)
                further = draws.beside(best, max(1, self.candidates // 2))
                x = torch.cat([x, further], 1)
                logit = torch.cat([logit, self.weigh(seen, further).logit], 1)
            query = pick(x, logit.argmax(1, keepdim=True)).squeeze(1)
            if not memory.evaluations.x.shape[1] and not memory.pending.x.shape[1]:
                # Nothing tells one point from another; most of the cube is nearest to its centre.
                query = memory.history.best_x
            memory = memory._replace(pending=ask(memory.pending, query))
        return query, PFNState(memory, draws.coordinate_stream, draws.row_stream)

    def asked(self, state: PFNState, x: Tensor | None) -> PFNState:
        """The state where another query ``[B, d]`` was made than the one proposed, or none."""
        memory = state.memory
        history, pending = asked(memory.history, x), instead(memory.pending, x)
        return state._replace(memory=memory._replace(history=history, pending=pending))

    def announced(self, state: PFNState, x: Tensor) -> PFNState:
        """The state where somebody else made a query ``[B, d]`` too, which no budget counts."""
        pending = ask(state.memory.pending, x)
        return state._replace(memory=state.memory._replace(pending=pending))

    def forward(self, memory: Memory, candidates: Tensor) -> Belief:
        """What the network says of candidates ``[B, P, d]``."""
        return self.weigh(self.read(memory), candidates)

    def read(self, memory: Memory) -> "Read":
        """Encodes what is known, once for all candidates; O(t^2)."""
        points, values, there, shared = _known(memory)
        features = torch.cat([values, shared.unsqueeze(1).expand(-1, points.shape[1], -1)], -1)
        token = self.token(features)
        squared = _squared_distance(points, points, there)
        levels = []
        for layer in self.layers:
            assert isinstance(layer, _Layer)
            levels.append(layer.keys(token))
            token = layer(token, levels[-1], squared)
        return Read(points, there, shared, levels, memory.history.best_x)

    def weigh(self, seen: "Read", candidates: Tensor) -> Belief:
        """What the network says of candidates ``[B, P, d]``; O(P t)."""
        squared = _squared_distance(candidates, seen.points, seen.there)
        gap = nn.functional.pad(squared[..., 1:], (1, 0), value=1.0).amin(-1).sqrt()
        near, centre = _place(candidates, seen.incumbent)
        own = torch.stack([(gap + _LEAST).log(), near, centre], -1)
        shared = seen.shared.unsqueeze(1).expand(-1, own.shape[1], -1)
        token = self.candidate(torch.cat([own, shared], -1))
        for layer, level in zip(self.layers, seen.levels, strict=True):
            token = layer(token, level, squared)
        return Belief(*self.head(token).unbind(-1))


class Read(NamedTuple):
    """What is known, as candidates look at it.

    Attributes:
        points: ``[B, t, d]`` where evaluations and pending queries are.
        there: ``[B, t]`` 1 where there is one.
        shared: ``[B, ...]`` features of the whole.
        levels: Keys and values of every layer.
        incumbent: ``[B, d]``.
    """

    points: Tensor
    there: Tensor
    shared: Tensor
    levels: list[tuple[Tensor, Tensor]]
    incumbent: Tensor


class _Layer(nn.Module):
    """Attention to tokens that falls with the distance, and a feed-forward layer."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width must be a multiple of heads, got {width} and {heads}")
        self.heads = heads
        self.before, self.middle = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.mix = nn.Linear(width + heads, width)
        self.feed = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        first, last = (math.log(length) for length in _LENGTHS)
        self.log_length = nn.Parameter(torch.linspace(first, last, heads))
        # Key and value of what is always there, to look at where nothing else is near.
        self.nothing = nn.Parameter(torch.zeros(2, heads, width // heads))

    def keys(self, token: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values ``[B, heads, 1 + t, width / heads]`` of nothing and of t tokens."""
        key, value = self.key_value(self.before(token)).chunk(2, -1)
        none, nothing = self.nothing.unsqueeze(2).expand(-1, -1, len(token), -1).transpose(1, 2)
        split = self._split(key), self._split(value)
        return (
            torch.cat([none.unsqueeze(2), split[0]], 2),
            torch.cat([nothing.unsqueeze(2), split[1]], 2),
        )

    def forward(self, token: Tensor, level: tuple[Tensor, Tensor], squared: Tensor) -> Tensor:
        """Moves tokens ``[B, n, width]`` on.

        Args:
            token: The tokens.
            level: Keys and values of what they see.
            squared: ``[B, n, 1 + t]`` squared distances to it.
        """
        query = self._split(self.query(self.before(token)))
        fall = -0.5 * squared.unsqueeze(1) * (-2.0 * self.log_length).exp().view(-1, 1, 1)
        seen = nn.functional.scaled_dot_product_attention(query, *level, attn_mask=fall)
        # How much there is nearby, which the softmax hides; nothing counts for one.
        amount = fall.exp().sum(-1).log().transpose(1, 2)
        seen = seen.transpose(1, 2).flatten(2)
        token = token + self.mix(torch.cat([seen, amount], -1))
        result: Tensor = token + self.feed(self.middle(token))
        return result

    def _split(self, part: Tensor) -> Tensor:
        batch, number, width = part.shape
        return part.view(batch, number, self.heads, width // self.heads).transpose(1, 2)


class _Draws:
    """Draws candidates, each coordinate from its own stream."""

    def __init__(self, memory: Memory, coordinates: Stream, rows: Stream) -> None:
        self.batch, self.dim = memory.history.best_x.shape
        self.dtype = memory.history.best_x.dtype
        self.coordinate_stream, self.row_stream = coordinates, rows

    def everywhere(self, number: int) -> Tensor:
        """Points ``[B, number, d]`` all over the cube."""
        draws, self.coordinate_stream = uniform(self.coordinate_stream, number, self.dtype)
        return draws.view(self.batch, self.dim, number).mT

    def around(self, memory: Memory, number: int) -> Tensor:
        """Points around the best that came back; around the centre where none did."""
        y = memory.evaluations.y.masked_fill(memory.evaluations.o == 0, torch.inf)
        if not y.shape[1]:
            return self.beside(memory.history.best_x.unsqueeze(1), number)
        best = y.topk(min(CENTRES, y.shape[1]), 1, largest=False)
        centres = pick(memory.evaluations.x, best.indices)
        there = best.values.isfinite().unsqueeze(-1)
        centres = torch.where(there, centres, memory.history.best_x.unsqueeze(1))
        # Half of them around the incumbent.
        doubled = centres[:, :1].expand(-1, centres.shape[1], -1)
        return self.beside(torch.stack([doubled, centres], 2).flatten(1, 2), number)

    def beside(self, centres: Tensor, number: int) -> Tensor:
        """Points ``[B, number, d]`` near and far from centres ``[B, n, d]``, in turn."""
        first, last = (math.log(distance) for distance in NEAR)
        share, self.row_stream = uniform(self.row_stream, number, self.dtype)
        reach = (first + share * (last - first)).exp().unsqueeze(-1)
        steps, self.coordinate_stream = normal(self.coordinate_stream, number, self.dtype)
        steps = steps.view(self.batch, self.dim, number).mT
        turn = torch.arange(number, device=centres.device) % centres.shape[1]
        return (centres[:, turn] + reach * steps).clamp(0.0, 1.0)


def _known(memory: Memory) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Points ``[B, t, d]``, their features, which are there, and features of the whole."""
    history, evaluations, pending = memory
    x, y, o = evaluations
    best_x = history.best_x
    z = warp(y, o).y.to(best_x)
    if y.shape[1]:
        best = z.masked_fill(o.unsqueeze(1) == 0, torch.inf).amin(-1)
        best = torch.where(best.isfinite(), best, 0.0)
    else:
        best = best_x.new_zeros(z.shape[:2])
    excess = (z - best.unsqueeze(-1)) * o.unsqueeze(1)
    points, there = torch.cat([x, pending.x], 1), torch.cat([o, pending.there], 1)
    number = there.sum(-1, keepdim=True)
    dim = torch.full_like(number, math.log(best_x.shape[1]))
    shared = torch.cat([best, number.log1p(), dim], -1)

    near, centre = _place(points, best_x)
    out = torch.cat([torch.zeros_like(o), pending.there], 1)
    values = torch.cat([z, excess], 1).mT
    values = nn.functional.pad(values, (0, 0, 0, pending.x.shape[1]))
    return points, torch.cat([values, torch.stack([near, out, centre], -1)], -1), there, shared


def _place(points: Tensor, incumbent: Tensor) -> tuple[Tensor, Tensor]:
    """How far points ``[B, n, d]`` lie from the incumbent, as a logarithm, and from the centre."""
    root = points.shape[-1] ** 0.5
    near = (points - incumbent.unsqueeze(1)).norm(dim=-1) / root
    return (near + _LEAST).log(), (points - 0.5).norm(dim=-1) / root


def _squared_distance(a: Tensor, b: Tensor, there: Tensor) -> Tensor:
    """Squared distances ``[B, n, 1 + t]``, per dimension; to nothing, which comes first, zero."""
    squared = torch.cdist(a, b).square() / a.shape[-1]
    return nn.functional.pad(squared.masked_fill(there.unsqueeze(1) == 0, _BEYOND), (1, 0))
