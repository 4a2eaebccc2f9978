"""``bbo benchmark``: learned against classical optimisers, from nothing to table and picture."""

import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.box import SIMPLE
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from agents import make_agent
from bbo_envs.checks import positive_integer
from bbo_envs.errors import MissingExtraError
from bbo_envs.registration import make_problem
from bbo_envs.suites import TaskSpec
from evaluation.figures import describe, draw_curves
from evaluation.markdown import table as markdown_table
from evaluation.markdown import with_interval
from evaluation.metrics import mean_and_interval, milliseconds_per_proposal
from evaluation.run import DEFAULT_TASKS, Unit, evaluations_of, run_units
from evaluation.store import Store
from training.score import MILESTONES

DEFAULT_AGENTS = (
    "posterior-guided",
    "universal",
    "lstm-oi",
    "random",
    "tpe",
    "cmaes",
    "gp-ei",
    "gp-ei-known",
)
_CAPTION = "mean ± half width of the 95 % interval over n functions; lower is better"

# These take a second per proposal, and get fewer functions.
SLOW_AGENTS = ("gp-ei", "gp-ei-known")


def benchmark(
    agents: Sequence[str] = DEFAULT_AGENTS,
    tasks: Sequence[TaskSpec] = DEFAULT_TASKS,
    *,
    budget: int = 100,
    seeds: int = 64,
    slow_seeds: int = 6,
    jobs: int | None = None,
    folder: Path = Path("results"),
    console: Console | None = None,
) -> pd.DataFrame:
    """Compares optimisers; prints a table, writes every evaluation and a picture of the curves.

    Seed i is the same function for every agent. An agent that cannot be used on a task, or whose
    library is not installed, is left out with a line that says so.

    Args:
        agents: Names, as for ``agents.make_agent``.
        tasks: Tasks with their arguments.
        budget: Evaluations per function.
        seeds: Functions per task.
        slow_seeds: Functions per task for GP-EI, the first of the others'.
        jobs: Processes; defaults to the number of cores.
        folder: Where ``evaluations.parquet`` and ``curves.png`` go.
        console: Where to print; defaults to standard output.

    Returns:
        The evaluations, a row each (see ``evaluation.run.run_unit``).

    Raises:
        UnknownNameError: If there is no such agent or task.
        ValueError: If a number is not positive, or no agent can be used on any task.

    Example:
        >>> import io, tempfile
        >>> frame = benchmark(["random"], [TaskSpec("BBO-Branin-2d-v0")], budget=3, seeds=2, jobs=1,
        ...                   folder=Path(tempfile.mkdtemp()), console=Console(file=io.StringIO()))
        >>> len(frame)
        6
    """
    console = console or Console()
    jobs = positive_integer("jobs", jobs or os.cpu_count() or 1)
    positive_integer("seeds", seeds)
    positive_integer("slow_seeds", slow_seeds)
    units = _plan(agents, tasks, budget, seeds, slow_seeds, console)
    if not units:
        raise ValueError(f"none of the agents {', '.join(agents)} can be used on these tasks")
    store = Store(folder)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    try:
        with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
            bar = progress.add_task("runs", total=len(units))

            for rows in run_units(units, jobs):
                store.append(rows)
                last = rows[-1]
                if last["error"]:
                    console.print(f"{last['agent']} on {last['task']} failed: {last['error']}")
                progress.update(bar, advance=1, description=f"{last['agent']} on {last['task']}")
    finally:
        evaluations = store.finish()
    for task in tasks:
        # On a narrow terminal lines wrap, but no figure is cut off.
        wide = Console(file=console.file, width=max(console.width, 100))
        wide.print(table(evaluations, task))
    picture = folder / "curves.png"
    draw_curves(evaluations, list(tasks), picture)
    console.print(f"Every evaluation: {store.path}\nThe curves: {picture}")
    return evaluations


def table(evaluations: pd.DataFrame, task: TaskSpec) -> Table:
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
        lines += [markdown_table(headings, rows, "l" + "r" * (len(headings) - 1)), ""]
    return "\n".join([*lines, f"{_CAPTION[0].upper()}{_CAPTION[1:]}."])


def _summary(evaluations: pd.DataFrame, task: TaskSpec) -> tuple[list[str], list[list[str]]]:
    """Headings and rows: best value at the milestones, and milliseconds per proposal."""
    own = evaluations_of(evaluations, task)
    made = own[own["error"].isna()]
    longest = 0 if made.empty else int(made["t"].max())
    marks = [t for t in MILESTONES if t <= longest] or [longest]
    milliseconds = milliseconds_per_proposal(own)
    rows: list[tuple[float, list[str]]] = []
    for agent, runs in made.groupby("agent"):
        at = [mean_and_interval(runs[runs["t"] == t]["best"]) for t in marks]
        cells = [with_interval(*figure) for figure in at]
        speed = f"{milliseconds[task.id, agent]:.2f}"
        rows.append((at[-1][0], [str(agent), str(runs["seed"].nunique()), *cells, speed]))
    headings = ["agent", "n", *(f"t = {t}" for t in marks), "ms/proposal"]
    return headings, [row for _, row in sorted(rows)]


def _plan(
    agents: Sequence[str],
    tasks: Sequence[TaskSpec],
    budget: int,
    seeds: int,
    slow_seeds: int,
    console: Console,
) -> list[Unit]:
    units = []
    for task in tasks:
        problem = make_problem(task.id, budget=budget, **task.arguments)
        for agent in agents:
            try:
                make_agent(agent, problem)
            except (MissingExtraError, ValueError) as error:
                console.print(f"{agent} is left out on {task.id}: {error}")
                continue
            count = min(seeds, slow_seeds) if agent in SLOW_AGENTS else seeds
            units += [Unit(agent, task, seed, budget) for seed in range(count)]
    # The slow ones first, so that no process is left with one of them at the end.
    return sorted(units, key=lambda unit: unit.agent not in SLOW_AGENTS)
