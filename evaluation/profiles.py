"""Which share of functions is solved how well, and how soon."""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from evaluation.selection import TASK, final, leading_to, require_normalised, shared

# From what an ordinary random point gives to a thousandth of it: easier targets every agent meets
# at once, and a budget of hundreds seldom allows harder ones. Evenly spaced logarithms, as of COCO
# (Hansen et al. 2021), make each halving of the regret worth the same.
TARGETS = np.geomspace(1.0, 1e-3, 51)


def performance_profile(results: pd.DataFrame, targets: ArrayLike = TARGETS) -> pd.DataFrame:
    """The share of functions on which the normalised regret is a target or less.

    The performance profile of Agarwal et al. 2021 ("Deep reinforcement learning at the edge of the
    statistical precipice", section 4.2), after Dolan & Moré 2002. These divided by the best
    solver's result; a normalised regret needs no such division, and may be zero. Agents and
    functions are those that ``evaluation.selection.shared`` keeps; tasks weigh the same.

    Args:
        results: A row per run, with normalised regrets, as from ``evaluation.selection.final``.
        targets: Regrets.

    Returns:
        Columns agent, target, share, n (functions).

    Raises:
        ValueError: If there are no normalised regrets, or as for ``shared``.

    Example:
        >>> run = {"agent": "random", "task": "A", "arguments": "{}", "horizon": 9, "seed": [0, 1]}
        >>> results = pd.DataFrame({**run, "normalised_regret": [0.02, 0.5]})
        >>> performance_profile(results, [1.0, 0.1])[["target", "share"]]
           target  share
        0     1.0    1.0
        1     0.1    0.5
    """
    require_normalised(results)
    rows = shared(results).rows.set_index([*TASK, "agent"])
    goals = np.asarray(targets, dtype=float)
    reached = rows["normalised_regret"].to_numpy()[:, None] <= goals
    hits = pd.DataFrame(reached, rows.index, pd.Index(goals, name="target"), dtype=float)
    share = hits.groupby(level=[*TASK, "agent"]).mean().groupby(level="agent").mean()
    return _long(share, len(rows))


def target_ecdf(
    evaluations: pd.DataFrame, horizon: int | None = None, targets: ArrayLike = TARGETS
) -> pd.DataFrame:
    """The share of pairs of a function and a target that are reached after t evaluations.

    The empirical distribution of run lengths of COCO (Hansen et al. 2021, "COCO: a platform for
    comparing continuous optimizers in a black-box setting"), with targets of normalised regret.
    Agents and functions are those that ``evaluation.selection.shared`` keeps; tasks weigh the same.
    A task with a shorter horizon than others keeps its last share.

    Args:
        evaluations: With the column of ``evaluation.metrics.normalised_regret``.
        horizon: As for ``evaluation.selection.final``.
        targets: Regrets.

    Returns:
        Columns agent, t (from 1 to the longest horizon), share, n (functions).

    Raises:
        ValueError: If there are no normalised regrets, or as for ``final`` and ``shared``.

    Example:
        >>> run = {"agent": "random", "task": "A", "arguments": "{}", "budget": 2, "error": None}
        >>> frame = pd.DataFrame({**run, "seed": 0, "t": [1, 2], "normalised_regret": [0.7, 0.2]})
        >>> target_ecdf(frame, targets=[1.0, 0.1])["share"].tolist()
        [0.5, 0.5]
    """
    require_normalised(evaluations)
    runs = shared(final(evaluations, horizon)).rows
    rows = leading_to(evaluations, runs)
    goals = np.sort(np.asarray(targets, dtype=float))
    reached = len(goals) - np.searchsorted(goals, rows["normalised_regret"].to_numpy())
    shares = rows.assign(share=reached / len(goals)).groupby([*TASK, "agent", "t"])["share"].mean()
    by_task = shares.unstack("t").ffill(axis=1)
    return _long(by_task.groupby(level="agent").mean(), len(runs))


def _long(shares: pd.DataFrame, runs: int) -> pd.DataFrame:
    """A row per agent and column, from a row per agent."""
    rows = shares.T.melt(ignore_index=False, value_name="share").reset_index()
    return rows[["agent", shares.columns.name, "share"]].assign(n=runs // len(shares))
