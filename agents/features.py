"""What learned optimisers are fed: designed once, here.

Values are normalised by their own running mean and deviation, so that an optimiser's queries do not
change when y becomes a * y + b with a > 0. Nothing that a user's objective would not give is seen:
no optimum, no true scale.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bbo_envs.core import Observation

VALUE_FEATURES = 7
EVALUATION_FEATURES = 5
PAIR_FEATURES = 4
CANDIDATE_FEATURES = 2
# The logit of an evaluation that has not come back.
FORGOTTEN = -1e9


class History(NamedTuple):
    """Running statistics of the evaluations seen so far, per row.

    Attributes:
        budget: The number of queries there will be.
        steps: Observations seen so far, the empty first one included.
        returned: ``[B]`` evaluations that came back (float64, as all statistics of y).
        mean: ``[B]`` their mean.
        spread: ``[B]`` the sum of their squared deviations from it.
        best_x: ``[B, d]`` the incumbent; the centre of the cube before the first evaluation.
        best_y: ``[B]`` its value; infinite before the first evaluation.
    """

    budget: int
    steps: int
    returned: Tensor
    mean: Tensor
    spread: Tensor
    best_x: Tensor
    best_y: Tensor


def empty_history(
    batch: int, dim: int, budget: int, dtype: torch.dtype, device: torch.device
) -> History:
    """The history before the first query."""
    zero = torch.zeros(batch, dtype=torch.float64, device=device)
    centre = torch.full((batch, dim), 0.5, dtype=dtype, device=device)
    return History(budget, 0, zero, zero, zero, centre, torch.full_like(zero, torch.inf))


def update(history: History, observation: Observation) -> History:
    """Takes in an observation; one with o = 0 changes nothing but the number of queries.

    The statistics follow Welford 1962 and stay exact under shifts of y.
    """
    back = observation.o > 0
    y = observation.y.to(torch.float64)
    returned = history.returned + back
    deviation = torch.where(back, y - history.mean, 0.0)
    mean = history.mean + deviation / returned.clamp_min(1.0)
    spread = history.spread + deviation * torch.where(back, y - mean, 0.0)
    better = back & (y < history.best_y)
    return History(
        budget=history.budget,
        steps=history.steps + 1,
        returned=returned,
        mean=mean,
        spread=spread,
        best_x=torch.where(better.unsqueeze(-1), observation.x.to(history.best_x), history.best_x),
        best_y=torch.where(better, y, history.best_y),
    )


def asked(history: History, x: Tensor | None) -> History:
    """The history where the last query was x, or where none was made: the clock goes one back."""
    return history if x is not None else history._replace(steps=history.steps - 1)


def value_features(history: History, observation: Observation) -> Tensor:
    """Features of the values and the clock: ``[B, 7]`` in the dtype of the incumbent.

    They are: the last value and the best value, each against the mean, in running deviations; the
    last value against the best; the flag o; the share of the budget that is left; and the
    logarithms of the numbers of queries made and left. The features of a value are zero where none
    has come back, and while all values seen are equal.

    Args:
        history: The history that includes the observation.
        observation: The last observation.
    """
    back = observation.o > 0
    scale = deviation(history)
    y = torch.where(back, observation.y.to(torch.float64), history.mean)
    best = torch.where(history.returned > 0, history.best_y, history.mean)
    last_score = (y - history.mean) / scale
    best_score = (best - history.mean) / scale
    left = max(history.budget - history.steps + 1, 0)
    clock = [left / history.budget, math.log1p(history.steps) / 5.0, math.log1p(left) / 5.0]
    features = [
        torch.stack([last_score, best_score, last_score - best_score], -1),
        observation.o.to(torch.float64).unsqueeze(-1),
        scale.new_tensor(clock).expand(len(scale), -1),
    ]
    return torch.cat(features, -1).to(history.best_x)


def deviation(history: History) -> Tensor:
    """The running standard deviation ``[B]`` of the values; one where nothing varies yet."""
    # Written so that the root's gradient stays finite where nothing varies.
    varies = history.spread > 0
    return torch.where(varies, history.spread / history.returned.clamp_min(1.0), 1.0).sqrt()


class Evaluations(NamedTuple):
    """A memory of everything seen so far: t observations, those with o = 0 included.

    Attributes:
        x: ``[B, t, d]`` the points; no gradient passes through them.
        y: ``[B, t]`` their raw values (float64).
        o: ``[B, t]`` 1 where an evaluation came back.
    """

    x: Tensor
    y: Tensor
    o: Tensor


def no_evaluations(batch: int, dim: int, dtype: torch.dtype, device: torch.device) -> Evaluations:
    """The memory before the first query."""
    empty = torch.zeros(batch, 0, dtype=dtype, device=device)
    return Evaluations(empty.new_zeros(batch, 0, dim), empty.double(), empty)


def record(evaluations: Evaluations, observation: Observation) -> Evaluations:
    """Appends an observation to the memory, O(t)."""
    x, y, o = (part.detach() for part in observation)
    return Evaluations(
        torch.cat([evaluations.x, x.to(evaluations.x).unsqueeze(1)], 1),
        torch.cat([evaluations.y, y.double().unsqueeze(1)], 1),
        torch.cat([evaluations.o, o.to(evaluations.o).unsqueeze(1)], 1),
    )


def evaluation_features(history: History, evaluations: Evaluations) -> tuple[Tensor, Tensor]:
    """What an attention head is told of each evaluation: ``[B, t, 5]`` and ``[B, t, d]``.

    The features are its value against the mean and against the best, in running deviations; the
    logarithm of its distance from the incumbent, per root of d; and how many evaluations ago it
    was, as a share and as a logarithm. Beside them stand the differences to the incumbent. All
    are zero where nothing came back.
    """
    back = evaluations.o > 0
    best_x = history.best_x.detach().unsqueeze(1)
    difference = torch.where(back.unsqueeze(-1), evaluations.x - best_x, 0.0)
    distance = difference.norm(dim=-1) / difference.shape[-1] ** 0.5
    number = evaluations.y.shape[1]
    age = torch.arange(number, 0, -1, dtype=difference.dtype, device=difference.device)
    scores = torch.stack(_scores(history, evaluations), -1)
    features = [
        scores.to(difference),
        ((distance + 1e-3).log() / 3.0).unsqueeze(-1),
        torch.stack([age / max(number, 1), age.log1p() / 5.0], -1).expand(len(scores), -1, -1),
    ]
    return torch.where(back.unsqueeze(-1), torch.cat(features, -1), 0.0), difference


def _scores(history: History, evaluations: Evaluations) -> tuple[Tensor, Tensor]:
    """Values ``[B, t]`` against the mean and against the best, in running deviations.

    Both are zero where nothing came back.
    """
    back = evaluations.o > 0
    scale = deviation(history).detach().unsqueeze(1)
    mean, best = (part.detach().unsqueeze(1) for part in (history.mean, history.best_y))
    y = evaluations.y
    return (
        torch.where(back, (y - mean) / scale, 0.0),
        torch.where(back, (y - best) / scale, 0.0),
    )


class Known(NamedTuple):
    """What candidates for a query are weighed by.

    Attributes:
        history: Running statistics of the evaluations.
        evaluations: The evaluations themselves.
        queries: ``[B, t, d]`` all queries asked for.
        directions: ``[B, k, d]`` directions of interest, each of length one at most.
    """

    history: History
    evaluations: Evaluations
    queries: Tensor
    directions: Tensor


class CandidateFeatures(NamedTuple):
    """What an acquisition function is told of candidates; see ``candidate_features``.

    Attributes:
        pairs: ``[B, P, t, 4]`` of each candidate and evaluation.
        log_distance: ``[B, P, t]`` the logarithm of the distance between them, per root of d.
        z: ``[B, t]`` the values of the evaluations, normalised; zero where none came back.
        back: ``[B, t]`` True where one did.
        own: ``[B, P, 2 + k]`` of each candidate alone.
    """

    pairs: Tensor
    log_distance: Tensor
    z: Tensor
    back: Tensor
    own: Tensor


def candidate_features(known: Known, candidates: Tensor) -> CandidateFeatures:
    """Features of points that might be queried.

    Those of a pair are the logarithm of the distance; the distance in units of that to the nearest
    query; and the value against the mean and against the best, in running deviations. Those of a
    candidate are the logarithms of its distances to the nearest query and to the incumbent, and the
    cosines of its angles, seen from the incumbent, to the directions of interest. Distances are
    per root of d.

    Args:
        known: What is known.
        candidates: ``[B, P, d]``.
    """
    history, evaluations = known.history, known.evaluations
    root = candidates.shape[-1] ** 0.5
    best = history.best_x.detach().unsqueeze(1)
    distance = torch.cdist(candidates, evaluations.x) / root
    near = (candidates - best).norm(dim=-1) / root
    gap = torch.ones_like(near)
    if known.queries.shape[1]:
        gap = torch.cdist(candidates, known.queries).amin(-1) / root
    back = evaluations.o > 0
    z, above = (score.to(candidates) for score in _scores(history, evaluations))
    log_distance = (distance + 1e-3).log()
    pairs = torch.stack(
        [
            log_distance / 3.0,
            (distance / gap.unsqueeze(-1).clamp_min(1e-3)).log1p(),
            z.unsqueeze(1).expand_as(distance),
            above.unsqueeze(1).expand_as(distance),
        ],
        -1,
    )
    offset = nn.functional.normalize(candidates - best, dim=-1)
    own = torch.stack([(gap + 1e-3).log() / 3.0, (near + 1e-3).log() / 3.0], -1)
    own = torch.cat([own, offset @ known.directions.detach().mT], -1)
    return CandidateFeatures(pairs, log_distance, z, back, own)


def pick(rows: Tensor, index: Tensor) -> Tensor:
    """Takes the rows with these indices ``[B, k]`` out of ``[B, n, d]``."""
    return rows.gather(1, index.unsqueeze(-1).expand(-1, -1, rows.shape[-1]))
