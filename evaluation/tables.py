"""Tables of stored evaluations, for the terminal and for documents."""

from collections.abc import Sequence

import pandas as pd
from rich.box import SIMPLE
from rich.table import Table

from bbo_envs.suites import TaskSpec
from evaluation.figures import describe
from evaluation.markdown import table, with_interval
from evaluation.metrics import mean_and_interval, milliseconds_per_proposal
from evaluation.run import evaluations_of
from training.score import MILESTONES

_CAPTION = "mean ± half width of the 95 % interval over n functions; lower is better"


def printed(evaluations: pd.DataFrame, task: TaskSpec) -> Table:
    """The result on one task, for the terminal."""
    headings, rows = _summary(evaluations, task)
    result = Table(
        box=SIMPLE, title=f"{describe(task)}: best value after t evaluations", caption=_CAPTION
    )
    for heading in headings:
        result.add_column(heading, justify="left" if heading == "agent" else "right", no_wrap=True)
    for row in rows:
        result.add_row(*row)
    return result


def markdown(evaluations: pd.DataFrame, tasks: Sequence[TaskSpec]) -> str:
    """The same tables in Markdown, for documents."""
    lines = []
    for task in tasks:
        headings, rows = _summary(evaluations, task)
        lines += [f"**{describe(task)}**", ""]
        lines += [table(headings, rows, "l" + "r" * (len(headings) - 1)), ""]
    return "\n".join([*lines, f"{_CAPTION[0].upper()}{_CAPTION[1:]}."])


def _summary(evaluations: pd.DataFrame, task: TaskSpec) -> tuple[list[str], list[list[str]]]:
    """Headings and rows: best value at the milestones, and milliseconds per proposal."""
    own = evaluations_of(evaluations, task)
    made = own[own["error"].isna()]
    longest = 0 if made.empty else int(made["t"].max())
    marks = [t for t in MILESTONES if t <= longest] or [longest]
    milliseconds = milliseconds_per_proposal(own).groupby("agent").mean()
    rows: list[tuple[float, list[str]]] = []
    for agent, runs in made.groupby("agent"):
        at = [mean_and_interval(runs[runs["t"] == t]["best"]) for t in marks]
        cells = [with_interval(*figure) for figure in at]
        speed = milliseconds[agent]
        shown = "" if pd.isna(speed) else f"{speed:.2f}"
        rows.append((at[-1][0], [str(agent), str(runs["seed"].nunique()), *cells, shown]))
    headings = ["agent", "n", *(f"t = {t}" for t in marks), "ms/proposal"]
    return headings, [row for _, row in sorted(rows)]
