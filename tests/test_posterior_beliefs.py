"""What the averaged GP posterior believes of functions of which the truth is known."""

import numpy as np
import pytest
import torch
from posterior_reference import (
    CPU,
    DOUBLE,
    EVERY,
    believe,
    normal,
    place,
    plain,
    some_evaluations,
    uniform,
)
from scipy import stats
from scipy.special import logsumexp

from agents.posterior import (
    Beliefs,
    Hypotheses,
    condition,
    covariance,
    hypotheses,
    log_probability_of_improvement,
    predict,
    suppose,
)


def functions_of(kinds, x, generator):
    """Values [B, n] of functions at points [B, n, d], a hypothesis [B, 1] each, without noise."""
    gram = covariance(kinds, x, x).squeeze(1) + 1e-9 * torch.eye(x.shape[1], dtype=DOUBLE)
    draws = torch.randn(len(x), x.shape[1], 1, dtype=DOUBLE, generator=generator)
    return (torch.linalg.cholesky(gram) @ draws).squeeze(2)


def one_each(grid, k):
    return Hypotheses(*(part[0, k].unsqueeze(1) for part in grid))


def beliefs_at_once(x, y):
    """The beliefs of evaluations at points [n, d] that all rows of y [B, n] share."""
    grid = hypotheses(x.shape[1], DOUBLE, CPU)
    gram = covariance(grid, x.unsqueeze(0), x.unsqueeze(0))
    gram = gram + grid.noise[..., None, None] * torch.eye(len(x), dtype=DOUBLE)
    eye = torch.eye(len(x), dtype=DOUBLE)
    inverse = torch.linalg.solve_triangular(torch.linalg.cholesky(gram), eye, upper=False)
    return Beliefs(
        grid,
        x.expand(len(y), -1, -1),
        y,
        torch.ones_like(y),
        inverse.expand(len(y), -1, -1, -1),
    )


def test_the_true_hypothesis_gets_the_highest_weight(generator):
    """On average over 20 functions of 80 values each, for every hypothesis as the truth.

    The truth lies ahead of every other one by five standard errors or more.
    """
    x, rows = uniform(80, 2), 20
    grid = hypotheses(2, DOUBLE, CPU)
    for k in range(grid.noise.shape[1]):
        kinds = one_each(grid, torch.full((rows,), k))
        y = functions_of(kinds, x.expand(rows, -1, -1), generator)
        y = y + kinds.noise.sqrt() * torch.randn(y.shape, dtype=DOUBLE, generator=generator)
        found = plain(condition(beliefs_at_once(x, 20.0 + 7.0 * y), EVERY))
        weight = torch.zeros(rows, grid.noise.shape[1], dtype=DOUBLE)
        weight.scatter_(1, place(found.hypotheses, grid), found.weight)
        assert weight.mean(0).argmax() == k, weight.mean(0)


@pytest.mark.parametrize("dim", [2, 6])
def test_predictions_are_calibrated(dim, generator):
    """Of 1000 functions of the prior, from 30 values each, one prediction per function.

    The variance of a standardised error has a standard error of about 0.05; it lies a
    little above one, since mean and amplitude are taken for known. The bounds are five of these
    from 1.0 and 1.15: false alarms below one in a million. So for the mean, within 5 / sqrt(1000).
    """
    rows, number = 1_000, 30
    x, z = uniform(number, dim), uniform(rows, 1, dim, seed=1)
    grid = hypotheses(dim, DOUBLE, CPU)
    truth = torch.multinomial(grid.log_prior[0].exp(), rows, True, generator=generator)
    kinds = one_each(grid, truth)
    f = functions_of(kinds, torch.cat([x.expand(rows, -1, -1), z], 1), generator)
    y = f[:, :-1]
    y = y + kinds.noise.sqrt() * torch.randn(y.shape, dtype=DOUBLE, generator=generator)
    found = plain(condition(beliefs_at_once(x, y), EVERY))
    mean, deviation = (part.squeeze(2) for part in predict(found, z))
    average = (found.weight * mean).sum(1)
    variance = (found.weight * (deviation.square() + mean.square())).sum(1) - average.square()
    target = (f[:, -1] - y.mean(1)) / y.std(1, unbiased=False)
    error = (target - average) / variance.sqrt()
    assert error.mean().abs() < 5 * 0.032
    assert 1.0 - 5 * 0.05 < error.var() < 1.15 + 5 * 0.05


# --- float32 ---


def crowded(where, dim, number=150):
    spread = uniform(2, number, dim, dtype=torch.float32)
    return {
        "one point": torch.full((2, number, dim), 0.3),
        "the middle": 0.5 + 1e-3 * spread,
        "a corner": 1e-2 * spread,
    }[where]


@pytest.mark.parametrize("dim", [1, 6])
@pytest.mark.parametrize(
    "where",
    [
        "one point",
        "the middle",
        "a corner",
    ],
)
def test_crowded_points_stay_finite_in_float32(where, dim):
    x = crowded(where, dim)
    y = normal(2, x.shape[1])
    found = condition(believe(x, y, dtype=torch.float32), 3)
    assert found.inverse.isfinite().all()
    assert found.weight.isfinite().all()
    z = torch.cat([x[:, -3:], uniform(2, 5, dim, dtype=torch.float32)], 1).requires_grad_()
    value = log_probability_of_improvement(found, z, 0.1)
    (gradient,) = torch.autograd.grad(value.sum(), z)
    for part in (*predict(found, z), value, gradient):
        assert part.isfinite().all()


@pytest.mark.parametrize("dim", [1, 2, 6])
def test_float32_is_close_to_float64_on_scattered_points(dim):
    x, z = uniform(2, 60, dim), uniform(2, 20, dim, seed=5)
    y = torch.sin(7.0 * x).sum(2)
    results = []
    for dtype in (torch.float32, torch.float64):
        found = condition(believe(x, y, dtype=dtype), 3)
        mean, deviation = predict(found, z.to(dtype))
        results.append((found.weight.unsqueeze(2) * torch.stack([mean, deviation])).sum(2).double())
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=1e-2)


# --- the probability of improvement ---


@pytest.mark.parametrize("margin", [0.0, 0.3])
def test_log_probability_of_improvement_against_scipy(margin):
    x, y, o = some_evaluations(2)
    z = uniform(3, 6, 2, seed=5)
    found = condition(believe(x, y, o), 4)
    mean, deviation = (part.numpy() for part in predict(found, z))
    target = (found.incumbent - margin * found.amplitude).unsqueeze(2).numpy()
    each = stats.norm.logcdf(target, mean, deviation) + np.log(found.weight.unsqueeze(2).numpy())
    np.testing.assert_allclose(
        log_probability_of_improvement(found, z, margin), logsumexp(each, axis=1), rtol=1e-9
    )


def test_a_larger_margin_is_less_likely_to_be_reached():
    found = condition(believe(*some_evaluations(2)), 4)
    z = uniform(3, 6, 2, seed=5)
    values = [log_probability_of_improvement(found, z, margin) for margin in (0.0, 0.1, 1.0)]
    assert (values[0] > values[1]).all()
    assert (values[1] > values[2]).all()


def test_gradcheck_of_the_probability_of_improvement():
    """Under RBF and Matern hypotheses alike, with an evaluation still out."""
    x, y, o = some_evaluations(2)
    found = condition(believe(x, y, o), EVERY)
    assert found.hypotheses.matern.any()
    assert not found.hypotheses.matern.all()
    found = suppose(found, uniform(3, 1, 2, seed=6), torch.ones(3, 1, dtype=DOUBLE))
    z = uniform(3, 3, 2, seed=5).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda z: log_probability_of_improvement(found, z, 0.2), (z,), atol=1e-5
    )


def test_the_gradient_stays_finite_where_improvement_is_hopeless():
    """Next to a point seen whose value is far above the incumbent, in float32."""
    x = torch.tensor([[[0.2], [0.8], [0.81]]])
    found = condition(believe(x, torch.tensor([[0.0, 1e3, 1e3]]), dtype=torch.float32), 3)
    z = torch.tensor([[[0.2], [0.8], [0.8001], [0.805]]], requires_grad=True)
    value = log_probability_of_improvement(found, z, 0.5)
    (gradient,) = torch.autograd.grad(value.sum(), z)
    assert value.isfinite().all()
    assert gradient.isfinite().all()
