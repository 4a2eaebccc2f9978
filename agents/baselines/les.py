"""A learned evolution strategy (LES, Lange et al. 2023), by evosax, as its package ships it.

Its update rule is a small self-attention network. The weights are those of evosax, whose authors
trained them anew: they are not the paper's. They lie in the package as a pickle, which evosax
itself reads when the strategy is made; nothing is unpickled here.

What the library leaves to its user is set as in its authors' own code. The population is of 8, as
in evosax's example of its learned strategies (``examples/learned_sphere.py``). The search starts
at the centre of the cube with a step of 0.15, and points beyond the cube are clipped to it, as in
their benchmark of evolution strategies on HPO-B, which is on the unit cube too (NeuroEvoBench,
Lange et al. 2023, ``examples/hpob``). All else is evosax's default.
"""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from evosax.algorithms import LearnedES

from agents.baselines.adapter import PerFunction, Point
from bbo_envs.problem import Problem

_POPULATION = 8
_INITIAL_STEP = 0.15


@cache
def _strategy(dim: int) -> Any:
    """The strategy, which holds no state: JAX compiles it once for all functions."""
    return LearnedES(population_size=_POPULATION, solution=jnp.zeros(dim))


class _LES:
    def __init__(self, dim: int, budget: int, seed: int) -> None:
        self.asked: list[Point] = []
        self.told: list[tuple[Point, float]] = []
        with jax.default_device("cpu"):
            self.key, key = jax.random.split(jax.random.PRNGKey(seed))
            self.strategy = _strategy(dim)
            self.parameters = self.strategy.default_params.replace(std_init=_INITIAL_STEP)
            self.state = self.strategy.init(key, jnp.full(dim, 0.5), self.parameters)

    def ask(self) -> Point:
        if not self.asked:
            with jax.default_device("cpu"):
                self.key, key = jax.random.split(self.key)
                population, self.state = self.strategy.ask(key, self.state, self.parameters)
            self.asked = list(np.asarray(population, dtype=np.float64).clip(0.0, 1.0))
        return self.asked.pop(0)

    def tell(self, x: Point, y: float) -> None:
        self.told.append((x, y))
        if len(self.told) < _POPULATION:
            return
        xs, ys = (np.array(part) for part in zip(*self.told, strict=True))
        with jax.default_device("cpu"):
            self.key, key = jax.random.split(self.key)
            self.state, _ = self.strategy.tell(
                key, jnp.asarray(xs), jnp.asarray(ys), self.state, self.parameters
            )
        self.asked, self.told = [], []


def les(problem: Problem) -> PerFunction:
    """LES with the weights, and in the configuration, of its authors' own code.

    A generation is handed out point by point, and told when 8 values are back. A worker that is
    free before that is given a point of one more draw from the same distribution; values that come
    back late count for the next generation. There are no restarts: to the end of the budget the
    strategy goes on from the distribution that it has, as it does in the library.

    Example:
        >>> from bbo_envs import make_problem
        >>> agent = les(make_problem("BBO-GP-2d-v0"))
    """
    return PerFunction(_LES)
