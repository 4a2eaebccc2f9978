"""CMA-ES (Hansen & Ostermeier 2001), by ``cma``, restarted whenever it stops."""

from typing import Any

import cma
import numpy as np

from agents.baselines.adapter import PerFunction, Point
from bbo_envs.problem import Problem

# A quarter of the box's width, as the library recommends.
_INITIAL_STEP = 0.25


class _CMAES:
    def __init__(self, dim: int, budget: int, seed: int) -> None:
        self.dim = dim
        self.random = np.random.default_rng(seed)
        self.strategy = self._start(np.full(dim, 0.5))
        self.asked: list[Point] = []
        self.told: list[tuple[Point, float]] = []

    def ask(self) -> Point:
        if not self.asked:
            self.asked = list(self.strategy.ask())
        return self.asked.pop(0)

    def tell(self, x: Point, y: float) -> None:
        self.told.append((x, y))
        if len(self.told) < self.strategy.popsize:
            return
        self.strategy.tell(*zip(*self.told, strict=True))
        self.asked, self.told = [], []
        if self.strategy.stop():
            self.strategy = self._start(self.random.random(self.dim))

    def _start(self, mean: Point) -> Any:
        options = {
            "bounds": [0.0, 1.0],
            "verbose": -9,
            # The library would otherwise seed and use NumPy's global generator.
            "seed": np.nan,
            "randn": self._normal,
        }
        return cma.CMAEvolutionStrategy(mean, _INITIAL_STEP, options)

    def _normal(self, *shape: int) -> Point:
        return self.random.standard_normal(shape)


def cmaes(problem: Problem) -> PerFunction:
    """CMA-ES from the centre of the cube with a step of a quarter; restarts begin at random.

    Raises:
        ValueError: In one dimension, which the library does not support.
    """
    if problem.functions.dim == 1:
        raise ValueError("agent 'cmaes' needs two dimensions or more; use 'tpe' or 'gp-ei'")
    return PerFunction(_CMAES)
