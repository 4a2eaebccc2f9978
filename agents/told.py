"""What users tell: values that are checked, and points that are known again."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from bbo_envs import Float, Space
from bbo_envs.space import Parameter

# A float that comes back is one that was asked if it differs by no larger part of its range, or of
# itself on a logarithmic scale.
_SAME = 1e-6


def number_of(name: str, value: Any, remedy: str) -> float:
    """What an evaluation came to as a float, finite or not.

    Raises:
        ValueError: If it is no real number; the message names it, and the remedy.

    Example:
        >>> number_of("y", np.float32(2.5), "tell a number")
        2.5
    """
    try:
        if isinstance(value, Tensor):
            value = value.item()
        array = isinstance(value, np.ndarray | np.generic)
        if isinstance(value, str | bytes | bytearray) or (array and np.iscomplexobj(value)):
            raise TypeError("it is no real number")
        return float(value)
    except OverflowError:  # an integer beyond all floats
        return math.inf if value > 0 else -math.inf
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name} must be a number, got {value!r}; {remedy}") from error


def finite(y: Any) -> float | None:
    """A finite number, or None for a failed evaluation.

    Raises:
        ValueError: If it is no real number.

    Example:
        >>> finite(3), finite(math.nan)
        (3.0, None)
    """
    value = number_of("y", y, "tell(x, failed=True) where there is none")
    return value if math.isfinite(value) else None


def as_asked(x: Mapping[str, Any], values: dict[str, Any]) -> bool:
    """Whether a point is told in the very values that were asked, as most are.

    Example:
        >>> as_asked({"layers": 3}, {"layers": 3}), as_asked({"layers": 3.0}, {"layers": 3})
        (True, False)
    """
    if not isinstance(x, Mapping) or x.keys() != values.keys():
        return False
    return all(type(x[name]) is type(v) and x[name] == v for name, v in values.items())


def is_same(space: Space, x: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    """Whether two points are the same, but for how floats were rounded on their way.

    Example:
        >>> space = Space({"lr": (1e-5, 0.1, "log"), "layers": (1, 8)})
        >>> is_same(space, {"lr": 1e-3, "layers": 3}, {"lr": float(np.float32(1e-3)), "layers": 3})
        True
    """
    return all(_is_near(p, x[name], values[name]) for name, p in space.parameters.items())


def _is_near(parameter: Parameter, a: Any, b: Any) -> bool:
    if not isinstance(parameter, Float):
        return a is b or bool(a == b)
    if parameter.log:
        return math.isclose(a, b, rel_tol=_SAME)
    return bool(abs(a - b) <= _SAME * (parameter.high - parameter.low))
