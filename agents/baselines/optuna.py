"""Optuna's samplers: the tree-structured Parzen estimator, and GP-EI (Akiba et al. 2019)."""

import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
import optuna
import torch
from optuna.samplers import BaseSampler, GPSampler, TPESampler

from agents.baselines.adapter import Optimizer, PerFunction, Point, take_nearest
from bbo_envs.problem import Problem


class _Study:
    """A study of one function, with the sampler that is made from a seed."""

    def __init__(
        self, make: Callable[[int], BaseSampler], dim: int, budget: int, seed: int
    ) -> None:
        self.space = {f"x{i}": optuna.distributions.FloatDistribution(0.0, 1.0) for i in range(dim)}
        # Creating a study logs a line; a user's own setting is put back.
        verbosity = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = make(seed)
        self.study = optuna.create_study(sampler=sampler)
        optuna.logging.set_verbosity(verbosity)
        self.pending: list[tuple[Point, optuna.Trial]] = []

    def ask(self) -> Point:
        with torch.enable_grad():  # the GP sampler fits its model by gradients
            trial = self.study.ask(self.space)
        point = np.array([trial.params[name] for name in self.space])
        self.pending.append((point, trial))
        return point

    def tell(self, x: Point, y: float) -> None:
        self.study.tell(take_nearest(self.pending, x), y)


def _agent(make: Callable[[int], BaseSampler]) -> PerFunction:
    study: Callable[[int, int, int], Optimizer] = partial(_Study, make)
    return PerFunction(study)


def tpe(problem: Problem) -> PerFunction:
    """Optuna's default sampler in its default configuration (Bergstra et al. 2011).

    With parallel workers, queries that are out count as bad (``constant_liar``), as the library
    recommends.
    """
    return _agent(lambda seed: TPESampler(seed=seed, constant_liar=problem.workers > 1))


def tpe_univariate(problem: Problem) -> PerFunction:
    """Optuna's sampler with a density for each parameter alone, its default before version 5."""
    liar = problem.workers > 1
    return _agent(lambda seed: TPESampler(seed=seed, constant_liar=liar, multivariate=False))


def gp(problem: Problem) -> PerFunction:
    """Optuna's GP sampler (LogEI on a Matern 5/2 kernel) in its default configuration."""
    return _agent(lambda seed: GPSampler(seed=seed))
