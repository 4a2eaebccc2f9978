"""Sequential model-based algorithm configuration (Hutter et al. 2011), by SMAC3."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from ConfigSpace import ConfigurationSpace, Float
from smac import HyperparameterOptimizationFacade, Scenario
from smac.runhistory import TrialInfo, TrialValue

from agents.baselines.adapter import PerFunction, Point, not_called, take_nearest
from bbo_envs.problem import Problem


class _SMAC:
    def __init__(self, dim: int, budget: int, seed: int) -> None:
        self.names = [f"x{i}" for i in range(dim)]
        space = ConfigurationSpace(seed=seed)
        space.add([Float(name, (0.0, 1.0)) for name in self.names])
        # It keeps a record on disk, whether or not it is asked for.
        self.folder = TemporaryDirectory(prefix="smac-")
        scenario = Scenario(
            space,
            deterministic=True,
            n_trials=budget,
            seed=seed,
            output_directory=Path(self.folder.name),
        )
        self.facade = HyperparameterOptimizationFacade(
            scenario, not_called, logging_level=False, overwrite=True
        )
        self.pending: list[tuple[Point, TrialInfo]] = []

    def ask(self) -> Point:
        trial = self.facade.ask()
        point = np.array([trial.config[name] for name in self.names])
        self.pending.append((point, trial))
        return point

    def tell(self, x: Point, y: float) -> None:
        self.facade.tell(take_nearest(self.pending, x), TrialValue(cost=y))


def smac(problem: Problem) -> PerFunction:
    """SMAC3's facade for hyper-parameters, with its random forest, in its default configuration."""
    return PerFunction(_SMAC)
