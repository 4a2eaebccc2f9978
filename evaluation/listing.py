"""The catalogue of tasks as a table: for the terminal, and for the docs."""

from rich.box import SIMPLE
from rich.table import Table

from bbo_envs.errors import UnknownNameError
from bbo_envs.hpo import shipped_table
from bbo_envs.hpo.store import load_table
from bbo_envs.tasks import TASKS, Task
from evaluation.markdown import table as markdown_table

HEADINGS = ("id", "d", "family", "differentiable", "optimum", "source", "needs")


def rows(family: str | None = None) -> list[tuple[str, ...]]:
    """A row of text for every task, or for those of one family.

    Raises:
        UnknownNameError: If there is no such family.

    Example:
        >>> rows("gp")[0][:5]
        ('BBO-GP-1d-v0', '1', 'gp', 'yes', 'unknown')
    """
    families = {task.family for task in TASKS.values()}
    if family is not None and family not in families:
        raise UnknownNameError("family", family, families)
    return [_row(name, task) for name, task in TASKS.items() if family in (None, task.family)]


def table(family: str | None = None) -> Table:
    """The rows for the terminal."""
    listed = Table(box=SIMPLE, caption=f"{len(rows(family))} tasks")
    for heading in HEADINGS:
        listed.add_column(heading, overflow="fold", no_wrap=heading == "id")
    for row in rows(family):
        listed.add_row(*row)
    return listed


def markdown() -> str:
    """The rows as a Markdown table."""
    body = [tuple(f"`{cell}`" if i == 0 else cell for i, cell in enumerate(row)) for row in rows()]
    return markdown_table(HEADINGS, body, "l" * len(HEADINGS))


def tables_markdown() -> str:
    """What the cards of our own tables say, as Markdown."""
    headings = ("table", "cells", "best", "random 10", "random 100", "CPU minutes", "what it is")
    lines = []
    for task in TASKS.values():
        if task.build is shipped_table:
            card = load_table(task.fixed["name"]).card
            random = card["mean_best_of_random_draws"]
            figures = (card["best"]["value"], random["10"], random["100"])
            lines.append(
                (
                    f"`{card['name']}`",
                    f"{card['cells']:,}",
                    *(f"{figure:.4g}" for figure in figures),
                    f"{card['cpu_seconds'] / 60:.0f}",
                    card["about"],
                )
            )
    return markdown_table(headings, lines, "lrrrrrl")


def _row(name: str, task: Task) -> tuple[str, ...]:
    differentiable = {True: "yes", False: "no", None: "by argument"}
    dim = "by argument" if task.dim is None else str(task.dim)
    needs = [f"[{task.extra}]"] if task.extra else []
    needs += [f"{argument}=" for argument in task.needs]
    return (
        name,
        dim,
        task.family,
        differentiable[task.differentiable],
        "known" if task.optimum else "unknown",
        task.source,
        " ".join(needs),
    )
