"""What parallel workers gain: the best value against simulated time.

One evaluation takes a unit of this time on average.
"""

import json

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from evaluation.metrics import means
from evaluation.selection import RUN, SETTING, up_to


def best_by_time(evaluations: pd.DataFrame, times: ArrayLike) -> pd.DataFrame:
    """The mean over functions of the best value among the evaluations that have ended by a time.

    Args:
        evaluations: As read from a store. Only runs that got to their end count; they keep their
            last value after it.
        times: Simulated times.

    Returns:
        Columns task, arguments, budget, agent, time, mean, half_width, n, from the first time on at
        which every run has a value.

    Raises:
        ValueError: As for ``evaluation.selection.final``.

    Example:
        >>> run = {"agent": "random", "task": "A", "arguments": "{}", "budget": 2, "error": None}
        >>> values = {"t": [1, 2], "y": [3.0, 1.0], "finished": [1.5, 0.5]}
        >>> best_by_time(pd.DataFrame({**run, "seed": 0, **values}), [0, 1, 2])[["time", "mean"]]
           time  mean
        0   1.0   1.0
        1   2.0   1.0
    """
    rows = up_to(evaluations).sort_values("finished", kind="stable")
    runs = rows.groupby(RUN)
    events = pd.DataFrame({"time": rows["finished"], "best": runs["y"].cummin()})
    settings = runs.size().index.to_frame(index=False).groupby(SETTING)
    number = settings.ngroup()
    grid = pd.MultiIndex.from_product(
        [np.unique(np.asarray(times, dtype=float)), number.index], names=["time", "run"]
    ).to_frame(index=False)
    found = pd.merge_asof(grid, events.assign(run=runs.ngroup()), on="time", by="run")
    # Groups by number, since there may be millions of rows.
    found["setting"] = number.to_numpy()[found["run"]]
    summary = means(found, ["setting", "time"], "best")
    sizes = settings.size()
    summary = summary[summary["n"] == sizes.to_numpy()[summary["setting"]]]
    names = sizes.index.to_frame(index=False)
    return names.join(summary.set_index("setting"), how="inner").reset_index(drop=True)


def speed_ups(evaluations: pd.DataFrame, target: float | None = None) -> pd.DataFrame:
    """How much sooner workers reach the same mean best value than evaluations one after another.

    Means are over the functions that the same agent has played both ways with the same budget.
    With the same number of evaluations, workers know less at each choice and often end worse: so
    the target defaults to the worse of the two last means, which both reach.

    Args:
        evaluations: As read from a store. Settings with ``"workers"`` among their arguments are
            compared with those whose arguments are the same otherwise.
        target: The mean best value to reach, the same for all settings.

    Returns:
        Columns task, arguments, budget, agent, workers, target, sequential and parallel (simulated
        times, infinite where the target is not reached), speed_up (their ratio, NaN where one of
        them is infinite), n (functions).

    Raises:
        ValueError: As for ``evaluation.selection.final``.

    Example:
        >>> run = {"agent": "random", "task": "A", "budget": 2, "error": None, "seed": 0}
        >>> values = {"t": [1, 2], "y": [3.0, 1.0]}
        >>> one = pd.DataFrame({**run, **values, "arguments": "{}", "finished": [1.0, 2.0]})
        >>> two = one.assign(arguments='{"workers": 2}', finished=[1.0, 1.0])
        >>> speed_ups(pd.concat([one, two]))[["workers", "target", "speed_up"]]
           workers  target  speed_up
        0        2     1.0       2.0
    """
    settings = {name: _without_workers(name) for name in evaluations["arguments"].unique()}
    pairs = [
        (one, parallel)
        for parallel, (others, workers) in settings.items()
        for one in settings
        if workers > 1 and settings[one] == (others, 1)
    ]
    chosen = evaluations["arguments"].isin({name for pair in pairs for name in pair})
    played = dict(list(up_to(evaluations[chosen]).groupby(SETTING)))
    found = []
    for (task, arguments, budget, agent), sequential in played.items():
        for parallel in [other for one, other in pairs if one == arguments]:
            rows = played.get((task, parallel, budget, agent))
            if rows is not None and set(rows["seed"]) & set(sequential["seed"]):
                setting = (task, parallel, budget, agent, settings[parallel][1])
                found.append(setting + _speed_up(sequential, rows, target))
    columns = [*SETTING, "workers", "target", "sequential", "parallel", "speed_up", "n"]
    return pd.DataFrame(found, columns=columns)


def _without_workers(arguments: str) -> tuple[str, int]:
    """The arguments of a task without its number of workers, and this."""
    others = json.loads(arguments)
    workers = others.pop("workers", 1)
    return json.dumps(others, sort_keys=True), workers


def _speed_up(
    sequential: pd.DataFrame, parallel: pd.DataFrame, target: float | None
) -> tuple[float, float, float, float, int]:
    """The target, the times of both ways, their ratio, and the number of functions."""
    both = set(sequential["seed"]) & set(parallel["seed"])
    paths = [_mean_best(rows[rows["seed"].isin(both)]) for rows in (sequential, parallel)]
    goal = max(float(path.iloc[-1]) for path in paths) if target is None else target
    times = [_time_to(path, goal) for path in paths]
    ratio = times[0] / times[1] if np.isfinite(times).all() else np.nan
    return goal, times[0], times[1], ratio, len(both)


def _mean_best(rows: pd.DataFrame) -> "pd.Series[float]":
    """The mean over functions of the best value, at each time at which an evaluation ends."""
    rows = rows.sort_values("finished", kind="stable").set_index("finished")
    best = rows.groupby("seed")["y"].cummin()
    change = best.groupby(rows["seed"]).diff()
    first = change.isna()
    number = first.sum()
    # Every evaluation moves the sum by what it improves its own function.
    mean = change.where(~first, best).cumsum() / number
    return mean[first.cumsum() == number]


def _time_to(path: "pd.Series[float]", goal: float) -> float:
    """When a path that never rises reaches a value; infinite where it does not."""
    # A goal that is a mean of the same values, but of another order, must count as reached.
    reached = path[path <= goal + 1e-12 * path.abs().max()]
    return float(reached.index[0]) if len(reached) else np.inf
