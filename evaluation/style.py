"""How an optimiser looks in a report: the same colour and dashes on the page and in the files."""

from collections.abc import Sequence
from typing import NamedTuple

from agents import CLASSICAL

# Okabe & Ito's palette, which colour-blind readers can tell apart. Without its yellow, which does
# not show on white, and with a grey.
COLOURS = (
    "#D55E00",
    "#0072B2",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
    "#999999",
)
_DASHES = (("solid", "-", ""), ("dash", "--", "6 3"), ("dot", ":", "2 2"))
_THIN, _THICK = 1.5, 2.5


class Style(NamedTuple):
    """The looks of one optimiser.

    Attributes:
        colour: As ``#RRGGBB``.
        dash: Plotly's name of the dashes.
        linestyle: Matplotlib's.
        dasharray: SVG's.
        width: Of the line; classical optimisers have thin ones.
    """

    colour: str
    dash: str
    linestyle: str
    dasharray: str
    width: float


def styles(agents: Sequence[str]) -> dict[str, Style]:
    """The style of each optimiser. Beyond eight, colours come again with other dashes.

    Example:
        >>> drawn = styles([f"agent-{i}" for i in range(9)])
        >>> drawn["agent-0"].colour == drawn["agent-8"].colour, drawn["agent-8"].dash
        (True, 'dash')
    """
    found = {}
    for number, agent in enumerate(agents):
        dashes = _DASHES[number // len(COLOURS) % len(_DASHES)]
        width = _THIN if agent in CLASSICAL else _THICK
        found[agent] = Style(COLOURS[number % len(COLOURS)], *dashes, width)
    return found
