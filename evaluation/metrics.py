"""Figures of merit of runs, computed from stored evaluations alone."""

import pandas as pd

from evaluation.selection import FUNCTION, RUN, SETTING, TASK, made, require_normalised, up_to
from training.score import half_width


def mean_and_interval(values: "pd.Series[float]") -> tuple[float, float]:
    """The mean and the half width of its 95 % Student interval (NaN for a single value).

    Example:
        >>> mean, half_width = mean_and_interval(pd.Series([1.0, 2.0, 3.0]))
        >>> round(mean, 3), round(half_width, 3)
        (2.0, 2.484)
    """
    return float(values.mean()), float(half_width(values.std(), len(values)))


def means(rows: pd.DataFrame, by: list[str], column: str) -> pd.DataFrame:
    """The mean of a column by groups, with its 95 % Student interval.

    Returns:
        Columns ``by``, mean, half_width, n (values that are not NaN).

    Example:
        >>> means(pd.DataFrame({"t": [1, 1], "best": [1.0, 3.0]}), ["t"], "best")[["mean", "n"]]
           mean  n
        0   2.0  2
    """
    grouped = rows.groupby(by)[column]
    frame = pd.DataFrame({"mean": grouped.mean(), "n": grouped.count()})
    frame.insert(1, "half_width", half_width(grouped.std(), frame["n"]))
    return frame.reset_index()


def curves(evaluations: pd.DataFrame, column: str = "best") -> pd.DataFrame:
    """The mean of a column after each evaluation, with its interval over functions.

    A run that failed counts up to where it failed, so that n may fall with t.

    Args:
        evaluations: As read from a store; rows of failed evaluations are left out.
        column: ``"best"``, ``"regret"``, or ``"normalised_regret"``.

    Returns:
        Columns task, arguments, budget, agent, t, mean, half_width, n.

    Example:
        >>> run = {"agent": "random", "task": "A", "arguments": "{}", "budget": 1, "error": None}
        >>> frame = pd.DataFrame({**run, "seed": [0, 1], "t": 1, "best": [1.0, 3.0]})
        >>> curves(frame)[["t", "mean", "n"]]
           t  mean  n
        0  1   2.0  2
    """
    return means(made(evaluations), [*SETTING, "t"], column)


def normalised_regret(evaluations: pd.DataFrame) -> pd.DataFrame:
    """Adds a column: the regret on a scale that functions of all tasks share.

    (best - minimum) / (reference - minimum), at least 0: an ordinary random point has 1, the
    optimum 0. Bayesmark scores are of this kind (Turner et al. 2021, "Bayesian optimization is
    superior to random search for machine learning hyperparameter tuning").

    Where the minimum of a function is not known, it is the lowest value that any agent has found
    on it with any budget: the column is then the distance to the best known, and depends on who
    takes part. So pass the rows of all agents, once, and choose among them afterwards.

    Where the minimum is no lower than the reference there is no scale: it is 0 at the minimum and
    1 elsewhere.

    Args:
        evaluations: As read from a store.

    Returns:
        The same rows with a column normalised_regret, NaN in the rows of errors only.

    Raises:
        ValueError: If a reference is missing.

    Example:
        >>> run = {"task": "A", "arguments": "{}", "seed": 0, "reference": 5.0, "error": None}
        >>> values = {"y": [3.0, 1.0], "best": [3.0, 1.0], "regret": [float("nan")] * 2}
        >>> normalised_regret(pd.DataFrame({**run, **values}))["normalised_regret"].tolist()
        [0.5, 0.0]
    """
    best, reference = evaluations["best"], evaluations["reference"]
    missing = evaluations[reference.isna() & best.notna()]
    if len(missing):
        raise ValueError(
            f"no reference value for {missing['task'].iloc[0]} {missing['arguments'].iloc[0]}: "
            "store the mean of the function at random points with its evaluations"
        )
    lowest = evaluations.groupby(FUNCTION)["y"].transform("min")
    known = evaluations["regret"].notna()
    regret = evaluations["regret"].where(known, best - lowest)
    scale = reference - (best - regret).where(known, lowest)
    ratio = (regret / scale).where(scale > 0.0, (regret > 0.0).astype(float))
    return evaluations.assign(normalised_regret=ratio.clip(lower=0.0).where(best.notna()))


def areas(evaluations: pd.DataFrame, horizon: int | None = None) -> pd.DataFrame:
    """The area under the curve of each run: the mean over t of its normalised regret.

    It rewards an agent that is good early, not only at the end; see Hansen et al. 2022, "Anytime
    performance assessment in blackbox optimization benchmarking". Here t counts linearly.

    Args:
        evaluations: With the column of ``normalised_regret``.
        horizon: As for ``evaluation.selection.final``.

    Returns:
        Columns task, arguments, horizon, agent, seed, area; runs up to their horizon only.

    Raises:
        ValueError: If there are no normalised regrets, or as for ``final``.

    Example:
        >>> run = {"agent": "random", "task": "A", "arguments": "{}", "budget": 2, "error": None}
        >>> frame = pd.DataFrame({**run, "seed": 0, "t": [1, 2], "normalised_regret": [1.0, 0.5]})
        >>> areas(frame)["area"].tolist()
        [0.75]
    """
    require_normalised(evaluations)
    rows = up_to(evaluations, horizon)
    found = rows.groupby([*TASK, "agent", "seed"])["normalised_regret"].mean()
    return found.rename("area").reset_index()


def summary(results: pd.DataFrame, column: str) -> pd.DataFrame:
    """The mean of a figure of runs, with its interval over functions.

    Args:
        results: A row per run, as from ``areas`` or ``evaluation.selection.final``.
        column: The figure.

    Returns:
        Columns task, arguments, horizon, agent, mean, half_width, n.

    Example:
        >>> run = {"agent": "random", "task": "A", "arguments": "{}", "horizon": 9}
        >>> results = pd.DataFrame({**run, "seed": [0, 1], "area": [0.25, 0.75]})
        >>> summary(results, "area")["mean"].tolist()
        [0.5]
    """
    return means(results, [*TASK, "agent"], column)


def milliseconds_per_proposal(evaluations: pd.DataFrame) -> "pd.Series[float]":
    """The mean time to propose one query for one function, in milliseconds.

    Returns:
        Indexed by (task, arguments, budget, agent); NaN where every call proposed for several
        functions at once.

    Example:
        >>> run = {"agent": "random", "task": "A", "arguments": "{}", "budget": 2, "error": None}
        >>> frame = pd.DataFrame({**run, "seed": 0, "t": [1, 2], "seconds": 0.25, "batch": 1})
        >>> milliseconds_per_proposal(frame).tolist()
        [250.0]
    """
    rows = _latencies(made(evaluations))
    return 1e3 * rows.groupby(SETTING)["seconds"].mean()


def seconds_per_run(evaluations: pd.DataFrame) -> "pd.Series[float]":
    """The mean time that an agent takes for all proposals of a run, in seconds.

    Returns:
        Indexed by (task, arguments, budget, agent), of runs that got to their end; NaN where none
        of them was played by itself.

    Example:
        >>> run = {"agent": "random", "task": "A", "arguments": "{}", "budget": 2, "error": None}
        >>> frame = pd.DataFrame({**run, "seed": 0, "t": [1, 2], "seconds": 0.25, "batch": 1})
        >>> seconds_per_run(frame).tolist()
        [0.5]
    """
    runs = _latencies(up_to(evaluations)).groupby(RUN)["seconds"]
    whole = runs.sum().where(runs.count() == runs.size())
    return whole.groupby(level=SETTING).mean()


def _latencies(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows, with seconds only where they were spent on a single function."""
    return rows.assign(seconds=rows["seconds"].where(rows["batch"] == 1))
