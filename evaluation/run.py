"""Playing optimisers on tasks: every (agent, task, seed) is one unit of work, by one loop."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from gymnasium.spaces import Box
from torch import Tensor

from agents.base import Agent
from bbo_envs.core import Observation, stack
from bbo_envs.registration import make_problem
from bbo_envs.seeds import agent_generator
from bbo_envs.suites import TaskSpec
from evaluation.entrants import Entrant
from training.rollout import Step, steps
from training.score import held_out

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, Any]
_UNMADE = ("asked", "finished", "x", "y", "best", "regret", "seconds")


@dataclass(frozen=True)
class Unit:
    """One optimiser on one function: the unit of work, and of failure."""

    entrant: Entrant
    task: TaskSpec
    seed: int
    budget: int

    @property
    def key(self) -> tuple[str, str, str, str, int, int]:
        """What tells it from all others; see ``store.UNIT``."""
        name, version = self.entrant.name, self.entrant.version
        return name, version, self.task.id, self.task.arguments_json, self.budget, self.seed


def play(units: Sequence[Unit]) -> list[Row]:
    """Plays units that differ in nothing but their seeds, side by side.

    The function and its noise depend on the seed alone, so that all optimisers meet the same ones;
    an optimiser's own randomness comes from another stream, of the seed too. So it plays beside
    others what it plays alone, up to rounding; save that the LSTM and the DNC draw for all
    functions together.

    Returns:
        A row per evaluation (``store.SCHEMA``). A unit that fails keeps the rows made so far and
        adds one with the error. If several fail side by side, each is played alone.

    Example:
        >>> from evaluation.entrants import enter
        >>> (entrant,) = enter(["random"])
        >>> rows = play([Unit(entrant, TaskSpec("BBO-Branin-2d-v0"), seed=0, budget=3)])
        >>> [row["t"] for row in rows]
        [1, 2, 3]
    """
    rows: list[list[Row]] = [[] for _ in units]
    try:
        _play(units, rows)
    except Exception as error:  # Whatever one unit does must not end the others.
        if len(units) > 1:
            return [row for unit in units for row in play([unit])]
        made = dict.fromkeys(_UNMADE) | {"t": len(rows[0]) + 1, "reference": None, "batch": 1}
        rows[0].append(_common(units[0]) | made | {"error": f"{type(error).__name__}: {error}"})
    return [row for own in rows for row in own]


def _play(units: Sequence[Unit], rows: list[list[Row]]) -> None:
    """Adds to each unit's rows as they are made, so that an error leaves those before it."""
    task, budget = units[0].task, units[0].budget
    seeds = [unit.seed for unit in units]
    problem = make_problem(task.id, budget=budget, **task.arguments)
    agent = _Played(units[0].entrant.make(problem), seeds)
    start = held_out(problem, seeds)
    optimum = problem.functions.optimum(start[0].function)
    minima = None if optimum is None else optimum.expand(len(units)).tolist()
    best = [float("inf")] * len(units)
    clock = start[0].clock
    with torch.no_grad():
        for step in steps(agent, problem, start, agent_generator(seeds[0])):
            xs, values, finished = step.x.tolist(), step.info.value.tolist(), _finished(step, clock)
            for i, unit in enumerate(units):
                best[i] = min(best[i], values[i])
                made = {
                    "t": step.state.t,
                    "asked": clock[i].item(),
                    "finished": finished[i],
                    "x": xs[i],
                    "y": values[i],
                    "best": best[i],
                    "regret": None if minima is None else best[i] - minima[i],
                    "reference": problem.functions.prior_mean,
                    "seconds": agent.seconds,
                    "batch": len(units),
                    "error": None,
                }
                rows[i].append(_common(unit) | made)
            clock = step.state.clock


def _common(unit: Unit) -> Row:
    names = ("agent", "version", "task", "arguments", "budget", "seed")
    return dict(zip(names, unit.key, strict=True))


def _finished(step: Step, asked: Tensor) -> list[float]:
    """The simulated times at which the evaluations asked for by a step end."""
    finished: list[float] = (asked + step.state.runtime[:, step.state.t - 1]).tolist()
    return finished


def evaluations_of(evaluations: "pd.DataFrame", task: TaskSpec) -> "pd.DataFrame":
    """The rows of a frame of evaluations that belong to a task with its arguments."""
    chosen = (evaluations["task"] == task.id) & (evaluations["arguments"] == task.arguments_json)
    return evaluations[chosen]


class _Played:
    """An agent whose rows begin as they would alone, and whose time to propose is measured.

    The objective's time is not in it.
    """

    def __init__(self, agent: Agent, seeds: Sequence[int]) -> None:
        self.agent = agent
        self.seeds = seeds
        self.seconds = 0.0

    def init(self, batch: int, space: Box, budget: int, generator: torch.Generator) -> Any:
        alone = [self.agent.init(1, space, budget, agent_generator(seed)) for seed in self.seeds]
        if len(alone) == 1:
            return alone[0]
        if isinstance(alone[0], list):  # of objects of a library, one for each function
            return [own for state in alone for own in state]
        try:
            return stack(alone)
        except ValueError:  # It keeps its generator, and draws for all rows together.
            return self.agent.init(batch, space, budget, generator)

    def step(self, state: Any, observation: Observation) -> tuple[Tensor, Any]:
        started = time.perf_counter()
        proposal = self.agent.step(state, observation)
        self.seconds = time.perf_counter() - started
        return proposal
