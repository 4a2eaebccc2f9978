"""Networks beside their rivals on GP samples: the same functions for all, in one run.

Run as ``python -m evaluation.comparison RESULTS`` (``make compare``). A network is told its budget,
so each of its figures comes from a run of that budget; a rival has one run of the longest.
"""

import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from rich.progress import track

from agents import CLASSICAL, make_agent
from bbo_envs.errors import MissingExtraError
from bbo_envs.registration import make_problem
from bbo_envs.seeds import agent_generator
from bbo_envs.suites import FOURIER
from evaluation.markdown import table
from evaluation.metrics import mean_and_interval
from training.rollout import unroll
from training.score import held_out, milestones

FILE = "comparison.parquet"
RIVALS = ("random", "cmaes", "tpe", "tpe-univariate", "gp-ei", "gp-ei-known")
ANY_DIMENSION = ("universal", "posterior-guided")
FLAT = ("lstm-oi", "dnc-oi")
FUNCTIONS = 128


class Setting(NamedTuple):
    """What a group of optimisers is compared on.

    Attributes:
        dim: The number of coordinates of the GP samples.
        horizon: The longest budget.
        agents: Who takes part.
    """

    dim: int
    horizon: int
    agents: tuple[str, ...]


class Run(NamedTuple):
    """One optimiser on all functions of a setting, with one budget."""

    agent: str
    dim: int
    budget: int
    functions: int


_LOSSES = tuple(f"{kind}-{loss}" for kind in ("lstm", "dnc") for loss in ("sum", "oi", "ei"))
SETTINGS = (
    Setting(6, 100, (*_LOSSES, *ANY_DIMENSION, *RIVALS)),
    *(Setting(d, 100, (*FLAT, *ANY_DIMENSION, *RIVALS)) for d in (1, 2, 3, 9)),
    # Dimensions and a horizon that no network has seen in training.
    *(Setting(d, 100, (*ANY_DIMENSION, "tpe", "tpe-univariate")) for d in (4, 12)),
    Setting(6, 150, (*ANY_DIMENSION, "tpe", "tpe-univariate")),
)


def runs(settings: Iterable[Setting], functions: int) -> list[Run]:
    """The runs that a comparison is made of, each once.

    Example:
        >>> [run.budget for run in runs([Setting(2, 50, ("universal",))], 8)]
        [10, 25, 50]
    """
    wanted = []
    for setting in settings:
        for agent in setting.agents:
            budgets = (setting.horizon,) if agent in CLASSICAL else milestones(setting.horizon)
            wanted += [Run(agent, setting.dim, budget, functions) for budget in budgets]
    return list(dict.fromkeys(wanted))


def play(run: Run) -> pd.DataFrame:
    """Plays a run: a row for each function and milestone, with the best value so far."""
    torch.set_num_threads(1)
    arguments: dict[str, Any] = {**FOURIER, "dim": run.dim, "budget": run.budget}
    problem = make_problem("BBO-GP-v0", **arguments)
    with torch.no_grad():
        start = held_out(problem, range(run.functions))
        played = unroll(make_agent(run.agent, problem), problem, start, agent_generator(0))
    best = played.value.cummin(1).values
    marks = milestones(run.budget)
    return pd.DataFrame(
        {
            "agent": run.agent,
            "dim": run.dim,
            "budget": run.budget,
            "seed": [seed for seed in range(run.functions) for _ in marks],
            "t": marks * run.functions,
            "best": best[:, [t - 1 for t in marks]].flatten().tolist(),
        }
    )


def compare(
    settings: Sequence[Setting] = SETTINGS,
    functions: int = FUNCTIONS,
    folder: Path = Path("results"),
    jobs: int = 2,
) -> pd.DataFrame:
    """Plays all runs that the folder does not hold yet, and keeps each as it is done.

    Args:
        settings: What to compare.
        functions: Held-out functions of each dimension.
        folder: Where ``comparison.parquet`` goes.
        jobs: Processes.
    """
    path = folder / FILE
    folder.mkdir(parents=True, exist_ok=True)
    frame = pd.read_parquet(path) if path.exists() else pd.DataFrame()
    done = (
        set()
        if frame.empty
        else set(zip(frame["agent"], frame["dim"], frame["budget"], strict=True))
    )
    wanted = [run for run in runs(settings, functions) if tuple(run)[:3] not in done]
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        futures = {pool.submit(play, run): run for run in wanted}
        for future in track(as_completed(futures), "runs", total=len(futures)):
            try:
                frame = pd.concat([frame, future.result()], ignore_index=True)
            except (MissingExtraError, ValueError) as error:
                print(f"{futures[future]} is left out: {error}")
                continue
            frame.to_parquet(path)
    return frame


def markdown(frame: pd.DataFrame, settings: Sequence[Setting] = SETTINGS) -> str:
    """A table for each setting: the mean best value with its 95 % interval."""
    lines = []
    for setting in settings:
        marks = milestones(setting.horizon)
        found = {agent: _bests(frame, agent, setting, marks) for agent in setting.agents}
        shown = [agent for agent, bests in found.items() if bests]
        if shown:
            shown.sort(key=lambda agent: found[agent][-1][0])
            headings = ["optimiser", *(f"@{t}" for t in marks)]
            rows = [
                [f"`{agent}`", *(f"{mean:.2f} ± {half:.2f}" for mean, half in found[agent])]
                for agent in shown
            ]
            lines += [f"**d = {setting.dim}, {setting.horizon} evaluations**", ""]
            lines += [table(headings, rows, "l" + "r" * len(marks)), ""]
    return "\n".join(lines)


def _bests(
    frame: pd.DataFrame, agent: str, setting: Setting, marks: Sequence[int]
) -> list[tuple[float, float]]:
    """Mean and half width after each milestone; nothing for an agent that took no part."""
    own = frame[(frame["agent"] == agent) & (frame["dim"] == setting.dim)]
    bests = []
    for t in marks:
        budget = setting.horizon if agent in CLASSICAL else t
        at = own[(own["t"] == t) & (own["budget"] == budget)]
        if at.empty:
            return []
        bests.append(mean_and_interval(at["best"]))
    return bests


def main() -> None:
    """Compares, into the folder named on the command line."""
    print(markdown(compare(folder=Path(*sys.argv[1:] or ["results"]))))


if __name__ == "__main__":
    main()
