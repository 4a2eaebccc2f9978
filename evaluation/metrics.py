"""Figures of merit, computed from stored evaluations alone."""

import pandas as pd

from training.score import half_width


def mean_and_interval(values: "pd.Series[float]") -> tuple[float, float]:
    """The mean and the half width of its 95 % Student interval (NaN for a single value).

    Example:
        >>> mean, half_width = mean_and_interval(pd.Series([1.0, 2.0, 3.0]))
        >>> round(mean, 3), round(half_width, 3)
        (2.0, 2.484)
    """
    return float(values.mean()), float(half_width(values.std(), len(values)))


def curves(evaluations: pd.DataFrame, column: str = "best") -> pd.DataFrame:
    """The mean of a column after each evaluation, with its interval.

    Args:
        evaluations: As read from a store; rows of failed evaluations are left out.
        column: ``"best"`` or ``"regret"``.

    Returns:
        Columns task, agent, t, mean, half_width, n.
    """
    made = evaluations[evaluations["error"].isna()]
    grouped = made.groupby(["task", "agent", "t"])[column]
    frame = pd.DataFrame({"mean": grouped.mean(), "n": grouped.size()})
    frame["half_width"] = half_width(grouped.std(), frame["n"])
    return frame.reset_index()


def milliseconds_per_proposal(evaluations: pd.DataFrame) -> "pd.Series[float]":
    """The mean time to propose, by (task, agent), in milliseconds."""
    made = evaluations[evaluations["error"].isna()]
    return 1e3 * made.groupby(["task", "agent"])["seconds"].mean()
