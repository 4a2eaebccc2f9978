"""GPs fitted, and LogEI maximised, for many functions at once, each as BoTorch does it alone.

Functions with as many values as each other share the evaluations, of their likelihoods and of
LogEI, but no optimiser: each fit and each restart is an L-BFGS-B of its own, which starts, steps
and stops as BoTorch's. BoTorch's second try after a line search that failed is left out: of 63 000
searches four did, of fits none.
"""

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from botorch.acquisition import LogExpectedImprovement
from botorch.models.model import Model
from botorch.optim.batched_lbfgs_b import fmin_l_bfgs_b_batched
from botorch.optim.initializers import initialize_q_batch
from botorch.utils.sampling import draw_sobol_samples, manual_seed
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from torch import Tensor

from bbo_envs.functions.gp import posterior

# The options of ``optimize_acqf``, as in BoTorch's tutorials.
SEARCH = {"num_restarts": 10, "raw_samples": 512}


@contextmanager
def as_botorch_needs() -> Iterator[None]:
    """What BoTorch needs: gradients, also where the caller has turned them off, and no threads.

    Its warnings are for people who look at one model. L-BFGS-B handles vectors of few numbers,
    over which the threads of SciPy's BLAS only wait for each other.
    """
    with torch.enable_grad(), threadpool_limits(1, "blas"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def cube(dim: int) -> Tensor:
    """The bounds ``[2, d]`` of a search."""
    return torch.tensor([[0.0] * dim, [1.0] * dim], dtype=torch.float64)


def fit(model: Any) -> None:
    """Fits a batch of BoTorch's default models, each as ``fit_gpytorch_mll`` fits it alone.

    The objective is the same (likelihood and priors per value), and so are the optimiser, its
    start, bounds and tolerances. It is several times faster because functions that are done are
    left out of what remains, and because the gradient is in closed form.

    Args:
        model: A ``SingleTaskGP`` of data ``[B, t, d]``, whose hyper-parameters this sets.
    """
    x, y = model.train_inputs[0], model.train_targets
    kernel, mean, noise = model.covar_module, model.mean_module, model.likelihood.noise_covar
    eye = torch.eye(x.shape[-2], dtype=x.dtype)

    def loss(parameters: Tensor, rows: Tensor) -> Tensor:
        variance, constant, length_scale = _parts(parameters)
        scaled = x[rows] / length_scale.unsqueeze(-2)
        half = 0.5 * scaled.square().sum(-1)
        rbf = torch.exp(scaled @ scaled.mT - half.unsqueeze(-1) - half.unsqueeze(-2))
        density = _LogDensity.apply(  # type: ignore[no-untyped-call]
            rbf + variance.unsqueeze(-1) * eye, y[rows] - constant
        )
        prior = kernel.lengthscale_prior.log_prob(length_scale).sum(-1)
        prior = prior + noise.noise_prior.log_prob(variance).sum(-1)
        negative: Tensor = -(density + prior) / len(eye)
        return negative

    start = [noise.noise, mean.constant.unsqueeze(-1), kernel.lengthscale.squeeze(-2)]
    lowest = [float(noise.raw_noise_constraint.lower_bound), -math.inf]
    lowest += [float(kernel.raw_lengthscale_constraint.lower_bound)] * x.shape[-1]
    fitted, _ = _minimise(loss, torch.cat(start, -1).detach(), [(low, math.inf) for low in lowest])
    variance, constant, length_scale = _parts(fitted)
    noise.noise = variance
    mean.constant = constant.squeeze(-1)
    kernel.lengthscale = length_scale.unsqueeze(-2)


def _parts(parameters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The noise's variance ``[B, 1]``, the mean ``[B, 1]`` and the length scales ``[B, d]``."""
    return parameters[:, :1], parameters[:, 1:2], parameters[:, 2:]


class _LogDensity(torch.autograd.Function):
    """The log density ``[B]`` of r ``[B, t]`` under N(0, C), C ``[B, t, t]``.

    The gradient is Rasmussen & Williams 2006, equation 5.9: half the work of going back through
    the Cholesky factor.
    """

    @staticmethod
    def forward(ctx: Any, covariance: Tensor, residual: Tensor) -> Tensor:
        factor = torch.linalg.cholesky(covariance)
        weights = torch.cholesky_solve(residual.unsqueeze(-1), factor).squeeze(-1)
        ctx.save_for_backward(factor, weights)
        half_log_determinant = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        normaliser = half_log_determinant + 0.5 * residual.shape[-1] * math.log(2.0 * math.pi)
        density: Tensor = -0.5 * (residual * weights).sum(-1) - normaliser
        return density

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        factor, weights = ctx.saved_tensors
        gradient = gradient.unsqueeze(-1)
        outer = weights.unsqueeze(-1) * weights.unsqueeze(-2)
        by_covariance = 0.5 * gradient.unsqueeze(-1) * (outer - torch.cholesky_inverse(factor))
        return by_covariance, -gradient * weights


def maximise(model: Any, seeds: Sequence[int]) -> Tensor:
    """The maxima ``[B, d]`` of the LogEI of B models, found as ``optimize_acqf`` finds one."""
    marginal = Marginal(model)
    acquisition = LogExpectedImprovement(marginal, marginal.best)
    dim = model.train_inputs[0].shape[-1]
    draws = [draw_sobol_samples(cube(dim), SEARCH["raw_samples"], 1, seed=seed) for seed in seeds]
    raw = torch.stack(draws, 1)
    with torch.no_grad():
        values = acquisition(raw)
    starts = []
    for row, seed in enumerate(seeds):
        with manual_seed(seed):  # of the global generator, which this restores afterwards
            chosen, _ = initialize_q_batch(raw[:, row], values[:, row], SEARCH["num_restarts"])
        starts.append(chosen)
    start = torch.stack(starts, 1)

    def loss(x: Tensor, searches: Tensor) -> Tensor:
        # Those that are done are asked again at their starts: that costs less than to leave out
        # some of a function's, whose factor all of them share.
        points = start.flatten(0, 2).index_put((searches,), x)
        negative: Tensor = -acquisition(points.view_as(start)).flatten()[searches]
        return negative

    found, negative = _minimise(loss, start.flatten(0, 2), [(0.0, 1.0)] * dim)
    best = negative.view(start.shape[:2]).argmin(0)
    return found.view(*start.shape[:2], dim)[best, torch.arange(len(seeds))]


def _minimise(
    loss: Callable[[Tensor, Tensor], Tensor], start: Tensor, bounds: Sequence[tuple[float, float]]
) -> tuple[Tensor, Tensor]:
    """Minimises n losses of k numbers side by side, by BoTorch's port of SciPy's L-BFGS-B.

    Args:
        loss: Values ``[m]`` of those m losses whose indices ``[m]`` it is given, at ``[m, k]``.
        start: ``[n, k]``.
        bounds: The least and the greatest of each of the k.

    Returns:
        The minima ``[n, k]`` and their values ``[n]``.
    """

    def value_and_gradient(
        x: NDArray[np.float64], batch_indices: list[int]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        at = torch.from_numpy(x).requires_grad_()
        value = loss(at, torch.tensor(batch_indices))
        (gradient,) = torch.autograd.grad(value.sum(), at)
        return value.detach().numpy(), gradient.numpy()

    found, values, _ = fmin_l_bfgs_b_batched(
        value_and_gradient, start.numpy(), bounds=bounds, pass_batch_indices=True
    )
    return torch.from_numpy(found), torch.from_numpy(values)


class Moments(NamedTuple):
    """Of a posterior, as BoTorch's analytic acquisitions ask for them."""

    mean: Tensor
    variance: Tensor


class Marginal(Model):  # type: ignore[misc]
    """The posteriors of a batch of fitted ``SingleTaskGP``s at single points, many times faster.

    It takes the fitted hyper-parameters and the transformed values as they are; the maximiser of
    EI does not depend on the scale of y.
    """

    num_outputs = 1
    batch_shape = torch.Size()

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.covariance = model.covar_module
        x, y = model.train_inputs[0], model.train_targets
        with torch.no_grad():
            self.constant = model.mean_module(x)[:, :1]
            self.best = y.amax(-1, keepdim=True)
            noise = model.likelihood.noise[:, :1].unsqueeze(-1)
            self.gp = posterior(self._kernel, x, y - self.constant, noise)

    def posterior(self, X: Tensor, *_: Any, **__: Any) -> Moments:  # noqa: N803 (BoTorch's name)
        """Mean and variance ``[n, B, 1, 1]`` at n points of each function, ``[n, B, 1, d]``.

        It is ``functions.gp.predict`` with one triangular system for all points of a function.
        """
        covariance = self._kernel(self.gp.x, X.squeeze(-2).transpose(0, 1))
        cross = torch.linalg.solve_triangular(self.gp.factor, covariance, upper=False)
        mean = self.constant + (self.gp.whitened.unsqueeze(-2) @ cross).squeeze(-2)
        variance = (1.0 - cross.square().sum(-2)).clamp_min(0.0)
        return Moments(mean.mT[..., None, None], variance.mT[..., None, None])

    def _kernel(self, x1: Tensor, x2: Tensor) -> Tensor:
        covariance: Tensor = self.covariance(x1, x2).to_dense()
        return covariance
