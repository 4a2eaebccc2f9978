"""Gaussian-process expected improvement, by BoTorch (Balandat et al. 2020).

The acquisition is LogEI (Ament et al. 2023), which has EI's maximiser and better numerics; it is
maximised from 10 of 512 Sobol points, as in BoTorch's tutorials.
"""

import warnings
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from botorch.acquisition import LogExpectedImprovement, qLogExpectedImprovement
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from botorch.models.model import Model
from botorch.optim import optimize_acqf
from botorch.utils.sampling import manual_seed
from gpytorch.kernels import MaternKernel, RBFKernel
from gpytorch.means import ZeroMean
from gpytorch.mlls import ExactMarginalLogLikelihood
from torch import Tensor
from torch.quasirandom import SobolEngine

from agents.baselines.adapter import PerFunction, Point, take_nearest
from bbo_envs.functions.gp import posterior, predict
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
        # BoTorch draws from the global generator, which this restores afterwards; and it needs
        # gradients, also where the caller has turned them off.
        with manual_seed(seed), torch.enable_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # BoTorch maximises.
            x, y = torch.tensor(np.stack(self.x)), -torch.tensor(self.y, dtype=torch.float64)
            model = self._model(x, y.unsqueeze(-1))
            if self.pending:
                out = torch.tensor(np.stack([point for point, _ in self.pending]))
                acquisition = qLogExpectedImprovement(model, y.max(), X_pending=out)
            else:
                fast = _Marginal(model)
                acquisition = LogExpectedImprovement(fast, fast.best)
            bounds = torch.stack([torch.zeros(self.dim), torch.ones(self.dim)]).double()
            best, _ = optimize_acqf(acquisition, bounds, q=1, num_restarts=10, raw_samples=512)
        point: Point = best[0].numpy()
        return point

    def _model(self, x: Tensor, y: Tensor) -> Any:
        if self.kernel is None:
            model = SingleTaskGP(x, y)
            fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
            return model
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


class _Moments(NamedTuple):
    mean: Tensor
    variance: Tensor


class _Marginal(Model):  # type: ignore[misc]
    """The same posterior as a fitted ``SingleTaskGP``'s, at single points, some five times faster.

    It takes the fitted hyper-parameters and the transformed values as they are; the maximiser of
    EI does not depend on the scale of y.
    """

    num_outputs = 1
    batch_shape = torch.Size()

    def __init__(self, model: Any) -> None:
        super().__init__()
        model.eval()
        self.covariance = model.covar_module
        x, y = model.train_inputs[0], model.train_targets
        with torch.no_grad():
            self.constant = model.mean_module(x)[0]
            self.best = y.max()
            noise = float(model.likelihood.noise.max())
            centred = (y - self.constant).unsqueeze(0)
            self.gp = posterior(self._kernel, x.unsqueeze(0), centred, noise)

    def posterior(self, X: Tensor, *_: Any, **__: Any) -> _Moments:  # noqa: N803 (BoTorch's name)
        """Mean and variance ``[b, 1, 1]`` at points ``[b, 1, d]``."""
        prediction = predict(self._kernel, self.gp, X.squeeze(-2))
        mean, variance = (part.view(-1, 1, 1) for part in prediction[:2])
        return _Moments(mean + self.constant, variance)

    def _kernel(self, x1: Tensor, x2: Tensor) -> Tensor:
        covariance: Tensor = self.covariance(x1, x2).to_dense()
        return covariance


def gp_ei(problem: Problem) -> PerFunction:
    """GP-EI with BoTorch's default model, fitted to the data before each proposal."""
    return PerFunction(_GPEI)


def gp_ei_known(problem: Problem) -> PerFunction:
    """GP-EI that is given the kernel which generates the functions, and the noise.

    Raises:
        ValueError: If the functions are not samples of a GP.
    """
    if not hasattr(problem.functions, "kernel"):
        raise ValueError(
            "agent 'gp-ei-known' needs functions drawn from a GP, whose kernel is known, got "
            f"{type(problem.functions).__name__}; use 'gp-ei', which fits one"
        )
    return PerFunction(partial(_GPEI, kernel=problem.functions.kernel, noise=problem.noise))
