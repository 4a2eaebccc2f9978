"""The tree-structured Parzen estimator (Bergstra et al. 2011), by Optuna."""

import warnings
from functools import partial

import numpy as np
import optuna

from agents.baselines.adapter import PerFunction, Point, take_nearest
from bbo_envs.problem import Problem


class _TPE:
    def __init__(self, dim: int, budget: int, seed: int, multivariate: bool | None = None) -> None:
        self.space = {f"x{i}": optuna.distributions.FloatDistribution(0.0, 1.0) for i in range(dim)}
        # Creating a study logs a line; a user's own setting is put back.
        verbosity = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.TPESampler(seed=seed, multivariate=multivariate)
        self.study = optuna.create_study(sampler=sampler)
        optuna.logging.set_verbosity(verbosity)
        self.pending: list[tuple[Point, optuna.Trial]] = []

    def ask(self) -> Point:
        trial = self.study.ask(self.space)
        point = np.array([trial.params[name] for name in self.space])
        self.pending.append((point, trial))
        return point

    def tell(self, x: Point, y: float) -> None:
        self.study.tell(take_nearest(self.pending, x), y)


def tpe(problem: Problem) -> PerFunction:
    """Optuna's default sampler in its default configuration."""
    return PerFunction(_TPE)


def tpe_univariate(problem: Problem) -> PerFunction:
    """Optuna's sampler with a density for each parameter alone, its default before version 5."""
    return PerFunction(partial(_TPE, multivariate=False))
