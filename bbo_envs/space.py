"""Mixed search spaces: floats, integers, categories and levels as points of the unit cube.

Integers are rounded as in Chen et al. 2017, so that an objective is piecewise constant in the cube.
Every value of a discrete parameter has a bin there; on linear scales all bins of a parameter are
equally wide, so that uniform points are uniform values.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from bbo_envs.checks import check_queries
from bbo_envs.errors import QueryError, UnknownNameError
from bbo_envs.space_parameters import (
    Axis,
    Categorical,
    Float,
    Integer,
    Ordinal,
    Parameter,
    make_parameter,
)

if TYPE_CHECKING:
    from ConfigSpace import ConfigurationSpace
    from optuna.distributions import BaseDistribution

__all__ = ["Categorical", "Float", "Integer", "Ordinal", "Parameter", "Space"]


class Space:
    """Named parameters, and the maps between their values and the points of the unit cube.

    All maps compute in float64, so that a point is in the same bin whatever its precision.

    Args:
        parameters: By name, in the order of the coordinates. ``(low, high)`` and
            ``(low, high, "log")`` stand for an Integer if both ends are integers, else for a
            Float; a list stands for a Categorical.

    Raises:
        ValueError: If there is none, or one is malformed; the message names it.

    Example:
        >>> space = Space({"lr": (1e-5, 1e-1, "log"), "layers": (1, 8), "opt": ["adam", "sgd"]})
        >>> space.encode({"lr": 0.1, "layers": 1, "opt": "sgd"})
        array([1.    , 0.0625, 0.75  ])
        >>> space.decode([1.0, 0.99, 0.2])
        {'lr': 0.1, 'layers': 8, 'opt': 'adam'}
    """

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        if not parameters:
            raise ValueError("a space needs at least one parameter, got none")
        self._parameters = {name: make_parameter(name, p) for name, p in parameters.items()}
        axes = [parameter.axis for parameter in self._parameters.values()]
        columns = [torch.tensor(c, dtype=torch.float64) for c in zip(*axes, strict=True)]
        self._axes = Axis(*columns[:-2], *(column.bool() for column in columns[-2:]))
        self._any_log = any(axis.log for axis in axes)
        self._levels = {
            column: torch.tensor(parameter.levels, dtype=torch.float64)
            for column, parameter in enumerate(self._parameters.values())
            if isinstance(parameter, Ordinal) and parameter.numeric
        }

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """The parameters by name, in the order of the coordinates."""
        return MappingProxyType(self._parameters)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the parameters."""
        return tuple(self._parameters)

    @property
    def dim(self) -> int:
        """The number of coordinates, d."""
        return len(self._parameters)

    def __len__(self) -> int:
        return self.dim

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Space):
            return NotImplemented
        return list(self._parameters.items()) == list(other._parameters.items())

    def __hash__(self) -> int:
        return hash(tuple(self._parameters.items()))

    def __repr__(self) -> str:
        return f"Space({self._parameters})"

    def decode(self, x: ArrayLike | Tensor) -> Any:
        """The values that points of the cube stand for.

        Args:
            x: A point ``[d]``, or points ``[B, d]``: numbers, an array or a tensor.

        Returns:
            A dict from names to floats, ints, choices and levels; for points, a list of B of them.

        Raises:
            QueryError: If x is not of such a shape, or a point is not in the unit cube.
        """
        try:
            array = np.array(
                x.detach().double().cpu().numpy() if isinstance(x, Tensor) else x, np.float64
            )
        except (TypeError, ValueError) as error:
            raise QueryError(f"a point must be {self.dim} numbers in [0, 1], got {x!r}") from error
        if array.ndim not in (1, 2):
            raise QueryError(
                f"decode takes a point [{self.dim}] or points [B, {self.dim}], got shape "
                f"{array.shape}; flatten the leading axes"
            )
        points = self._checked(torch.from_numpy(array))
        axes = self._axes
        numbers = torch.where(axes.discrete, self._bins(points, axes), self._exact(points, axes))
        rows = [self._values(row) for row in numbers.reshape(-1, self.dim).tolist()]
        return rows if array.ndim == 2 else rows[0]

    def encode(
        self, values: Mapping[str, Any] | Sequence[Mapping[str, Any]]
    ) -> NDArray[np.float64]:
        """Where values are in the cube; discrete ones at the centre of their bin.

        Args:
            values: A mapping from every name to a value, or a sequence of B of them.

        Returns:
            A point ``[d]``, or points ``[B, d]``, that ``decode`` takes back to the values: floats
            to rounding, all others exactly.

        Raises:
            UnknownNameError: If a name is not that of a parameter.
            ValueError: If a name is missing, or a value is none of its parameter.
        """
        rows = [values] if isinstance(values, Mapping) else values
        located = torch.tensor([self._located(row) for row in rows], dtype=torch.float64)
        located = located.reshape(-1, self.dim)  # even if there is no row
        axes = self._axes
        continuous = (located - axes.start) / (axes.stop - axes.start)
        points = torch.where(axes.discrete, self._centres(located, axes), continuous).numpy()
        return points[0] if isinstance(values, Mapping) else points

    def native(self, x: Tensor, straight_through: bool = False) -> Tensor:
        """The values at points ``[..., d]``, as numbers ``[..., d]``.

        Floats, integers and levels that are numbers are themselves; choices and other levels are
        their index, from 0.

        Args:
            x: Points of the unit cube.
            straight_through: Pass gradients as if nothing were rounded: those of the line (or
                exponential) from 1/2 below the first value to 1/2 above the last. The line of
                levels goes through the first and the last. Otherwise gradients of rounded
                coordinates are zero.

        Raises:
            QueryError: If a point is not in the unit cube.

        Example:
            >>> Space({"layers": (1, 8), "batch": Ordinal([16, 64])}).native(torch.tensor([0.3, 1]))
            tensor([ 3., 64.])
        """
        points = self._checked(x)
        axes = self._on(x.device)
        smooth = self._unrounded(points, axes)
        with torch.no_grad():
            bins = self._bins(points, axes)
            native = torch.where(axes.discrete, axes.low + bins, self._exact(points, axes))
            for column, levels in self._levels.items():
                native[..., column] = levels.to(x.device)[bins[..., column].long()]
        return _passing(native, smooth, axes.discrete, straight_through).to(x.dtype)

    def snap(self, x: Tensor, straight_through: bool = False) -> Tensor:
        """Points ``[..., d]`` moved to the centre of their bin; floats stay where they are.

        Args:
            x: Points of the unit cube.
            straight_through: Pass gradients as if nothing were moved; otherwise those of rounded
                coordinates are zero.

        Raises:
            QueryError: If a point is not in the unit cube.

        Example:
            >>> Space({"layers": (1, 4), "lr": (0.0, 1.0)}).snap(torch.tensor([0.3, 0.3]))
            tensor([0.3750, 0.3000])
        """
        points = self._checked(x)
        axes = self._on(x.device)
        with torch.no_grad():
            centres = self._centres(self._bins(points, axes), axes)
            snapped = torch.where(axes.discrete, centres, points)
        return _passing(snapped, points, axes.discrete, straight_through).to(x.dtype)

    def indices(self, x: Tensor) -> Tensor:
        """The bins ``[..., d]`` of points ``[..., d]``, int64 from 0, where all are discrete.

        Raises:
            QueryError: If a point is not in the unit cube.
            ValueError: If a parameter is continuous.

        Example:
            >>> Space({"layers": (1, 8), "opt": ["adam", "sgd"]}).indices(torch.tensor([0.3, 1]))
            tensor([2, 1])
        """
        for name, parameter in self._parameters.items():
            if isinstance(parameter, Float):
                raise ValueError(
                    f"indices needs discrete parameters only, but {name!r} is {parameter}; "
                    "make it an Ordinal, or use native"
                )
        with torch.no_grad():
            return self._bins(self._checked(x), self._on(x.device)).long()

    def to_json(self) -> dict[str, Any]:
        """See ``bbo_envs.space_interop.to_json``."""
        from bbo_envs import space_interop

        return space_interop.to_json(self)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> "Space":
        """See ``bbo_envs.space_interop.from_json``."""
        from bbo_envs import space_interop

        return space_interop.from_json(data)

    def to_configspace(self) -> "ConfigurationSpace":
        """See ``bbo_envs.space_interop.to_configspace``."""
        from bbo_envs import space_interop

        return space_interop.to_configspace(self)

    @staticmethod
    def from_configspace(configspace: "ConfigurationSpace") -> "Space":
        """See ``bbo_envs.space_interop.from_configspace``."""
        from bbo_envs import space_interop

        return space_interop.from_configspace(configspace)

    def to_optuna(self) -> "dict[str, BaseDistribution]":
        """See ``bbo_envs.space_interop.to_optuna``."""
        from bbo_envs import space_interop

        return space_interop.to_optuna(self)

    @staticmethod
    def from_optuna(distributions: "Mapping[str, BaseDistribution]") -> "Space":
        """See ``bbo_envs.space_interop.from_optuna``."""
        from bbo_envs import space_interop

        return space_interop.from_optuna(distributions)

    def _checked(self, x: Tensor) -> Tensor:
        if not x.is_floating_point():
            raise QueryError(f"points must be floating-point tensors, got {x.dtype}: x.double()")
        try:
            check_queries(x, self.dim)
        except QueryError as error:
            if x.shape[-1:] != (self.dim,):
                raise
            inside = ((x >= 0.0) & (x <= 1.0)).reshape(-1, self.dim).all(0)
            name = self.names[int((~inside).int().argmax())]
            raise QueryError(
                f"parameter {name!r} has a coordinate outside [0, 1] in {x.tolist()}; points are "
                "in the unit cube, and encode() gives those of values"
            ) from error
        return x.double()

    def _on(self, device: torch.device) -> Axis[Tensor]:
        return Axis(*(column.to(device) for column in self._axes))

    def _values(self, numbers: list[float]) -> dict[str, Any]:
        pairs = zip(self._parameters.items(), numbers, strict=True)
        return {name: parameter.value(number) for (name, parameter), number in pairs}

    def _located(self, values: Mapping[str, Any]) -> list[float]:
        for name in values:
            if name not in self._parameters:
                raise UnknownNameError("parameter", name, self.names)
        missing = [name for name in self.names if name not in values]
        if missing:
            raise ValueError(
                f"values must hold every parameter, got {dict(values)!r}; give {missing} as well"
            )
        return [p.locate(name, values[name]) for name, p in self._parameters.items()]

    def _unrounded(self, points: Tensor, axes: Axis[Tensor]) -> Tensor:
        scaled = torch.lerp(axes.start, axes.stop, points)  # exact at both ends
        if not self._any_log:
            return scaled
        return torch.where(axes.log, torch.where(axes.log, scaled, 0.0).exp(), scaled)

    def _exact(self, points: Tensor, axes: Axis[Tensor]) -> Tensor:
        """Continuous values, kept in their range, which exp may leave or miss by rounding."""
        inside = torch.clamp(self._unrounded(points, axes), axes.low, axes.high)
        return torch.where(points == 0, axes.low, torch.where(points == 1, axes.high, inside))

    def _bins(self, points: Tensor, axes: Axis[Tensor]) -> Tensor:
        bins = points * axes.size
        if self._any_log:
            rounded = self._unrounded(points, axes) + 0.5 - axes.low
            bins = torch.where(axes.log, rounded, bins)
        return bins.floor().clamp(torch.zeros_like(axes.size), axes.size - 1)

    def _centres(self, bins: Tensor, axes: Axis[Tensor]) -> Tensor:
        centres = (bins + 0.5) / axes.size
        if not self._any_log:
            return centres
        value = axes.low + bins
        middle = ((value - 0.5).log() + (value + 0.5).log()) / 2
        return torch.where(axes.log, (middle - axes.start) / (axes.stop - axes.start), centres)


def _passing(value: Tensor, smooth: Tensor, discrete: Tensor, straight_through: bool) -> Tensor:
    """The value, exactly, with the gradient of ``smooth`` where that is to pass."""
    if not straight_through:
        smooth = torch.where(discrete, smooth.detach(), smooth)
    return value + (smooth - smooth.detach())
