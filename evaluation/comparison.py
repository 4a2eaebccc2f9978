"""Networks beside their rivals, on what they were trained for and on what they were not.

Run as ``python -m evaluation.comparison RESULTS`` (``make compare``). All meet the same functions.
A network is told its budget, so each of its figures comes from a run of that budget; a rival has
one run of the longest.
"""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from rich.console import Console
from scipy import stats

from agents import CLASSICAL
from bbo_envs.suites import FOURIER, TaskSpec, suite
from evaluation.benchmark import carry_out
from evaluation.entrants import enter
from evaluation.figures import describe
from evaluation.markdown import table, with_interval
from evaluation.metrics import mean_and_interval
from evaluation.plan import Plan, plan
from evaluation.run import evaluations_of
from training.configs import HELD_OUT_DATASETS
from training.score import MILESTONES, milestones

RIVALS = ("random", "cmaes", "tpe", "gp-ei", "gp-ei-known")
ANY_DIMENSION = ("universal", "posterior-guided")
FLAT = ("lstm-oi", "dnc-oi")
# Trained by reinforcement learning, from the values of their tasks alone.
BY_REINFORCEMENT = ("universal-reinforce", "recurrent-ppo")
FUNCTIONS = 64
# SMAC takes half a minute for a hundred queries.
FEWER = {"smac": 6}
# Functions side by side.
_BATCH = 64


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


def _gp(dim: int) -> TaskSpec:
    return TaskSpec("BBO-GP-v0", {**FOURIER, "dim": dim})


_LOSSES = tuple(f"{kind}-{loss}" for kind in ("lstm", "dnc") for loss in ("sum", "oi", "ei"))
ON_GP = (
    Setting(
        _gp(6),
        100,
        (*_LOSSES, *BY_REINFORCEMENT, *ANY_DIMENSION, *RIVALS, "tpe-univariate", "smac"),
    ),
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
# The data sets that "lstm-tables" was not trained on; it began as "lstm-oi".
HELD_OUT = {
    horizon: tuple(
        Setting(
            TaskSpec("BBO-HPO-MLP-5d-v0", {"dataset": dataset}),
            horizon,
            ("lstm-tables", "lstm-oi", *ANY_DIMENSION, "random", "cmaes", "tpe"),
        )
        for dataset in HELD_OUT_DATASETS
    )
    for horizon in (30, 100)
}
SETTINGS = (*ON_GP, *TRANSFER, *(setting for group in HELD_OUT.values() for setting in group))


def experiments(settings: Iterable[Setting], functions: int) -> Plan:
    """What a comparison plays, each run once.

    Example:
        >>> setting = Setting(TaskSpec("BBO-Branin-2d-v0"), 50, ("universal",))
        >>> [unit.budget for unit in experiments([setting], 1).units]
        [10, 25, 50]
    """
    wanted = {
        (agent, setting.task.id, setting.task.arguments_json, budget): setting.task
        for setting in settings
        for agent in setting.agents
        for budget in _budgets(agent, setting)
    }
    whole = Plan()
    for (agent, _, _, budget), task in wanted.items():
        seeds = range(min(functions, FEWER.get(agent, functions)))
        whole += plan(enter([agent]), [task], budget=budget, seeds=seeds, batch=_BATCH)
    return whole


def compare(
    settings: Sequence[Setting] = SETTINGS,
    functions: int = FUNCTIONS,
    folder: Path = Path("results/compare"),
    jobs: int | None = None,
    console: Console | None = None,
) -> pd.DataFrame:
    """Plays all runs that the folder does not hold yet, and keeps each lot as it is done.

    Args:
        settings: What to compare.
        functions: Functions of each task, of those for evaluation.
        folder: Where the results are kept.
        jobs: Processes; defaults to the number of cores.
        console: Where to print; defaults to standard output.

    Returns:
        The evaluations at milestones, as the docs keep them.
    """
    whole = experiments(settings, functions)
    frame = carry_out(whole, folder, jobs=jobs, console=console or Console())
    marks = frame["t"].isin(MILESTONES) | (frame["t"] == frame["budget"])
    return frame.loc[marks, ["agent", "task", "arguments", "budget", "seed", "t", "best"]]


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
    tasks = [_short(setting.task) for setting in settings]
    headings = ["optimiser", *(f"@{t}" for t in marks), *(f"{t} @{marks[-1]}" for t in tasks)]
    return table(headings, rows, "l" + "r" * (len(headings) - 1))


def _short(task: TaskSpec) -> str:
    """A task in a narrow column."""
    name = task.id.removeprefix("BBO-").removesuffix("-v0")
    return f"{name} {task.arguments['dataset']}" if "dataset" in task.arguments else name


def _budgets(agent: str, setting: Setting) -> Sequence[int]:
    return (setting.horizon,) if agent in CLASSICAL else milestones(setting.horizon)


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
    frame = compare(folder=Path(*sys.argv[1:] or ["results/compare"]))
    print(markdown(frame))
    print(ranks(frame))


if __name__ == "__main__":
    main()
