"""Ways to go on beyond the horizon that a network was trained for, side by side.

Run as ``python -m evaluation.horizon RESULTS`` (``make horizon``). A network may just go on, told
the whole budget; begin anew with no memory whenever its horizon is over, as ``agents.restarts``
has it; or begin anew with the last evaluations shown to it again: a sliding memory.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from gymnasium.spaces import Box
from rich.console import Console
from torch import Tensor

from agents import Agent, Network, make_agent
from agents.features import Evaluations, no_evaluations, record
from agents.make import trained_name
from agents.restarts import Restarting, horizon_of
from bbo_envs.core import Observation
from bbo_envs.problem import Problem
from bbo_envs.suites import FOURIER, TaskSpec
from evaluation.benchmark import carry_out
from evaluation.entrants import enter
from evaluation.figures import describe
from evaluation.markdown import table, with_interval
from evaluation.metrics import mean_and_interval
from evaluation.plan import Plan, plan
from evaluation.run import evaluations_of

WAYS = ("goes on", "restarts", "sliding memory")
NETWORKS = ("lstm-oi", "dnc-oi", "universal", "posterior-guided")
RIVALS = ("tpe", "random")
_GP = TaskSpec("BBO-GP-v0", {**FOURIER, "dim": 6})
SETTINGS = [
    *((_GP, budget) for budget in (100, 200, 400)),
    *(
        (TaskSpec(f"BBO-{name}-6d-v0", {"perturb": True}), 200)
        for name in ("Hartmann", "Rastrigin", "Ackley")
    ),
]
FUNCTIONS = 64


class SlidingMemoryState(NamedTuple):
    """State of a ``SlidingMemory`` agent: the network's, and what is shown to it again."""

    network: Any
    space: Box
    generator: torch.Generator
    left: int
    since: int
    evaluations: Evaluations


class SlidingMemory:
    """A network that, when its horizon is over, is shown the last half of it as a new run.

    For one worker.

    Args:
        network: The network.
        horizon: The longest run.
    """

    def __init__(self, network: Network, horizon: int) -> None:
        self.network, self.horizon = network, horizon

    def init(
        self, batch: int, space: Box, budget: int, generator: torch.Generator
    ) -> SlidingMemoryState:
        """The network's first state."""
        network = self.network.init(batch, space, min(budget, self.horizon), generator)
        like = next(self.network.parameters())
        (dim,) = space.shape
        nothing = no_evaluations(batch, dim, like.dtype, like.device)
        return SlidingMemoryState(network, space, generator, budget, 0, nothing)

    def step(
        self, state: SlidingMemoryState, observation: Observation
    ) -> tuple[Tensor, SlidingMemoryState]:
        """The network's next query ``[B, d]``."""
        evaluations = state.evaluations
        if bool((observation.o > 0).all()):
            kept = self.horizon // 2
            evaluations = Evaluations(
                *(part[:, -kept:] for part in record(evaluations, observation))
            )
        network, since = state.network, state.since
        if since == self.horizon:
            since = evaluations.y.shape[1]
            budget = min(self.horizon, since + state.left)
            network = self.network.init(len(observation.y), state.space, budget, state.generator)
            observation = Observation(*(torch.zeros_like(part) for part in observation))
            for x, y, o in zip(*(part.unbind(1) for part in evaluations), strict=True):
                _, network = self.network.step(network, observation)
                network = self.network.asked(network, x)
                observation = Observation(x.to(observation.x), y, o.to(observation.o))
        x, network = self.network.step(network, observation)
        return x, SlidingMemoryState(
            network, state.space, state.generator, state.left - 1, since + 1, evaluations
        )


@dataclass(frozen=True)
class Beyond:
    """Makes a network that goes on in one of these ``WAYS`` for a problem."""

    network: str
    way: str

    def __call__(self, problem: Problem) -> Agent:
        """The agent."""
        network: Any = make_agent(self.network, problem)
        if self.way == "goes on":
            agent: Agent = network
            return agent
        horizon = horizon_of(trained_name(self.network, problem.functions.dim))
        assert horizon is not None  # the cards of these tell
        return (Restarting if self.way == "restarts" else SlidingMemory)(network, horizon)


def experiments(functions: int = FUNCTIONS) -> Plan:
    """What is played."""
    names = {f"{network}, {way}": Beyond(network, way) for network in NETWORKS for way in WAYS}
    whole = Plan()
    for task, budget in SETTINGS:
        entrants = enter({**names, **{name: name for name in RIVALS}})
        whole += plan(entrants, [task], budget=budget, seeds=range(functions), batch=functions)
    return whole


def measure(folder: Path, console: Console) -> pd.DataFrame:
    """Plays what the folder does not hold yet; the best values at the end of each run."""
    return ends(carry_out(experiments(), folder, console=console))


def ends(frame: pd.DataFrame) -> pd.DataFrame:
    """The last evaluation of each run, and no more of it than the tables show.

    Args:
        frame: A row per evaluation, as ``evaluation.store`` has it.
    """
    last = frame["t"] == frame["budget"]
    return frame.loc[last, ["agent", "task", "arguments", "budget", "seed", "t", "best"]]


def markdown(frame: pd.DataFrame) -> str:
    """A table: the mean best value of each network by each way, with its 95 % interval.

    Args:
        frame: See ``measure``.
    """
    agents = [f"{network}, {way}" for network in NETWORKS for way in WAYS]
    return best_at_the_end(frame, [*agents, *RIVALS], SETTINGS)


def best_at_the_end(
    frame: pd.DataFrame, agents: Sequence[str], settings: Sequence[tuple[TaskSpec, int]]
) -> str:
    """A table: the mean best value of each agent on each task with a budget.

    Args:
        frame: See ``ends``.
        agents: Their names, a row each.
        settings: A column each.
    """
    headings = ["", *(f"{describe(task)}, {budget}" for task, budget in settings)]
    rows = []
    for agent in agents:
        cells = []
        for task, budget in settings:
            own = evaluations_of(frame[frame["agent"] == agent], task)
            best = own.loc[own["budget"] == budget, "best"]
            cells.append(with_interval(*mean_and_interval(best)) if len(best) else "")
        rows.append([agent, *cells])
    return table(headings, rows, "l" + "r" * len(settings))


def main() -> None:
    """Measures, into the folder named on the command line."""
    print(markdown(measure(Path(*sys.argv[1:] or ["results/horizon"]), Console())))


if __name__ == "__main__":
    main()
