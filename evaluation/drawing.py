"""A curve of one optimiser with its band, drawn alike in every Matplotlib figure."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd

from evaluation.style import Style

_OPACITY = 0.15


class Curve(NamedTuple):
    """A line of one optimiser, with a band around it (empty where there is none)."""

    agent: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


def curves_of(frame: pd.DataFrame, agents: Sequence[str]) -> list[Curve]:
    """The curves of agents, without those that a frame does not have.

    Args:
        frame: Columns agent, t, mean, half_width (NaN where one run has no interval).
        agents: Whose, in this order.

    Example:
        >>> row = {"agent": ["a"], "t": [1], "mean": [2.0], "half_width": [0.5]}
        >>> curves_of(pd.DataFrame(row), ["a", "b"])
        [Curve(agent='a', x=[1], y=[2.0], low=[1.5], high=[2.5])]
    """
    found = []
    for agent in agents:
        own = frame[frame["agent"] == agent]
        if own.empty:
            continue
        low, high = own["mean"] - own["half_width"], own["mean"] + own["half_width"]
        band = (low.tolist(), high.tolist()) if low.notna().all() else ()
        found.append(Curve(agent, own["t"].tolist(), own["mean"].tolist(), *band))
    return found


def for_logarithm(curve: Curve) -> Curve:
    """A curve as a logarithmic axis can show it: of positive values.

    A symmetric band may reach below zero; it ends at a tenth of the value there.

    Example:
        >>> for_logarithm(Curve("a", [1, 2], [2.0, 0.0], [-1.0, 0.0], [5.0, 0.0]))
        Curve(agent='a', x=[1], y=[2.0], low=[0.2], high=[5.0])
    """
    kept = [i for i, y in enumerate(curve.y) if y > 0.0]
    x, y = [curve.x[i] for i in kept], [curve.y[i] for i in kept]
    if not len(curve.low):
        return Curve(curve.agent, x, y)
    low = [max(curve.low[i], curve.y[i] / 10.0) for i in kept]
    return Curve(curve.agent, x, y, low, [curve.high[i] for i in kept])


def pen(style: Style) -> dict[str, Any]:
    """What Matplotlib wants to know of a line."""
    return {"color": style.colour, "ls": style.linestyle, "lw": style.width}


def draw_curve(
    axis: Any, curve: Curve, style: Style, *, log_y: bool = False, label: str = ""
) -> Any:
    """Draws a curve over its band, and returns the line.

    Args:
        axis: Matplotlib's axes.
        curve: In the units of the axes.
        style: The looks of its agent.
        log_y: Whether the vertical axis is logarithmic; the axes are told so as well.
        label: In a legend; defaults to the agent's name.
    """
    if log_y:
        curve = for_logarithm(curve)
        axis.set_yscale("log")
    if len(curve.low):
        band = {"color": style.colour, "alpha": _OPACITY, "lw": 0}
        axis.fill_between(curve.x, curve.low, curve.high, **band)
    marker = "o" if len(curve.x) == 1 else None
    label = plain(label or curve.agent)
    (line,) = axis.plot(curve.x, curve.y, label=label, marker=marker, **pen(style))
    return line


def plain(text: str) -> str:
    r"""A $ in a name starts no formula.

    Example:
        >>> print(plain("a$b"))
        a\$b
    """
    return text.replace("$", r"\$")
