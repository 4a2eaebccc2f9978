"""The benchmark: every (agent, task, seed) is one unit of work, through one loop."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

import torch
from gymnasium.spaces import Box
from torch import Tensor

from agents import make_agent
from agents.base import Agent
from bbo_envs.core import Observation
from bbo_envs.registration import make_problem
from bbo_envs.seeds import agent_generator
from bbo_envs.suites import FOURIER, TaskSpec
from training.rollout import steps
from training.score import held_out

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Unit:
    """One agent on one function: the unit of work, of failure, and of spreading over processes."""

    agent: str
    task: TaskSpec
    seed: int
    budget: int


Row = dict[str, Any]

# Fourier features, so that a seed means the same function for every agent; perturbed, so that it
# means another one than the next seed.
DEFAULT_TASKS = (
    TaskSpec("BBO-GP-6d-v0", FOURIER),
    TaskSpec("BBO-Branin-2d-v0", {"perturb": True}),
)


def run_unit(unit: Unit) -> list[Row]:
    """Plays one agent on one held-out function.

    The function and its noise depend on the seed alone, so that all agents meet the same ones; an
    agent's own randomness comes from another stream.

    Returns:
        A row per evaluation: agent, task, arguments (JSON), seed, t, x, value (noise-free), best
        (so far), regret (of the best; None where the minimum is not known), clock (when the query
        was asked), seconds (to propose it), error. A unit that fails keeps the rows made so far
        and adds one with the error.

    Example:
        >>> rows = run_unit(Unit("random", TaskSpec("BBO-Branin-2d-v0"), seed=0, budget=3))
        >>> [row["t"] for row in rows]
        [1, 2, 3]
    """
    rows: list[Row] = []
    common = {
        "agent": unit.agent,
        "task": unit.task.id,
        "arguments": unit.task.arguments_json,
        "seed": unit.seed,
    }
    best = float("inf")
    try:
        problem = make_problem(unit.task.id, budget=unit.budget, **unit.task.arguments)
        agent = _Timed(make_agent(unit.agent, problem))
        start = held_out(problem, range(unit.seed, unit.seed + 1))
        optimum = problem.functions.optimum(start[0].function)
        minimum = None if optimum is None else float(optimum[0])
        clock = 0.0
        with torch.no_grad():
            for step in steps(agent, problem, start, agent_generator(unit.seed)):
                value = float(step.info.value[0])
                best = min(best, value)
                rows.append(
                    common
                    | {
                        "t": len(rows) + 1,
                        "x": step.x[0].tolist(),
                        "value": value,
                        "best": best,
                        "regret": None if minimum is None else best - minimum,
                        "clock": clock,
                        "seconds": agent.seconds,
                        "error": None,
                    }
                )
                clock = float(step.state.clock[0])
    except Exception as error:  # Whatever one unit does must not end the others.
        empty = dict.fromkeys(("x", "value", "best", "regret", "clock", "seconds"))
        message = f"{type(error).__name__}: {error}"
        rows.append(common | {"t": len(rows) + 1} | empty | {"error": message})
    return rows


def run_units(units: Sequence[Unit], jobs: int) -> Iterator[list[Row]]:
    """Runs units in parallel.

    Args:
        units: What to run, in the order in which to start it.
        jobs: The number of processes, of one thread each; 1 runs everything in this one.

    Yields:
        The rows of each unit as it ends.
    """
    if jobs == 1:
        yield from map(run_unit, units)
        return
    # Spawned, not forked: PyTorch's threads do not survive a fork.
    with ProcessPoolExecutor(jobs, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        futures: list[Future[list[Row]]] = [pool.submit(run_unit, unit) for unit in units]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def evaluations_of(evaluations: "pd.DataFrame", task: TaskSpec) -> "pd.DataFrame":
    """The rows of a frame of evaluations that belong to a task with its arguments."""
    chosen = (evaluations["task"] == task.id) & (evaluations["arguments"] == task.arguments_json)
    return evaluations[chosen]


class _Timed:
    """Measures how long an agent takes to propose; the objective's time is not in it."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.seconds = 0.0

    def init(self, batch: int, space: Box, budget: int, generator: torch.Generator) -> Any:
        return self.agent.init(batch, space, budget, generator)

    def step(self, state: Any, observation: Observation) -> tuple[Tensor, Any]:
        started = time.perf_counter()
        proposal = self.agent.step(state, observation)
        self.seconds = time.perf_counter() - started
        return proposal
