"""Published functions: values and gradients at the optima, an independent library, moments."""

import math

import pytest
import torch
from botorch.test_functions import Branin as BotorchBranin
from botorch.test_functions import Hartmann as BotorchHartmann
from scipy.stats import qmc

from bbo_envs.functions.synthetic import Branin, GoldsteinPrice, Hartmann3, Hartmann6
from bbo_envs.functions.transformed import perturbed

FUNCTIONS = [Branin, GoldsteinPrice, Hartmann3, Hartmann6]

# As printed in the literature (Surjanovic & Bingham; Picheny et al. 2013 for the rescaled forms).
PUBLISHED = {
    Branin: (0.397887, [(-math.pi, 12.275), (math.pi, 2.275), (9.42478, 2.475)]),
    GoldsteinPrice: (3.0, [(0.0, -1.0)]),
    Hartmann3: (-3.86278, [(0.114614, 0.555649, 0.852547)]),
    Hartmann6: (-3.32237, [(0.20169, 0.150011, 0.476874, 0.275332, 0.311652, 0.6573)]),
}
RESCALED = {Branin: -1.0474, GoldsteinPrice: -3.129}


def sobol(function, count_log2):
    unit = qmc.Sobol(function.dim, seed=0).random_base2(count_log2)
    return torch.from_numpy(unit)


@pytest.mark.parametrize("batch_shape", [(), (1,), (5,), (2, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("make", FUNCTIONS)
def test_value_and_gradient_at_the_published_optima(make, dtype, batch_shape):
    function = make(dtype=dtype)
    minimum, minimisers = PUBLISHED[make]
    scale = max(1.0, abs(minimum))
    for point in minimisers:
        x = torch.tensor(point, dtype=dtype).expand(*batch_shape, -1)
        y = function.formula(x)
        assert y.shape == batch_shape
        torch.testing.assert_close(y, torch.full_like(y, minimum), rtol=0, atol=2e-5 * scale)
    for point in function.minimisers(())[0]:
        x = point.expand(*batch_shape, -1).clone().requires_grad_()
        y, _ = function.evaluate((), x)
        (gradient,) = torch.autograd.grad(y.sum(), x)
        # float32 places a minimiser only to 1e-7 of the box, where curvatures reach 1e5.
        assert gradient.abs().max() < (2e-9 if dtype == torch.float64 else 1e-1)


@pytest.mark.parametrize("make", FUNCTIONS)
def test_no_point_of_a_dense_design_undercuts_the_optimum(make):
    function = make()
    y, _ = function.evaluate((), sobol(function, 16))
    assert y.min() >= function.optimum(())[0]


@pytest.mark.parametrize(
    ("make", "reference"),
    [
        (Branin, BotorchBranin()),
        (Hartmann3, BotorchHartmann(dim=3)),
        (Hartmann6, BotorchHartmann(dim=6)),
    ],
)
def test_agrees_with_botorch(make, reference):
    function = make()
    native = function.native((), sobol(function, 10))
    expected = reference.double()(native)
    torch.testing.assert_close(function.formula(native), expected, rtol=1e-6, atol=1e-6)


def test_goldstein_price_agrees_with_its_published_local_minima():
    """Local minima 30, 84 and 840 at (-0.6, -0.4), (1.8, 0.2), (1.2, 0.8) (Dixon & Szego 1978)."""
    points = [(-0.6, -0.4), (1.8, 0.2), (1.2, 0.8)]
    x = torch.tensor(points, dtype=torch.float64, requires_grad=True)
    y = GoldsteinPrice().formula(x)
    torch.testing.assert_close(y, torch.tensor([30.0, 84.0, 840.0]).double(), rtol=1e-9, atol=0)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert gradient.abs().max() < 1e-9


@pytest.mark.parametrize("make", FUNCTIONS)
def test_gradcheck(make, generator):
    function = make()
    x = torch.rand(4, function.dim, dtype=torch.float64, generator=generator, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: function.evaluate((), x)[0], (x,))


@pytest.mark.parametrize("make", FUNCTIONS)
def test_stated_mean_and_rescaled_moments(make):
    """By 2^16 Sobol points, whose error here is far below the tolerances."""
    unit = sobol(make(), 16)
    raw, _ = make().evaluate((), unit)
    assert raw.mean().item() == pytest.approx(make().prior_mean, rel=1e-3)
    rescaled, _ = make(rescaled=True).evaluate((), unit)
    assert make(rescaled=True).prior_mean == 0.0
    # Picheny et al. round their constants: mean -0.01 and deviation 0.987 for Branin.
    assert rescaled.mean().item() == pytest.approx(0.0, abs=0.02)
    assert rescaled.std().item() == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("make", RESCALED)
def test_rescaled_minimum_as_published(make):
    assert make(rescaled=True).optimum(())[0].item() == pytest.approx(RESCALED[make], abs=5e-4)


@pytest.mark.parametrize("rescaled", [False, True])
@pytest.mark.parametrize("make", FUNCTIONS)
def test_perturbation_keeps_the_minimum_in_the_cube(make, rescaled):
    functions = perturbed(make(rescaled))
    state = functions.sample(500, torch.Generator().manual_seed(0))
    minimisers = functions.minimisers(state)
    inside = ((minimisers >= 0) & (minimisers <= 1)).all(2)
    assert inside.any(1).all()
    minimum = functions.optimum(state)
    for k in range(minimisers.shape[1]):
        y, _ = functions.value(state, minimisers[:, k])
        torch.testing.assert_close(y, minimum.expand(500), rtol=0, atol=1e-8)
    random = torch.rand(500, functions.dim, dtype=torch.float64)
    assert (functions.evaluate(state, random)[0] >= minimum).all()


def test_perturbation_draws_what_the_paper_says():
    state = perturbed(Hartmann6()).sample(4_000, torch.Generator().manual_seed(0))
    permutation, flip, scale, shift = state.drawn
    assert scale.min() > 0.9
    assert scale.max() < 1.1
    assert shift.abs().max() < 0.1
    assert set(flip.unique().tolist()) == {-1.0, 1.0}
    # Each axis goes everywhere equally often: 666.7 +- 5 standard errors of 23.6.
    for axis in range(6):
        counts = permutation[:, axis].bincount(minlength=6)
        assert (counts - 4_000 / 6).abs().max() < 118


def test_perturbed_value_is_the_published_function_at_the_native_point(generator):
    functions = perturbed(Branin())
    state = functions.sample(50, generator)
    x = torch.rand(50, 2, dtype=torch.float64, generator=generator)
    # The native point may lie a little outside the published box.
    reference = BotorchBranin(bounds=[(-10.0, 20.0), (-10.0, 25.0)]).double()
    expected = reference(functions.native(state, x))
    torch.testing.assert_close(functions.evaluate(state, x)[0], expected)
