"""Gaussian-process expected improvement, by BoTorch (Balandat et al. 2020).

The acquisition is LogEI (Ament et al. 2023), which has EI's maximiser and better numerics.
Functions with as many values as each other are fitted and searched side by side.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from botorch.acquisition import qLogExpectedImprovement
from botorch.models import SingleTaskGP
from botorch.optim import optimize_acqf
from botorch.utils.sampling import manual_seed
from gpytorch.kernels import MaternKernel, RBFKernel
from gpytorch.means import ZeroMean
from gymnasium.spaces import Box
from torch import Tensor
from torch.quasirandom import SobolEngine

from agents.baselines.adapter import Point, take_nearest
from agents.baselines.gp_side_by_side import SEARCH, as_botorch_needs, cube, fit, maximise
from bbo_envs.core import Observation
from bbo_envs.functions.kernels import RBF, Kernel
from bbo_envs.problem import Problem

# What exact values are taken to be off by, so that the covariance can be factorised.
_JITTER = 1e-6


@dataclass
class Run:
    """The optimisation of one function.

    Attributes:
        seed: Of the searches for the maximum of EI; that for the n-th query adds n.
        engine: The source of the design.
        design: The number of queries in it.
        x: The queries that came back.
        y: Their values.
        pending: The queries that are still out.
    """

    seed: int
    engine: SobolEngine
    design: int
    x: list[Point] = field(default_factory=list)
    y: list[float] = field(default_factory=list)
    pending: list[tuple[Point, None]] = field(default_factory=list)

    @property
    def asked(self) -> int:
        """The number of queries so far."""
        return len(self.x) + len(self.pending)


class GPEI:
    """GP-EI as an ``Agent``; its state is a ``Run`` per function, which steps change.

    While queries are out (parallel workers), EI is averaged over their values by BoTorch's
    qLogEI, function by function.

    Args:
        kernel: The covariance, where it is known; without it, BoTorch's default model is fitted
            to the data before each proposal.
        noise: The standard deviation of the noise, beside a known kernel.
    """

    def __init__(self, kernel: Kernel | None = None, noise: float = 0.0) -> None:
        self.kernel = kernel
        self.noise_variance = max(noise**2, _JITTER)

    def init(self, batch: int, space: Box, budget: int, generator: torch.Generator) -> list[Run]:
        dim = space.shape[0]
        # A known kernel needs no design: EI is informative from the second query on. For a fitted
        # one, the number is that of Ax's default strategy.
        design = 1 if self.kernel else max(5, min(budget // 5, 2 * dim))
        runs = []
        for seed in torch.randint(2**31 - 1, (batch,), generator=generator).tolist():
            engine = SobolEngine(dim, scramble=True, seed=seed)  # type: ignore[no-untyped-call]
            runs.append(Run(seed, engine, design))
        return runs

    def step(self, state: list[Run], observation: Observation) -> tuple[Tensor, list[Run]]:
        xs, ys = observation.x.double().cpu().numpy(), observation.y.tolist()
        for run, x, y, back in zip(state, xs, ys, observation.o.tolist(), strict=True):
            if back:
                take_nearest(run.pending, x)
                run.x.append(x)
                run.y.append(y)
        queries = torch.zeros(xs.shape, dtype=torch.float64)
        alike: dict[int, list[int]] = {}
        for row, run in enumerate(state):
            if run.asked < run.design or not run.x:
                queries[row] = run.engine.draw(1, dtype=torch.float64)[0]
            elif run.pending:
                queries[row] = self._propose_beside(run)
            else:
                alike.setdefault(len(run.x), []).append(row)
        for rows in alike.values():
            queries[rows] = self._propose([state[row] for row in rows])
        for run, query in zip(state, queries.numpy().copy(), strict=True):
            run.pending.append((query, None))
        return queries, state

    def _propose(self, runs: Sequence[Run]) -> Tensor:
        with as_botorch_needs():
            return maximise(self._model(runs), [run.seed + run.asked for run in runs])

    def _propose_beside(self, run: Run) -> Tensor:
        # qLogEI draws from the global generator, which this restores afterwards.
        with as_botorch_needs(), manual_seed(run.seed + run.asked):
            out = torch.tensor(np.stack([point for point, _ in run.pending]))
            acquisition = qLogExpectedImprovement(self._model([run]), -min(run.y), X_pending=out)
            best: Tensor = optimize_acqf(acquisition, cube(out.shape[-1]), q=1, **SEARCH)[0]
        return best[0]

    def _model(self, runs: Sequence[Run]) -> Any:
        x = torch.tensor(np.array([run.x for run in runs]))
        # BoTorch maximises.
        y = -torch.tensor([run.y for run in runs], dtype=torch.float64).unsqueeze(-1)
        if self.kernel is None:
            model = SingleTaskGP(x, y)
            fit(model)
            return model.eval()
        covariance = RBFKernel() if isinstance(self.kernel, RBF) else MaternKernel(nu=2.5)
        covariance.lengthscale = self.kernel.length_scale
        return SingleTaskGP(
            x,
            y,
            torch.full_like(y, self.noise_variance),
            covar_module=covariance,
            mean_module=ZeroMean(),
            outcome_transform=None,
        ).eval()


def gp_ei(problem: Problem) -> GPEI:
    """GP-EI with BoTorch's default model, fitted to the data before each proposal."""
    return GPEI()


def gp_ei_known(problem: Problem) -> GPEI:
    """GP-EI that is given the kernel which generates the functions, and the noise.

    Raises:
        ValueError: If the functions are not samples of a GP.
    """
    if not hasattr(problem.functions, "kernel"):
        raise ValueError(
            "agent 'gp-ei-known' needs functions drawn from a GP, whose kernel is known, got "
            f"{type(problem.functions).__name__}; use 'gp-ei', which fits one"
        )
    return GPEI(problem.functions.kernel, problem.noise)
