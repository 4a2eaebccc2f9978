"""Teaching a network to weigh candidates: histories of any kind, and what a posterior says of them.

No back-propagation through time: the network is shown what searches have found on samples of a
Gaussian process, and candidates for the next query. The exact posterior, which only training knows,
says how much each candidate is expected to improve (Jones, Schonlau & Welch 1998). Any history
teaches, as in Müller et al. 2023, "PFNs4BO"; but most are the network's own, as in Ross, Gordon &
Bagnell 2011, "A Reduction of Imitation Learning and Structured Prediction to No-Regret Online
Learning".
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from agents.features import pick
from agents.pending import ask
from agents.pfn import CENTRES, NEAR, Memory, PFNAgent, no_memory, remember
from bbo_envs.core import Observation, map_tensors
from bbo_envs.functions.gp import expected_improvement, predict_along
from bbo_envs.functions.kernels import Kernel
from bbo_envs.problem import Problem, ProblemState

LOSS = "acquisition"
CANDIDATES = 64
# Of each search, at different times.
LESSONS = 4
# The share of searches that the network guides, and what it chooses from.
_GUIDED, _FEW = 0.75, 24
# It reads what is known once in so many queries, to save time.
_READ_EVERY = 3
# A quarter of the functions is seen through (exp(a y) - 1) / a, with a up to this.
_WARPED, _MOST_WARPED = 0.25, 2.0
# The weight of the posterior's match beside the choice. Its terms are cut off where a candidate is
# all but certain.
_MATCH, _LARGEST_MATCH, _LEAST_DEVIATION = 0.3, 50.0, 1e-3


class Found(NamedTuple):
    """What a search has found.

    Attributes:
        memory: As the network is shown it.
        value: ``[B, t]`` the values that came back, as they were before a warp.
    """

    memory: Memory
    value: Tensor


class Lesson(NamedTuple):
    """What the network is taught on a batch of histories.

    Attributes:
        memory: The histories.
        candidates: ``[B, P, d]``.
        improvement: ``[B, P]`` the expected improvement of each.
        mean: ``[B, P]`` the posterior mean of f, before a warp, in running deviations.
        deviation: ``[B, P]`` its deviation in the same unit.
    """

    memory: Memory
    candidates: Tensor
    improvement: Tensor
    mean: Tensor
    deviation: Tensor


def lessons(
    agent: PFNAgent,
    problem: Problem,
    start: tuple[ProblemState, Observation],
    generator: torch.Generator,
) -> list[Lesson]:
    """Plays searches on a problem whose functions are GP samples, and asks the posterior.

    Three quarters of the candidates lie where the network draws its own: all over the cube, and
    around the best points found; the rest around the best of these.

    Args:
        agent: The network, which guides most of the searches.
        problem: The problem; the last lesson's histories hold one query fewer than its budget.
        start: What its ``reset`` gave.
        generator: Draws queries, warps and candidates, on the CPU.

    Example:
        >>> from bbo_envs import make_problem
        >>> problem = make_problem("BBO-GP-2d-v0", budget=10)
        >>> generator = torch.Generator().manual_seed(0)
        >>> agent = PFNAgent(width=8, heads=2, generator=generator)
        >>> found = lessons(agent, problem, problem.reset(3, generator), generator)
        >>> [given.improvement.shape for given in found][-1]
        torch.Size([3, 64])
    """
    functions: Any = problem.functions
    drawn = torch.randint(problem.budget, (LESSONS - 1,), generator=generator).tolist()
    times = {*drawn, problem.budget - 1}
    with torch.no_grad():
        found = search(agent, problem, start, generator)
        return [
            _lesson(history, functions.kernel, problem.noise, generator, functions.device)
            for t, history in enumerate(found)
            if t in times
        ]


def _lesson(
    history: Found,
    kernel: Kernel,
    noise: float,
    generator: torch.Generator,
    device: torch.device,
) -> Lesson:
    points = _candidates(history.memory, CANDIDATES - CANDIDATES // 4, generator)
    first = ask_posterior(history, points, kernel, noise)
    best = pick(points, first.improvement.argmax(1, keepdim=True))
    further = _beside(best.expand(-1, CANDIDATES // 4, -1), generator)
    given = ask_posterior(history, torch.cat([points, further], 1), kernel, noise)
    moved: Lesson = map_tensors(lambda part: part.to(device), given)
    return moved


def search(
    agent: PFNAgent,
    problem: Problem,
    start: tuple[ProblemState, Observation],
    generator: torch.Generator,
) -> Iterator[Found]:
    """What searches have found before each of their queries.

    Most rows ask for the best of a few candidates, as the network has it: on its own histories,
    where the easy improvements have been made, it has to know more than on any others. The other
    rows look around the best points so far. All look anywhere as often as chance has it.
    """
    world, observation = start
    batch, dim = len(observation.y), problem.functions.dim
    device = problem.functions.device
    memory = no_memory(batch, dim, problem.budget, torch.float32, torch.device("cpu"))
    value = torch.zeros(batch, 0, dtype=torch.float64)
    everywhere, chance, size, own = torch.rand(4, batch, generator=generator)
    warp = torch.where(chance < _WARPED, _MOST_WARPED * size, 0.0).double()
    guided = (own < _GUIDED).unsqueeze(1)
    everywhere = torch.where(guided.squeeze(1), 0.2 * everywhere, everywhere).square()
    for t in range(problem.budget):
        y = observation.y.double().cpu()
        shown = torch.where(warp > 0, torch.expm1(warp * y) / warp.clamp_min(1e-9), y)
        o = observation.o.cpu()
        memory = remember(memory, Observation(observation.x.float().cpu(), shown, o))
        if memory.evaluations.y.shape[1] > value.shape[1]:
            value = torch.cat([value, y.unsqueeze(1)], 1)
        yield Found(memory, value)
        if t == problem.budget - 1:
            return
        x = _around(memory, 1, generator).squeeze(1)
        few = _candidates(memory, _FEW, generator)
        if t % _READ_EVERY == 0:
            seen = agent.read(map_tensors(lambda part: part.to(device), memory))
        best = agent.weigh(seen, few.to(device)).logit.argmax(1, keepdim=True).cpu()
        x = torch.where(guided, pick(few, best).squeeze(1), x)
        wide = torch.rand(batch, generator=generator) < everywhere
        x = torch.where(wide.unsqueeze(1), torch.rand(batch, dim, generator=generator), x)
        memory = memory._replace(pending=ask(memory.pending, x))
        world, observation, _ = problem.step(world, x.to(device))


def ask_posterior(history: Found, candidates: Tensor, kernel: Kernel, noise: float) -> Lesson:
    """What the exact posterior says of candidates ``[B, P, d]``.

    Queries that are out are conditioned on as if they had returned its mean, and count as found
    (as in ``agents.posterior.suppose``). With noise, the incumbent is the lowest mean.
    """
    x, _, o = (part.double() for part in history.memory.evaluations)
    pending, out = (part.double() for part in history.memory.pending)
    points, there = torch.cat([x, pending], 1), torch.cat([o, out], 1)
    value = history.value * o
    seen = x, value, o
    found, _ = _predict(kernel, seen, points, noise)
    everything = points, torch.cat([value, found[:, x.shape[1] :]], 1), there
    mean, variance = _predict(kernel, everything, candidates.double(), noise)
    infinite = found.new_full((len(found), 1), torch.inf)
    lowest = torch.cat([found.masked_fill(there == 0, torch.inf), infinite], 1).amin(1)
    # Before anything has been asked, the prior mean is the incumbent.
    incumbent = torch.where(lowest.isinf(), 0.0, lowest).unsqueeze(1)
    count = o.sum(1, keepdim=True).clamp_min(1.0)
    centre = value.sum(1, keepdim=True) / count
    unit = (((value - centre).square() * o).sum(1, keepdim=True) / count).sqrt()
    unit = torch.where(unit > 0, unit, 1.0)
    return Lesson(
        history.memory,
        candidates,
        expected_improvement(mean, variance, incumbent).float(),
        ((mean - centre) / unit).float(),
        (variance.sqrt() / unit).float(),
    )


def acquisition_loss(agent: PFNAgent, given: Lesson) -> Tensor:
    """The share of the best candidate's improvement that the choice foregoes, plus the mismatch.

    The mismatch is the Kullback-Leibler divergence of the network's normal distribution from that
    of the posterior, averaged over the candidates; it teaches the network what the choice needs.

    Returns:
        ``[B]``.
    """
    belief = agent(given.memory, given.candidates)
    chosen = (belief.logit.softmax(-1) * given.improvement).sum(-1)
    choice = 1.0 - chosen / given.improvement.amax(-1).clamp_min(1e-9)
    deviation = given.deviation.clamp_min(_LEAST_DEVIATION)
    square = deviation.square() + (given.mean - belief.mean).square()
    ratio = belief.log_deviation - deviation.log()
    mismatch = ratio + 0.5 * square * (-2.0 * belief.log_deviation).exp() - 0.5
    result: Tensor = choice + _MATCH * mismatch.clamp_max(_LARGEST_MATCH).mean(-1)
    return result


def _predict(
    kernel: Kernel, evaluations: tuple[Tensor, Tensor, Tensor], points: Tensor, noise: float
) -> tuple[Tensor, Tensor]:
    """Posterior means and variances ``[B, P]``; those of the prior where nothing is known."""
    if not evaluations[0].shape[1]:
        return torch.zeros_like(points[..., 0]), torch.ones_like(points[..., 0])
    noise_variance = max(noise**2, 1e-6)
    mean, variance = predict_along(kernel, evaluations, points.unsqueeze(1), noise_variance)
    return mean.squeeze(1), variance.squeeze(1)


def _candidates(memory: Memory, number: int, generator: torch.Generator) -> Tensor:
    """Points ``[B, number, d]``, a third of them all over the cube, the others around the best."""
    batch, dim = memory.history.best_x.shape
    wide = torch.rand(batch, number // 3, dim, generator=generator)
    return torch.cat([_around(memory, number - number // 3, generator), wide], 1)


def _around(memory: Memory, number: int, generator: torch.Generator) -> Tensor:
    """Points ``[B, number, d]`` around the incumbent, or one of the best."""
    best = memory.history.best_x
    centres = best.unsqueeze(1).expand(-1, number, -1)
    y = memory.evaluations.y.masked_fill(memory.evaluations.o == 0, torch.inf)
    if y.shape[1]:
        top = y.topk(min(CENTRES, y.shape[1]), 1, largest=False)
        chosen = torch.randint(top.indices.shape[1], (len(best), number), generator=generator)
        good = pick(memory.evaluations.x, top.indices.gather(1, chosen))
        other = torch.rand(len(best), number, generator=generator) < 0.5
        other &= top.values.gather(1, chosen).isfinite()
        centres = torch.where(other.unsqueeze(-1), good, centres)
    return _beside(centres, generator)


def _beside(centres: Tensor, generator: torch.Generator) -> Tensor:
    """A point near or far from each centre ``[B, number, d]``."""
    first, last = (math.log(reach) for reach in NEAR)
    share = torch.rand(*centres.shape[:2], 1, generator=generator)
    step = torch.randn(centres.shape, generator=generator)
    return (centres + (first + share * (last - first)).exp() * step).clamp(0.0, 1.0)
