"""What a table is made of: levels, units of work, and the function that computes a unit."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Levels = dict[str, tuple[Any, ...]]
"""The sorted levels of each hyper-parameter, in the order of the table's axes."""


@dataclass(frozen=True)
class Recipe:
    """How an exhaustive table is computed.

    A unit of work is what is computed at once: a cell, or all cells along one training run. It is
    named by the indices of its leading axes; the cells of the axes left out come from one run.

    Attributes:
        name: Of the table, as in ``bbo_envs.hpo.shipped_table(name)``.
        levels: The search space.
        metrics: The columns; the first is the objective, minimised.
        leading: How many leading axes name a unit.
        run: Takes the indices of the leading axes and returns ``[*rest, metrics]``, where ``rest``
            are the lengths of the other axes. It depends on nothing else.
        about: What was trained on what, for the card.
        source: Of the search space.
        packages: The distributions whose versions decide the values.
    """

    name: str
    levels: Levels
    metrics: tuple[str, ...]
    leading: int
    run: Callable[[tuple[int, ...]], NDArray[np.float64]]
    about: str
    source: str
    packages: Sequence[str]

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of levels along each axis."""
        return tuple(len(levels) for levels in self.levels.values())

    def units(self) -> list[tuple[int, ...]]:
        """The indices of all units, in the table's order."""
        return [tuple(map(int, index)) for index in np.ndindex(*self.shape[: self.leading])]

    def values(self, unit: tuple[int, ...]) -> tuple[Any, ...]:
        """The levels of a unit's leading axes."""
        return tuple(
            levels[i]
            for levels, i in zip(list(self.levels.values())[: self.leading], unit, strict=True)
        )
