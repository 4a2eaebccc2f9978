"""Gaussian-process expected improvement, by BoTorch (Balandat et al. 2020).

The acquisition is LogEI (Ament et al. 2023), which has EI's maximiser and better numerics; it is
maximised from 10 of 512 Sobol points, as in BoTorch's tutorials.
"""

import warnings
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.quasirandom import SobolEngine

from agents.baselines.adapter import PerFunction, Point, take_nearest
from bbo_envs.errors import require_extra
from bbo_envs.functions.kernels import RBF, Kernel
from bbo_envs.problem import Problem

# What exact values are taken to be off by, so that the covariance can be factorised.
_JITTER = 1e-6


class _GPEI:
    def __init__(
        self, dim: int, budget: int, seed: int, kernel: Kernel | None = None, noise: float = 0.0
    ) -> None:
        self.dim = dim
        self.seed = seed
        self.kernel = kernel
        self.noise_variance = max(noise**2, _JITTER)
        # A known kernel needs no design: EI is informative from the second query on. For a fitted
        # one, the number is that of Ax's default strategy.
        self.design = 1 if kernel else max(5, min(budget // 5, 2 * dim))
        self.engine = SobolEngine(dim, scramble=True, seed=seed)  # type: ignore[no-untyped-call]
        self.x: list[Point] = []
        self.y: list[float] = []
        self.pending: list[tuple[Point, object]] = []

    def ask(self) -> Point:
        asked = len(self.x) + len(self.pending)
        point: Point
        if asked < self.design or not self.x:
            point = self.engine.draw(1, dtype=torch.float64)[0].numpy()
        else:
            point = self._maximise(seed=self.seed + asked)
        self.pending.append((point, None))
        return point

    def tell(self, x: Point, y: float) -> None:
        take_nearest(self.pending, x)
        self.x.append(x)
        self.y.append(y)

    def _maximise(self, seed: int) -> Point:
        from botorch.acquisition import LogExpectedImprovement, qLogExpectedImprovement
        from botorch.optim import optimize_acqf
        from botorch.utils.sampling import manual_seed

        # BoTorch draws from the global generator, which this restores afterwards; and it needs
        # gradients, also where the caller has turned them off.
        with manual_seed(seed), torch.enable_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # BoTorch maximises.
            x, y = torch.tensor(np.stack(self.x)), -torch.tensor(self.y, dtype=torch.float64)
            model = self._model(x, y.unsqueeze(-1))
            acquisition: Any
            if self.pending:
                out = torch.tensor(np.stack([point for point, _ in self.pending]))
                acquisition = qLogExpectedImprovement(model, y.max(), X_pending=out)
            else:
                acquisition = LogExpectedImprovement(model, y.max())
            bounds = torch.stack([torch.zeros(self.dim), torch.ones(self.dim)]).double()
            best, _ = optimize_acqf(acquisition, bounds, q=1, num_restarts=10, raw_samples=512)
        point: Point = best[0].numpy()
        return point

    def _model(self, x: torch.Tensor, y: torch.Tensor) -> Any:
        from botorch.models import SingleTaskGP

        if self.kernel is None:
            from botorch.fit import fit_gpytorch_mll
            from gpytorch.mlls import ExactMarginalLogLikelihood

            model = SingleTaskGP(x, y)
            fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
            return model
        from gpytorch.kernels import MaternKernel, RBFKernel
        from gpytorch.means import ZeroMean

        covariance = RBFKernel() if isinstance(self.kernel, RBF) else MaternKernel(nu=2.5)
        covariance.lengthscale = self.kernel.length_scale
        variance = torch.full_like(y, self.noise_variance)
        return SingleTaskGP(
            x,
            y,
            variance,
            covar_module=covariance,
            mean_module=ZeroMean(),
            outcome_transform=None,
        ).eval()


def gp_ei(problem: Problem) -> PerFunction:
    """GP-EI with BoTorch's default model, fitted to the data before each proposal.

    Raises:
        MissingExtraError: If BoTorch is not installed.
    """
    require_extra("agent 'gp-ei'", "baselines", "botorch")
    return PerFunction(_GPEI)


def gp_ei_known(problem: Problem) -> PerFunction:
    """GP-EI that is given the kernel which generates the functions, and the noise.

    Raises:
        MissingExtraError: If BoTorch is not installed.
        ValueError: If the functions are not samples of a GP.
    """
    require_extra("agent 'gp-ei-known'", "baselines", "botorch")
    if not hasattr(problem.functions, "kernel"):
        raise ValueError(
            "agent 'gp-ei-known' needs functions drawn from a GP, whose kernel is known, got "
            f"{type(problem.functions).__name__}; use 'gp-ei', which fits one"
        )
    return PerFunction(partial(_GPEI, kernel=problem.functions.kernel, noise=problem.noise))
