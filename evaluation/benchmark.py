"""``bbo benchmark``: any optimisers on any tasks, from nothing to table and picture."""

import os
import shlex
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bbo_envs.checks import positive_integer
from bbo_envs.errors import require_extra
from bbo_envs.suites import FOURIER, TaskSpec
from evaluation.entrants import Reference, enter
from evaluation.environment import environment
from evaluation.figures import draw_curves
from evaluation.plan import Plan, named_tasks, plan
from evaluation.run import Row
from evaluation.spread import on_processes, on_ray
from evaluation.store import UNIT, Store
from evaluation.tables import printed

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
# Fourier features, so that a seed means the same function for every agent; perturbed, so that it
# means another one than the next seed.
DEFAULT_TASKS = (
    TaskSpec("BBO-GP-6d-v0", FOURIER),
    TaskSpec("BBO-Branin-2d-v0", {"perturb": True}),
)
# These take a tenth of a second per proposal, or much more, and get fewer functions.
SLOW_AGENTS = ("gp-bayesian", "gp-ei", "gp-ei-known", "gp-optuna", "smac")


def benchmark(
    agents: Sequence[Reference] | Mapping[str, Reference] = DEFAULT_AGENTS,
    tasks: Sequence[str | TaskSpec] = DEFAULT_TASKS,
    *,
    budget: int = 100,
    seeds: int = 64,
    slow_seeds: int = 6,
    workers: int = 1,
    batch: int = 1,
    jobs: int | None = None,
    ray: bool = False,
    retry_failed: bool = False,
    folder: Path | str = Path("results"),
    console: Console | None = None,
) -> pd.DataFrame:
    """Compares optimisers: prints a table for each task, draws the curves, keeps every evaluation.

    Seed i is the same function, with the same noise, for every agent. Whatever the folder holds
    already is not played again, so that a run that was stopped goes on, and agents, tasks and seeds
    can be added to an earlier one. An agent that cannot be used on a task, or whose library is not
    installed, is left out with a line that says so.

    Args:
        agents: Names, files or objects: see ``evaluation.entrants.enter``.
        tasks: Suites, ids or specs: see ``evaluation.plan.named_tasks``.
        budget: Evaluations per function.
        seeds: Functions per task.
        slow_seeds: Functions per task for ``SLOW_AGENTS``, the first of the others'.
        workers: Parallel workers, where a task does not say how many.
        batch: Functions that an agent plays side by side: many times faster for networks and GP-EI,
            but then times per proposal are not measured.
        jobs: Processes; defaults to the number of cores.
        ray: Spread over the Ray cluster at ``RAY_ADDRESS``, or over this machine if that is not
            set, instead of over processes.
        retry_failed: Play units again that have failed.
        folder: Where the results are kept: see ``evaluation.store.Store``.
        console: Where to print; defaults to standard output.

    Returns:
        The evaluations of these agents on these tasks, a row each: see ``evaluation.store.SCHEMA``.

    Raises:
        UnknownNameError: If there is no such agent, suite or task.
        ValueError: If a number is not positive, or no agent can be used on any task.
        StoreError: If the folder holds results of another version.

    Example:
        >>> import io, tempfile
        >>> frame = benchmark(["random"], ["BBO-Branin-2d-v0"], budget=3, seeds=2, jobs=1,
        ...                   folder=tempfile.mkdtemp(), console=Console(file=io.StringIO()))
        >>> len(frame)
        6
    """
    console = console or Console()
    entrants, specs = enter(agents), named_tasks(tasks, workers)
    fewer = dict.fromkeys(SLOW_AGENTS, positive_integer("slow_seeds", slow_seeds))
    functions = range(positive_integer("seeds", seeds))
    whole = plan(entrants, specs, budget=budget, seeds=functions, batch=batch, fewer=fewer)
    if not whole.lots:
        names = ", ".join(entrant.name for entrant in entrants)
        reasons = "; ".join(dict.fromkeys(entry["reason"] for entry in whole.left_out))
        raise ValueError(f"none of the agents {names} can be used on these tasks: {reasons}")
    frame = carry_out(
        whole, Path(folder), jobs=jobs, ray=ray, retry_failed=retry_failed, console=console
    )
    played = [task for task in specs if any(unit.task == task for unit in whole.units)]
    for task in played:
        # On a narrow terminal lines wrap, but no figure is cut off.
        wide = Console(file=console.file, width=max(console.width, 100))
        wide.print(printed(frame, task))
    picture = Path(folder) / "curves.png"
    draw_curves(frame, played, picture)
    console.print(
        f"Every evaluation: {Store(Path(folder)).evaluations}\nThe curves: {picture}\n"
        f"A page with more: bbo report {shlex.quote(str(folder))}",
        soft_wrap=True,
    )
    return frame


def carry_out(
    whole: Plan,
    folder: Path,
    *,
    jobs: int | None = None,
    ray: bool = False,
    retry_failed: bool = False,
    console: Console,
) -> pd.DataFrame:
    """Plays what a plan holds and the folder does not, and keeps each lot as it ends.

    Args:
        whole: The plan.
        folder: Where the results are kept.
        jobs: Processes; defaults to the number of cores.
        ray: Spread over a Ray cluster instead.
        retry_failed: Play units again that have failed.
        console: Where progress and failures are shown.

    Returns:
        All evaluations of the plan's units, those that were there before included.
    """
    jobs = positive_integer("jobs", jobs or os.cpu_count() or 1)
    if ray:
        require_extra("Spreading over a Ray cluster", "ray", "ray")
    store = Store(folder)
    for entry in whole.left_out:
        console.print(f"{entry['agent']} is left out on {entry['task']}: {entry['reason']}")
    rest = whole.without(key for key, well in store.units().items() if well or not retry_failed)
    count, total = len(rest.units), len(whole.units)
    if count < total:
        console.print(f"{total - count} of {total} runs are there already; {count} to go.")
    if rest.lots:
        results = on_ray(rest.lots) if ray else on_processes(rest.lots, jobs)
        with _recorded(store, whole), _progress(console, total, total - count) as show:
            for rows in results:
                store.append(rows)
                show(rows)
        store.compact()
    wanted = pd.DataFrame([unit.key for unit in whole.units], columns=UNIT)
    return store.read().merge(wanted, on=UNIT)


@contextmanager
def _recorded(store: Store, whole: Plan) -> Iterator[None]:
    """Keeps what the run was made with, from its beginning on, and when it ended."""
    name = uuid.uuid4().hex
    facts: dict[str, Any] = {
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "started": _now(),
        "finished": None,
        **environment(),
        "left_out": whole.left_out,
    }
    store.record(name, facts)
    yield
    store.record(name, facts | {"finished": _now()})


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


@contextmanager
def _progress(console: Console, total: int, done: int) -> Iterator[Any]:
    """Gives what to call with a lot's rows: moves the bar, and tells of failures, once each."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    told: set[tuple[str, str, str]] = set()
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        bar = progress.add_task("runs", total=total, completed=done)

        def show(rows: list[Row]) -> None:
            agent, task = rows[-1]["agent"], rows[-1]["task"]
            for error in {row["error"] for row in rows if row["error"]}:
                if (agent, task, error) not in told:
                    told.add((agent, task, error))
                    console.print(f"{agent} on {task} failed: {error}", markup=False)
            units = len({row["seed"] for row in rows})
            progress.update(bar, advance=units, description=f"{agent} on {task}")

        yield show
