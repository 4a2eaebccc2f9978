"""Turns an ask/tell optimiser of one function into an ``Agent`` of many."""

from collections.abc import Callable
from typing import Protocol, TypeVar

import numpy as np
import torch
from gymnasium.spaces import Box
from numpy.typing import NDArray
from torch import Tensor

from bbo_envs.core import Observation

Point = NDArray[np.float64]
T = TypeVar("T")


class Optimizer(Protocol):
    """What the adapter asks of a library: one minimisation over the unit cube."""

    def ask(self) -> Point:
        """The next query ``[d]``; asked again before a tell, another one."""

    def tell(self, x: Point, y: float) -> None:
        """The value of a query asked before."""


class PerFunction:
    """Runs one optimiser per function; its state is the list of them, which steps change.

    Args:
        make: Makes an optimiser from (dim, budget, seed).
    """

    def __init__(self, make: Callable[[int, int, int], Optimizer]) -> None:
        self.make = make

    def init(
        self, batch: int, space: Box, budget: int, generator: torch.Generator
    ) -> list[Optimizer]:
        seeds = torch.randint(2**31 - 1, (batch,), generator=generator).tolist()
        return [self.make(space.shape[0], budget, seed) for seed in seeds]

    def step(
        self, state: list[Optimizer], observation: Observation
    ) -> tuple[Tensor, list[Optimizer]]:
        xs, ys = observation.x.double().cpu().numpy(), observation.y.tolist()
        queries = []
        for optimizer, x, y, back in zip(state, xs, ys, observation.o.tolist(), strict=True):
            if back:
                optimizer.tell(x, y)
            # Libraries round at the edges of the box: 1 + 1e-16 is no error of theirs.
            queries.append(np.clip(optimizer.ask(), 0.0, 1.0))
        return torch.from_numpy(np.stack(queries)), state


def take_nearest(pending: list[tuple[Point, T]], x: Point) -> T:
    """Removes from ``pending`` the entry whose point is nearest to x; returns what goes with it.

    A point may come back rounded to another precision, so that equality would be too strict.

    Example:
        >>> pending = [(np.array([0.1]), "a"), (np.array([0.9]), "b")]
        >>> take_nearest(pending, np.array([0.90001])), len(pending)
        ('b', 1)
    """
    distances = [np.abs(point - x).max() for point, _ in pending]
    return pending.pop(int(np.argmin(distances)))[1]


def not_called(point: object, seed: int = 0) -> float:
    """Stands in for the objective where a library wants one: only the environment knows it."""
    raise NotImplementedError
