"""The averaged GP posterior against NumPy, SciPy and scikit-learn, and against its own samples."""

import numpy as np
import pytest
import torch
from posterior_reference import (
    CPU,
    DOUBLE,
    EVERY,
    believe,
    direct,
    kernel,
    place,
    some_evaluations,
    uniform,
    warped,
)
from scipy import stats
from scipy.special import logsumexp

from agents import posterior as module
from agents.posterior import (
    condition,
    covariance,
    hypotheses,
    log_probability_of_improvement,
    no_beliefs,
    observe,
    predict,
    suppose,
)
from agents.warps import WARPS

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


def test_factors_do_not_drift_away_from_the_covariance():
    """In single precision errors grow with the rows: unchecked, beyond all bounds on this line.

    Of the other row, half of the points are not there.
    """
    number = 560
    x = (0.2 + 5e-4 * torch.arange(number)).view(1, -1, 1).expand(2, -1, -1)
    there = torch.ones(2, number)
    there[1, ::2] = 0.0
    beliefs = no_beliefs(2, 1, torch.float32, CPU)
    for i in range(number):
        beliefs = observe(beliefs, x[:, i], torch.zeros(2), there[:, i])
    grid = beliefs.grid
    # Of L^-1 K L^-T and the identity, for K with its own noise on the diagonal.
    gram = (
        covariance(grid, x.double(), x.double())
        * (there.unsqueeze(1) * there.unsqueeze(2))[:, None]
    )
    diagonal = torch.where(there.unsqueeze(1) > 0, 1.0 + grid.noise.unsqueeze(-1), 1.0)
    gram.diagonal(dim1=-2, dim2=-1).copy_(diagonal)
    inverse = beliefs.inverse.double()
    error = inverse @ gram @ inverse.mT - torch.eye(number, dtype=DOUBLE)
    assert error.abs().max() < 0.5


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
    found = condition(beliefs, EVERY)
    mean, deviation = predict(found, z)
    which = place(found.hypotheses, beliefs.grid)
    for row in range(3):
        back = o[row] > 0
        points, values = x[row, back].numpy(), y[row, back].numpy()
        expected = [
            direct(beliefs.grid, k, w, points, values, z[row].numpy())
            for k, w in zip(which[row].tolist(), found.warp[row].tolist(), strict=True)
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
    found = condition(beliefs, EVERY)
    s = np.exp(np.linspace(-5.0, 14.0, 500))[:, None]
    u = np.linspace(-30.0, 30.0, 401)  # the mean in amplitudes
    m = s * u
    log_prior = stats.norm.logpdf(m, 0.0, s / np.sqrt(b))
    log_prior += -(a / 2 + 1) * np.log(s**2) - a / (2 * s**2) + np.log(s)
    measure = np.log(s) + 2 * np.log(s)  # dm = s du and d(s^2) = 2 s^2 d(log s)
    scores = []
    which = place(found.hypotheses, beliefs.grid)[0].tolist()
    for k, w in zip(which, found.warp[0].tolist(), strict=True):
        values, log_warp = warped(y[0].numpy(), w)
        gram = kernel(beliefs.grid, k)(x[0].numpy())
        inverse = np.linalg.inv(gram + beliefs.grid.noise[0, k].item() * np.eye(3))
        form = values @ inverse @ values - 2 * m * (values @ inverse.sum(1)) + m**2 * inverse.sum()
        log_density = -0.5 * form / s**2 - 3 * np.log(s) + 0.5 * np.linalg.slogdet(inverse)[1]
        log_prior_of_both = log_warp + beliefs.grid.log_prior[0, k].item()
        scores.append(logsumexp(log_density + log_prior + measure) + log_prior_of_both)
    np.testing.assert_allclose(found.weight[0], np.exp(scores - logsumexp(scores)), rtol=1e-4)


def test_evaluations_that_did_not_come_back_change_nothing():
    x, y, o = some_evaluations(2)
    z = uniform(3, 5, 2, seed=5)
    together = condition(believe(x, y, o), EVERY)
    for row in range(3):
        back = o[row] > 0
        alone = condition(believe(x[row : row + 1, back], y[row : row + 1, back]), EVERY)
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
        found = condition(beliefs, EVERY)
        mean, deviation = predict(found, z)
        assert not mean.any()
        unknown = (1.0 + 1.0 / module._MEAN_STRENGTH) ** 0.5  # of the function and of its centre
        torch.testing.assert_close(deviation, torch.full_like(deviation, unknown))
        assert torch.equal(found.incumbent, found.centre)
        warps = torch.tensor([weight for _, weight in WARPS], dtype=DOUBLE)
        expected = beliefs.grid.log_prior.exp().T * warps / warps.sum()
        expected = expected.flatten().sort(descending=True).values
        torch.testing.assert_close(found.weight, expected.expand(2, -1))


def test_fewer_hypotheses_are_the_likeliest_ones():
    x, y, o = some_evaluations(2)
    z = uniform(3, 5, 2, seed=5)
    beliefs = believe(x, y, o)
    every, three = condition(beliefs, EVERY), condition(beliefs, 3)
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
    before = condition(beliefs, 4)
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
    before = condition(believe(*some_evaluations(3)), 4)
    after = suppose(before, uniform(3, 0, 3), uniform(3, 0))
    assert all(a is b for a, b in zip(before[1:], after[1:], strict=True))


def test_a_supposed_evaluation_is_no_improvement_on_itself():
    """Where the mean falls below all values seen, a second worker must not be sent there too."""
    x = torch.linspace(0.4, 1.0, 7, dtype=DOUBLE).view(1, 7, 1)
    before = condition(believe(x, x.squeeze(2)), 3)
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
    plain = condition(believe(x, y, o), 4)
    moved = condition(believe(x, scale * (y + shift) * o, o), 4)
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
    found = condition(believe(x, torch.full((2, 30), 4.2, dtype=DOUBLE), dtype=dtype), 3)
    z = torch.cat([x[:, :3], uniform(2, 5, 2, seed=5, dtype=dtype)], 1).requires_grad_()
    value = log_probability_of_improvement(found, z, 0.1)
    (gradient,) = torch.autograd.grad(value.sum(), z)
    for part in (found.weight, *predict(found, z), value, gradient):
        assert part.isfinite().all()
