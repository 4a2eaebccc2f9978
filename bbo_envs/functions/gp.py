"""Functions drawn from a Gaussian-process prior, and the exact posterior behind them.

Two samplers share one interface. ``ExactGP`` draws the value of each query from the predictive
distribution given the values drawn before it (the chain rule of Chen et al. 2017, section 2.2);
``FourierGP`` draws a whole function at once from random Fourier features (Rahimi & Recht 2007).
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from bbo_envs.checks import number_between, positive_integer
from bbo_envs.functions.base import Functions
from bbo_envs.functions.kernels import Kernel, standard_normal

# Covariances [..., n, m] of points [..., n, d] and [..., m, d], with k(x, x) = 1.
Covariance = Callable[[Tensor, Tensor], Tensor]

_STEPS_AT_ONCE = 20


class Conditioned(NamedTuple):
    """A zero-mean GP conditioned on t values, held as a growing Cholesky factor.

    Attributes:
        x: ``[B, t, d]`` the points.
        factor: ``[B, t, t]`` lower-triangular L with L L^T = K + diag(noise variance).
        whitened: ``[B, t]`` L^-1 y.
    """

    x: Tensor
    factor: Tensor
    whitened: Tensor


class Prediction(NamedTuple):
    """The predictive distribution of f at one point per row.

    Attributes:
        mean: ``[B]``.
        variance: ``[B]``, never negative.
        cross: ``[B, t]`` L^-1 k(X, x), which ``condition`` needs again.
    """

    mean: Tensor
    variance: Tensor
    cross: Tensor


def prior(batch: int, dim: int, dtype: torch.dtype, device: torch.device | str) -> Conditioned:
    """The GP before any value is known.

    Example:
        >>> from bbo_envs.functions import RBF
        >>> gp = prior(1, 2, torch.float64, "cpu")
        >>> predict(RBF(0.3), gp, torch.zeros(1, 2)).variance.item()
        1.0
    """
    empty = torch.zeros(batch, 0, dtype=dtype, device=device)
    return Conditioned(empty.new_zeros(batch, 0, dim), empty.new_zeros(batch, 0, 0), empty)


def predict(kernel: Covariance, gp: Conditioned, x: Tensor) -> Prediction:
    """The posterior mean and variance of f at x ``[B, d]``; O(t^2) per row, differentiable.

    A GP of one row is asked at all points of x. Rasmussen & Williams 2006, algorithm 2.1.
    """
    covariance = kernel(gp.x, x.unsqueeze(-2))
    cross = torch.linalg.solve_triangular(gp.factor, covariance, upper=False).squeeze(-1)
    mean = (cross * gp.whitened).sum(-1)
    variance = (1.0 - cross.square().sum(-1)).clamp_min(0.0)
    return Prediction(mean, variance, cross)


def condition(
    gp: Conditioned, prediction: Prediction, x: Tensor, y: Tensor, noise_variance: float
) -> Conditioned:
    """Conditions the GP on y ``[B]`` = f(x) + noise, given its own prediction at x; O(t^2) per row.

    Args:
        gp: The GP so far.
        prediction: ``predict(kernel, gp, x)``.
        x: ``[B, d]`` the new point.
        y: ``[B]`` its value.
        noise_variance: The variance of the noise in y, > 0 (a jitter where there is none).
    """
    deviation = (prediction.variance + noise_variance).sqrt().unsqueeze(-1)
    whitened = (y - prediction.mean).unsqueeze(-1) / deviation
    row = torch.cat([prediction.cross, deviation], -1).unsqueeze(-2)
    column = torch.zeros_like(prediction.cross).unsqueeze(-1)
    factor = torch.cat([torch.cat([gp.factor, column], -1), row], -2)
    return Conditioned(
        torch.cat([gp.x, x.unsqueeze(-2)], -2), factor, torch.cat([gp.whitened, whitened], -1)
    )


def posterior(kernel: Covariance, x: Tensor, y: Tensor, noise_variance: float) -> Conditioned:
    """The GP given values y ``[B, t]`` at x ``[B, t, d]``: what t calls of ``condition`` lead to.

    Example:
        >>> from bbo_envs.functions import RBF
        >>> x = torch.tensor([[[0.2], [0.8]]], dtype=torch.float64)
        >>> y = torch.tensor([[1.0, -1.0]], dtype=torch.float64)
        >>> gp = posterior(RBF(0.3), x, y, 1e-10)
        >>> round(predict(RBF(0.3), gp, x[:, 1]).mean.item(), 4)
        -1.0
    """
    covariance = kernel(x, x)
    noise = noise_variance * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    factor = torch.linalg.cholesky(covariance + noise)
    whitened = torch.linalg.solve_triangular(factor, y.unsqueeze(-1), upper=False).squeeze(-1)
    return Conditioned(x, factor, whitened)


def predict_along(
    kernel: Covariance,
    evaluations: tuple[Tensor, Tensor, Tensor],
    queries: Tensor,
    noise_variance: float,
) -> tuple[Tensor, Tensor]:
    """The predictions at every step of a run, from what had come back before it.

    One factorisation serves all steps, since that of the first t evaluations is its leading block;
    where ``predict`` and ``condition`` go step by step, this costs O(T^3 P) at once.

    Args:
        kernel: The prior covariance.
        evaluations: x ``[B, T, d]``, y ``[B, T]`` and o ``[B, T]``: what was seen before each of
            the T queries. Where o is zero, nothing came back.
        queries: ``[B, S, P, d]``, P points for each of the last S steps; S = T is a whole run.
        noise_variance: The variance of the noise in y, > 0.

    Returns:
        The posterior means and variances of f, ``[B, S, P]`` each, given the evaluations up to and
        including those seen before the step.

    Example:
        >>> from bbo_envs.functions import RBF
        >>> x, y, o = torch.tensor([[[0.2], [0.8]]]), torch.tensor([[1.0, 0.0]]), torch.ones(1, 2)
        >>> mean, variance = predict_along(RBF(0.3), (x, y, o), x.unsqueeze(2), 1e-6)
        >>> [round(m, 3) for m in mean.flatten().tolist()]
        [1.0, 0.0]
    """
    x, y, o = evaluations
    batch, steps, count, dim = queries.shape
    # An evaluation that did not come back is independent of everything, and of value zero.
    covariance = kernel(x, x) * o.unsqueeze(1) * o.unsqueeze(2)
    factor = torch.linalg.cholesky(covariance + torch.diag_embed(noise_variance * o + 1.0 - o))
    whitened = torch.linalg.solve_triangular(factor, (o * y).unsqueeze(-1), upper=False)
    means, variances = [], []
    skipped = x.shape[1] - steps
    for first in range(skipped, skipped + steps, _STEPS_AT_ONCE):
        last = min(first + _STEPS_AT_ONCE, skipped + steps)
        # A step sees the evaluations up to its own, so that later ones need not be looked at.
        asked = queries[:, first - skipped : last - skipped].reshape(batch, -1, dim)
        cross = kernel(x[:, :last], asked) * o[:, :last].unsqueeze(-1)
        cross = torch.linalg.solve_triangular(factor[:, :last, :last], cross, upper=False)
        before = torch.ones(last, last - first, dtype=x.dtype, device=x.device).triu(-first)
        cross = cross.view(batch, last, last - first, count) * before.unsqueeze(-1)
        means.append((cross * whitened[:, :last].unsqueeze(-1)).sum(1))
        variances.append((1.0 - cross.square().sum(1)).clamp_min(0.0))
    return torch.cat(means, 1), torch.cat(variances, 1)


def expected_improvement(mean: Tensor, variance: Tensor, best: Tensor) -> Tensor:
    """EI for minimisation: E[max(best - f, 0)] with f ~ N(mean, variance), shapes broadcast.

    Jones, Schonlau & Welch 1998, equation 15. The deviation is floored at 1e-9 so that values and
    gradients stay finite where the posterior is certain.

    Example:
        >>> zero, one = torch.tensor(0.0), torch.tensor(1.0)
        >>> round(expected_improvement(zero, one, zero).item(), 4)  # 1 / sqrt(2 pi)
        0.3989
    """
    deviation = variance.clamp_min(1e-18).sqrt()
    z = (best - mean) / deviation
    density = torch.exp(-0.5 * z.square()) / math.sqrt(2.0 * math.pi)
    improvement: Tensor = deviation * (density + z * torch.special.ndtr(z))
    return improvement


class _GP(Functions):
    """What both samplers share: a zero-mean prior over functions on the unit cube."""

    extends = True

    def __init__(
        self, dim: int, kernel: Kernel, dtype: torch.dtype, device: torch.device | str
    ) -> None:
        self.dim = positive_integer("dim", dim)
        self.kernel = kernel
        self.dtype = dtype
        self.device = torch.device(device)

    def _normal(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        # Drawn where the generator lives and in float64, so that a seed means the same function
        # on every device and in every precision.
        return standard_normal(shape, generator).to(self.device, self.dtype)


class ExactState(NamedTuple):
    """State of ``ExactGP``.

    Attributes:
        gp: The prior conditioned on the values drawn so far.
        normal: ``[B, capacity]`` one standard normal for each value still to be drawn.
    """

    gp: Conditioned
    normal: Tensor


class ExactGP(_GP):
    """Exact GP prior samples, drawn one value at a time along the queries.

    The value of query t is ``mean + deviation * normal_t`` under the predictive distribution given
    the values at queries 1..t-1. What function is drawn therefore depends on where it is asked:
    two optimisers with one seed meet the same distribution, but not the same function. Use
    ``FourierGP`` where they should.

    ``jitter`` is the variance of an independent term in each value, which keeps the factor
    positive definite: a query that repeats returns the same value within a few times
    ``sqrt(jitter)``, and its gradient stays finite.

    Args:
        dim: The number of coordinates.
        kernel: The prior covariance.
        capacity: The largest number of evaluations.
        jitter: Defaults to 1e-10 in float64, and to 1e-5 in float32, where with less of it the
            factor breaks down within a hundred clustered queries.
        dtype: Of all tensors.
        device: Of all tensors.

    Example:
        >>> from bbo_envs.functions import RBF
        >>> gp = ExactGP(2, RBF(0.3), capacity=10)
        >>> state = gp.sample(5, torch.Generator().manual_seed(0))
        >>> y, state = gp.evaluate(state, torch.zeros(5, 2, dtype=torch.float64))
        >>> y.shape
        torch.Size([5])
    """

    def __init__(
        self,
        dim: int,
        kernel: Kernel,
        capacity: int,
        jitter: float | None = None,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(dim, kernel, dtype, device)
        self.capacity = positive_integer("capacity", capacity)
        default = 1e-10 if dtype == torch.float64 else 1e-5
        self.jitter = default if jitter is None else number_between("jitter", jitter, 0.0)

    def sample(self, batch: int, generator: torch.Generator) -> ExactState:
        normal = self._normal((batch, self.capacity), generator)
        return ExactState(prior(batch, self.dim, self.dtype, self.device), normal)

    def value(self, state: ExactState, x: Tensor) -> tuple[Tensor, ExactState]:
        """Draws f(x) given all values before it, O(t^2) per row.

        Raises:
            IndexError: After ``capacity`` evaluations.
        """
        gp, t = state.gp, state.gp.whitened.shape[-1]
        if t == self.capacity:
            raise IndexError(
                f"this GP sample has given all {self.capacity} values that it was made for; "
                "make it with a larger capacity"
            )
        x = x.to(self.dtype)
        prediction = predict(self.kernel, gp, x)
        deviation = (prediction.variance + self.jitter).sqrt()
        y = prediction.mean + deviation * state.normal[:, t]
        return y, ExactState(condition(gp, prediction, x, y, self.jitter), state.normal)

    def surface(self, state: ExactState, points: Tensor) -> Tensor:
        """The mean given the values drawn so far: the rest of the function is not drawn yet."""
        gp = state.gp
        weights = torch.linalg.solve_triangular(gp.factor.mT, gp.whitened.unsqueeze(-1), upper=True)
        means: Tensor = self.kernel(points.to(self.dtype).unsqueeze(0), gp.x) @ weights
        return means.flatten()


class FourierState(NamedTuple):
    """State of ``FourierGP``: f(x) = sum_i weight_i cos(frequency_i . x + phase_i).

    Attributes:
        frequency: ``[B, d, features]``.
        phase: ``[B, features]``.
        weight: ``[B, features]``.
    """

    frequency: Tensor
    phase: Tensor
    weight: Tensor


class FourierGP(_GP):
    """Approximate GP prior samples from random Fourier features.

    Rahimi & Recht 2007, "Random Features for Large-Scale Kernel Machines". The covariance equals
    the kernel's in expectation over functions for any number of features; with few of them a
    single function is less Gaussian. O(features * d) per query, whatever the horizon, and a seed
    means the same function whatever is asked of it.

    Args:
        dim: The number of coordinates.
        kernel: The prior covariance.
        features: The number of features per function.
        dtype: Of all tensors.
        device: Of all tensors.

    Example:
        >>> from bbo_envs.functions import RBF
        >>> gp = FourierGP(2, RBF(0.3), features=64)
        >>> state = gp.sample(5, torch.Generator().manual_seed(0))
        >>> gp.evaluate(state, torch.zeros(5, 2))[0].shape
        torch.Size([5])
    """

    def __init__(
        self,
        dim: int,
        kernel: Kernel,
        features: int = 512,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(dim, kernel, dtype, device)
        self.features = positive_integer("features", features)

    def sample(self, batch: int, generator: torch.Generator) -> FourierState:
        shape = (batch, self.features)
        frequency = self.kernel.frequencies((*shape, self.dim), generator).mT.contiguous()
        phase = (
            2.0
            * math.pi
            * torch.rand(shape, generator=generator, dtype=torch.float64, device=generator.device)
        )
        weight = self._normal(shape, generator) * math.sqrt(2.0 / self.features)
        return FourierState(
            frequency.to(self.device, self.dtype), phase.to(self.device, self.dtype), weight
        )

    def value(self, state: FourierState, x: Tensor) -> tuple[Tensor, FourierState]:
        query, phase = x.to(self.dtype).unsqueeze(1), state.phase.unsqueeze(1)
        angle = torch.baddbmm(phase, query, state.frequency).squeeze(1)
        return (state.weight * angle.cos()).sum(-1), state
