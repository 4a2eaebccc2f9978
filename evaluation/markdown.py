"""Tables for the docs."""

import math
from collections.abc import Iterable, Sequence

_RULES = {"l": ":--", "r": "--:"}
_MOST_DECIMALS = 6


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], align: str) -> str:
    """A Markdown table.

    Args:
        headings: One for each column.
        rows: The cells, as they are shown.
        align: For each column ``"l"`` (left) or ``"r"`` (right).

    Example:
        >>> print(table(["t", "best"], [["10", "-1.5"]], "lr"))
        | t | best |
        | :-- | --: |
        | 10 | -1.5 |
    """
    rule = [_RULES[side] for side in align]
    return "\n".join("| " + " | ".join(row) + " |" for row in (headings, rule, *rows))


def with_interval(mean: float, half_width: float) -> str:
    """A mean and the half width of its interval, with as many decimals as show that, two at least.

    The mean stands alone where there is no interval: one run has none.

    Example:
        >>> print(with_interval(-3.456, 0.123), with_interval(0.05731, 0.00042), sep="; ")
        -3.46 ± 0.12; 0.0573 ± 0.0004
        >>> with_interval(-3.456, math.nan)
        '-3.46'
    """
    if math.isnan(half_width):
        return f"{mean:.2f}"
    decimals = math.ceil(-math.log10(half_width)) if half_width > 0.0 else 0
    decimals = min(max(decimals, 2), _MOST_DECIMALS)
    return f"{mean:.{decimals}f} ± {half_width:.{decimals}f}"
