"""Networks beside their rivals, on what they were trained for and on what they were not.

Run as ``python -m evaluation.comparison RESULTS`` (``make compare``). All meet the same functions.
A network is told its budget, so each of its figures comes from a run of that budget; a rival has
one run of the longest.
"""

import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from rich.progress import track
from scipy import stats

from agents import CLASSICAL, make_agent
from bbo_envs.errors import MissingExtraError
from bbo_envs.registration import make_problem
from bbo_envs.seeds import agent_generator
from bbo_envs.suites import FOURIER, TaskSpec, suite
from evaluation.figures import describe
from evaluation.markdown import table, with_interval
from evaluation.metrics import mean_and_interval
from evaluation.run import evaluations_of
from training.rollout import unroll
from training.score import held_out, milestones

FILE = "comparison.parquet"
RIVALS = ("random", "cmaes", "tpe", "gp-ei", "gp-ei-known")
ANY_DIMENSION = ("universal", "posterior-guided")
FLAT = ("lstm-oi", "dnc-oi")
FUNCTIONS = 64
# SMAC takes half a minute for a hundred queries.
FEWER = {"smac": 6}


_KEY = ["agent", "task", "arguments", "budget"]


class Setting(NamedTuple):
    """What a group of optimisers is compared on.

    Attributes:
        task: The task and its arguments.
        horizon: The longest budget.
        agents: Who takes part.
    """

    task: TaskSpec
    horizon: int
    agents: tuple[str, ...]


class Run(NamedTuple):
    """One optimiser on all functions of a setting, with one budget."""

    agent: str
    task: TaskSpec
    budget: int
    functions: int

    @property
    def key(self) -> tuple[str, str, str, int]:
        """What tells it apart in the file."""
        return self.agent, self.task.id, self.task.arguments_json, self.budget


def _gp(dim: int) -> TaskSpec:
    return TaskSpec("BBO-GP-v0", {**FOURIER, "dim": dim})


_LOSSES = tuple(f"{kind}-{loss}" for kind in ("lstm", "dnc") for loss in ("sum", "oi", "ei"))
ON_GP = (
    Setting(_gp(6), 100, (*_LOSSES, *ANY_DIMENSION, *RIVALS, "tpe-univariate", "smac")),
    *(Setting(_gp(d), 100, (*FLAT, *ANY_DIMENSION, *RIVALS)) for d in (1, 2, 3, 9)),
    # Dimensions and a horizon that no network has seen in training.
    *(Setting(_gp(d), 100, (*ANY_DIMENSION, "random", "tpe")) for d in (4, 12)),
    Setting(_gp(6), 150, (*ANY_DIMENSION, "random", "tpe")),
)
# No network has seen any function like these.
TRANSFER = tuple(
    Setting(task, 100, (*ANY_DIMENSION, "random", "cmaes", "tpe", "smac"))
    for task in suite("paper")
    if not task.id.startswith("BBO-GP") and "workers" not in task.arguments
)
SETTINGS = (*ON_GP, *TRANSFER)


def runs(settings: Iterable[Setting], functions: int) -> list[Run]:
    """The runs that a comparison is made of, each once.

    Example:
        >>> setting = Setting(TaskSpec("BBO-Branin-2d-v0"), 50, ("universal",))
        >>> [run.budget for run in runs([setting], 8)]
        [10, 25, 50]
    """
    wanted = {}
    for setting in settings:
        for agent in setting.agents:
            budgets = (setting.horizon,) if agent in CLASSICAL else milestones(setting.horizon)
            for budget in budgets:
                number = min(functions, FEWER.get(agent, functions))
                run = Run(agent, setting.task, budget, number)
                wanted[run.key] = run
    return list(wanted.values())


def play(run: Run) -> pd.DataFrame:
    """Plays a run: a row for each function and milestone, with the best value so far."""
    torch.set_num_threads(1)
    problem = make_problem(run.task.id, budget=run.budget, **run.task.arguments)
    with torch.no_grad():
        start = held_out(problem, range(run.functions))
        played = unroll(make_agent(run.agent, problem), problem, start, agent_generator(0))
    best = played.value.cummin(1).values
    marks = milestones(run.budget)
    return pd.DataFrame(
        {
            "agent": run.agent,
            "task": run.task.id,
            "arguments": run.task.arguments_json,
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
        functions: Held-out functions of each task.
        folder: Where ``comparison.parquet`` goes.
        jobs: Processes.
    """
    path = folder / FILE
    folder.mkdir(parents=True, exist_ok=True)
    frame = pd.read_parquet(path) if path.exists() else pd.DataFrame()
    done = set() if frame.empty else set(frame.groupby(_KEY).groups)
    wanted = [run for run in runs(settings, functions) if run.key not in done]
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
        found = {agent: _bests(frame, agent, setting) for agent in setting.agents}
        shown = {agent: bests for agent, bests in found.items() if not bests.empty}
        rows = []
        for agent in sorted(shown, key=lambda agent: float(shown[agent][marks[-1]].mean())):
            at = [mean_and_interval(shown[agent][t]) for t in marks]
            cells = [with_interval(*figure) for figure in at]
            rows.append([f"`{agent}`", str(len(shown[agent])), *cells])
        if rows:
            headings = ["optimiser", "n", *(f"@{t}" for t in marks)]
            lines += [f"**{describe(setting.task)}, {setting.horizon} evaluations**", ""]
            lines += [table(headings, rows, "lr" + "r" * len(marks)), ""]
    return "\n".join(lines)


def ranks(frame: pd.DataFrame, settings: Sequence[Setting] = TRANSFER) -> str:
    """Tables of average ranks over tasks of one horizon: 1 is best, ties share their ranks.

    Optimisers count that have played all tasks. There is a table for each number of functions that
    some have played, of those that have played as many. The interval of the average is that of the
    mean over functions on these tasks, not over tasks.
    """
    played = {
        agent: min(len(_bests(frame, agent, setting)) for setting in settings)
        for agent in settings[0].agents
    }
    lines = []
    for number in sorted(set(played.values()) - {0}, reverse=True):
        agents = [agent for agent in played if played[agent] >= number]
        lines += [f"**{number} functions of each task**", ""]
        lines += [_ranks(frame, settings, agents), ""]
    return "\n".join(lines)


def _ranks(frame: pd.DataFrame, settings: Sequence[Setting], agents: Sequence[str]) -> str:
    marks = milestones(settings[0].horizon)
    # [marks, agents, tasks] of means, and of the variances of these.
    means, variances = np.zeros((2, len(marks), len(agents), len(settings)))
    for column, setting in enumerate(settings):
        bests = {agent: _bests(frame, agent, setting) for agent in agents}
        for row, t in enumerate(marks):
            both = pd.concat({a: own[t] for a, own in bests.items()}, axis=1, join="inner")
            ranked = both.rank(axis=1).to_numpy()
            means[row, :, column] = ranked.mean(0)
            variances[row, :, column] = ranked.var(0, ddof=1) / len(ranked)
    average = means.mean(2)
    half = stats.norm.ppf(0.975) * np.sqrt(variances.sum(2)) / len(settings)
    rows = [
        [
            f"`{agents[i]}`",
            *(with_interval(average[t, i], half[t, i]) for t in range(len(marks))),
            *(f"{rank:.1f}" for rank in means[-1, i]),
        ]
        for i in average[-1].argsort()
    ]
    tasks = [s.task.id.removeprefix("BBO-").removesuffix("-v0") for s in settings]
    headings = ["optimiser", *(f"@{t}" for t in marks), *(f"{t} @{marks[-1]}" for t in tasks)]
    return table(headings, rows, "l" + "r" * (len(headings) - 1))


def _bests(frame: pd.DataFrame, agent: str, setting: Setting) -> pd.DataFrame:
    """The best values, a row per function and a column per milestone; empty where none played."""
    own = evaluations_of(frame[frame["agent"] == agent], setting.task)
    budget = setting.horizon if agent in CLASSICAL else own["t"]
    marks = milestones(setting.horizon)
    own = own[(own["budget"] == budget) & own["t"].isin(marks)]
    bests: pd.DataFrame = own.pivot(index="seed", columns="t", values="best")
    return bests if set(marks) <= set(bests.columns) else bests.iloc[:0]


def main() -> None:
    """Compares, into the folder named on the command line."""
    frame = compare(folder=Path(*sys.argv[1:] or ["results"]))
    print(markdown(frame))
    print(ranks(frame))


if __name__ == "__main__":
    main()
