"""Consoles for tests."""

import io

from rich.console import Console


def printed() -> Console:
    """A console that keeps what it is told, as wide as a plain terminal."""
    return Console(file=io.StringIO(), width=80)
