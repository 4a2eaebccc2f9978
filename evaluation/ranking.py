"""Average ranks of optimisers, and which of them the ranks can tell apart.

After Demšar 2006, "Statistical comparisons of classifiers over multiple data sets".
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from evaluation.selection import TASK, require_known, shared


class Ranks(NamedTuple):
    """Ranks of agents: 1 is best, ties share theirs.

    Attributes:
        average: The average rank by agent, best first: the mean over functions within a task, then
            over tasks.
        by_task: The mean over functions; a row per (task, arguments, horizon), a column per agent.
        by_function: A row per (task, arguments, horizon, seed), a column per agent.
        left_out: The agents that miss tasks, with these, as in ``evaluation.selection.Shared``.
    """

    average: "pd.Series[float]"
    by_task: pd.DataFrame
    by_function: pd.DataFrame
    left_out: dict[str, list[tuple[str, str, int]]]


def ranks(results: pd.DataFrame, column: str = "best") -> Ranks:
    """Ranks agents on each function that all of them have played.

    Args:
        results: A row per run, as from ``evaluation.selection.final`` or
            ``evaluation.metrics.areas``.
        column: What to rank by; lower is better.

    Raises:
        ValueError: If a value is NaN, or as for ``evaluation.selection.shared``.

    Example:
        >>> run = {"task": "A", "arguments": "{}", "horizon": 9, "seed": [0, 0, 1, 1]}
        >>> agents = {"agent": ["cmaes", "random"] * 2, "best": [1.0, 2.0, 3.0, 3.0]}
        >>> ranks(pd.DataFrame({**run, **agents})).average.to_dict()
        {'cmaes': 1.25, 'random': 1.75}
    """
    rows, left_out = shared(results)
    require_known(rows, column)
    values = rows.pivot(index=[*TASK, "seed"], columns="agent", values=column)
    by_function = values.rank(axis=1)
    by_task = by_function.groupby(level=TASK).mean()
    return Ranks(by_task.mean().sort_values(kind="stable"), by_task, by_function, left_out)


class CriticalDifference(NamedTuple):
    """What a critical-difference diagram shows.

    Attributes:
        ranks: The mean over blocks of the rank within a block, by agent, best first.
        difference: Ranks of two agents that are this far apart or more differ significantly.
        friedman_p: The p-value of Friedman's test that all agents are the same. The other figures
            mean little unless it is below the level.
        p_values: Nemenyi's p-value of each pair, adjusted for the number of agents.
        groups: The largest groups of agents that cannot be told apart: the bars of the diagram.
        blocks: The number of blocks.
    """

    ranks: "pd.Series[float]"
    difference: float
    friedman_p: float
    p_values: pd.DataFrame
    groups: list[tuple[str, ...]]
    blocks: int


def critical_difference(scores: pd.DataFrame, level: float = 0.05) -> CriticalDifference:
    """Friedman's test and Nemenyi's post-hoc test (Demšar 2006, section 3.2).

    Blocks should be independent of each other and say something of problems not tried: tasks, as
    in ``Ranks.by_task``, are to us what data sets are to Demšar. With few tasks the test is weak:
    with five agents and four tasks the critical difference is 3.05 ranks. With functions as blocks
    (``Ranks.by_function``) it is far more powerful, but speaks of further functions of these very
    tasks only, weighted by how many there are of each.

    Each block is ranked anew, as the tests ask for, so ``ranks`` need not equal
    ``Ranks.average``; a diagram shows the former. Both p-values are asymptotic: for Friedman's,
    chi-squared with a correction for ties (SciPy's); Nemenyi's has none.

    Args:
        scores: A row per block, a column per agent; lower is better.
        level: The significance level of ``difference`` and ``groups``.

    Raises:
        ValueError: If there are fewer than two agents, no blocks, or a NaN.

    Example:
        >>> scores = [[1, 2, 3, 4], [2, 1, 4, 3]] * 7
        >>> found = critical_difference(pd.DataFrame(scores, columns=list("abcd")))
        >>> round(found.difference, 2), found.groups
        (1.25, [('a', 'b'), ('c', 'd')])
    """
    blocks, count = scores.shape
    if count < 2 or blocks < 1 or scores.isna().any(axis=None):
        raise ValueError(
            f"a test needs at least 2 agents, 1 block and no NaN, got {count} agents, {blocks} "
            f"blocks and {int(scores.isna().sum().sum())} NaN: use what evaluation.ranking.ranks "
            "returns of more agents"
        )
    ranked = scores.rank(axis=1)
    mean = ranked.mean().sort_values(kind="stable")
    # Nemenyi's statistic is a studentised range over root 2, with infinitely many degrees.
    unit = np.sqrt(count * (count + 1) / (6.0 * blocks)) / np.sqrt(2.0)
    apart = np.abs(np.subtract.outer(mean.to_numpy(), mean.to_numpy())) / unit
    p_values = pd.DataFrame(
        stats.studentized_range.sf(apart, count, np.inf), mean.index, mean.index
    )
    difference = float(stats.studentized_range.isf(level, count, np.inf) * unit)
    return CriticalDifference(
        mean, difference, _friedman(ranked), p_values, _groups(mean, difference), blocks
    )


def _friedman(ranked: pd.DataFrame) -> float:
    """The p-value of Friedman's test, also where SciPy has none."""
    values = ranked.to_numpy()
    if (values == values[:, :1]).all():  # Ties alone.
        return 1.0
    if values.shape[1] > 2:
        return float(stats.friedmanchisquare(*values.T).pvalue)
    # Of two agents it is the sign test, in its normal approximation, without the ties.
    wins, losses = (values[:, 0] < values[:, 1]).sum(), (values[:, 0] > values[:, 1]).sum()
    return float(stats.chi2.sf((wins - losses) ** 2 / (wins + losses), 1))


def _groups(ranks: "pd.Series[float]", difference: float) -> list[tuple[str, ...]]:
    """Runs of neighbours that are closer than the critical difference, none within another."""
    # For each agent, the end of the longest run that starts with it.
    ends = [int((ranks < first + difference).sum()) for first in ranks]
    starts = [start for start in range(len(ends)) if start == 0 or ends[start] > ends[start - 1]]
    names = [str(agent) for agent in ranks.index]
    return [tuple(names[start : ends[start]]) for start in starts if ends[start] > start + 1]
