"""The GP samplers against the kernel's moments, and the posterior against a direct solve."""

import math

import gpytorch
import pytest
import torch
from scipy import stats

from bbo_envs.functions.gp import (
    ExactGP,
    FourierGP,
    condition,
    expected_improvement,
    posterior,
    predict,
    predict_along,
    prior,
)
from bbo_envs.functions.kernels import RBF, Matern52, make_kernel

KERNELS = [RBF(0.3), Matern52(0.4)]


def gpytorch_kernel(kernel):
    twin = (
        gpytorch.kernels.RBFKernel()
        if isinstance(kernel, RBF)
        else gpytorch.kernels.MaternKernel(nu=2.5)
    )
    twin.lengthscale = kernel.length_scale
    return twin.double()


def points(count, dim, generator):
    return torch.rand(count, dim, dtype=torch.float64, generator=generator)


def draw(functions, xs, batch, seed):
    """Values [batch, len(xs)] of fresh functions at the same points."""
    state = functions.sample(batch, torch.Generator().manual_seed(seed))
    values = []
    for x in xs:
        y, state = functions.evaluate(state, x.expand(batch, -1))
        values.append(y)
    return torch.stack(values, 1)


def samplers(kernel, dim):
    return [ExactGP(dim, kernel, capacity=20), FourierGP(dim, kernel, features=64)]


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: type(k).__name__)
def test_kernels_agree_with_gpytorch(kernel, generator):
    x1, x2 = points(5, 3, generator), points(4, 3, generator)
    expected = gpytorch_kernel(kernel)(x1, x2).to_dense()
    torch.testing.assert_close(kernel(x1, x2), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: type(k).__name__)
@pytest.mark.parametrize("shapes", [((3, 2), (4, 2)), ((2, 1, 3, 2), (5, 4, 2))])
def test_kernels_have_first_and_second_derivatives(kernel, shapes, generator):
    """Of points that both arguments broadcast, against finite differences."""
    x1, x2 = (
        torch.rand(shape, dtype=torch.float64, generator=generator).requires_grad_()
        for shape in shapes
    )
    assert torch.autograd.gradcheck(kernel, (x1, x2))
    assert torch.autograd.gradgradcheck(kernel, (x1, x2))


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: type(k).__name__)
@pytest.mark.parametrize("which", [0, 1], ids=["exact", "fourier"])
def test_samples_have_the_kernels_mean_and_covariance(kernel, which, generator):
    """Moments over 20,000 functions; 6 points, so 6 + 21 statistics.

    Each is within 5 standard errors with probability 1 - 5.7e-7, so this fails by chance less than
    once in 60,000 runs. The variance of a product f(x) f(x') is 1 + k^2 for a Gaussian; a finite
    number of features adds at most 2 / features to it.
    """
    batch, dim = 20_000, 3
    xs = points(6, dim, generator)
    values = draw(samplers(kernel, dim)[which], xs, batch, seed=1)
    covariance = kernel(xs, xs)
    assert (values.mean(0).abs() < 5.0 / math.sqrt(batch)).all()
    error = values.T @ values / batch - covariance
    standard_error = ((1.0 + covariance.square() + 2.0 / 64) / batch).sqrt()
    assert (error.abs() < 5.0 * standard_error).all()


def test_exact_and_fourier_agree_in_distribution(generator):
    """Two-sample Kolmogorov-Smirnov tests of five statistics at level 1e-4 each."""
    xs = points(8, 2, generator)
    kernel = RBF(0.2)
    exact = draw(ExactGP(2, kernel, capacity=8), xs, 5_000, seed=2)
    fourier = draw(FourierGP(2, kernel, features=1_000), xs, 5_000, seed=3)
    for statistic in (
        lambda v: v[:, 0],
        lambda v: v[:, 7],
        lambda v: v.amin(1),
        lambda v: v.amax(1) - v.amin(1),
        lambda v: v[:, 0] * v[:, 1],
    ):
        assert stats.ks_2samp(statistic(exact), statistic(fourier)).pvalue > 1e-4


def test_a_repeated_query_returns_the_same_value_and_a_finite_gradient():
    functions = ExactGP(3, RBF(0.3), capacity=40)
    state = functions.sample(16, torch.Generator().manual_seed(0))
    x = torch.full((16, 3), 0.4, dtype=torch.float64, requires_grad=True)
    first = None
    for _ in range(40):
        y, state = functions.evaluate(state, x)
        first = y if first is None else first
        assert (y - first).abs().max() < 10 * math.sqrt(functions.jitter)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_exact_sampler_survives_clustered_queries(dtype, generator):
    """Queries that close in on a point make the covariance as good as singular."""
    functions = ExactGP(2, RBF(0.5), capacity=100, dtype=dtype)
    state = functions.sample(8, generator)
    x = torch.full((8, 2), 0.5, dtype=dtype, requires_grad=True)
    values = []
    for t in range(100):
        y, state = functions.evaluate(state, x + 0.3 * 0.8**t)
        values.append(y)
    (gradient,) = torch.autograd.grad(torch.stack(values).sum(), x)
    assert torch.stack(values).abs().max() < 10
    assert gradient.isfinite().all()


def test_exact_sampler_says_when_its_capacity_is_used(generator):
    functions = ExactGP(1, RBF(0.3), capacity=1)
    x = torch.zeros(2, 1)
    _, state = functions.evaluate(functions.sample(2, generator), x)
    with pytest.raises(IndexError, match="all 1 values"):
        functions.evaluate(state, x)


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: type(k).__name__)
@pytest.mark.parametrize("which", [0, 1], ids=["exact", "fourier"])
def test_gradcheck_through_a_sampler(kernel, which, generator):
    functions = samplers(kernel, 2)[which]
    state = functions.sample(3, generator)

    def values(xs):
        now, ys = state, []
        for x in xs.unbind(1):
            y, now = functions.evaluate(now, x)
            ys.append(y)
        return torch.stack(ys, 1)

    xs = torch.rand(3, 4, 2, dtype=torch.float64, generator=generator, requires_grad=True)
    assert torch.autograd.gradcheck(values, (xs,))


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: type(k).__name__)
@pytest.mark.parametrize("noise", [1e-3, 0.1])
def test_posterior_equals_a_direct_solve(kernel, noise, generator):
    x, at = points(12, 3, generator), points(5, 3, generator)
    y = torch.randn(12, dtype=torch.float64, generator=generator)
    gram = kernel(x, x) + noise * torch.eye(12, dtype=torch.float64)
    cross = kernel(at, x)
    mean = cross @ torch.linalg.solve(gram, y)
    variance = 1.0 - (cross @ torch.linalg.solve(gram, cross.T)).diagonal()
    at_once = posterior(kernel, x.unsqueeze(0), y.unsqueeze(0), noise)
    one_by_one = prior(5, 3, torch.float64, "cpu")
    for t in range(12):
        point, value = x[t].expand(5, -1), y[t].expand(5)
        one_by_one = condition(one_by_one, predict(kernel, one_by_one, point), point, value, noise)
    for gp in (at_once, one_by_one):
        prediction = predict(kernel, gp, at)
        torch.testing.assert_close(prediction.mean, mean, rtol=1e-8, atol=1e-8)
        torch.testing.assert_close(prediction.variance, variance, rtol=1e-8, atol=1e-8)


def test_predictions_along_a_run_equal_direct_solves(generator):
    """Rows differ in what has come back; every step is solved anew from that alone."""
    kernel, noise, steps = RBF(0.4), 0.05, 24
    x, queries = torch.rand(2, 2, steps, 3, dtype=torch.float64, generator=generator)
    queries = torch.stack([queries, 1.0 - queries], 2)
    y = torch.randn(2, steps, dtype=torch.float64, generator=generator)
    o = (torch.rand(2, steps, generator=generator) < 0.7).double()
    mean, variance = predict_along(kernel, (x, y, o), queries, noise)
    for row in range(2):
        for t in range(steps):
            back = o[row, : t + 1].bool()
            seen, values = x[row, : t + 1][back], y[row, : t + 1][back]
            gram = kernel(seen, seen) + noise * torch.eye(len(seen)).double()
            cross = kernel(queries[row, t], seen)
            solved = torch.linalg.solve(gram, torch.cat([values.unsqueeze(1), cross.T], 1))
            torch.testing.assert_close(mean[row, t], cross @ solved[:, 0])
            torch.testing.assert_close(variance[row, t], 1.0 - (cross @ solved[:, 1:]).diagonal())


def test_posterior_is_differentiable(generator):
    kernel = Matern52(0.4)
    x = torch.rand(2, 4, 2, dtype=torch.float64, generator=generator, requires_grad=True)
    y = torch.randn(2, 4, dtype=torch.float64, generator=generator, requires_grad=True)
    at = torch.rand(2, 2, dtype=torch.float64, generator=generator, requires_grad=True)

    def improvement(x, y, at):
        prediction = predict(kernel, posterior(kernel, x, y, 1e-2), at)
        return expected_improvement(prediction.mean, prediction.variance, y.amin(1))

    assert torch.autograd.gradcheck(improvement, (x, y, at))


def test_expected_improvement_against_monte_carlo(generator):
    """A million draws; 5 standard errors, so false alarms are below one in a million."""
    mean, variance, best = torch.tensor([0.3, -1.0]), torch.tensor([0.5, 2.0]), torch.tensor(0.1)
    draws = mean + variance.sqrt() * torch.randn(1_000_000, 2, generator=generator)
    gains = (best - draws).clamp_min(0.0)
    found = expected_improvement(mean, variance, best)
    assert ((found - gains.mean(0)).abs() < 5 * gains.std(0) / 1_000).all()


def test_expected_improvement_without_uncertainty_is_the_plain_improvement():
    mean = torch.tensor([0.0, 2.0], dtype=torch.float64, requires_grad=True)
    found = expected_improvement(mean, torch.zeros(2).double(), torch.tensor(1.0).double())
    torch.testing.assert_close(found, torch.tensor([1.0, 0.0]).double())
    (gradient,) = torch.autograd.grad(found.sum(), mean)
    torch.testing.assert_close(gradient, torch.tensor([-1.0, 0.0]).double())


def test_the_prior_predicts_zero_and_one():
    prediction = predict(RBF(0.3), prior(2, 3, torch.float64, "cpu"), torch.rand(2, 3).double())
    assert prediction.mean.tolist() == [0.0, 0.0]
    assert prediction.variance.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("length_scale", [0.0, -1.0, math.nan, math.inf])
def test_a_bad_length_scale_is_refused(length_scale):
    with pytest.raises(ValueError, match="length_scale must be"):
        make_kernel("rbf", length_scale)
