"""What a report says over all tasks: ranks, tests, and figures with their intervals."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from evaluation.drawing import Curve
from evaluation.intervals import aggregate, interquartile_mean
from evaluation.metrics import areas, milliseconds_per_proposal
from evaluation.profiles import TARGETS, performance_profile, target_ecdf
from evaluation.ranking import CriticalDifference, Ranks, critical_difference, ranks
from evaluation.report.plots import Point
from evaluation.selection import Shared, final, leading_to, shared

LEVEL = 0.05
_TASK = ["task", "arguments", "budget"]
# An optimiser with fewer than this share of the others' functions would cost these too many. What
# they have beyond this number does not count: it is a small loss.
_SHARE, _PLENTY = 0.5, 40
_POINTS = 25
_RESAMPLES = 500


@dataclass(frozen=True)
class Overall:
    """A comparison of optimisers that have played all tasks, on the functions that all have played.

    Attributes:
        evaluations: Those compared, with normalised regrets.
        ranks: Of the best values at the end of the runs.
        test: Of these ranks, with tasks as blocks, or functions where there is a single task; None
            for a single optimiser.
        standings: Indexed by agent, best rank first; columns rank, regret, middle (interquartile
            mean) and area, each also with _low and _high, and milliseconds.
        functions: The least and the most functions of a task.
        tasks: Their number.
        absent: The optimisers that miss tasks, and so are not compared, with the number missed.
    """

    evaluations: pd.DataFrame
    ranks: Ranks
    test: CriticalDifference | None
    standings: pd.DataFrame
    functions: tuple[int, int]
    tasks: int
    absent: dict[str, int]

    @property
    def agents(self) -> list[str]:
        """The optimisers, best average rank first."""
        return list(self.standings.index)

    @property
    def lead_p(self) -> float:
        """Nemenyi's p-value of the two best; 1 where there is a single optimiser."""
        if self.test is None:
            return 1.0
        first, second = self.test.p_values.index.get_indexer(pd.Index(self.agents[:2]))
        return float(self.test.p_values.to_numpy()[first, second])


def levels(made: pd.DataFrame) -> list[pd.DataFrame]:
    """Groups of optimisers to compare: those with many functions, then all, where these are more.

    A slow optimiser may have played few of the functions, and all of them are compared on what all
    have played.

    Example:
        >>> run = {"task": "A", "arguments": "{}", "budget": 1}
        >>> agents = ["universal"] * 1000 + ["random"] * 30 + ["gp-ei"] * 6
        >>> seeds = [*range(1000), *range(30), *range(6)]
        >>> frame = pd.DataFrame({**run, "agent": agents, "seed": seeds})
        >>> [level["agent"].unique().tolist() for level in levels(frame)]
        [['universal', 'random'], ['universal', 'random', 'gp-ei']]
    """
    counts = made.groupby([*_TASK, "agent"])["seed"].nunique().unstack("agent")
    most = counts.max(axis=1).clip(upper=_PLENTY)
    share = counts.div(most, axis=0).min()
    many = made[made["agent"].isin(share.index[share >= _SHARE])]
    return [made] if len(many) == len(made) else [many, made]


def comparisons(made: pd.DataFrame, rng: np.random.Generator) -> list[Overall]:
    """Compares the optimisers of every level over all tasks.

    A level is left out where no optimiser has played every task, or no function of a task was
    played by all that have.

    Args:
        made: Evaluations with normalised regrets.
        rng: For the bootstrap.
    """
    found = []
    for level in levels(made):
        try:
            common = shared(final(level))
        except ValueError:
            continue
        found.append(_compare(level, common, rng))
    return found


def _compare(made: pd.DataFrame, common: Shared, rng: np.random.Generator) -> Overall:
    results = common.rows
    evaluations = leading_to(made, results).drop(columns="horizon")
    found = ranks(results)
    tasks = len(found.by_task)
    blocks = found.by_task if tasks > 1 else found.by_function
    functions = found.by_function.groupby(level=["task", "arguments", "horizon"]).size()
    return Overall(
        evaluations,
        found,
        critical_difference(blocks, LEVEL) if len(found.average) > 1 else None,
        _standings(evaluations, results, found, rng),
        (int(functions.min()), int(functions.max())),
        tasks,
        {agent: len(missed) for agent, missed in common.left_out.items()},
    )


def regret_curves(overall: Overall, rng: np.random.Generator) -> list[Curve]:
    """Mean normalised regret over tasks, after numbers of evaluations that all tasks reach."""
    shortest = int(overall.evaluations["budget"].min())
    marks = np.unique(np.geomspace(1, shortest, _POINTS).round().astype(int))
    frames = [
        aggregate(
            final(overall.evaluations, int(t)), "normalised_regret", rng, resamples=_RESAMPLES
        )
        for t in marks
    ]
    by_agent = pd.concat(frames, keys=marks).set_index("agent", append=True)
    found = []
    for agent in overall.agents:
        own = by_agent.xs(agent, level="agent")
        y, low, high = (own[name].tolist() for name in ("value", "low", "high"))
        band = (low, high) if np.isfinite(low).all() else ()
        found.append(Curve(agent, marks.tolist(), y, *band))
    return found


def ecdf_curves(overall: Overall) -> list[Curve]:
    """The share of pairs of function and target that are reached after t evaluations."""
    return _curves(target_ecdf(overall.evaluations), overall.agents, "t")


def profile_curves(overall: Overall) -> list[Curve]:
    """The share of functions that end at a target or below it, from the easiest target on."""
    profile = performance_profile(final(overall.evaluations), TARGETS)
    return _curves(profile.sort_values("target", ascending=False), overall.agents, "target")


def time_points(overall: Overall) -> list[Point]:
    """Milliseconds per proposal and final normalised regret, of those whose time is known."""
    return [
        Point(str(agent), row["milliseconds"], row["regret"], row["regret_low"], row["regret_high"])
        for agent, row in overall.standings.iterrows()
        if row["milliseconds"] > 0.0
    ]


def interval_points(overall: Overall, column: str) -> list[Point]:
    """A figure of every optimiser with its interval, best first."""
    rows = overall.standings.sort_values(column, kind="stable")
    return [
        Point(str(agent), row[column], np.nan, row[f"{column}_low"], row[f"{column}_high"])
        for agent, row in rows.iterrows()
    ]


def _standings(
    evaluations: pd.DataFrame, results: pd.DataFrame, found: Ranks, rng: np.random.Generator
) -> pd.DataFrame:
    wide = found.by_function
    by_function = wide.melt(var_name="agent", value_name="rank", ignore_index=False).reset_index()
    area = areas(evaluations)
    parts = {
        "rank": aggregate(by_function, "rank", rng),
        "regret": aggregate(results, "normalised_regret", rng),
        "middle": aggregate(results, "normalised_regret", rng, interquartile_mean),
        "area": aggregate(area, "area", rng),
    }
    columns = {}
    for name, part in parts.items():
        own = part.set_index("agent")
        columns[name] = own["value"]
        columns[f"{name}_low"], columns[f"{name}_high"] = own["low"], own["high"]
    columns["milliseconds"] = milliseconds_per_proposal(evaluations).groupby(level="agent").mean()
    return pd.DataFrame(columns).reindex(found.average.index)


def _curves(frame: pd.DataFrame, agents: Sequence[str], x: str) -> list[Curve]:
    by_agent = dict(list(frame.groupby("agent")))
    return [
        Curve(agent, by_agent[agent][x].tolist(), by_agent[agent]["share"].tolist())
        for agent in agents
    ]
