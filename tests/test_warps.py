"""Warps of the values, against SciPy's Box-Cox likelihood, and on functions that need them."""

import numpy as np
import pytest
import torch
from posterior_reference import DOUBLE, EVERY, believe, normal, uniform
from scipy import stats

from agents.posterior import condition
from agents.warps import WARPS, warp
from bbo_envs.functions.gp import FourierGP
from bbo_envs.functions.kernels import RBF


def everything(y):
    return torch.ones_like(y)


def test_log_weights_are_likelihoods_of_the_box_cox_transform():
    """No warp is its exponent 1, the logarithm of the shifted excess its exponent 0."""
    y = 5.0 + 3.0 * normal(4, 12).exp()
    found = warp(y, everything(y))
    for row in range(4):
        excess = y[row].numpy() - y[row].min().item()
        excess = excess / np.sort(excess)[6]
        for w, (c, weight) in enumerate(WARPS):
            shifted = excess if np.isinf(c) else excess + c
            likelihood = stats.boxcox_llf(float(np.isinf(c)), shifted + np.isinf(c))
            expected = likelihood + np.log(weight)
            np.testing.assert_allclose(found.log_weight[row, w], expected, rtol=1e-12)


def test_warped_values_are_standardised_and_keep_their_order():
    y = normal(3, 20)
    found = warp(y, everything(y)).y
    zero = torch.zeros(3, len(WARPS), dtype=DOUBLE)
    torch.testing.assert_close(found.mean(-1), zero)
    torch.testing.assert_close(found.std(-1, unbiased=False), zero + 1.0)
    assert torch.equal(found.argsort(-1), y.argsort(-1).unsqueeze(1).expand_as(found))


def test_no_warp_standardises_only():
    y = normal(3, 20)
    expected = (y - y.mean(1, keepdim=True)) / y.std(1, keepdim=True, unbiased=False)
    torch.testing.assert_close(warp(y, everything(y)).y[:, 0], expected)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_affine_maps_of_y_change_nothing(scale):
    y = normal(3, 20)
    for found, expected in zip(
        warp(scale * (y + 4.0), everything(y)), warp(y, everything(y)), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8)


def test_values_that_did_not_come_back_count_for_nothing():
    y, seen = normal(3, 20), (uniform(3, 20) < 0.7).double()
    found = warp(torch.where(seen > 0, y, -1e3), seen)
    for row in range(3):
        back = seen[row] > 0
        alone = warp(y[row : row + 1, back], everything(y[row : row + 1, back]))
        torch.testing.assert_close(found.y[row, :, back], alone.y[0])
        torch.testing.assert_close(found.log_weight[row], alone.log_weight[0])
        assert not found.y[row][:, ~back].any()


@pytest.mark.parametrize(
    "values", [[], [2.0], [2.0, 2.0, 2.0], [2.0, 2.0, 2.0, 9.0], [2.0, 9.0], [0.0, 1e-300]]
)
def test_degenerate_values_stay_finite(values):
    y = torch.tensor([values], dtype=DOUBLE)
    for seen in (torch.ones_like(y), torch.zeros_like(y)):
        found = warp(y, seen)
        assert found.y.shape == (1, len(WARPS), len(values))
        assert found.y.isfinite().all()
        assert found.log_weight.isfinite().all()


def warped_weight(y, x):
    """How likely it is that values [B, n] at points [n, d] want a warp: ``[B]``."""
    found = condition(believe(x.expand(len(y), -1, -1), y), EVERY)
    return (found.weight * (found.warp > 0)).sum(1)


def test_functions_whose_logarithms_are_gp_samples_are_told_from_gp_samples(generator):
    """On average over 50 functions of 40 values each; the standard error is below 0.05.

    The logarithms have a deviation of three, that is, values span several orders of magnitude.
    """
    prior, x = FourierGP(3, RBF(0.3), features=512), uniform(40, 3)
    functions = prior.sample(50, generator)
    y = torch.stack([prior.evaluate(functions, point.expand(50, -1))[0] for point in x], 1)
    assert warped_weight((3.0 * y).exp() - 7.0, x).mean() > 0.95
    assert warped_weight(y, x).mean() < 0.3
