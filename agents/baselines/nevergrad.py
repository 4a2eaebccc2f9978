"""NGOpt, nevergrad's optimiser that chooses among many (Meunier et al. 2022)."""

import warnings
from functools import partial
from typing import Any

import nevergrad
import numpy as np

from agents.baselines.adapter import PerFunction, Point, take_nearest
from bbo_envs.problem import Problem


class _NGOpt:
    def __init__(self, dim: int, budget: int, seed: int, workers: int) -> None:
        space = nevergrad.p.Array(shape=(dim,)).set_bounds(0.0, 1.0)
        space.random_state = np.random.RandomState(seed)
        self.optimizer = nevergrad.optimizers.NGOpt(space, budget=budget, num_workers=workers)
        self.workers = workers
        self.pending: list[tuple[Point, Any]] = []

    def ask(self) -> Point:
        if len(self.pending) >= self.workers:  # or the library would wait for ever
            raise ValueError(
                f"ngopt was told of {self.workers} workers, and waits for as many values; tell "
                "them, or name a larger number of workers"
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            candidate = self.optimizer.ask()
        point = np.asarray(candidate.value, dtype=np.float64)
        self.pending.append((point, candidate))
        return point

    def tell(self, x: Point, y: float) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.optimizer.tell(take_nearest(self.pending, x), y)


def ngopt(problem: Problem) -> PerFunction:
    """NGOpt in its default configuration, told the budget and the number of workers."""
    return PerFunction(partial(_NGOpt, workers=problem.workers))
