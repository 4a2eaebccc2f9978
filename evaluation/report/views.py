"""The parts of a report: for each its text, tables and interactive figures, and its files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from evaluation.profiles import TARGETS
from evaluation.report.data import Setting, task_curves, time_curves
from evaluation.report.overall import (
    Overall,
    ecdf_curves,
    interval_points,
    profile_curves,
    regret_curves,
    time_points,
)
from evaluation.report.pictures import (
    Panel,
    critical_difference_picture,
    critical_difference_svg,
    curve_picture,
)
from evaluation.report.plots import interval_figure, line_figure, log_axis, scatter_figure
from evaluation.report.summary import scope, verdict
from evaluation.report.tables import (
    Table,
    milestone_table,
    pair_table,
    rank_table,
    standings_table,
)
from evaluation.selection import made
from evaluation.style import Style

_NORMALISED = "normalised regret"
_TIME = "milliseconds per proposal"


@dataclass(frozen=True)
class Figure:
    """An interactive figure.

    Attributes:
        id: Of its element in the page.
        title: Its caption.
        agents: Those that are in it.
        plot: Data and layout, as Plotly takes them.
        alt: What one sees, for those who do not.
    """

    id: str
    title: str
    agents: Sequence[str]
    plot: dict[str, Any]
    alt: str


@dataclass(frozen=True)
class Diagram:
    """A critical-difference diagram.

    Attributes:
        svg: The element.
        alt: The ranks it shows.
        text: The tests behind it, in words.
    """

    svg: Markup
    alt: str
    text: str


@dataclass(frozen=True)
class Part:
    """A part of the page.

    Attributes:
        id: Of its element.
        title: Its heading.
        text: In words, below the heading.
        lead: The tables before the figures.
        figures: Interactive ones.
        tables: The tables after them.
        folded: Those shown on demand.
        diagram: Of the ranks; None where there is none.
    """

    id: str
    title: str
    text: str
    lead: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    tables: Sequence[Table] = ()
    folded: Sequence[Table] = ()
    diagram: Diagram | None = None

    @property
    def agents(self) -> list[str]:
        """Those of the legend, which is that of all figures."""
        return list(dict.fromkeys(agent for figure in self.figures for agent in figure.agents))


def task_part(
    evaluations: pd.DataFrame,
    setting: Setting,
    looks: Mapping[str, Style],
    speed_ups: Mapping[Setting, Table],
    pictures: Path,
) -> Part:
    """The part of one setting; its curves go to files, too.

    Args:
        evaluations: All rows, those of failures too.
        setting: The one to show.
        looks: By optimiser.
        speed_ups: The tables of what workers gain.
        pictures: The folder of the files.
    """
    own = made(setting.rows(evaluations))
    if own.empty:
        text = f"{setting.facts}. No run of this task made an evaluation."
        return Part(f"task-{setting.slug}", setting.title, text)
    agents = [agent for agent in looks if (own["agent"] == agent).any()]
    curves, with_regret = task_curves(own, agents)
    y_title = "regret of the best so far" if with_regret else "best value so far"
    panels = [Panel(setting.title, "evaluations", y_title, with_regret, curves)]
    if setting.parallel:
        by_time = time_curves(own, agents)
        panels.append(Panel("by time", "simulated time", "best value so far", False, by_time))
    curve_picture(panels, looks, pictures / setting.slug)
    titles = (
        f"Mean {'regret' if with_regret else 'best value'} by number of evaluations",
        "Mean best value by simulated time",
    )
    figures = [
        _curves(f"{setting.slug}-{i}", title, panel, looks)
        for i, (title, panel) in enumerate(zip(titles, panels, strict=False))
    ]
    tables = [milestone_table(own, setting)]
    if setting in speed_ups:
        tables.append(speed_ups[setting])
    text = f"{setting.facts}."
    return Part(f"task-{setting.slug}", setting.title, text, figures=figures, tables=tables)


def overall_part(
    overall: Overall,
    number: int,
    settings: Sequence[Setting],
    looks: Mapping[str, Style],
    pictures: Path,
) -> Part:
    """The part of a comparison over all tasks, with its files.

    Args:
        overall: The comparison.
        number: Which of several it is, from 1.
        settings: All of the report.
        looks: By optimiser.
        pictures: The folder of the files.
    """
    suffix = "" if number == 1 else f"-{number}"
    panels = [
        Panel(
            "Normalised regret, mean over tasks",
            "evaluations",
            _NORMALISED,
            True,
            regret_curves(overall, np.random.default_rng(0)),
        ),
        Panel(
            "Targets reached (ECDF)",
            "evaluations",
            "share of targets",
            False,
            ecdf_curves(overall),
        ),
        Panel(
            "Functions that end at a regret or below it",
            _NORMALISED,
            "share of functions",
            False,
            profile_curves(overall),
        ),
    ]
    curve_picture(panels[:2], looks, pictures / f"overall{suffix}")
    name = f"overall{suffix}"
    figures = [_curves(f"{name}-{i}", panel.title, panel, looks) for i, panel in enumerate(panels)]
    # Regrets are read from the easy to the hard.
    figures[2].plot["layout"]["xaxis"] |= log_axis(TARGETS) | {"autorange": "reversed"}
    figures += _point_figures(overall, name, looks)
    titles = {setting.key: setting.title for setting in settings}
    return Part(
        name,
        "Mean over tasks" if number == 1 else "With those that played fewer functions",
        scope(overall),
        [standings_table(overall)],
        figures,
        [rank_table(overall, titles)],
        [pair_table(overall)] if overall.test else [],
        _diagram(overall, looks, pictures / f"critical-difference{suffix}"),
    )


def _diagram(overall: Overall, looks: Mapping[str, Style], path: Path) -> Diagram | None:
    test = overall.test
    if test is None:
        return None
    shown = (test.ranks, test.difference, test.groups, looks)
    critical_difference_picture(*shown, path)
    # Matplotlib escapes the names in it.
    svg = Markup(critical_difference_svg(*shown, path.name))  # noqa: S704
    ranks = ", ".join(f"{agent} {rank:.2f}" for agent, rank in test.ranks.items())
    return Diagram(svg, f"Average ranks: {ranks}.", verdict(overall))


def _point_figures(overall: Overall, name: str, looks: Mapping[str, Style]) -> list[Figure]:
    found = []
    points = time_points(overall)
    if points:
        plot = scatter_figure(points, looks, _TIME, f"final {_NORMALISED}")
        found.append(_figure(f"{name}-time", "Time per proposal against final regret", plot))
    for column, title in (
        ("regret", f"Final {_NORMALISED}, mean over tasks, with its bootstrap interval"),
        ("middle", f"Final {_NORMALISED}, interquartile mean, with its bootstrap interval"),
    ):
        plot = interval_figure(interval_points(overall, column), looks, title.split(",")[0])
        found.append(_figure(f"{name}-{column}", title, plot))
    return found


def _curves(name: str, title: str, panel: Panel, looks: Mapping[str, Style]) -> Figure:
    plot = line_figure(panel.curves, looks, panel.x_title, panel.y_title, log_y=panel.log_y)
    return _figure(f"plot-{name}", title, plot)


def _figure(name: str, title: str, plot: dict[str, Any]) -> Figure:
    agents = list(dict.fromkeys(trace["legendgroup"] for trace in plot["data"]))
    alt = f"{title}, of {', '.join(agents)}. The tables have the numbers."
    return Figure(name, title, agents, plot, alt)
