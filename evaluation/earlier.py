"""Earlier results, told to a network before its first query: does its clock run meanwhile?

Run as ``python -m evaluation.earlier RESULTS`` (``make earlier``). The clock tells a network how
much of its budget is left. It may stand still while results are told that others have found, as
``agents.AskTell`` has it, or run on as if the network had made their queries itself; or the network
is told nothing of them.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from gymnasium.spaces import Box
from rich.console import Console
from torch import Tensor

from agents import Agent, Network, make_agent
from bbo_envs.core import Observation
from bbo_envs.problem import Problem
from bbo_envs.suites import FOURIER, TaskSpec
from evaluation.benchmark import carry_out
from evaluation.entrants import enter
from evaluation.horizon import best_at_the_end, ends
from evaluation.plan import Plan, plan

WAYS = ("clock stands still", "clock runs", "not told")
NETWORKS = ("lstm-oi", "dnc-oi", "universal", "posterior-guided")
# What networks evaluate themselves, after so many uniform points.
OWN = 50
_GP = TaskSpec("BBO-GP-v0", {**FOURIER, "dim": 6})
_HARTMANN = TaskSpec("BBO-Hartmann-6d-v0", {"perturb": True})
SETTINGS = [*((_GP, number + OWN) for number in (10, 50, 200)), (_HARTMANN, 50 + OWN)]
FUNCTIONS = 64
_PAIRS = [(network, way) for network in NETWORKS for way in WAYS]


class EarlierState(NamedTuple):
    """State of an ``Earlier`` agent: the network's, points ``[B, n, d]``, and queries so far."""

    network: Any
    points: Tensor
    made: int


class Earlier:
    """A network that makes its queries after uniform points have been evaluated.

    Args:
        network: The network.
        way: One of ``WAYS``.
    """

    def __init__(self, network: Network, way: str) -> None:
        self.network, self.way = network, way

    def init(self, batch: int, space: Box, budget: int, generator: torch.Generator) -> EarlierState:
        """The network's first state; the last ``OWN`` queries of the budget are its own."""
        points = torch.rand(batch, budget - OWN, *space.shape, generator=generator)
        return EarlierState(self.network.init(batch, space, OWN, generator), points, 0)

    def step(self, state: EarlierState, observation: Observation) -> tuple[Tensor, EarlierState]:
        """The next point, or else the network's next query, ``[B, d]``."""
        network, points, made = state
        earlier = points.shape[1]
        if made == earlier and self.way == "not told":
            observation = Observation(*(torch.zeros_like(part) for part in observation))
        if made >= earlier:
            x, network = self.network.step(network, observation)
        else:
            x = points[:, made]
            network = self._told(network, observation, x)
        return x, EarlierState(network, points, made + 1)

    def _told(self, network: Any, observation: Observation, x: Tensor) -> Any:
        """The network's state where a result has come back, and a point x is out."""
        if self.way == "not told":
            return network
        _, network = self.network.step(network, observation)
        if self.way == "clock runs":
            return self.network.asked(network, x)
        return self.network.announced(self.network.asked(network, None), x)


@dataclass(frozen=True)
class After:
    """Makes a network that is told of earlier results in one of these ``WAYS`` for a problem."""

    network: str
    way: str

    def __call__(self, problem: Problem) -> Agent:
        """The agent."""
        network: Any = make_agent(self.network, problem)
        return Earlier(network, self.way)


def experiments(functions: int = FUNCTIONS) -> Plan:
    """What is played."""
    whole = Plan()
    entrants = enter({_named(network, way): After(network, way) for network, way in _PAIRS})
    for task, budget in SETTINGS:
        whole += plan(entrants, [task], budget=budget, seeds=range(functions), batch=functions)
    return whole


def measure(folder: Path, console: Console) -> pd.DataFrame:
    """Plays what the folder does not hold yet; the best values at the end of each run."""
    return ends(carry_out(experiments(), folder, console=console))


def markdown(frame: pd.DataFrame) -> str:
    """A table: the mean best value of each network by each way, with its 95 % interval.

    Args:
        frame: See ``measure``.
    """
    return best_at_the_end(frame, [_named(network, way) for network, way in _PAIRS], SETTINGS)


def _named(network: str, way: str) -> str:
    return f"{network}, {way}"


def main() -> None:
    """Measures, into the folder named on the command line."""
    print(markdown(measure(Path(*sys.argv[1:] or ["results/earlier"]), Console())))


if __name__ == "__main__":
    main()
