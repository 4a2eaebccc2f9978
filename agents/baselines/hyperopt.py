"""The original tree-structured Parzen estimator (Bergstra et al. 2011), by hyperopt."""

from typing import Any

import hyperopt
import numpy as np
from hyperopt import base

from agents.baselines.adapter import PerFunction, Point, not_called, take_nearest
from bbo_envs.problem import Problem


class _Hyperopt:
    def __init__(self, dim: int, budget: int, seed: int) -> None:
        self.names = [f"x{i}" for i in range(dim)]
        space = {name: hyperopt.hp.uniform(name, 0.0, 1.0) for name in self.names}
        self.domain = base.Domain(not_called, space)
        self.trials = hyperopt.Trials()
        self.random = np.random.default_rng(seed)
        self.pending: list[tuple[Point, Any]] = []

    def ask(self) -> Point:
        # As ``hyperopt.fmin`` asks.
        ids = self.trials.new_trial_ids(1)
        self.trials.refresh()
        seed = self.random.integers(2**31 - 1)
        documents = hyperopt.tpe.suggest(ids, self.domain, self.trials, seed)
        self.trials.insert_trial_docs(documents)
        self.trials.refresh()
        trial = self.trials._dynamic_trials[-1]
        trial["state"] = base.JOB_STATE_RUNNING
        values = base.spec_from_misc(trial["misc"])
        point = np.array([values[name] for name in self.names])
        self.pending.append((point, trial))
        return point

    def tell(self, x: Point, y: float) -> None:
        trial = take_nearest(self.pending, x)
        trial["state"] = base.JOB_STATE_DONE
        trial["result"] = {"status": hyperopt.STATUS_OK, "loss": y}
        self.trials.refresh()


def tpe(problem: Problem) -> PerFunction:
    """Hyperopt's ``tpe.suggest`` in its default configuration."""
    return PerFunction(_Hyperopt)
