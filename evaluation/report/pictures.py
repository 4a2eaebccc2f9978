"""The figures of a report as PNG and SVG files, by Matplotlib."""

import re
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from evaluation.drawing import Curve, draw_curve, plain
from evaluation.style import Style


class Panel(NamedTuple):
    """Curves in one pair of axes.

    Attributes:
        title: Above it.
        x_title: Of the horizontal axis.
        y_title: Of the vertical axis.
        log_y: Whether that is logarithmic.
        curves: The lines.
    """

    title: str
    x_title: str
    y_title: str
    log_y: bool
    curves: Sequence[Curve]


# Text stays text, so that it can be searched for; the same figure is the same file.
_SETTINGS = {"svg.fonttype": "none", "svg.hashsalt": "bbo"}
_DOTS_PER_INCH = 150
# A critical-difference diagram: inches from one name to the next; in these, from one bar to the
# next, and where its upper edge is.
_ROW, _BAR, _TOP = 0.24, 0.5, -3.2


def curve_picture(
    panels: Sequence[Panel],
    styles: Mapping[str, Style],
    path: Path,
) -> None:
    """Draws panels of curves side by side, as PNG and SVG.

    Args:
        panels: From left to right.
        styles: The looks of each agent.
        path: Of the files, without a suffix.
    """
    with _context():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6.4 * len(panels), 4.4), layout="constrained")
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for axis, panel in zip(axes, panels, strict=True):
            for curve in panel.curves:
                draw_curve(axis, curve, styles[curve.agent], log_y=panel.log_y)
            axis.set(title=plain(panel.title), xlabel=panel.x_title, ylabel=panel.y_title)
            axis.grid(alpha=0.3)
        handles, labels = axes[0].get_legend_handles_labels()
        # On the figure, as an optimiser's name may start with an underscore, which an axis skips.
        figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize="small")
        _save(figure, path)


def critical_difference_picture(
    ranks: "pd.Series[float]",
    difference: float,
    groups: Sequence[Sequence[str]],
    styles: Mapping[str, Style],
    path: Path,
) -> None:
    """Draws a critical-difference diagram (Demšar 2006), as PNG and SVG.

    Args:
        ranks: The average rank of each agent, best first.
        difference: Average ranks less far apart than this cannot be told apart.
        groups: The agents joined by each bar.
        styles: The looks of each agent.
        path: Of the files, without a suffix.
    """
    with _context():
        _save(_critical_difference(ranks, difference, groups, styles), path, bbox_inches="tight")


def _critical_difference(
    ranks: "pd.Series[float]",
    difference: float,
    groups: Sequence[Sequence[str]],
    styles: Mapping[str, Style],
) -> Any:
    from matplotlib.figure import Figure

    count, bars = len(ranks), _BAR * len(groups)
    bottom = bars + 1.0 + (count + 1) // 2
    figure = Figure(figsize=(6.0, _ROW * (bottom - _TOP)))
    # What sticks out at the sides is taken in when the figure is saved.
    axis = figure.add_axes((0.3, 0.0, 0.4, 1.0))
    # y grows downwards in rows: the scale at 0, the bars below it, then the names.
    axis.set(xlim=(1, count), ylim=(bottom, _TOP))
    axis.axis("off")
    _draw_scale(axis, count, difference)
    for number, group in enumerate(groups, start=1):
        ends = [float(ranks[agent]) for agent in group]
        _stroke(axis, [min(ends) - 0.04, max(ends) + 0.04], [_BAR * number] * 2, lw=3.5)
    _draw_names(axis, ranks, bars + 1.0, styles)
    return figure


def _draw_scale(axis: Any, count: int, difference: float) -> None:
    _stroke(axis, [1, count], [0, 0])
    for rank in range(1, count + 1):
        _stroke(axis, [rank, rank], [0, -0.3])
        axis.text(rank, -0.5, str(rank), ha="center", va="bottom", size=9)
    _stroke(axis, [1, 1 + difference], [-2.0, -2.0], lw=1.5, marker="|")
    axis.text(1 + difference / 2, -2.3, f"CD = {difference:.2f}", ha="center", va="bottom", size=9)


def _draw_names(
    axis: Any, ranks: "pd.Series[float]", top: float, styles: Mapping[str, Style]
) -> None:
    """The better half on the left, from top to bottom; the others on the right."""
    count = len(ranks)
    gap = 0.03 * (count - 1)
    for number, (agent, rank) in enumerate(ranks.items()):
        on_left = number < (count + 1) // 2
        row = top + (number if on_left else count - 1 - number)
        end, text = (1 - gap, 1 - 1.6 * gap) if on_left else (count + gap, count + 1.6 * gap)
        _stroke(axis, [rank, rank, end], [0, row, row], lw=0.8)
        axis.plot([rank], [0], "o", ms=5, color=styles[str(agent)].colour, clip_on=False)
        name = plain(str(agent))
        label = f"{name}  {rank:.2f}" if on_left else f"{rank:.2f}  {name}"
        axis.text(text, row, label, ha="right" if on_left else "left", va="center", size=9)


def _stroke(axis: Any, x: Sequence[float], y: Sequence[float], **look: Any) -> None:
    axis.plot(x, y, **({"lw": 1.0} | look), color="#000000", clip_on=False)


def critical_difference_svg(
    ranks: "pd.Series[float]",
    difference: float,
    groups: Sequence[Sequence[str]],
    styles: Mapping[str, Style],
    name: str,
) -> str:
    """The same diagram as an SVG element, to stand in a page; its ids start with its name."""
    text = StringIO()
    with _context():
        figure = _critical_difference(ranks, difference, groups, styles)
        look = {"transparent": True, "bbox_inches": "tight", "metadata": _NO_METADATA}
        figure.savefig(text, format="svg", **look)
    whole = text.getvalue()
    element = whole[whole.index("<svg") :]
    return re.sub(r'(<\w+ id="|href="#|url\(#)', rf"\g<1>{name}-", element)


_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


def _context() -> Any:
    from matplotlib import rc_context

    return rc_context(_SETTINGS)


def _save(figure: Any, path: Path, **options: Any) -> None:
    figure.savefig(path.with_name(f"{path.name}.png"), dpi=_DOTS_PER_INCH, **options)
    figure.set_layout_engine("none")  # It has been laid out, which takes most of the time.
    figure.savefig(path.with_name(f"{path.name}.svg"), metadata={"Date": None}, **options)
