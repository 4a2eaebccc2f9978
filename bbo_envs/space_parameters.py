"""The parameters of a mixed search space: one coordinate of the unit cube each."""

import math
import numbers
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

from bbo_envs.checks import number_between

T = TypeVar("T")

# To how much of itself a number is rounded in these precisions.
_FLOAT32, _FLOAT64 = 2.0**-23, 2.0**-50
_LARGEST = 2**40  # of integers: beyond it float64 no longer tells the bins of a log scale apart


class Axis(NamedTuple, Generic[T]):
    """What a space computes with: the numbers of a parameter, or tensors ``[d]`` of all of them.

    Attributes:
        start: What 0 stands for before any rounding, on the parameter's scale (a log if ``log``).
        stop: What 1 stands for there.
        low: The value at 0, or of the first bin; choices and levels are numbered from 0.
        high: The value at 1, or of the last bin.
        size: The number of bins; 1 where the parameter is continuous.
        log: Whether the scale is logarithmic.
        discrete: Whether there are bins.
    """

    start: T
    stop: T
    low: T
    high: T
    size: T
    log: T
    discrete: T


class Parameter(ABC):
    """What one coordinate of the cube stands for: Float, Integer, Categorical or Ordinal."""

    @property
    @abstractmethod
    def axis(self) -> Axis[float]:
        """The numbers that a space computes with."""

    @abstractmethod
    def locate(self, name: str, value: Any) -> float:
        """The index of a value's bin, or its place on the scale of a continuous parameter.

        Raises:
            ValueError: If it is no value of the parameter, which the message calls ``name``.
        """

    @abstractmethod
    def value(self, number: float) -> Any:
        """The value of the bin of that index, or of the continuous parameter there."""


@dataclass(frozen=True)
class Float(Parameter):
    """A number in [low, high], uniform on a linear or a logarithmic scale.

    Args:
        low: The least value; above 0 on a logarithmic scale.
        high: The greatest value.
        log: Whether the scale is logarithmic.

    Raises:
        ValueError: If the ends are not those of such a range.

    Example:
        >>> Float(1e-5, 1e-1, log=True)
        Float(low=1e-05, high=0.1, log=True)
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        for end in ("low", "high"):
            value = getattr(self, end)
            if not _is_number(value):
                raise ValueError(
                    f"{end} must be a finite number, got {value!r}; give a list for choices"
                )
            object.__setattr__(self, end, float(value))
        _check_range(self.low, self.high, self.log)
        if not math.isfinite(self.high - self.low):
            raise ValueError(
                f"high - low must be a finite number, got low {self.low} and high {self.high}; "
                "narrow the range"
            )

    @property
    def axis(self) -> Axis[float]:
        start, stop = self._scale(self.low), self._scale(self.high)
        return Axis(start, stop, self.low, self.high, 1, self.log, False)

    def locate(self, name: str, value: Any) -> float:
        if _is_number(value):
            # An end may come back rounded to float32, or by arithmetic of whoever moved it.
            end = min(max(float(value), self.low), self.high)
            slack = _FLOAT32 * abs(end) + (0.0 if self.log else _FLOAT64 * (self.high - self.low))
            if abs(float(value) - end) <= min(slack, 1e-6 * (self.high - self.low)):
                value = end
        return self._scale(number_between(name, value, self.low, self.high))

    def value(self, number: float) -> float:
        return number

    def _scale(self, value: float) -> float:
        return math.log(value) if self.log else value


@dataclass(frozen=True)
class Integer(Parameter):
    """An integer in [low, high]: a number in [low - 1/2, high + 1/2] that is rounded.

    Args:
        low: The least value; at least 1 on a logarithmic scale.
        high: The greatest value.
        log: Whether the scale of the number before rounding is logarithmic.

    Raises:
        ValueError: If the ends are not those of such a range, or are beyond 2^40.

    Example:
        >>> Integer(1, 8)
        Integer(low=1, high=8, log=False)
    """

    low: int
    high: int
    log: bool = False

    def __post_init__(self) -> None:
        for end in ("low", "high"):
            value = getattr(self, end)
            if not _is_integer(value) or abs(value) > _LARGEST:
                raise ValueError(
                    f"{end} must be an integer of magnitude at most 2^40, got {value!r}; "
                    "use Float for other numbers"
                )
            object.__setattr__(self, end, int(value))
        _check_range(self.low, self.high, self.log)

    @property
    def axis(self) -> Axis[float]:
        ends = self.low - 0.5, self.high + 0.5
        start, stop = map(math.log, ends) if self.log else ends
        return Axis(start, stop, self.low, self.high, self.high - self.low + 1, self.log, True)

    def locate(self, name: str, value: Any) -> float:
        if not _is_integer(value) or not self.low <= value <= self.high:
            raise ValueError(
                f"{name} must be an integer in [{self.low}, {self.high}], got {value!r}"
            )
        return int(value) - self.low

    def value(self, number: float) -> int:
        return self.low + int(number)


@dataclass(frozen=True)
class Categorical(Parameter):
    """One of several choices without order, in equal bins.

    Args:
        choices: Distinct hashable values.

    Raises:
        ValueError: If they are not, or there is none.

    Example:
        >>> Categorical(["adam", "sgd"])
        Categorical(choices=('adam', 'sgd'))
    """

    choices: Sequence[Any]

    def __post_init__(self) -> None:
        object.__setattr__(self, "choices", _distinct("choices", self.choices))

    @property
    def axis(self) -> Axis[float]:
        size = len(self.choices)
        return Axis(-0.5, size - 0.5, 0, size - 1, size, False, True)

    def locate(self, name: str, value: Any) -> float:
        return _index(name, value, self.choices)

    def value(self, number: float) -> Any:
        return self.choices[int(number)]


@dataclass(frozen=True)
class Ordinal(Parameter):
    """One of several ordered levels, in equal bins.

    Args:
        levels: Distinct hashable values in their order; numbers must rise or fall throughout.

    Raises:
        ValueError: If they are not, or there is none.

    Example:
        >>> Ordinal([16, 32, 64])
        Ordinal(levels=(16, 32, 64))
    """

    levels: Sequence[Any]

    def __post_init__(self) -> None:
        levels = _distinct("levels", self.levels)
        object.__setattr__(self, "levels", levels)
        if self.numeric and levels not in (rising := tuple(sorted(levels)), rising[::-1]):
            raise ValueError(
                f"levels that are numbers must rise or fall throughout, got {list(levels)}; "
                "sort them, or use Categorical"
            )

    @property
    def numeric(self) -> bool:
        """Whether the levels are finite numbers, and so are their own native values."""
        return all(map(_is_number, self.levels))

    @property
    def axis(self) -> Axis[float]:
        size = len(self.levels)
        first, last = (self.levels[0], self.levels[-1]) if self.numeric else (0, size - 1)
        half = (last - first) / (2 * max(size - 1, 1))  # of the mean step
        return Axis(first - half, last + half, 0, size - 1, size, False, True)

    def locate(self, name: str, value: Any) -> float:
        if self.numeric and _is_number(value):
            # Levels 0.1, 0.2, 0.3 should take the 0.1 + 2 * 0.1 that Optuna suggests.
            nearest = min(self.levels, key=lambda level: abs(level - value))
            steps = [abs(b - a) for a, b in pairwise(self.levels)]
            if abs(nearest - value) <= 1e-9 * min(steps, default=0):
                value = nearest
        return _index(name, value, self.levels)

    def value(self, number: float) -> Any:
        return self.levels[int(number)]


def make_parameter(name: str, given: Any) -> Parameter:
    """Returns a parameter as it is, or makes the one that a shorthand stands for.

    ``(low, high)`` and ``(low, high, "log")`` are an Integer if both ends are integers, else a
    Float; a list is a Categorical.

    Raises:
        ValueError: If it is neither, or malformed; the message names the parameter.

    Example:
        >>> make_parameter("momentum", (0, 0.99))
        Float(low=0.0, high=0.99, log=False)
    """
    if not isinstance(name, str) or not name:
        raise ValueError(f"the names of parameters must be non-empty strings, got {name!r}")
    if isinstance(given, Parameter):
        return given
    if isinstance(given, list):
        if len(given) == 3 and given[2] == "log" and all(map(_is_number, given[:2])):
            raise ValueError(
                f"parameter {name!r} must be a tuple where it is a range, got the list {given!r}; "
                "write (low, high, 'log')"
            )
        return named(name, Categorical, given)
    if isinstance(given, tuple) and len(given) >= 2 and given[2:] in ((), ("log",)):
        low, high = given[:2]
        kind = Integer if _is_integer(low) and _is_integer(high) else Float
        return named(name, kind, low, high, log=len(given) == 3)
    raise ValueError(
        f"parameter {name!r} must be (low, high), (low, high, 'log'), a list of choices, or a "
        f"Float, Integer, Categorical or Ordinal; got {given!r}"
    )


def named(name: str, make: Callable[..., Parameter], *given: Any, **more: Any) -> Parameter:
    """Makes a parameter; what is wrong with it is told with its name.

    Raises:
        ValueError: If ``make`` raises one.

    Example:
        >>> named("layers", Integer, 1, 8)
        Integer(low=1, high=8, log=False)
    """
    try:
        return make(*given, **more)
    except ValueError as error:
        if repr(name) in str(error):
            raise
        raise ValueError(f"parameter {name!r}: {error}") from error


def _is_number(value: Any) -> bool:
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    try:
        return real and math.isfinite(value)
    except OverflowError:  # an integer beyond all floats
        return False


def _is_integer(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _check_range(low: float, high: float, log: bool) -> None:
    if not isinstance(log, bool):
        raise ValueError(f"log must be True or False, got {log!r}")
    if low >= high:
        raise ValueError(
            f"low must be below high, got low {low} and high {high}; swap them, or give a list "
            "of one choice for a constant"
        )
    if log and low <= 0:
        raise ValueError(
            f"low must be above 0 on a log scale, got {low}; raise it, or leave log out"
        )


def _distinct(kind: str, values: Any) -> tuple[Any, ...]:
    """The values as a tuple, if they are distinct, hashable, and at least one."""
    if not isinstance(values, Sequence) or isinstance(values, str | bytes) or not values:
        raise ValueError(f"{kind} must be a list or tuple of at least one value, got {values!r}")
    if not all(isinstance(value, Hashable) for value in values):
        raise ValueError(
            f"{kind} must be hashable, got {list(values)}; give names, and look the objects up"
        )
    if len(set(values)) < len(values):
        raise ValueError(f"{kind} must be distinct, got {list(values)}; leave out repetitions")
    return tuple(value.item() if isinstance(value, np.generic) else value for value in values)


def _index(name: str, value: Any, values: Sequence[Any]) -> int:
    try:
        return values.index(value)
    except ValueError:  # such as of arrays, which are neither equal nor not
        raise ValueError(f"{name} must be one of {list(values)}, got {value!r}") from None
