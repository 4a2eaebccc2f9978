"""BBOB: the reference library, gradients, optima, instances, and the noisy suite."""

import cocoex
import pytest
import torch

from bbo_envs import Problem
from bbo_envs.core import stack
from bbo_envs.errors import QueryError
from bbo_envs.functions.base import sobol_points
from bbo_envs.functions.bbob import BBOB, FUNCTIONS
from bbo_envs.functions.bbob_formulas import rugged
from bbo_envs.functions.bbob_instances import gaussians
from bbo_envs.functions.bbob_noisy import BBOBNoisy, BBOBNoisyState
from bbo_envs.functions.transformed import perturbed

DIMS = (2, 3, 5, 10, 20, 40)
INSTANCES = (1, 2, 3, 7, 15, 1001)
SMOOTH = [number for number in FUNCTIONS if number not in (7, 23)]

all_functions = pytest.mark.parametrize("number", FUNCTIONS)


def random_points(*shape, seed=0, low=0.0, high=1.0):
    unit = torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return low + (high - low) * unit


def float64(values):
    return torch.tensor(values, dtype=torch.float64)


def assert_close(actual, expected, tolerance):
    """Relative to max(1, |f|): where f passes through zero, digits of f_opt cancel."""
    error = (actual - expected).abs() / expected.abs().clamp_min(1.0)
    assert error.max() <= tolerance, error.max().item()


def rows(function, batch=1):
    return function.sample(batch, torch.Generator().manual_seed(0))


# The reference.


@pytest.mark.parametrize("dim", DIMS)
@all_functions
def test_agrees_with_coco_at_random_points_outside_and_at_the_optimum(number, dim):
    suite = cocoex.Suite(
        "bbob",
        f"instances: {','.join(map(str, INSTANCES))}",
        f"dimensions: {dim} function_indices: {number}",
    )
    function = BBOB(number, dim, INSTANCES)
    for instance in INSTANCES:
        one = BBOB(number, dim, instance)
        optimum = one.minimisers(rows(one))[:, 0]
        inside = random_points(6, dim, seed=instance)
        outside = random_points(2, dim, seed=instance, low=-0.3, high=1.3)
        x = torch.cat([inside, outside, optimum])
        state = one.sample(len(x), torch.Generator())
        problem = suite.get_problem_by_function_dimension_instance(number, dim, instance)
        expected = [problem(point) for point in function.native(state, x).numpy()]
        assert_close(one.value(state, x)[0], float64(expected), 1e-9)


@all_functions
def test_the_optimum_is_the_one_that_coco_knows(number):
    for dim, instance in [(2, 1), (4, 500), (40, 2000)]:
        function = BBOB(number, dim, instance)
        reference = cocoex.BareProblem("bbob", number, dim, instance)
        state = rows(function)
        assert_close(function.optimum(state), float64([reference.best_value()]), 1e-12)
        place = float64(reference.best_parameter())
        torch.testing.assert_close(state.x_opt[0], place, rtol=0, atol=1e-8)
        at = function.minimisers(state)
        assert at.shape == (1, 1, dim)
        assert_close(function.evaluate(state, at[:, 0])[0], function.optimum(state), 1e-9)


@pytest.mark.parametrize("dim", [2, 5])
@all_functions
def test_no_point_undercuts_the_optimum(number, dim):
    function = BBOB(number, dim, (1, 2, 3, 1001))
    state = rows(function, 4096)
    design = sobol_points(dim, 4096)
    place = function.minimisers(state)[:, 0]
    steps = 10.0 ** random_points(4096, 1, low=-12.0, high=-1.0)
    near = place + steps * random_points(4096, dim, low=-1.0, high=1.0)
    beyond = 2.0 * design - 0.5
    for x in (design, near.clamp(0.0, 1.0), beyond):
        assert (function.value(state, x)[0] >= function.optimum(state)).all()


def test_prior_mean_is_the_mean_over_the_cube():
    function = BBOB(1, 5, 3)
    state = rows(function)
    exact = state.f_opt + (state.x_opt.square() + 25.0 / 3.0).sum(-1)
    assert function.prior_mean == pytest.approx(exact.item(), rel=1e-2)


# Gradients.


@pytest.mark.parametrize("dim", [2, 5])
@pytest.mark.parametrize("number", SMOOTH)
def test_gradients_agree_with_differences(number, dim):
    function = BBOB(number, dim, (1, 2))
    state = rows(function, 4)
    x = random_points(4, dim, seed=number, low=0.05, high=0.95).requires_grad_()
    scale = function.evaluate(state, x)[0].detach().abs().max()
    # f16 has 3^11 waves to the unit, and f19 as many where the valley is steep.
    eps, tolerance = (1e-9, 1e-3) if number in (16, 19) else (1e-7, 1e-4)
    assert torch.autograd.gradcheck(
        lambda x: function.evaluate(state, x)[0] / scale,
        x,
        eps=eps,
        atol=tolerance,
        rtol=tolerance,
    )


def test_gradient_of_katsuura_agrees_with_differences_between_its_kinks():
    """Kinks are 2^-33 apart: points half way between them, and exact steps that meet none."""
    cells = random_points(8, 3, low=-3.0, high=3.0)
    z = ((cells * 2**32).floor() / 2**32 + 2.0**-34).requires_grad_()
    assert torch.autograd.gradcheck(rugged, z, eps=2.0**-36, atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("dim", [2, 10])
@all_functions
def test_gradients_are_finite_at_the_optimum_and_on_faces(number, dim, dtype):
    function = BBOB(number, dim, (1, 2, 3), dtype=dtype)
    state = rows(function, 8)
    place = function.minimisers(state)[:, 0]
    for x in (place, torch.zeros_like(place), torch.ones_like(place), 0.5 + 0.0 * place):
        x = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(function.evaluate(state, x)[0].sum(), x)
        assert gradient.isfinite().all()
    exactly = state.x_opt.clone().requires_grad_()
    y = FUNCTIONS[number].formula(exactly, state)
    (gradient,) = torch.autograd.grad(y.sum(), exactly)
    assert gradient.isfinite().all()


def test_only_the_step_ellipsoid_is_not_differentiable():
    flat = [number for number in FUNCTIONS if not BBOB(number, 2).differentiable]
    assert flat == [7]


# Batches, dtypes, instances.


@all_functions
def test_rows_of_a_batch_are_as_rows_alone(number):
    function = BBOB(number, 5, (1, 2, 3, 7))
    state = rows(function, 6)
    assert len(state.instance.unique()) > 1
    x = random_points(6, 5)
    together, _ = function.evaluate(state, x)
    alone = []
    for row, instance in enumerate(state.instance.tolist()):
        one = BBOB(number, 5, instance)
        alone.append(one.evaluate(rows(one), x[row : row + 1])[0])
    assert_close(together, torch.cat(alone), 1e-12)
    parts = [type(state)(*(part[i : i + 1] for part in state)) for i in range(6)]
    assert all(torch.equal(*pair) for pair in zip(stack(parts), state, strict=True))
    assert function.optimum(state).shape == (6,)
    assert function.minimisers(state).shape == (6, 1, 5)


@all_functions
def test_float32_is_float64_to_its_precision(number):
    # f16 and f19 are waves of large arguments, whose phase float32 knows to a few per cent.
    tolerance = {16: 2e-2, 19: 5e-2}.get(number, 1e-3)
    x = random_points(32, 5).float()
    single, double = BBOB(number, 5, 2, dtype=torch.float32), BBOB(number, 5, 2)
    y, _ = single.evaluate(rows(single, 32), x)
    assert y.dtype == torch.float32
    assert_close(y.double(), double.evaluate(rows(double, 32), x.double())[0], tolerance)


def test_sampling_is_deterministic_and_uniform_over_the_instances():
    function = BBOB(1, 2, (4, 5, 6, 7))
    state = function.sample(4000, torch.Generator().manual_seed(1))
    again = BBOB(1, 2, (4, 5, 6, 7)).sample(4000, torch.Generator().manual_seed(1))
    assert all(torch.equal(*pair) for pair in zip(state, again, strict=True))
    counts = torch.bincount(state.instance)[4:]
    assert ((counts - 1000).abs() < 150).all()


def test_a_single_instance_takes_no_random_number():
    generator = torch.Generator().manual_seed(2)
    before = generator.get_state()
    BBOB(24, 3, 5).sample(7, generator)
    assert torch.equal(generator.get_state(), before)


def test_none_draws_from_the_instances_for_training():
    state = BBOB(3, 2, None).sample(500, torch.Generator().manual_seed(0))
    assert state.instance.min() >= 1001
    assert state.instance.max() <= 2000
    assert len(state.instance.unique()) > 300


def test_registry_has_five_groups():
    assert list(FUNCTIONS) == list(range(1, 25))
    assert len({function.name for function in FUNCTIONS.values()}) == 24
    groups = [function.group for function in FUNCTIONS.values()]
    assert [groups.count(group) for group in dict.fromkeys(groups)] == [5, 4, 5, 5, 5]


def test_perturbed_functions_keep_their_optimum():
    functions = perturbed(BBOB(15, 3, None))
    state = rows(functions, 16)
    y, _ = functions.evaluate(state, functions.minimisers(state)[:, 0])
    assert_close(y, functions.optimum(state), 1e-9)
    with pytest.raises(ValueError, match="outside the unit cube"):
        perturbed(BBOB(5, 3))


@pytest.mark.parametrize("functions", [BBOB(20, 3, None), BBOBNoisy(108, 3, (1, 2))])
def test_problems_reward_regret(functions):
    problem = Problem(functions, budget=3, reward="negative_regret")
    state, _ = problem.reset(4, torch.Generator().manual_seed(0))
    for _ in range(3):
        state, observation, info = problem.step(state, random_points(4, 3))
        assert (info.reward <= 0.0).all()
        assert torch.equal(info.reward, functions.optimum(state.function) - observation.y)


# Errors.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((25, 2), "function must be an integer from 1 to 24, got 25"),
        ((0, 2), "function must be an integer from 1 to 24, got 0"),
        ((True, 2), "function must be an integer from 1 to 24, got True"),
        ((1, 1), "dim must be an integer of at least 2, got 1"),
        ((1, 2.5), "dim must be an integer of at least 2, got 2.5"),
        ((1, 2, 0), "instance must be an integer from 1 to 100000, got 0"),
        ((1, 2, "1"), "instance must be an integer from 1 to 100000, got '1'"),
        ((1, 2, (1, -3)), "instance must be an integer from 1 to 100000, got -3"),
        ((1, 2, []), r"instance must name at least one instance, got \[\]"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        BBOB(*arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1, 2), "function must be an integer from 101 to 130, got 1"),
        ((101, 4), "dim must be one of 2, 3, 5, 10, 20, 40, got 4"),
        ((101, 2, 0), "instance must be an integer from 1 to 100000, got 0"),
    ],
)
def test_bad_arguments_of_the_noisy_suite_are_named(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        BBOBNoisy(*arguments)


@pytest.mark.parametrize("functions", [BBOB(1, 2), BBOBNoisy(101, 2)])
@pytest.mark.parametrize("point", [[1.0 + 1e-6, 0.5], [-0.1, 0.5], [torch.nan, 0.5], [0.5]])
def test_queries_outside_the_cube_are_refused(functions, point):
    with pytest.raises(QueryError):
        functions.evaluate(rows(functions), float64([point]))


# The noisy suite.


@pytest.mark.parametrize("number", range(101, 131))
def test_noisy_values_are_those_of_the_library(number):
    for dim, instance in [(2, 1), (10, 1001)]:
        function = BBOBNoisy(number, dim, instance)
        x = random_points(9, dim)
        suite = cocoex.Suite(
            "bbob-noisy", f"instances: {instance}", f"dimensions: {dim} function_indices: 1-30"
        )
        problem = suite.get_problem_by_function_dimension_instance(number, dim, instance)
        expected = float64([problem(point) for point in (10.0 * x - 5.0).numpy()])
        places = torch.arange(9)
        state = BBOBNoisyState(torch.full((9,), instance), places)
        y, after = function.evaluate(state, x)
        torch.testing.assert_close(y, expected, rtol=0, atol=0)
        assert torch.equal(after.noise, places + 1)
        assert (y > function.optimum(state)).all()


def test_noise_is_a_function_of_the_state():
    function = BBOBNoisy(128, 3, (1, 2))
    state = rows(function, 20)
    state = state._replace(noise=torch.cat([state.noise[:18], state.noise[:2]]))
    x = random_points(20, 3)
    y, after = function.evaluate(state, x)
    cocoex.Suite("bbob", "", "")
    BBOBNoisy(101, 2).evaluate(rows(BBOBNoisy(101, 2)), x[:1, :2])
    assert torch.equal(function.evaluate(state, x)[0], y)
    assert not (function.evaluate(after, x)[0] == y).any()
    alone = [
        function.evaluate(type(state)(*(part[i : i + 1] for part in state)), x[i : i + 1])[0]
        for i in range(20)
    ]
    assert torch.equal(torch.cat(alone), y)
    assert BBOBNoisy(128, 3, (1, 2)).prior_mean == function.prior_mean
    assert not function.differentiable


def test_noise_is_that_of_its_definition_around_the_noiseless_function():
    noisy, plain = BBOBNoisy(107, 5, 3), BBOB(1, 5, 3)
    x = random_points(6, 5)
    places = torch.tensor([0, 5, 2, 2, 1000, 1])
    y, _ = noisy.evaluate(BBOBNoisyState(torch.full((6,), 3), places), x)
    f, state = plain.evaluate(rows(plain, 6), x)
    # The library's seeds of noise count from 31.
    noise = float64([gaussians(1, 31 + place)[0] for place in places.tolist()])
    torch.testing.assert_close(y, state.f_opt + (f - state.f_opt) * noise.exp() + 1.01e-8)


@pytest.mark.parametrize(
    ("number", "noiseless"), [(101, 1), (106, 8), (115, 7), (121, 14), (124, 17), (130, 21)]
)
def test_noisy_optima_are_those_of_the_noiseless_functions(number, noiseless):
    function = BBOBNoisy(number, 2, (1, 2, 1001))
    state = rows(function, 8)
    best = [
        cocoex.BareProblem("bbob", noiseless, 2, instance).best_value()
        for instance in state.instance.tolist()
    ]
    assert_close(function.optimum(state), float64(best), 1e-12)


def test_multiplicative_noise_vanishes_at_the_optimum():
    """Which shows that f_opt is the minimum that the library has in mind."""
    for number in (101, 102, 104, 116, 125):
        noisy = BBOBNoisy(number, 5, 4)
        plain = BBOB({101: 1, 102: 1, 104: 8, 116: 10, 125: 19}[number], 5, 4)
        y, state = noisy.evaluate(rows(noisy), plain.minimisers(rows(plain))[:, 0])
        assert_close(y, noisy.optimum(state), 1e-7)
