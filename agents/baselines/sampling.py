"""Designs that look at no value: the floor that every optimiser has to clear."""

from typing import NamedTuple

import torch
from gymnasium.spaces import Box
from torch import Tensor
from torch.quasirandom import SobolEngine

from agents.baselines.adapter import PerFunction, Point
from bbo_envs.core import Observation
from bbo_envs.problem import Problem


class RandomState(NamedTuple):
    """Shape and source of the queries."""

    shape: tuple[int, int]
    generator: torch.Generator


class RandomSearch:
    """Independent uniform queries."""

    def init(self, batch: int, space: Box, budget: int, generator: torch.Generator) -> RandomState:
        return RandomState((batch, space.shape[0]), generator)

    def step(self, state: RandomState, observation: Observation) -> tuple[Tensor, RandomState]:
        return torch.rand(state.shape, generator=state.generator, dtype=torch.float64), state


class _Sobol:
    def __init__(self, dim: int, budget: int, seed: int) -> None:
        self.engine = SobolEngine(dim, scramble=True, seed=seed)  # type: ignore[no-untyped-call]

    def ask(self) -> Point:
        point: Point = self.engine.draw(1, dtype=torch.float64)[0].numpy()
        return point

    def tell(self, x: Point, y: float) -> None:
        pass


def random_search(problem: Problem) -> RandomSearch:
    """Uniform random search."""
    return RandomSearch()


def sobol(problem: Problem) -> PerFunction:
    """A scrambled Sobol sequence per function (Owen 1998), by ``torch.quasirandom``."""
    return PerFunction(_Sobol)
