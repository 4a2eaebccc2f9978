"""The interactive figures of a report, as Plotly's JSON."""

import math
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any, NamedTuple

import numpy as np

from evaluation.drawing import Curve, for_logarithm
from evaluation.style import Style

Figure = dict[str, Any]

_MARGIN = {"l": 60, "r": 14, "t": 10, "b": 46}
# Two hexadecimal digits of opacity behind a colour.
_BAND = "26"
# Two powers of ten have seven ticks at 1, 2 and 5.
_DECADES, _MOST_TICKS = 2.0, 8
_SYMBOLS = {"solid": "circle", "dash": "square", "dot": "diamond"}


class Point(NamedTuple):
    """A value of one optimiser with its interval (NaN where there is none)."""

    agent: str
    x: float
    y: float
    low: float
    high: float


def brief(value: float) -> float | None:
    """A number to five significant digits, as is enough for a screen; None if it is not finite.

    Example:
        >>> brief(0.123456789), brief(float("nan"))
        (0.12346, None)
    """
    return float(f"{value:.5g}") if math.isfinite(value) else None


def line_figure(
    curves: Iterable[Curve],
    styles: Mapping[str, Style],
    x_title: str,
    y_title: str,
    *,
    log_y: bool = False,
) -> Figure:
    """Lines with bands. On a logarithmic axis, what is not positive is left out."""
    # The bands first, so that all lines lie above them.
    bands, lines = [], []
    for curve in curves:
        shown = for_logarithm(curve) if log_y else curve
        style = styles[curve.agent]
        if len(shown.low):
            bands.append(_band(shown, style))
        lines.append(_line(shown, style))
    layout = _layout(x_title, y_title) | {"hovermode": "x unified"}
    if log_y:
        layout["yaxis"] |= log_axis(y for trace in bands + lines for y in trace["y"])
    return {"data": bands + lines, "layout": layout}


def scatter_figure(
    points: Iterable[Point], styles: Mapping[str, Style], x_title: str, y_title: str
) -> Figure:
    """A labelled marker for each optimiser over a logarithmic axis, with an interval along y."""
    shown = list(points)
    # A name stands where there is room for it: to the right of a marker in the left half.
    middle = np.mean([np.log([point.x for point in shown])])
    traces = [
        _named(point.agent)
        | {
            "mode": "markers+text",
            "x": [brief(point.x)],
            "y": [brief(point.y)],
            "text": [f" {_plain(point.agent)} "],
            "textposition": "middle right" if np.log(point.x) <= middle else "middle left",
            "cliponaxis": False,
            "error_y": _error(point.y, point, styles),
            "marker": _marker(styles[point.agent]),
            "hovertemplate": "%{x:.3g} ms, %{y:.3g}",
        }
        for point in shown
    ]
    layout = _layout(x_title, y_title)
    layout["xaxis"] |= log_axis(point.x for point in shown)
    return {"data": traces, "layout": layout}


def interval_figure(points: Iterable[Point], styles: Mapping[str, Style], x_title: str) -> Figure:
    """A row for each optimiser, the first on top: its value and the interval around it."""
    traces = [
        _named(point.agent)
        | {
            "mode": "markers",
            "x": [brief(point.x)],
            "y": [_plain(point.agent)],
            "error_x": _error(point.x, point, styles),
            "marker": _marker(styles[point.agent]),
            "hovertemplate": "%{x:.3g}",
        }
        for point in points
    ]
    layout = _layout(x_title, "")
    layout["yaxis"] = {"type": "category", "autorange": "reversed", "automargin": True}
    layout["margin"] = _MARGIN | {"l": 20}
    return {"data": traces, "layout": layout}


def log_axis(values: Iterable[float | None]) -> dict[str, Any]:
    """A logarithmic axis whose ticks suit what it has to show.

    Example:
        >>> log_axis([1.0, 10.0])["dtick"], log_axis([1.0, 1e6])["dtick"]
        ('D2', 1)
    """
    logarithms = [math.log10(value) for value in values if value]
    span = max(logarithms) - min(logarithms) if logarithms else 0.0
    # Ticks at 1, 2, 5 and 10 where there are few powers of ten.
    dtick = "D2" if span < _DECADES else math.ceil(span / _MOST_TICKS)
    return {"type": "log", "dtick": dtick, "tickformat": "~g"}


def _line(curve: Curve, style: Style) -> dict[str, Any]:
    return _named(curve.agent) | {
        "mode": "lines" if len(curve.x) > 1 else "markers",
        "x": [brief(x) for x in curve.x],
        "y": [brief(y) for y in curve.y],
        "line": {"color": style.colour, "dash": style.dash, "width": style.width},
        "marker": _marker(style),
        "hovertemplate": "%{y:.4g}",
    }


def _band(curve: Curve, style: Style) -> dict[str, Any]:
    x = [brief(x) for x in curve.x]
    upper, lower = ([brief(y) for y in ys] for ys in (curve.high, curve.low))
    return _named(curve.agent) | {
        "meta": "band",
        "mode": "none",
        "x": x + x[::-1],
        "y": upper + lower[::-1],
        "fill": "toself",
        "fillcolor": style.colour + _BAND,
        "hoverinfo": "skip",
    }


def _named(agent: str) -> dict[str, Any]:
    """What every trace has. The page's own legend shows and hides traces by their group."""
    return {
        "type": "scatter",
        "name": _plain(agent),
        "legendgroup": agent,
        "showlegend": False,
    }


def _plain(text: str) -> str:
    """Plotly takes some HTML in its texts, and formulae between $; a name is neither."""
    return escape(text, quote=False).replace("$", "&#36;")


def _marker(style: Style) -> dict[str, Any]:
    return {"color": style.colour, "size": 9, "symbol": _SYMBOLS[style.dash]}


def _error(value: float, point: Point, styles: Mapping[str, Style]) -> dict[str, Any]:
    return {
        "type": "data",
        "symmetric": False,
        "array": [brief(point.high - value)],
        "arrayminus": [brief(value - point.low)],
        "color": styles[point.agent].colour,
        "thickness": 1.5,
        "width": 4,
    }


def _layout(x_title: str, y_title: str) -> dict[str, Any]:
    return {
        "margin": _MARGIN,
        "xaxis": {"title": {"text": x_title}, "automargin": True},
        "yaxis": {"title": {"text": y_title}, "automargin": True},
    }
