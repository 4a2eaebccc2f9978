"""The averaged GP posterior against NumPy, SciPy and scikit-learn, and against its own samples."""

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import logsumexp
from sklearn.gaussian_process import kernels

from agents import posterior as module
from agents.posterior import (
    Beliefs,
    Hypotheses,
    condition,
    covariance,
    hypotheses,
    log_probability_of_improvement,
    no_beliefs,
    observe,
    predict,
    suppose,
)

CPU = torch.device("cpu")
DOUBLE = torch.float64
EVERY = 1_000  # more hypotheses than there are


def uniform(*shape, seed=0, dtype=DOUBLE):
    return torch.rand(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def normal(*shape, seed=1):
    return torch.randn(*shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))


def believe(x, y, o=None, dtype=DOUBLE):
    """Beliefs after the evaluations x [B, t, d], y [B, t], one after the other."""
    o = torch.ones_like(y) if o is None else o
    beliefs = no_beliefs(len(x), x.shape[2], dtype, CPU)
    for t in range(x.shape[1]):
        beliefs = observe(beliefs, x[:, t], y[:, t], o[:, t])
    return beliefs


def standardised(beliefs, most=EVERY):
    """The posterior in units of the mean and deviation of the values seen."""
    count = beliefs.seen.double().sum(1).clamp_min(1.0)
    mean = (beliefs.y * beliefs.seen).sum(1) / count
    square = ((beliefs.y - mean.unsqueeze(1)).square() * beliefs.seen).sum(1) / count
    return condition(beliefs, mean, torch.where(square > 0, square, 1.0).sqrt(), most)


def kernel(kinds, k):
    """scikit-learn's kernel of a hypothesis."""
    length_scale = kinds.length_scale[0, k].item()
    return kernels.Matern(length_scale, nu=2.5) if kinds.matern[0, k] else kernels.RBF(length_scale)


def direct(kinds, k, x, y, z):
    """Mean, deviation and so on at z under one hypothesis, from the formulas, O(t^3).

    For y ~ N(m, s^2 C), m ~ N(0, s^2 / b), s^2 scaled inverse chi-squared (a, 1), where one
    degree of freedom goes to the mean.
    """
    a, b = module._AMPLITUDE_STRENGTH, module._MEAN_STRENGTH
    k_of, noise, ones = kernel(kinds, k), kinds.noise[0, k].item(), np.ones(len(y))
    inverse = np.linalg.inv(k_of(x) + noise * np.eye(len(x)))
    precision = ones @ inverse @ ones + b
    centre = ones @ inverse @ y / precision
    rest = y - centre
    square = rest @ inverse @ rest + b * centre**2 + a
    freedom = len(y) - 1 + a
    cross = k_of(z, x)
    reduction = np.einsum("nt,ts,ns->n", cross, inverse, cross)
    unknown = (1.0 - cross @ inverse @ ones) ** 2 / precision
    at_seen = centre + k_of(x) @ inverse @ rest
    return {
        "centre": centre,
        "amplitude": np.sqrt(square / freedom),
        "mean": centre + cross @ inverse @ rest,
        "deviation": np.sqrt(square / freedom * (1.0 - reduction + unknown)),
        "incumbent": at_seen.min(),
        "score": kinds.log_prior[0, k].item()
        + 0.5 * np.linalg.slogdet(inverse)[1]
        - 0.5 * np.log(precision)
        - 0.5 * freedom * np.log(square),
    }


def place(kinds, grid):
    """Which hypothesis of the grid each of the M in a row is, ``[B, M]``."""
    same = [a.unsqueeze(2) == b.unsqueeze(1) for a, b in zip(kinds[:3], grid[:3], strict=True)]
    return torch.stack(same).all(0).int().argmax(2)


def some_evaluations(dim, number=9, batch=3):
    x, y = uniform(batch, number, dim), 3.0 + 2.0 * normal(batch, number)
    o = (uniform(batch, number, seed=2) < 0.7).double()
    return x, y * o, o


# --- the grid and its covariances ---


@pytest.mark.parametrize("dim", [1, 3, 12])
def test_the_grid_is_a_distribution_over_distinct_hypotheses(dim):
    grid = hypotheses(dim, DOUBLE, CPU)
    assert grid.log_prior.exp().sum().item() == pytest.approx(1.0)
    assert (grid.length_scale > 0).all()
    assert (grid.noise > 0).all()
    kinds = set(zip(*(part[0].tolist() for part in grid[:3]), strict=True))
    assert len(kinds) == grid.noise.shape[1]


@pytest.mark.parametrize("dim", [1, 3, 12])
def test_covariances_agree_with_scikit_learn(dim):
    grid, z, x = hypotheses(dim, DOUBLE, CPU), uniform(2, 4, dim), uniform(2, 5, dim, seed=1)
    found = covariance(grid, z, x)
    for row in range(2):
        for k in range(grid.noise.shape[1]):
            np.testing.assert_allclose(
                found[row, k], kernel(grid, k)(z[row].numpy(), x[row].numpy()), atol=1e-10
            )


def test_the_gradient_of_covariances_is_finite_where_points_coincide():
    for dtype in (torch.float32, torch.float64):
        x = uniform(2, 5, 3, dtype=dtype)
        z = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(covariance(hypotheses(3, dtype, CPU), z, x).sum(), z)
        assert gradient.isfinite().all()


# --- one evaluation after the other ---


def test_inverse_factors_turn_the_covariance_into_the_identity():
    x, y, o = some_evaluations(3)
    beliefs = believe(x, y, o)
    grid, number = beliefs.grid, x.shape[1]
    assert torch.equal(beliefs.inverse, beliefs.inverse.tril())
    for row in range(len(x)):
        both = np.outer(o[row], o[row])
        for k in range(grid.noise.shape[1]):
            gram = kernel(grid, k)(x[row].numpy()) + grid.noise[0, k].item() * np.eye(number)
            gram = np.where(both > 0, gram, np.eye(number))
            inverse = beliefs.inverse[row, k].numpy()
            np.testing.assert_allclose(inverse @ gram @ inverse.T, np.eye(number), atol=1e-8)


def test_an_observation_leaves_the_beliefs_before_it_as_they_were():
    x, y, o = some_evaluations(2)
    before = believe(x, y, o)
    copies = [part.clone() for part in before[1:]]
    first, second = (observe(before, x[:, 0] + 0.1, y[:, 0], o[:, 0]) for _ in range(2))
    assert all(torch.equal(part, copy) for part, copy in zip(before[1:], copies, strict=True))
    assert torch.equal(first.inverse, second.inverse)


@pytest.mark.parametrize("dim", [1, 4])
def test_the_posterior_equals_a_direct_solve(dim):
    """Every hypothesis of rows in which different evaluations came back."""
    x, y, o = some_evaluations(dim)
    z = uniform(3, 6, dim, seed=5)
    beliefs = believe(x, y, o)
    found = standardised(beliefs)
    mean, deviation = predict(found, z)
    which = place(found.hypotheses, beliefs.grid)
    for row in range(3):
        back = o[row] > 0
        values = y[row, back].numpy()
        values = (values - values.mean()) / values.std()
        points = x[row, back].numpy()
        expected = [
            direct(beliefs.grid, k, points, values, z[row].numpy()) for k in which[row].tolist()
        ]
        scores = np.array([e["score"] for e in expected])
        np.testing.assert_allclose(found.weight[row], np.exp(scores - logsumexp(scores)), rtol=1e-6)
        for name, part in (("mean", mean), ("deviation", deviation)):
            assert_rows(part[row], expected, name)
        for name in ("centre", "amplitude", "incumbent"):
            assert_rows(getattr(found, name)[row], expected, name)


def assert_rows(found, expected, name):
    np.testing.assert_allclose(
        found, np.stack([e[name] for e in expected]), rtol=1e-6, atol=1e-7, err_msg=name
    )


def test_weights_are_marginal_likelihoods_by_numerical_integration():
    """Over the mean and the logarithm of the amplitude, on a grid, for three evaluations.

    The prior is the conjugate one of ``condition``, save that one degree of freedom is taken by the
    mean, as by a flat prior: hence one s more than in its density.
    """
    a, b = module._AMPLITUDE_STRENGTH, module._MEAN_STRENGTH
    x, y = uniform(1, 3, 2), torch.tensor([[1.0, 5.0, 2.5]], dtype=DOUBLE)
    beliefs = believe(x, y)
    found = standardised(beliefs)
    values = (y[0].numpy() - y[0].numpy().mean()) / y[0].numpy().std()
    s = np.exp(np.linspace(-5.0, 14.0, 500))[:, None]
    u = np.linspace(-30.0, 30.0, 401)  # the mean in amplitudes
    m = s * u
    log_prior = stats.norm.logpdf(m, 0.0, s / np.sqrt(b))
    log_prior += -(a / 2 + 1) * np.log(s**2) - a / (2 * s**2) + np.log(s)
    measure = np.log(s) + 2 * np.log(s)  # dm = s du and d(s^2) = 2 s^2 d(log s)
    scores = []
    for k in place(found.hypotheses, beliefs.grid)[0].tolist():
        gram = kernel(beliefs.grid, k)(x[0].numpy())
        inverse = np.linalg.inv(gram + beliefs.grid.noise[0, k].item() * np.eye(3))
        form = values @ inverse @ values - 2 * m * (values @ inverse.sum(1)) + m**2 * inverse.sum()
        log_density = -0.5 * form / s**2 - 3 * np.log(s) + 0.5 * np.linalg.slogdet(inverse)[1]
        scores.append(
            logsumexp(log_density + log_prior + measure) + beliefs.grid.log_prior[0, k].item()
        )
    np.testing.assert_allclose(found.weight[0], np.exp(scores - logsumexp(scores)), rtol=1e-4)


def test_evaluations_that_did_not_come_back_change_nothing():
    x, y, o = some_evaluations(2)
    z = uniform(3, 5, 2, seed=5)
    together = standardised(believe(x, y, o))
    for row in range(3):
        back = o[row] > 0
        alone = standardised(believe(x[row : row + 1, back], y[row : row + 1, back]))
        for found, expected in zip(
            (together.weight, together.centre, together.amplitude, together.incumbent)
            + predict(together, z),
            (alone.weight, alone.centre, alone.amplitude, alone.incumbent)
            + predict(alone, z[row : row + 1]),
            strict=True,
        ):
            torch.testing.assert_close(found[row : row + 1], expected, rtol=1e-9, atol=1e-9)


def test_before_any_evaluation_all_is_the_prior():
    z = uniform(2, 5, 3)
    nothing = no_beliefs(2, 3, DOUBLE, CPU)
    empty = observe(nothing, torch.zeros(2, 3), torch.zeros(2), torch.zeros(2))
    for beliefs in (nothing, empty):
        found = standardised(beliefs)
        mean, deviation = predict(found, z)
        assert not mean.any()
        unknown = (1.0 + 1.0 / module._MEAN_STRENGTH) ** 0.5  # of the function and of its centre
        torch.testing.assert_close(deviation, torch.full_like(deviation, unknown))
        assert torch.equal(found.incumbent, found.centre)
        expected = beliefs.grid.log_prior.exp().sort(descending=True).values
        torch.testing.assert_close(found.weight, expected.expand(2, -1))


def test_fewer_hypotheses_are_the_likeliest_ones():
    x, y, o = some_evaluations(2)
    z = uniform(3, 5, 2, seed=5)
    beliefs = believe(x, y, o)
    every, three = standardised(beliefs), standardised(beliefs, 3)
    assert three.weight.shape == (3, 3)
    likeliest = every.weight[:, :3]
    torch.testing.assert_close(three.weight, likeliest / likeliest.sum(1, keepdim=True))
    for few, many in zip(predict(three, z), predict(every, z), strict=True):
        torch.testing.assert_close(few, many[:, :3])


# --- evaluations that are still out ---


def test_supposed_evaluations_lower_the_deviation_only():
    """Exactly as evaluations at these points would; rows have different numbers of them."""
    x, y, o = some_evaluations(3)
    out, there = uniform(3, 3, 3, seed=6), torch.tensor([[1, 1, 1], [0, 1, 0], [0, 0, 0]]).double()
    z = torch.cat([uniform(3, 5, 3, seed=5), out], 1)
    beliefs = believe(x, y, o)
    before = standardised(beliefs, 4)
    after = suppose(before, out, there)
    (mean, _), (same, deviation) = predict(before, z), predict(after, z)
    torch.testing.assert_close(same, mean, rtol=1e-12, atol=1e-12)
    assert torch.equal(after.weight, before.weight)
    assert torch.equal(after.amplitude, before.amplitude)
    which = place(before.hypotheses, beliefs.grid)
    for row in range(3):
        points = torch.cat([x[row][o[row] > 0], out[row][there[row] > 0]]).numpy()
        for m, k in enumerate(which[row].tolist()):
            k_of = kernel(beliefs.grid, k)
            gram = k_of(points) + beliefs.grid.noise[0, k].item() * np.eye(len(points))
            cross = k_of(z[row].numpy(), points)
            inverse, ones = np.linalg.inv(gram), np.ones(len(points))
            rest = 1.0 - np.einsum("nt,ts,ns->n", cross, inverse, cross)
            precision = ones @ inverse @ ones + module._MEAN_STRENGTH
            rest += (1.0 - cross @ inverse @ ones) ** 2 / precision
            expected = before.amplitude[row, m].item() * np.sqrt(rest)
            np.testing.assert_allclose(deviation[row, m], expected, rtol=1e-6)


def test_no_supposed_evaluation_is_no_change():
    before = standardised(believe(*some_evaluations(3)), 4)
    after = suppose(before, uniform(3, 0, 3), uniform(3, 0))
    assert all(a is b for a, b in zip(before[1:], after[1:], strict=True))


def test_a_supposed_evaluation_is_no_improvement_on_itself():
    """Where the mean falls below all values seen, a second worker must not be sent there too."""
    x = torch.linspace(0.4, 1.0, 7, dtype=DOUBLE).view(1, 7, 1)
    before = standardised(believe(x, x.squeeze(2)), 3)
    out = torch.tensor([[[0.3]]], dtype=DOUBLE)
    after = suppose(before, out, torch.ones(1, 1))
    assert predict(before, out)[0].max() < before.incumbent.min() - 0.1
    assert log_probability_of_improvement(after, out, 0.05).exp() < 0.5


# --- what a user may do to y ---


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("shift", [-3.0, 0.0, 5.0])
def test_affine_maps_of_y_move_means_with_them_and_change_no_weight(scale, shift):
    """Beliefs are in units of the running deviation, so that nothing at all may change."""
    x, y, o = some_evaluations(2)
    z = uniform(3, 5, 2, seed=5)
    plain = standardised(believe(x, y, o), 4)
    moved = standardised(believe(x, scale * (y + shift) * o, o), 4)
    close = {"rtol": 1e-7, "atol": 1e-7}
    torch.testing.assert_close(moved.weight, plain.weight, **close)
    for found, expected in zip(predict(moved, z), predict(plain, z), strict=True):
        torch.testing.assert_close(found, expected, **close)
    for margin in (0.0, 0.5):
        torch.testing.assert_close(
            log_probability_of_improvement(moved, z, margin),
            log_probability_of_improvement(plain, z, margin),
            **close,
        )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_values_stay_finite(dtype):
    x = uniform(2, 30, 2, dtype=dtype)
    found = standardised(believe(x, torch.full((2, 30), 4.2, dtype=DOUBLE), dtype=dtype), 3)
    z = torch.cat([x[:, :3], uniform(2, 5, 2, seed=5, dtype=dtype)], 1).requires_grad_()
    value = log_probability_of_improvement(found, z, 0.1)
    (gradient,) = torch.autograd.grad(value.sum(), z)
    for part in (found.weight, *predict(found, z), value, gradient):
        assert part.isfinite().all()


# --- what it believes of functions of which the truth is known ---


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
        found = standardised(beliefs_at_once(x, 20.0 + 7.0 * y))
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
    found = standardised(beliefs_at_once(x, y))
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
    found = standardised(believe(x, y, dtype=torch.float32), 3)
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
        found = standardised(believe(x, y, dtype=dtype), 3)
        mean, deviation = predict(found, z.to(dtype))
        results.append((found.weight.unsqueeze(2) * torch.stack([mean, deviation])).sum(2).double())
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=1e-2)


# --- the probability of improvement ---


@pytest.mark.parametrize("margin", [0.0, 0.3])
def test_log_probability_of_improvement_against_scipy(margin):
    x, y, o = some_evaluations(2)
    z = uniform(3, 6, 2, seed=5)
    found = standardised(believe(x, y, o), 4)
    mean, deviation = (part.numpy() for part in predict(found, z))
    target = (found.incumbent - margin * found.amplitude).unsqueeze(2).numpy()
    each = stats.norm.logcdf(target, mean, deviation) + np.log(found.weight.unsqueeze(2).numpy())
    np.testing.assert_allclose(
        log_probability_of_improvement(found, z, margin), logsumexp(each, axis=1), rtol=1e-9
    )


def test_a_larger_margin_is_less_likely_to_be_reached():
    found = standardised(believe(*some_evaluations(2)), 4)
    z = uniform(3, 6, 2, seed=5)
    values = [log_probability_of_improvement(found, z, margin) for margin in (0.0, 0.1, 1.0)]
    assert (values[0] > values[1]).all()
    assert (values[1] > values[2]).all()


def test_gradcheck_of_the_probability_of_improvement():
    """Under RBF and Matern hypotheses alike, with an evaluation still out."""
    x, y, o = some_evaluations(2)
    found = standardised(believe(x, y, o))
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
    found = standardised(believe(x, torch.tensor([[0.0, 1e3, 1e3]]), dtype=torch.float32), 3)
    z = torch.tensor([[[0.2], [0.8], [0.8001], [0.805]]], requires_grad=True)
    value = log_probability_of_improvement(found, z, 0.5)
    (gradient,) = torch.autograd.grad(value.sum(), z)
    assert value.isfinite().all()
    assert gradient.isfinite().all()
