"""Checks of arguments, with messages that name the argument and the value."""

import math
import numbers
from typing import Any, SupportsIndex


def positive_integer(name: str, value: SupportsIndex) -> int:
    """Returns a value as an integer that is at least 1.

    Raises:
        ValueError: If it is not one.

    Example:
        >>> positive_integer("budget", 100)
        100
    """
    if isinstance(value, bool) or not hasattr(value, "__index__") or value.__index__() < 1:
        raise ValueError(f"{name} must be an integer of at least 1, got {value!r}")
    return value.__index__()


def number_between(name: str, value: Any, low: float, high: float = math.inf) -> float:
    """Returns a value as a finite number in [low, high].

    Raises:
        ValueError: If it is not one.

    Example:
        >>> number_between("noise", 0, low=0)
        0.0
    """
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not real or not (low <= value <= high and math.isfinite(value)):
        limits = f"of at least {low:g}" if high == math.inf else f"in [{low:g}, {high:g}]"
        raise ValueError(f"{name} must be a finite number {limits}, got {value!r}")
    return float(value)
