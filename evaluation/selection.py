"""Which evaluations a comparison takes: runs judged at a horizon, functions that all have played.

A frame of evaluations has a row per evaluation, as a store returns it. A frame of results has a row
per run, by agent, ``TASK`` and seed. What is compared across agents is a task with its arguments,
after a number of evaluations, the horizon.
"""

from typing import NamedTuple

import pandas as pd

from bbo_envs.checks import positive_integer

FUNCTION = ["task", "arguments", "seed"]
SETTING = ["task", "arguments", "budget", "agent"]
RUN = [*SETTING, "seed"]
TASK = ["task", "arguments", "horizon"]


def made(evaluations: pd.DataFrame) -> pd.DataFrame:
    """The rows that hold an evaluation, not the error of a unit that failed.

    Example:
        >>> len(made(pd.DataFrame({"t": [1, 2], "error": [None, "ValueError: no"]})))
        1
    """
    return evaluations[evaluations["error"].isna()]


def final(evaluations: pd.DataFrame, horizon: int | None = None) -> pd.DataFrame:
    """The last of the evaluations that each run is judged by.

    An agent is told its budget, and may have runs of several budgets on a function. With a horizon,
    the run of the smallest budget that reaches it is taken: that of an agent which was told just
    this number, and the one long run of an agent that does not care. A run that failed before the
    horizon is left out.

    Args:
        evaluations: As read from a store.
        horizon: After how many evaluations to judge; None judges every run at its own budget.

    Returns:
        Rows of ``evaluations``, one per run, with a column horizon.

    Raises:
        ValueError: If the horizon is not positive, or an agent has two runs of one budget on a
            function.

    Example:
        >>> run = {"agent": "random", "task": "A", "arguments": "{}", "budget": 2, "error": None}
        >>> rows = {"seed": [0, 0, 1], "t": [1, 2, 1], "best": [3.0, 2.0, 4.0]}
        >>> frame = pd.DataFrame({**run, **rows})
        >>> final(frame)["best"].tolist(), final(frame, 1)["best"].tolist()
        ([2.0], [3.0, 4.0])
    """
    rows = made(evaluations)
    at = rows["budget"] if horizon is None else positive_integer("horizon", horizon)
    ends = rows[rows["t"] == at]
    twice = ends[ends.duplicated(RUN)]
    if len(twice):
        run = twice.iloc[0]
        raise ValueError(
            f"agent {run['agent']!r} has two runs of budget {run['budget']} on function "
            f"{run['seed']} of {run['task']} {run['arguments']}: keep the rows of one version of it"
        )
    if horizon is not None:
        shortest = ends.groupby(["agent", *FUNCTION])["budget"].transform("min")
        ends = ends[ends["budget"] == shortest]
    return ends.assign(horizon=ends["t"])


def leading_to(evaluations: pd.DataFrame, results: pd.DataFrame) -> pd.DataFrame:
    """The evaluations up to the horizon of the runs in a frame of results.

    Args:
        evaluations: As read from a store.
        results: As returned by ``final``, or some of its rows.

    Returns:
        Rows of ``evaluations``, with a column horizon.

    Example:
        >>> run = {"agent": "random", "task": "A", "arguments": "{}", "budget": 2, "error": None}
        >>> frame = pd.DataFrame({**run, "seed": [0, 0, 1, 1], "t": [1, 2, 1, 2]})
        >>> leading_to(frame, final(frame)[:1])["seed"].tolist()
        [0, 0]
    """
    rows = made(evaluations).merge(results[[*RUN, "horizon"]], on=RUN)
    return rows[rows["t"] <= rows["horizon"]]


def up_to(evaluations: pd.DataFrame, horizon: int | None = None) -> pd.DataFrame:
    """The evaluations that each run is judged by: those up to the rows of ``final``.

    Example:
        >>> run = {"agent": "random", "task": "A", "arguments": "{}", "budget": 3, "error": None}
        >>> frame = pd.DataFrame({**run, "seed": 0, "t": [1, 2, 3]})
        >>> up_to(frame, 2)["t"].tolist()
        [1, 2]
    """
    return leading_to(evaluations, final(evaluations, horizon))


class Shared(NamedTuple):
    """What agents can be compared on.

    Attributes:
        rows: The results of the agents that have played every task, on the functions that all of
            these have played.
        left_out: The agents that have not, each with the tasks (task, arguments, horizon) that it
            misses.
    """

    rows: pd.DataFrame
    left_out: dict[str, list[tuple[str, str, int]]]


def shared(results: pd.DataFrame) -> Shared:
    """Keeps agents that have played every task, and functions that all of these have played.

    The tasks are all in the frame. An agent that has played few functions of a task leaves few to
    the others too: to compare these on more, drop its rows first.

    Args:
        results: A row per run, with columns task, arguments, horizon, agent, seed.

    Raises:
        ValueError: If no agent has played every task, or no function of a task has been played by
            all agents.

    Example:
        >>> run = {"task": ["A", "A", "B", "A"], "arguments": "{}", "horizon": 9, "seed": 0}
        >>> results = pd.DataFrame({**run, "agent": ["cmaes", "random", "random", "random"]})
        >>> shared(results[:3]).left_out
        {'cmaes': [('B', '{}', 9)]}
    """
    played = results.groupby([*TASK, "agent"]).size().unstack("agent", fill_value=0) > 0
    complete = played.columns[played.all()]
    if complete.empty:
        raise ValueError(
            f"no agent has played all of these {len(played)} tasks: choose tasks (and one budget) "
            "that the agents to compare have played"
        )
    rows = results[results["agent"].isin(complete)]
    rows = rows[rows.groupby([*TASK, "seed"])["agent"].transform("size") == len(complete)]
    kept = rows.groupby(TASK).size().index
    lost = played.index.difference(kept)
    if len(lost):
        task, arguments, horizon = lost[0]
        raise ValueError(
            f"no function of {task} {arguments} has been played for {horizon} evaluations by all "
            f"of {', '.join(complete)}: leave out an agent, or the task"
        )
    missed = played.columns.difference(complete)
    return Shared(rows, {agent: list(played.index[~played[agent]]) for agent in missed})


def require_normalised(evaluations: pd.DataFrame) -> None:
    """Checks that there are normalised regrets.

    Raises:
        ValueError: If there are none.

    Example:
        >>> require_normalised(pd.DataFrame({"normalised_regret": [0.5]}))
    """
    if "normalised_regret" not in evaluations.columns:
        raise ValueError(
            "the frame has no column 'normalised_regret': pass the rows of all agents through "
            "evaluation.metrics.normalised_regret first"
        )


def require_known(results: pd.DataFrame, column: str) -> None:
    """Checks that a figure is known of every run.

    Raises:
        ValueError: If it is NaN somewhere.

    Example:
        >>> require_known(pd.DataFrame({"best": [0.5]}), "best")
    """
    unknown = results[results[column].isna()]
    if len(unknown):
        run = unknown.iloc[0]
        raise ValueError(
            f"{column!r} of {run['agent']} on {run['task']} {run['arguments']} is NaN: choose a "
            "column that is known on every function, such as 'best' or 'normalised_regret'"
        )
