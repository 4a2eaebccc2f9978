"""The tables of a report: cells as they are shown."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from evaluation.markdown import with_interval
from evaluation.metrics import mean_and_interval, milliseconds_per_proposal
from evaluation.report.data import Setting
from evaluation.report.overall import LEVEL, Overall
from evaluation.selection import final
from evaluation.workers import speed_ups
from training.score import milestones

_NONE = "–"


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        head: What the row is about.
        cells: The others.
        best: The columns (of ``cells``) in which no other row is better.
        details: Small print below each cell; none at all, or one for each.
    """

    head: str
    cells: Sequence[str]
    best: frozenset[int] = frozenset()
    details: Sequence[str] = ()


@dataclass(frozen=True)
class Table:
    """A table with a caption; the first heading is that of the rows' heads.

    Attributes:
        wordy: Whether the cells hold text, not numbers.
    """

    caption: str
    headings: Sequence[str]
    rows: Sequence[Row] = field(default_factory=list)
    wordy: bool = False


def milestone_table(evaluations: pd.DataFrame, setting: Setting) -> Table:
    """The mean best value at the milestones, and the time per proposal, of one setting."""
    marks = milestones(setting.budget)
    milliseconds = milliseconds_per_proposal(evaluations).droplevel([0, 1, 2])
    means: dict[str, list[float]] = {}
    texts: dict[str, list[str]] = {}
    runs: dict[str, int] = {}
    at = {t: dict(list(final(evaluations, t).groupby("agent")["best"])) for t in marks}
    for agent in evaluations["agent"].unique():
        figures = [mean_and_interval(at[t][agent]) if agent in at[t] else None for t in marks]
        means[agent] = [np.inf if figure is None else figure[0] for figure in figures]
        cells = [_NONE if figure is None else _interval(*figure) for figure in figures]
        runs[agent] = len(at[marks[-1]].get(agent, ()))
        texts[agent] = [str(runs[agent]), *cells, number(milliseconds[agent])]
    # Others have met fewer functions, perhaps easier ones.
    full = {agent: means[agent] for agent in means if runs[agent] == max(runs.values())}
    best = _best_of(full)
    rows = [
        # The first cell is the number of runs.
        Row(agent, texts[agent], frozenset(column + 1 for column in best.get(agent, ())))
        for agent in sorted(means, key=lambda agent: means[agent][-1])
    ]
    caption = (
        "Best value after t evaluations: mean ± half width of the 95 % interval over n functions. "
        "Lower is better; the best mean over most functions is bold."
    )
    return Table(caption, ["optimiser", "n", *(f"t = {t}" for t in marks), "ms/proposal"], rows)


def standings_table(overall: Overall) -> Table:
    """Every figure over all tasks with its interval."""
    names = ("rank", "regret", "middle", "area")
    rows, frame = [], overall.standings
    for agent, row in frame.iterrows():
        cells = [number(row[name]) for name in (*names, "milliseconds")]
        details = [_between(row[f"{name}_low"], row[f"{name}_high"]) for name in names]
        best = frozenset(i for i, name in enumerate(names) if row[name] <= frame[name].min())
        rows.append(Row(str(agent), cells, best=best, details=[*details, ""]))
    caption = (
        "Over all tasks, with 95 % intervals of the stratified bootstrap below each figure. Lower "
        "is better; the best of a column is bold."
    )
    headings = ["optimiser", "average rank", "normalised regret", "its interquartile mean"]
    return Table(caption, [*headings, "area under the curve", "ms/proposal"], rows)


def rank_table(overall: Overall, titles: dict[tuple[str, str, int], str]) -> Table:
    """The mean rank on every task."""
    frame = overall.ranks.by_task[overall.agents]
    rows = []
    for key, ranks in zip(frame.index, frame.to_numpy(), strict=True):
        best = frozenset(np.flatnonzero(ranks <= ranks.min()).tolist())
        rows.append(Row(titles[key], [f"{rank:.2f}" for rank in ranks], best))
    caption = "Mean rank over the functions of each task (1 is best, ties share their ranks)."
    return Table(caption, ["task", *overall.agents], rows)


def pair_table(overall: Overall) -> Table:
    """The p-value of every pair of optimisers."""
    assert overall.test is not None
    frame = overall.test.p_values.loc[overall.agents, overall.agents]
    rows = []
    for agent, values in frame.iterrows():
        cells = [_NONE if other == agent else p_value(p) for other, p in values.items()]
        best = frozenset(
            i for i, (other, p) in enumerate(values.items()) if other != agent and p < LEVEL
        )
        rows.append(Row(str(agent), cells, best=best))
    caption = f"p-values of Nemenyi's test; those below {LEVEL} are bold."
    return Table(caption, ["optimiser", *overall.agents], rows)


def speed_up_tables(made: pd.DataFrame, settings: Sequence[Setting]) -> dict[Setting, Table]:
    """How much sooner workers are where they are, for the settings that have a sequential twin."""
    found = speed_ups(made)
    tables = {}
    for setting in settings:
        rows = [
            Row(
                row["agent"], [number(row[name]) for name in ("sequential", "parallel", "speed_up")]
            )
            for row in setting.rows(found).to_dict("records")
        ]
        caption = (
            "Simulated time until the mean best value is the worse of the two that one worker and "
            "several workers end with, and the ratio of the times."
        )
        headings = ["optimiser", "one worker", "these workers", "speed-up"]
        if rows:
            tables[setting] = Table(caption, headings, rows)
    return tables


def failure_table(evaluations: pd.DataFrame, settings: Sequence[Setting]) -> Table:
    """Units that failed, by optimiser, task and error."""
    failed = evaluations[evaluations["error"].notna()]
    rows = []
    for setting in settings:
        for (agent, error), units in setting.rows(failed).groupby(["agent", "error"], sort=False):
            seeds = ", ".join(map(str, sorted(units["seed"].unique())))
            rows.append(Row(str(agent), [setting.title, str(len(units)), seeds, str(error)]))
    headings = ["optimiser", "task", "runs", "functions", "error"]
    return Table("Runs that ended with an error.", headings, rows, wordy=True)


def left_out_table(records: Sequence[dict[str, Any]]) -> Table:
    """What was not even started, and why; once for each reason."""
    seen = {}
    for record in records:
        for entry in record.get("left_out", ()):
            arguments = entry.get("arguments", "{}")
            task = entry["task"] if arguments == "{}" else f"{entry['task']} {arguments}"
            seen[entry["agent"], task, entry["reason"]] = str(record.get("started", ""))
    rows = [
        Row(agent, [task, reason, moment(started)])
        for (agent, task, reason), started in seen.items()
    ]
    headings = ["optimiser", "task", "reason", "last time"]
    return Table("Left out of the benchmark.", headings, rows, wordy=True)


def number(value: float) -> str:
    """A number with three significant digits at least; a dash if it is not finite.

    Example:
        >>> number(0.012345), number(2.0), number(12345.6), number(float("nan"))
        ('0.0123', '2.00', '12,346', '–')
    """
    if not np.isfinite(value):
        return _NONE
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:#.3g}".rstrip(".")


def p_value(p: float) -> str:
    """A p-value.

    Example:
        >>> p_value(0.0312), p_value(1e-9)
        ('0.031', '< 0.001')
    """
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def moment(time: str) -> str:
    """An ISO time to the minute.

    Example:
        >>> moment("2026-01-31T12:34:56.789+00:00")
        '2026-01-31 12:34'
    """
    return time[:16].replace("T", " ")


def _interval(mean: float, half_width: float) -> str:
    return with_interval(mean, half_width) if np.isfinite(half_width) else number(mean)


def _between(low: float, high: float) -> str:
    return f"{number(low)} to {number(high)}" if np.isfinite(low) else ""


def _best_of(means: dict[str, list[float]]) -> dict[str, frozenset[int]]:
    lowest = np.min(list(means.values()), axis=0)
    return {
        agent: frozenset(np.flatnonzero(np.isfinite(own) & (own <= lowest)).tolist())
        for agent, own in means.items()
    }
