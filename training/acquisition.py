"""Teaching a network to weigh candidates: histories of any kind, and what a posterior says of them.

No back-propagation through time: the network is shown what a random local search has found on
samples of a Gaussian process, and candidates for the next query. The exact posterior, which only
training knows, says how much each candidate is expected to improve (Jones et al. 1998). As in
Müller et al. 2023, "PFNs4BO", histories are not the network's own, and any will do.
"""

import math
from typing import Any, NamedTuple

import torch
from gymnasium.spaces import Box
from torch import Tensor

from agents.pending import ask
from agents.pfn import Belief, Memory, PFNAgent, no_memory, remember
from bbo_envs.core import Observation
from bbo_envs.functions.gp import expected_improvement, predict_along
from bbo_envs.functions.kernels import Kernel
from bbo_envs.problem import Problem, ProblemState

CANDIDATES = 64
# The candidates' distances from what they are drawn around, and their share in the cube at large.
_REACH = (0.01, 0.5)
# A quarter of the functions is seen through a warp exp(a y), a up to this.
_WARPED, _MOST_WARPED = 0.25, 2.0
# What the match of the posterior counts beside the choice; its terms are cut off where a candidate
# is all but certain.
_MATCH, _LARGEST_MATCH, _LEAST_DEVIATION = 0.3, 50.0, 1e-3


class LocalSearchState(NamedTuple):
    """State of ``LocalSearch``.

    Attributes:
        memory: All that has been found.
        generator: The source of its draws.
        everywhere: ``[B]`` how often a row looks all over the cube.
        warp: ``[B]`` the a of exp(a y); 0 where values are seen as they are.
        value: ``[B, t]`` the values as they were before the warp.
    """

    memory: Memory
    generator: torch.Generator
    everywhere: Tensor
    warp: Tensor
    value: Tensor


class LocalSearch:
    """An agent whose queries lie all over the cube, or around one of the best points so far."""

    def init(
        self, batch: int, space: Box, budget: int, generator: torch.Generator
    ) -> LocalSearchState:
        memory = no_memory(batch, space.shape[0], budget, torch.float32, torch.device("cpu"))
        chance = torch.rand(3, batch, generator=generator)
        warp = torch.where(chance[1] < _WARPED, _MOST_WARPED * chance[2], 0.0)
        return LocalSearchState(
            memory, generator, chance[0].square(), warp.double(), torch.zeros(batch, 0).double()
        )

    def step(
        self, state: LocalSearchState, observation: Observation
    ) -> tuple[Tensor, LocalSearchState]:
        state = see(state, observation)
        memory, generator = state.memory, state.generator
        batch, dim = memory.history.best_x.shape
        x = around(memory, 1, generator).squeeze(1)
        wide = torch.rand(batch, generator=generator) < state.everywhere
        x = torch.where(wide.unsqueeze(1), torch.rand(batch, dim, generator=generator), x)
        return x, state._replace(memory=memory._replace(pending=ask(memory.pending, x)))


def see(state: LocalSearchState, observation: Observation) -> LocalSearchState:
    """Takes in an observation, its value through the row's warp."""
    y = observation.y.detach().double()
    a = state.warp
    warped = torch.where(a > 0, torch.expm1(a * y) / a.clamp_min(1e-9), y)
    back = bool((observation.o > 0).any())
    value = torch.cat([state.value, y.unsqueeze(1)], 1) if back else state.value
    shown = Observation(observation.x.detach().float().cpu(), warped.cpu(), observation.o.cpu())
    return state._replace(memory=remember(state.memory, shown), value=value)


def around(memory: Memory, number: int, generator: torch.Generator) -> Tensor:
    """Points ``[B, number, d]`` around the incumbent or one of the eight best."""
    best, dim = memory.history.best_x, memory.history.best_x.shape[1]
    centres = best.unsqueeze(1).expand(-1, number, -1)
    y = memory.evaluations.y.masked_fill(memory.evaluations.o == 0, torch.inf)
    if y.shape[1]:
        top = y.topk(min(8, y.shape[1]), 1, largest=False)
        chosen = torch.randint(top.indices.shape[1], (len(best), number), generator=generator)
        index = top.indices.gather(1, chosen)
        good = memory.evaluations.x.gather(1, index.unsqueeze(-1).expand(-1, -1, dim))
        other = torch.rand(len(best), number, generator=generator) < 0.5
        other &= top.values.gather(1, chosen).isfinite()
        centres = torch.where(other.unsqueeze(-1), good, centres)
    return beside(centres, generator)


def beside(centres: Tensor, generator: torch.Generator) -> Tensor:
    """A point near or far from each centre ``[B, number, d]``."""
    first, last = (math.log(reach) for reach in _REACH)
    share = torch.rand(*centres.shape[:2], 1, generator=generator)
    step = torch.randn(centres.shape, generator=generator)
    return (centres + (first + share * (last - first)).exp() * step).clamp(0.0, 1.0)


class Lesson(NamedTuple):
    """What the network is taught on a batch of histories.

    Attributes:
        memory: The histories.
        candidates: ``[B, P, d]``.
        improvement: ``[B, P]`` the expected improvement of each.
        mean: ``[B, P]`` the posterior mean of f before the warp, in its running deviations.
        deviation: ``[B, P]`` its deviation in the same unit.
    """

    memory: Memory
    candidates: Tensor
    improvement: Tensor
    mean: Tensor
    deviation: Tensor


def lesson(
    problem: Problem, start: tuple[ProblemState, Observation], generator: torch.Generator
) -> Lesson:
    """Plays a local search on a problem whose functions are GP samples, and asks the posterior.

    The histories hold one query fewer than the problem's budget, those still out included.
    """
    agent = LocalSearch()
    functions: Any = problem.functions
    with torch.no_grad():
        world, observation = start
        state = agent.init(len(observation.y), problem.space, problem.budget, generator)
        for _ in range(problem.budget - 1):
            x, state = agent.step(state, observation)
            world, observation, _ = problem.step(world, x)
        state = see(state, observation)
        quarter = CANDIDATES // 4
        wide = torch.rand(len(state.warp), quarter, functions.dim, generator=generator)
        points = torch.cat([around(state.memory, CANDIDATES - 2 * quarter, generator), wide], 1)
        # A quarter around the best of the others, where the network will look last.
        first = _asked(state, points, functions.kernel, problem.noise)
        best = first.improvement.argmax(1)[:, None, None].expand(-1, 1, functions.dim)
        further = beside(points.gather(1, best).expand(-1, quarter, -1), generator)
        points = torch.cat([points, further], 1)
        return _asked(state, points, functions.kernel, problem.noise)


def _asked(state: LocalSearchState, candidates: Tensor, kernel: Kernel, noise: float) -> Lesson:
    """What the exact posterior says of candidates.

    Queries that are out are conditioned on as if they had returned its mean, and count as found
    (as in ``agents.posterior.suppose``). With noise, the incumbent is the lowest mean.
    """
    x, _, o = (part.double() for part in state.memory.evaluations)
    pending = state.memory.pending.x.double()
    there = torch.cat([o, state.memory.pending.there.double()], 1)
    variance = max(noise**2, 1e-6)

    def ask_posterior(y: Tensor, known: int, points: Tensor) -> tuple[Tensor, Tensor]:
        if not known:
            return torch.zeros_like(points[..., 0]), torch.ones_like(points[..., 0])
        evaluations = everything[:, :known], y, there[:, :known]
        mean, deviation = predict_along(kernel, evaluations, points.unsqueeze(1), variance)
        return mean.squeeze(1), deviation.squeeze(1)

    everything = torch.cat([x, pending], 1)
    value = state.value * o
    found, _ = ask_posterior(value, x.shape[1], everything)
    value_and_fantasy = torch.cat([value, found[:, x.shape[1] :]], 1)
    mean, spread = ask_posterior(value_and_fantasy, everything.shape[1], candidates.double())
    incumbent = found.masked_fill(there == 0, torch.inf)
    # The prior mean, before anything has been asked.
    nothing = incumbent.new_zeros(len(incumbent), 1)
    incumbent = torch.where(
        there.sum(1) > 0, torch.cat([incumbent, nothing + torch.inf], 1).amin(1), 0.0
    )
    improvement = expected_improvement(mean, spread, incumbent.unsqueeze(1))
    count = o.sum(1, keepdim=True).clamp_min(1.0)
    centre = value.sum(1, keepdim=True) / count
    unit = (((value - centre).square() * o).sum(1, keepdim=True) / count).sqrt()
    unit = torch.where(unit > 0, unit, 1.0)
    return Lesson(
        state.memory,
        candidates,
        improvement.float(),
        ((mean - centre) / unit).float(),
        (spread.sqrt() / unit).float(),
    )


def acquisition_loss(agent: PFNAgent, given: Lesson) -> Tensor:
    """How much of the best candidate's improvement the choice foregoes, and the posterior's match.

    Returns:
        ``[B]``.
    """
    belief: Belief = agent(given.memory, given.candidates)
    chosen = (belief.logit.softmax(-1) * given.improvement).sum(-1)
    choice = 1.0 - chosen / given.improvement.amax(-1).clamp_min(1e-9)
    deviation = given.deviation.clamp_min(_LEAST_DEVIATION)
    match = (
        belief.log_deviation
        - deviation.log()
        + (deviation.square() + (given.mean - belief.mean).square())
        / (2.0 * (2.0 * belief.log_deviation).exp())
        - 0.5
    )
    return choice + _MATCH * match.clamp_max(_LARGEST_MATCH).mean(-1)
