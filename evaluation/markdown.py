"""Tables for the docs."""

from collections.abc import Iterable, Sequence

_RULES = {"l": ":--", "r": "--:"}


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
