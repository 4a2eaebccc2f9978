"""The scalable functions against BoTorch, plain formulas, published optima and moments."""

import math

import botorch.test_functions as botorch_functions
import numpy as np
import pytest
import torch
from scipy.stats import qmc

from bbo_envs.functions.classics import CLASSICS, Michalewicz, Schwefel, StyblinskiTang
from bbo_envs.functions.transformed import perturbed

BOXED = {"Michalewicz", "Schwefel"}  # defined on their box only
IN_BOTORCH = sorted(set(CLASSICS) - {"Schwefel", "Sphere", "Zakharov"})

# Surjanovic & Bingham's boxes and minima, by dimension; the latter are printed to these digits.
BOXES = {
    "Ackley": (-32.768, 32.768),
    "DixonPrice": (-10, 10),
    "Griewank": (-600, 600),
    "Levy": (-10, 10),
    "Michalewicz": (0, math.pi),
    "Rastrigin": (-5.12, 5.12),
    "Rosenbrock": (-5, 10),
    "Schwefel": (-500, 500),
    "Sphere": (-5.12, 5.12),
    "StyblinskiTang": (-5, 5),
    "Zakharov": (-5, 10),
}
MICHALEWICZ = {2: -1.8013, 5: -4.687658, 10: -9.66015}

each = pytest.mark.parametrize("name", CLASSICS)
extending = pytest.mark.parametrize("name", sorted(set(CLASSICS) - BOXED))


def schwefel(x):
    return 418.9829 * len(x) - sum(v * math.sin(math.sqrt(abs(v))) for v in x)


def sphere(x):
    return sum(v * v for v in x)


def zakharov(x):
    slope = sum(0.5 * i * v for i, v in enumerate(x, start=1))
    return sum(v * v for v in x) + slope**2 + slope**4


def scrambled(dim, count_log2, seed=7):
    return torch.from_numpy(qmc.Sobol(dim, seed=seed).random_base2(count_log2))


def uniform(generator, *shape):
    return torch.rand(shape, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("dim", [2, 3, 5, 10, 31])
@pytest.mark.parametrize("name", IN_BOTORCH)
def test_agrees_with_botorch(name, dim):
    reference = getattr(botorch_functions, name)(dim=dim, bounds=[BOXES[name]] * dim)
    function = CLASSICS[name](dim)
    native = function.native((), scrambled(dim, 8))
    torch.testing.assert_close(function.formula(native), reference(native), rtol=1e-12, atol=1e-10)


@pytest.mark.parametrize("dim", [1, 2, 3, 10])
@pytest.mark.parametrize(
    ("name", "formula", "error"),
    [("Schwefel", schwefel, 3e-5), ("Sphere", sphere, 1e-10), ("Zakharov", zakharov, 1e-10)],
)
def test_agrees_with_the_formula_as_printed(name, formula, error, dim):
    """Schwefel's constant is printed with four decimals: 3e-5 off for each coordinate."""
    function = CLASSICS[name](dim)
    native = function.native((), scrambled(dim, 6))
    expected = torch.tensor([formula(row) for row in native.tolist()], dtype=torch.float64)
    torch.testing.assert_close(function.formula(native), expected, rtol=1e-12, atol=error * dim)


@each
def test_the_cube_is_the_published_box(name):
    corners = torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]], dtype=torch.float64)
    expected = torch.tensor(BOXES[name], dtype=torch.float64).unsqueeze(1).expand(2, 3)
    torch.testing.assert_close(CLASSICS[name](3).native((), corners), expected)


@pytest.mark.parametrize("dim", MICHALEWICZ)
def test_michalewicz_minima_as_published(dim):
    assert Michalewicz(dim).optimum(()).item() == pytest.approx(MICHALEWICZ[dim], abs=5e-6)
    if dim == 2:
        point = Michalewicz.argmin_at(2)[0]
        assert point == pytest.approx((2.20290552, 1.57079633), abs=1e-8)


def test_michalewicz_minimisers_against_a_fine_grid():
    """Axis by axis: two peaks may be almost as high. The grid misses at most 2e-6 of a peak."""
    point = Michalewicz.argmin_at(100)[0]
    for i, x in enumerate(point, start=1):
        grid = np.append(np.linspace(0.0, math.pi, 4000 * i + 1), x)
        values = np.sin(grid) * np.sin(i * grid**2 / math.pi) ** 20
        assert values.max() - values[-1] < 1e-14, i


@pytest.mark.parametrize("dim", [1, 4, 20])
def test_styblinski_tang_minimum_as_published(dim):
    assert StyblinskiTang(dim).optimum(()).item() == pytest.approx(-39.16617 * dim, abs=1e-5 * dim)
    assert StyblinskiTang.argmin_at(dim)[0] == pytest.approx((-2.903534,) * dim, abs=1e-6)


def test_schwefel_minimum_as_published():
    assert Schwefel.argmin_at(3)[0] == pytest.approx((420.9687,) * 3, abs=5e-5)
    # The published constant 418.9829 is the offset of each coordinate, which is f(0) / d.
    assert Schwefel(3).formula(torch.zeros(3)).item() / 3 == pytest.approx(418.9829, abs=5e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("dim", [2, 3, 10])
@each
def test_minimisers_attain_the_minimum_with_gradient_zero(name, dim, dtype):
    """float32 places a minimiser only to 1e-7 of the box: the tolerances are steepness times that.

    Ackley has a cone's tip at its minimiser, where no derivative exists: the gradient is that of
    the smooth part, zero, but next to it the slope is not.
    """
    function = CLASSICS[name](dim, dtype=dtype)
    x = function.minimisers(())[0].clone().requires_grad_()
    assert ((x >= 0) & (x <= 1)).all()
    y, _ = function.evaluate((), x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert y.dtype == gradient.dtype == dtype
    assert gradient.isfinite().all()
    if dtype == torch.float64:
        # The values cancel numbers of the order of 420 d in Schwefel, 40 d in Styblinski-Tang.
        assert (y - function.optimum(())).abs().max() < 1e-11 * dim
        # Rounding of x: 1e-16 times curvatures, in units of the cube, of up to 2e6 (d = 10).
        if name != "Ackley":
            assert gradient.abs().max() < 1e-8
    else:
        assert (y - function.optimum(())).abs().max() < 1e-3
    if name == "Ackley":
        (slope,) = torch.autograd.grad(function.evaluate((), x + 1e-3)[0].sum(), x)
        assert slope.abs().min() > 4.0 * 65.536 / dim  # of 20 * 0.2 / d per unit, at the tip


@pytest.mark.parametrize("dim", [2, 5])
@each
def test_gradcheck(name, dim, generator):
    function = CLASSICS[name](dim)
    x = uniform(generator, 3, dim).requires_grad_()
    scale = abs(function.prior_mean) + 1.0  # the finite difference's own error grows with it
    assert torch.autograd.gradcheck(
        lambda x: function.evaluate((), x)[0] / scale, (x,), rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("batch_shape", [(), (1,), (5,), (2, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@each
def test_batches_are_rows_in_either_precision(name, dtype, batch_shape, generator):
    function = CLASSICS[name](4, dtype=dtype)
    native = function.native((), uniform(generator, *batch_shape, 4).to(dtype))
    y = function.formula(native)
    assert y.shape == batch_shape
    assert y.dtype == dtype
    rows = [CLASSICS[name](4).formula(row.double()) for row in native.reshape(-1, 4)]
    expected = torch.stack(rows).reshape(batch_shape)
    error = 1e-12 if dtype == torch.float64 else 1e-4
    torch.testing.assert_close(y.double(), expected, rtol=error, atol=error * 10)


@pytest.mark.parametrize("dim", [2, 5, 20])
@each
def test_mean_and_rescaled_moments(name, dim):
    """By 2^14 independently scrambled Sobol points, against the 4,096 of the class.

    Bounds are four standard errors of the difference for independent draws, which these points do
    no worse than: 33 functions and 3 statistics would exceed them in one of 150 choices of seeds.
    """
    unit = scrambled(dim, 14)
    raw, _ = CLASSICS[name](dim).evaluate((), unit)
    y, _ = CLASSICS[name](dim, rescaled=True).evaluate((), unit)
    shares = 1 / 4096 + 1 / 2**14
    kurtosis = ((y - y.mean()) / y.std()).pow(4).mean().item()
    assert y.mean().item() == pytest.approx(0.0, abs=4 * math.sqrt(shares))
    assert y.std().item() == pytest.approx(1.0, abs=4 * math.sqrt((kurtosis - 1) / 4 * shares))
    bound = 4 * math.sqrt(shares) * raw.std().item()
    assert raw.mean().item() == pytest.approx(CLASSICS[name](dim).prior_mean, abs=bound)
    assert CLASSICS[name](dim, rescaled=True).prior_mean == 0.0


@pytest.mark.parametrize("rescaled", [False, True])
@each
def test_no_point_of_a_dense_design_undercuts_the_optimum(name, rescaled):
    function = CLASSICS[name](3, rescaled=rescaled)
    best = function.optimum(())
    around = function.minimisers(())[0, :1] + 1e-3 * (scrambled(3, 12) - 0.5)
    for x in (scrambled(3, 15), around.clamp(0, 1)):
        assert function.evaluate((), x)[0].min() >= best - 1e-13 * best.abs()


@each
def test_too_few_dimensions_are_refused(name):
    with pytest.raises(ValueError, match="dim must be an integer of at least 1, got 0"):
        CLASSICS[name](0)
    if CLASSICS[name].smallest_dim == 2:
        with pytest.raises(ValueError, match=f"{name} needs at least 2 dimensions, got 1"):
            CLASSICS[name](1)
    else:
        assert CLASSICS[name](1).optimum(()).isfinite()


def test_only_chained_functions_need_two_dimensions():
    assert {n for n, c in CLASSICS.items() if c.smallest_dim == 2} == {"DixonPrice", "Rosenbrock"}


@extending
def test_perturbation_keeps_the_minimum_in_the_cube(name, generator):
    functions = perturbed(CLASSICS[name](3))
    state = functions.sample(200, generator)
    minimisers, best = functions.minimisers(state), functions.optimum(state)
    inside = ((minimisers >= 0) & (minimisers <= 1)).all(2)
    assert inside.any(1).all()
    y, _ = functions.value(state, minimisers[:, 0])
    torch.testing.assert_close(y, best.expand(200), rtol=1e-9, atol=1e-9)
    assert (functions.evaluate(state, uniform(generator, 200, 3))[0] >= best).all()


@pytest.mark.parametrize("name", sorted(BOXED))
def test_perturbation_is_refused_where_the_box_matters(name):
    with pytest.raises(ValueError, match=f"Scale asks for points outside.*{name} is not defined"):
        perturbed(CLASSICS[name](2))


@extending
def test_no_point_outside_of_the_box_undercuts_the_optimum(name):
    function = CLASSICS[name](3)
    x = 3.0 * scrambled(3, 14) - 1.0
    assert function.value((), x)[0].min() >= function.optimum(())[0]


@pytest.mark.parametrize("name", sorted(BOXED))
def test_boxed_functions_undercut_their_optimum_outside(name):
    function = CLASSICS[name](1)
    outside = torch.linspace(1.0, 4.0, 2_000, dtype=torch.float64).unsqueeze(1)
    assert function.value((), outside)[0].min() < function.optimum(())[0] - 0.1
