"""What a report says in words."""

from collections.abc import Sequence

import pandas as pd

from evaluation.report.data import Setting
from evaluation.report.overall import LEVEL, Overall
from evaluation.report.tables import p_value
from evaluation.selection import made

_FEW_AGENTS, _FEW_TASKS = 8, 4


def compared(evaluations: pd.DataFrame, settings: Sequence[Setting]) -> str:
    """What was compared: optimisers, tasks, functions and budgets, and how many runs failed.

    Example:
        >>> run = {"agent": "random", "task": "A", "arguments": "{}", "budget": 9, "seed": 0}
        >>> frame = pd.DataFrame([run | {"error": None}])
        >>> compared(frame, [Setting("A", "{}", 9, "A", "A")])
        'One optimiser (random) on one task (A), one function per task, 9 evaluations per function.'
    """
    agents = list(dict.fromkeys(evaluations["agent"]))
    good = made(evaluations)
    functions = good.groupby(["task", "arguments", "budget", "agent"])["seed"].nunique()
    titles = [setting.title for setting in settings]
    budgets = sorted({setting.budget for setting in settings})
    words = (
        f"{_count(len(agents), 'optimiser')}{_listed(agents, _FEW_AGENTS)} on "
        f"{_count(len(settings), 'task')}{_listed(titles, _FEW_TASKS)}, "
        f"{_span(functions, 'function')} per task, "
        f"{_span(budgets, 'evaluation')} per function."
    )
    failed = int(evaluations["error"].notna().sum())
    return words[0].upper() + words[1:] + (f" {_runs(failed)} failed." if failed else "")


def outcome(levels: Sequence[Overall]) -> str:
    """Who ranks best, and whether that means anything.

    Args:
        levels: As from ``comparisons``.
    """
    if not levels:
        return "No optimiser has played every task, so there is no comparison over all of them."
    if levels[0].test is None:
        return "With a single optimiser there is nothing to rank."
    fewer = [agent for agent in levels[-1].agents if agent not in levels[0].agents]
    rest = f" Not ranked among these, with fewer functions: {', '.join(fewer)}." if fewer else ""
    return _best(levels[0]) + rest


def _best(overall: Overall) -> str:
    assert overall.test is not None
    first, second = overall.agents[:2]
    ranks, test = overall.ranks.average, overall.test
    blocks = "task" if overall.tasks > 1 else "function"
    lead = (
        f"{first} has the best average rank, {ranks.iloc[0]:.2f} of {len(ranks)}, "
        f"before {second} with {ranks.iloc[1]:.2f}"
    )
    over = f"over {_count(test.blocks, blocks)}"
    if test.friedman_p >= LEVEL:
        return (
            f"{lead}; no difference between any of the optimisers is significant "
            f"(Friedman's test {over}, {_p(test.friedman_p)})."
        )
    verdict = "is" if overall.lead_p < LEVEL else "is not"
    return (
        f"{lead}; the difference {verdict} significant "
        f"(Nemenyi's test {over}, {_p(overall.lead_p)})."
    )


def scope(overall: Overall) -> str:
    """On what a comparison over all tasks rests, and who is not in it."""
    low, high = overall.functions
    words = (
        f"{_count(len(overall.agents), 'optimiser')} on the {_span([low, high], 'function')} of "
        f"each of {_count(overall.tasks, 'task')} that all of these have played to the end."
    )
    absent = [f"{agent} (misses {count})" for agent, count in overall.absent.items()]
    words = words[0].upper() + words[1:]
    return f"{words} Not compared, for want of tasks: {', '.join(absent)}." if absent else words


def verdict(overall: Overall) -> str:
    """The outcome of the tests behind a critical-difference diagram."""
    test = overall.test
    assert test is not None
    found = (
        "so some differ" if test.friedman_p < LEVEL else "so none can be said to differ from others"
    )
    return (
        f"Friedman's test over {_count(test.blocks, 'task')}: {_p(test.friedman_p)}, {found}. "
        f"Optimisers joined by a bar cannot be told apart by Nemenyi's test at the level {LEVEL}: "
        f"their ranks are less than {test.difference:.2f} apart. Each task counts once, by the "
        f"order of the mean ranks on it."
    )


def _p(p: float) -> str:
    shown = p_value(p)
    return f"p {shown}" if shown.startswith("<") else f"p = {shown}"


def _count(number: int, noun: str) -> str:
    return f"one {noun}" if number == 1 else f"{number} {noun}s"


def _runs(number: int) -> str:
    return "One run" if number == 1 else f"{number} runs"


def _listed(names: Sequence[str], most: int) -> str:
    """The names, where they are few enough to be read."""
    return f" ({', '.join(names)})" if len(names) <= most else ""


def _span(numbers: "Sequence[int] | pd.Series[int]", noun: str) -> str:
    low, high = (min(numbers), max(numbers)) if len(numbers) else (0, 0)
    return _count(low, noun) if low == high else f"{low} to {high} {noun}s"
