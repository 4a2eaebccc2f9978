"""NGOpt, nevergrad's optimiser that chooses among many (Meunier et al. 2022)."""

import warnings
from functools import partial
from typing import Any

import nevergrad
import numpy as np
from nevergrad.optimization import metamodel, recaster

from agents.baselines.adapter import PerFunction, Point, take_nearest
from bbo_envs.problem import Problem

# Its metamodels make floats of arrays [1], which NumPy no longer does since version 2.4.
metamodel.float = lambda array: np.asarray(array).item()
# Its threads wait for values; they must not keep a program from its end.
recaster._MessagingThread.daemon = True


class _NGOpt:
    def __init__(self, dim: int, budget: int, seed: int, workers: int) -> None:
        # Both ends in one call: then steps fit the range, as set_bounds leaves to the user.
        space = nevergrad.p.Array(shape=(dim,), lower=0.0, upper=1.0)
        space.random_state = np.random.RandomState(seed)
        self.optimizer = nevergrad.optimizers.NGOpt(space, budget=budget, num_workers=workers)
        self.workers = workers
        self.random = np.random.default_rng(seed)
        self.pending: list[tuple[Point, Any]] = []

    def ask(self) -> Point:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if len(self.pending) < self.workers:
                candidate = self.optimizer.ask()
            else:  # it would wait for values, which may not come
                point = self.random.random(self.optimizer.dimension)
                candidate = self.optimizer.parametrization.spawn_child(new_value=point)
        point = np.asarray(candidate.value, dtype=np.float64)
        self.pending.append((point, candidate))
        return point

    def tell(self, x: Point, y: float) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.optimizer.tell(take_nearest(self.pending, x), y)


def ngopt(problem: Problem) -> PerFunction:
    """NGOpt in its default configuration, told the budget and the number of workers.

    Where more points are wanted than there are workers, they are uniform ones. For large budgets
    (above 200 in three dimensions, say) some of its choices draw from NumPy's global generator:
    then a seed does not give the same points again, and what was saved cannot be restored.
    """
    return PerFunction(partial(_NGOpt, workers=problem.workers))
