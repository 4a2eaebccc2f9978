"""``RESULTS.md``: the results of ``bbo paper`` in words, tables and pictures, none of it typed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from agents import CLASSICAL
from evaluation.figures import describe
from evaluation.markdown import table, with_interval
from evaluation.metrics import mean_and_interval, seconds_per_run
from evaluation.paper import experiments
from evaluation.run import evaluations_of
from evaluation.tables import markdown
from evaluation.workers import speed_ups

# Table 1 of Chen et al.: seconds for 100 queries, over the tasks there.
_PUBLISHED = {
    "gp-bayesian": ("Spearmint", "1239 to 2768"),
    "tpe": ("TPE", "16 to 21"),
    "smac": ("SMAC", "16 to 21"),
    "dnc-oi": ("DNC", "0.1"),
    "lstm-oi": ("LSTM", "0.02"),
}

# Optimisers on fewer functions are not compared with others.
_FUNCTIONS = 10

_BEGINNING = """\
# Results

The experiments of Chen et al. 2017, "Learning to Learn without Gradient Descent by Gradient
Descent", with our networks in them. Everything on this page, save the paper's own figures, is
computed from stored evaluations by `make paper`, which does them all over again:

    {command}

{environment}

Every optimiser meets the same functions, none of which was seen in training, with the same noise; n
is how many. Values are the lowest true value found, on average over functions, with the 95 %
Student interval; lower is better. Milliseconds per proposal are those of functions played alone.
Rivals run as their libraries recommend. GP-EI is fitted anew before each proposal; `gp-ei-known` is
given the kernel that generates the samples. What takes long gets fewer functions. The kernel and
length scales of the paper's samples are not published; ours are in the titles.
"""


def page(evaluations: pd.DataFrame, records: Sequence[dict[str, Any]], pictures: Path) -> str:
    """The page.

    Args:
        evaluations: Of ``experiments.paper``.
        records: Of the runs that made them; see ``store.Store.records``.
        pictures: Where the figures are, as the page refers to them.
    """
    usual = evaluations[evaluations["budget"] == experiments.BUDGET]
    longer = evaluations[evaluations["budget"] == experiments.LONGER_BUDGET]
    parts = [
        _BEGINNING.format(command="make paper", environment=_environment(records)),
        "## Figure 3: samples of a Gaussian process\n",
        _picture(pictures, "figure-3-gp-samples", "Best value against evaluations, GP samples"),
        "The picture and this table show the functions that all have played, save SMAC:\n",
        markdown(experiments.comparable(usual), experiments.SAMPLES),
        "The networks on all their functions, and trained by other losses:\n",
        markdown(usual[~usual["agent"].isin(CLASSICAL)], experiments.SAMPLES),
        "## Figure 4: trajectories in one dimension\n",
        "Blue: the function. Green: the values found. Red: the queries, from the top down.\n",
        _picture(pictures, "figure-4-trajectories", "Queries of six optimisers in one dimension"),
        "## Figure 5: benchmark functions\n",
        _picture(pictures, "figure-5-benchmark-functions", "Regret against evaluations"),
        _picture(pictures, "figure-5-run-time", "Regret against seconds spent on proposals"),
        markdown(usual, experiments.SYNTHETIC),
        "## Figure 6: repellers\n",
        _picture(pictures, "figure-6-repellers", "Best value against evaluations, repellers"),
        "The path of the ball under the best query of each optimiser, from three starts:\n",
        _picture(pictures, "figure-6-trajectory", "Paths of the ball"),
        markdown(usual, [experiments.REPELLERS]),
        "## Figure 7: hyper-parameters\n",
        _picture(pictures, "figure-7-hpo", "Best value against evaluations, HPO tables"),
        markdown(usual, [*experiments.TABLES, experiments.RESNET, experiments.RESNET_PARALLEL]),
        "### Five workers\n",
        _workers(usual),
        "## Table 1: run time\n",
        "Seconds for 100 proposals, without the evaluations, over the benchmark functions.\n",
        _run_times(usual),
        "## Where learned optimisers lose\n",
        _picture(pictures, "limits", "Past the horizon, off distribution, in more dimensions"),
        losses(evaluations),
        markdown(longer, [experiments.LONGER]),
        markdown(usual, experiments.LIMITS),
    ]
    return "\n".join(parts).rstrip("\n") + "\n"


def _picture(folder: Path, name: str, text: str) -> str:
    return f"![{text}]({(folder / name).as_posix()}.png)\n"


def _environment(records: Sequence[dict[str, Any]]) -> str:
    if not records:
        return ""
    last = records[-1]
    versions = ", ".join(f"{name} {v}" for name, v in last["versions"].items() if v)
    return (
        f"Made with Python {last['python']} on {last['cores']} cores ({last['processor']}), "
        f"{last['platform']}: {versions}."
    )


def _workers(evaluations: pd.DataFrame) -> str:
    """How much sooner five workers reach what one reaches."""
    tasks = (experiments.RESNET, experiments.RESNET_PARALLEL)
    own = pd.concat([evaluations_of(evaluations, task) for task in tasks])
    rows = [
        [
            f"`{row['agent']}`",
            str(row["n"]),
            f"{row['target']:.4f}",
            f"{row['sequential']:.0f}",
            f"{row['parallel']:.0f}",
            f"{row['speed_up']:.1f}",
        ]
        for row in speed_ups(own).sort_values("parallel").to_dict("records")
    ]
    headings = ["optimiser", "n", "mean best value", "1 worker", "5 workers", "speed-up"]
    text = (
        "Simulated time (an evaluation takes 1 on average) until the mean best value is what both "
        "ways of working reach in the end:\n\n"
    )
    return text + table(headings, rows, "lrrrrr") + "\n"


def _run_times(evaluations: pd.DataFrame) -> str:
    own = pd.concat([evaluations_of(evaluations, task) for task in experiments.SYNTHETIC])
    seconds = seconds_per_run(own).dropna().groupby("agent").agg(["min", "max"])
    rows = []
    for agent, low, high in seconds.sort_values("max").itertuples():
        theirs = _PUBLISHED.get(str(agent), ("", ""))
        span = [_brief(low)] if low == high else [_brief(low), _brief(high)]
        rows.append([f"`{agent}`", " to ".join(span), *theirs])
    return table(["optimiser", "seconds", "in Chen et al.", "seconds there"], rows, "lrlr") + "\n"


def _brief(seconds: float) -> str:
    return f"{seconds:.0f}" if seconds >= 100.0 else f"{seconds:.3g}"


def losses(evaluations: pd.DataFrame) -> str:
    """A table with a row for every task: the best network and the best rival in the end."""
    tables = (*experiments.TABLES, experiments.RESNET, experiments.RESNET_PARALLEL)
    tasks = (
        *experiments.SAMPLES,
        *experiments.SYNTHETIC,
        experiments.REPELLERS,
        *tables,
        *experiments.LIMITS,
    )
    settings = [(task, experiments.BUDGET) for task in tasks] + [
        (experiments.LONGER, experiments.LONGER_BUDGET)
    ]
    evaluations = experiments.comparable(evaluations)
    rows = []
    for task, budget in settings:
        ends = _ends(evaluations_of(evaluations, task), budget)
        by_mean = ends.mean().sort_values().index
        learned = next(agent for agent in by_mean if agent not in CLASSICAL)
        rival = next(agent for agent in by_mean if agent in CLASSICAL)
        apart, interval = mean_and_interval(ends[rival] - ends[learned])
        verdict = "level" if abs(apart) <= interval else ("ahead" if apart > 0.0 else "**behind**")
        cells = (f"`{a}` {with_interval(*mean_and_interval(ends[a]))}" for a in (learned, rival))
        workers = task.arguments.get("workers")
        name = f"{describe(task)}, {f'{workers} workers, ' if workers else ''}{budget} evaluations"
        rows.append([name, str(len(ends)), *cells, with_interval(apart, interval), verdict])
    text = (
        "The best network and the best rival of those that took part, on the functions that all "
        "have played who played ten or more (`gp-ei-known` aside, which knows what nobody knows). "
        "Networks are called ahead or behind where the interval of the difference, function by "
        "function, leaves out zero.\n\n"
    )
    headings = ["task", "n", "best network", "best rival", "difference", "networks are"]
    return text + table(headings, rows, "lrrrrl") + "\n"


def _ends(own: pd.DataFrame, budget: int) -> pd.DataFrame:
    """The best values at the end, a row per function and a column per optimiser."""
    ends = own[(own["budget"] == budget) & (own["t"] == budget) & own["error"].isna()]
    ends = ends[ends["agent"] != "gp-ei-known"]
    bests = ends.pivot(index="seed", columns="agent", values="best")
    several = bests.loc[:, bests.count() >= min(_FUNCTIONS, int(bests.count().max()))]
    return several.dropna()
