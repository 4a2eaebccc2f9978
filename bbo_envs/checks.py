"""Checks of arguments, with messages that name the argument and the value."""

import math
import numbers
from typing import Any, SupportsIndex

from torch import Tensor

from bbo_envs.errors import QueryError


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


def integer_between(name: str, value: Any, low: int, high: int | None = None) -> int:
    """Returns a value as an integer in [low, high].

    Raises:
        ValueError: If it is not one.

    Example:
        >>> integer_between("function", 24, 1, 24)
        24
    """
    whole = hasattr(value, "__index__") and not isinstance(value, bool)
    if not whole or value < low or (high is not None and value > high):
        limits = f"of at least {low}" if high is None else f"from {low} to {high}"
        raise ValueError(f"{name} must be an integer {limits}, got {value!r}")
    return int(value)


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


def check_queries(x: Tensor, dim: int) -> None:
    """Checks that points ``[..., d]`` lie in the unit cube.

    Raises:
        QueryError: If they have another number of coordinates, a NaN, or leave the cube.

    Example:
        >>> import torch
        >>> check_queries(torch.tensor([[0.0, 1.0]]), dim=2)
    """
    if x.shape[-1:] != (dim,):
        raise QueryError(f"queries must have {dim} coordinates, got shape {tuple(x.shape)}")
    inside = (x >= 0.0) & (x <= 1.0)  # false for NaN
    if not inside.all():
        row = int((~inside).any(-1).flatten().int().argmax())
        raise QueryError(
            f"query {x.reshape(-1, dim)[row].tolist()} (row {row}) is not in the unit cube; every "
            "coordinate must be a number in [0, 1]: clip it, or map it with the agent's own "
            "squashing"
        )
