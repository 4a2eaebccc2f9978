"""Random streams against SplitMix64, each transform against its definition, and compositions."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from bbo_envs import make_problem
from bbo_envs.core import stack
from bbo_envs.errors import UnknownNameError
from bbo_envs.functions import RBF, Branin, ExactGP, Objective, Transformed
from bbo_envs.functions import transforms as t
from bbo_envs.functions.bbob import BBOB
from bbo_envs.functions.classics import Rosenbrock, Sphere
from bbo_envs.functions.rounded import Rounded
from bbo_envs.functions.streams import Stream, normal, streams, uniform
from bbo_envs.functions.table import Table
from bbo_envs.registration import TRANSFORMS
from bbo_envs.space import Ordinal, Space

MASK, GOLDEN = 2**64 - 1, 0x9E3779B97F4A7C15
FIRST, SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
MOVES = [t.Permute(), t.Flip(), t.Scale(0.5, 2.0), t.Translate(0.3), t.Rotate(), t.Warp()]

name_of = lambda thing: type(thing).__name__  # noqa: E731


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def random_points(*shape, seed=1):
    return torch.rand(shape, dtype=torch.float64, generator=seeded(seed))


def drawn_by(transform, batch, dim, dtype=torch.float64):
    return Transformed(Sphere(dim, dtype=dtype), [transform]).sample(batch, seeded()).drawn[0]


def splitmix(seed, count):
    """Vigna's C code, in integers."""
    for _ in range(count):
        seed = (seed + GOLDEN) & MASK
        z = ((seed ^ (seed >> 30)) * FIRST) & MASK
        z = ((z ^ (z >> 27)) * SECOND) & MASK
        yield z ^ (z >> 31)


def stream_of(key):
    return Stream(torch.tensor([key - 2**64 if key >= 2**63 else key]), torch.tensor([0]))


def test_streams_are_splitmix64():
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert list(splitmix(1234567, 3)) == published
    for key in (1234567, 0, 2**63, MASK):
        values, stream = uniform(stream_of(key), 3, torch.float64)
        more, _ = uniform(stream, 2, torch.float64)
        assert torch.equal(uniform(stream, 2, torch.float64)[0], more)
        expected = [((bits >> 11) + 0.5) / 2**53 for bits in splitmix(key, 5)]
        assert torch.cat([values, more], 1)[0].tolist() == expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_numbers_that_round_up_to_one_are_below_it(dtype, monkeypatch):
    """The key of which the first output is all ones, by inverting the generator."""
    z = MASK
    z = z ^ (z >> 31) ^ (z >> 62)
    z = (z * pow(SECOND, -1, 2**64)) & MASK
    z = z ^ (z >> 27) ^ (z >> 54)
    z = (z * pow(FIRST, -1, 2**64)) & MASK
    key = ((z ^ (z >> 30) ^ (z >> 60)) - GOLDEN) & MASK
    assert next(splitmix(key, 1)) == MASK
    assert 1.0 - 1e-7 < uniform(stream_of(key), 1, dtype)[0] < 1.0
    assert normal(stream_of(key), 1, dtype)[0].isfinite()
    largest = torch.tensor(1 - 2.0**-53, dtype=torch.float64)
    monkeypatch.setattr(torch, "rand", lambda shape, **_: largest.expand(shape))
    assert drawn_by(t.Warp(), 2, 3, dtype).isfinite().all()


def test_streams_are_uniform_normal_and_independent():
    """Two KS tests at level 1e-4; correlations within 5 standard errors (6e-7 each, 40 of them)."""
    values, after = uniform(streams(5_000, seeded(), torch.device("cpu")), 20, torch.float64)
    assert stats.kstest(values.flatten(), "uniform").pvalue > 1e-4
    assert stats.kstest(normal(after, 4, torch.float64)[0].flatten(), "norm").pvalue > 1e-4
    counted, _ = uniform(Stream(torch.arange(5_000), after.counter), 20, torch.float64)
    for numbers in (values, counted):  # random keys, and keys next to each other
        columns = torch.corrcoef(numbers.T).fill_diagonal_(0.0)
        assert columns.diagonal(1).abs().max() < 5 / math.sqrt(5_000)
        rows = torch.corrcoef(torch.stack([numbers[:-1].flatten(), numbers[1:].flatten()]))
        assert rows[0, 1].abs() < 5 / math.sqrt(100_000)


@pytest.mark.parametrize("transform", MOVES, ids=name_of)
def test_inverse_undoes_forward(transform):
    x = random_points(50, 20, 3)
    drawn = drawn_by(transform, 50, 3)
    there = transform.forward(drawn, transform.inverse(drawn, x))
    torch.testing.assert_close(there, x, rtol=0, atol=1e-9)
    # Where Warp is flat, rounding of its values moves x by more.
    error = 1e-6 if isinstance(transform, t.Warp) else 1e-9
    back = transform.inverse(drawn, transform.forward(drawn, x))
    torch.testing.assert_close(back, x, rtol=0, atol=error)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("transform", [t.Permute(), t.Flip(), t.Warp()], ids=name_of)
def test_the_cube_is_mapped_onto_itself_and_faces_stay_faces(transform, dtype):
    drawn = drawn_by(transform, 2_000, 3, dtype)
    y = transform.forward(drawn, random_points(2_000, 20, 3).to(dtype))
    assert ((y >= 0) & (y <= 1)).all()
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=dtype)] * 3)
    moved = transform.forward(drawn, corners.expand(2_000, 8, 3))
    assert ((moved == 0) | (moved == 1)).all()
    assert all(row.unique(dim=0).shape[0] == 8 for row in moved[:50])


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_rotations_are_orthogonal_with_the_moments_of_the_haar_measure(dim):
    """E q = 0, E q^2 = 1/d, E q^4 = 3 / (d (d + 2)); 5 standard errors: 6e-7 an entry."""
    q = drawn_by(t.Rotate(), 20_000, dim)
    eye = torch.eye(dim, dtype=torch.float64).expand_as(q)
    torch.testing.assert_close(q @ q.mT, eye, rtol=0, atol=1e-12)
    second, fourth = 1 / dim, 3 / (dim * (dim + 2))
    assert q.mean(0).abs().max() < 5 * math.sqrt(second / 20_000)
    error = 5 * math.sqrt((fourth - second**2) / 20_000)
    assert (q.square().mean(0) - second).abs().max() < error + 1e-12
    # Reflections are half of the group.
    assert abs((torch.linalg.det(q) > 0).double().mean().item() - 0.5) < 5 * 0.5 / math.sqrt(20_000)


def test_warp_is_the_distribution_function_of_kumaraswamy():
    drawn = drawn_by(t.Warp(0.4), 5_000, 2)
    assert stats.kstest(drawn.log().flatten() / 0.4, "norm").pvalue > 1e-4
    grid = torch.linspace(0, 1, 301, dtype=torch.float64).view(1, -1, 1).expand(20, -1, 2)
    warped = t.Warp().forward(drawn[:20], grid)
    a, b = drawn[:20].unsqueeze(2).numpy().transpose(1, 0, 2, 3)
    np.testing.assert_allclose(warped, 1 - (1 - grid.numpy() ** a) ** b, atol=1e-12)
    assert (warped.diff(dim=1) > 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("deviation", [0.5, 0.75])
def test_warp_has_a_finite_slope_everywhere(deviation, dtype):
    """On the faces that of the Kumaraswamy density a little inside."""
    drawn = drawn_by(t.Warp(deviation), 10_000, 2, dtype)
    x = torch.tensor([0.0, 1e-9, 0.5, 1.0 - 1e-7, 1.0], dtype=dtype).view(1, 5, 1)
    x = x.repeat(10_000, 1, 2).requires_grad_()
    (slope,) = torch.autograd.grad(t.Warp().forward(drawn, x).sum(), x)
    assert slope.isfinite().all()
    if dtype == torch.float64:
        a, b = drawn.numpy().transpose(1, 0, 2)
        for place, at in ((0, 1e-6), (4, 1 - 1e-6)):
            density = a * b * at ** (a - 1) * (-np.expm1(a * math.log(at))) ** (b - 1)
            np.testing.assert_allclose(slope[:, place], density, rtol=1e-6, atol=1e-12)


def test_warp_values_is_sinh_arcsinh():
    """About the functions' ordinary value, here with spread 1.5, which Chen's Branin has not."""
    functions = Transformed(FixedLevel(), [t.WarpValues(0.4)])
    (drawn,) = functions.sample(5_000, seeded()).drawn
    assert stats.kstest(drawn[:, 1] / 0.4, "norm").pvalue > 1e-4
    assert stats.kstest(-drawn[:, 0].log() / 0.4, "halfnorm").pvalue > 1e-4
    for row in drawn[:20]:
        y = torch.linspace(-20, 30, 401, dtype=torch.float64)
        warped = functions.transforms[0].level(row.unsqueeze(0), y)
        tail, skew = row[:2].numpy()
        bent = np.sinh(tail * np.arcsinh((y.numpy() - 2) / 1.5) + skew) - np.sinh(skew)
        np.testing.assert_allclose(warped, 2 + 1.5 * bent, rtol=1e-12, atol=1e-12)
        assert (warped.diff() > 0).all()
    assert functions.prior_mean == 2.0


class FixedLevel(Sphere):
    """Values 2 +- 1.5, each half of the time."""

    def __init__(self):
        super().__init__(1)
        self.prior_mean = 2.0

    def value(self, state, x):
        return torch.where(x[:, 0] < 0.5, 0.5, 3.5).to(self.dtype), state


@pytest.mark.parametrize("task", ["BBO-Rosenbrock-5d-v0", "BBO-BBOB-f12-5d-v0", "BBO-GP-2d-v0"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_warped_values_stay_in_range_and_their_prior_mean_ordinary(task, dtype):
    problem = make_problem(task, budget=2, transforms=["warp_values"], dtype=dtype)
    plain = make_problem(task, budget=2, dtype=dtype)
    x = random_points(2_000, problem.functions.dim)
    values = []
    for made in (problem, plain):
        state, _ = made.reset(2_000, seeded())
        values.append(made.step(state, x)[2].value.double())
        assert values[-1].isfinite().all()
    # sinh(asinh z + e) < 2 |z| e^|e| + 2 e^|e|, and |e| < 0.5 * 6 in all of these rows.
    mean = plain.functions.prior_mean
    spread = plain.functions.spread()
    bound = 41.0 * ((values[1] - mean).abs() + spread)
    assert ((values[0] - mean).abs() <= bound).all()
    below = (values[0] < mean).double().mean() - (values[1] < mean).double().mean()
    assert below.abs() < 1e-9  # the warp is monotone, and the ordinary value its fixed point


@pytest.mark.parametrize("name", [name for name in TRANSFORMS if name != "rounded"])
def test_gradcheck_through_every_transform(name):
    functions = Transformed(Sphere(3), [TRANSFORMS[name]()])
    state = functions.sample(4, seeded())
    x = random_points(4, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: functions.evaluate(state, x)[0], (x,))


COMPOSITIONS = [
    [],
    [t.Permute()],
    [t.Rotate(), t.Permute()],
    [t.Warp(), t.Translate(0.2), t.WarpValues(0.4)],
    [t.Translate(0.2), t.Warp(), t.Flip(), t.Scale()],
    [t.WarpValues(deviation=0.2), t.Scale(0.8, 1.5), t.Rotate(), t.Warp(0.2), t.Permute()],
]


@pytest.mark.parametrize("base", [Branin(), Rosenbrock(3), BBOB(8, 3, (1, 2))], ids=name_of)
@pytest.mark.parametrize("changes", COMPOSITIONS, ids=lambda c: "-".join(map(name_of, c)))
def test_minimisers_in_the_cube_attain_the_optimum(base, changes):
    functions = Transformed(base, changes)
    state = functions.sample(300, seeded())
    best, minimisers = functions.optimum(state), functions.minimisers(state).expand(300, -1, -1)
    inside = ((minimisers >= 0) & (minimisers <= 1)).all(2)
    assert inside.any(1).all()
    for k in range(minimisers.shape[1]):
        x = torch.where(inside[:, k, None], minimisers[:, k], 0.5)
        error = (functions.evaluate(state, x)[0] - best).abs()
        assert error[inside[:, k]].max() < 1e-7 * best.abs().max().clamp_min(1.0)
    for x in random_points(20, 300, base.dim):
        assert (functions.evaluate(state, x)[0] >= best - 1e-9).all()


def test_value_is_the_composition_by_hand():
    changes = [t.Permute(), t.Flip(), t.Scale(), t.Translate(), t.Rotate(), t.Warp()]
    functions = Transformed(Sphere(3), [*changes, t.WarpValues()])
    x = random_points(6, 3)
    state = functions.sample(6, seeded())
    for row, value in enumerate(functions.evaluate(state, x)[0].tolist()):
        drawn = [part[row].numpy() for part in state.drawn]
        permutation, flip, scale, shift, rotation, (a, b), (tail, skew, c, spread) = drawn
        z = 0.5 + flip * (x[row].numpy()[permutation] - 0.5)
        z = 0.5 + scale * (z - 0.5) + shift
        z = 0.5 + rotation.T @ (z - 0.5)
        z = 1 - (1 - z.clip(0, 1) ** a) ** b
        y = ((10.24 * z - 5.12) ** 2).sum()
        y = c + spread * (np.sinh(tail * np.arcsinh((y - c) / spread) + skew) - np.sinh(skew))
        assert value == pytest.approx(y, rel=1e-12)
    one = functions.sample(1, seeded())
    single = torch.cat([functions.evaluate(one, point.unsqueeze(0))[0] for point in x])
    torch.testing.assert_close(functions.surface(one, x), single)


def test_the_optimum_is_none_where_it_is_not_known():
    rounded = Rounded(Space({"a": (1, 4), "b": (0.0, 1.0)}))
    gp, unlocated = ExactGP(2, RBF(0.3), 4), Sphere(2)
    unlocated.minimisers = lambda state: None  # it may leave the cube
    for base, change in ((Branin(), rounded), (gp, t.Flip()), (unlocated, t.Translate())):
        functions = Transformed(base, [change])
        state = functions.sample(2, seeded())
        assert functions.optimum(state) is functions.minimisers(state) is None


def test_a_table_keeps_its_optimum_and_its_cube():
    table = Table(Space({"a": Ordinal((1, 2, 3))}), torch.tensor([[[3.0], [1.0], [2.0]]]))
    functions = Transformed(table, [t.Flip(), t.Warp()])
    assert functions.optimum(functions.sample(50, seeded())).tolist() == [1.0] * 50
    for leaving in (t.Translate(), t.Scale(), t.Rotate()):
        for bounded in (table, Objective(lambda x: 0.0, dim=2), functions):
            with pytest.raises(ValueError, match=f"{name_of(leaving)} asks for points outside"):
                Transformed(bounded, [t.Flip(), leaving])


def test_draws_that_never_keep_a_minimiser_are_an_error_and_not_a_hang(monkeypatch):
    monkeypatch.setattr("bbo_envs.functions.transformed._MOST_DRAWS", 20)
    with pytest.raises(ValueError, match="20 draws left no minimiser of Branin"):
        Transformed(Branin(), [t.Scale(0.01, 0.01)]).sample(2, seeded())


def test_rows_are_independent_of_their_batch():
    functions = Transformed(
        BBOB(8, 2, (1, 2)), [make() for name, make in TRANSFORMS.items() if name != "rounded"]
    )
    rows = [functions.sample(1, seeded(seed)) for seed in range(5)]
    x = random_points(5, 2)
    single = [functions.evaluate(row, x[i : i + 1])[0] for i, row in enumerate(rows)]
    torch.testing.assert_close(functions.evaluate(stack(rows), x)[0], torch.cat(single))


def test_noise_is_gaussian_pure_and_new_in_each_row_and_evaluation():
    """5 standard errors of the deviation, and a KS test at level 1e-4."""
    functions = Transformed(Branin(), [t.Noise(0.3)])
    state = functions.sample(10_000, seeded())
    x = torch.full((10_000, 2), 0.5, dtype=torch.float64)
    first, after = functions.evaluate(state, x)
    second = functions.evaluate(after, x)[0]
    assert torch.equal(functions.evaluate(state, x)[0], first)
    plain = Branin().evaluate((), x)[0]
    noise = torch.cat([first, second]) - plain.repeat(2)
    assert noise.unique().numel() == 20_000
    assert abs(noise.std().item() - 0.3) < 5 * 0.3 / math.sqrt(40_000)
    assert stats.kstest(noise / 0.3, "norm").pvalue > 1e-4
    assert abs(np.corrcoef(first - plain, second - plain)[0, 1]) < 5 / math.sqrt(10_000)
    assert torch.equal(functions.surface(functions.sample(1, seeded()), x[:3]), plain[:3])


@pytest.mark.parametrize("task", ["BBO-Branin-2d-v0", "BBO-GP-2d-v0", "BBO-BBOB-f8-2d-v0"])
def test_any_task_takes_transforms(task):
    problem = make_problem(task, transforms=["rotate", {"name": "translate", "largest": 0.2}])
    state, _ = problem.reset(4, seeded())
    x = random_points(4, 2)
    rotation, shift = state.function.drawn
    moved = torch.einsum("bi,bij->bj", x - 0.5, rotation) + 0.5 + shift
    expected, _ = problem.functions.functions.value(state.function.function, moved)
    torch.testing.assert_close(problem.step(state, x)[2].value, expected)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["rotat"], "Unknown transform 'rotat'. Did you mean 'rotate'"),
        (
            [{"name": "scale", "lowe": 1.0}],
            "argument of the transform scale 'lowe'. Did you mean 'low'",
        ),
        ([{"name": "noise", "deviation": -1.0}], "deviation must be a finite number of at least 0"),
        ("rotate", "must be a list of names and of mappings with a name.*got 'rotate'"),
        ({"rotate": {}}, "must be a list of names and of mappings with a name"),
        ([{"largest": 0.2}], "must be a list of names and of mappings with a name"),
    ],
)
def test_unknown_names_and_bad_numbers_are_refused(given, message):
    error = UnknownNameError if "Unknown" in message or "argument" in message else ValueError
    with pytest.raises(error, match=message):
        make_problem("BBO-Branin-2d-v0", transforms=given)


def test_perturbed_functions_take_more_transforms():
    problem = make_problem("BBO-Branin-2d-v0", perturb=True, transforms=["rotate", "noise"])
    state = problem.functions.sample(200, seeded())
    inside = ((problem.functions.minimisers(state) - 0.5).abs() <= 0.5).all(2)
    assert inside.any(1).all()
    assert problem.functions.optimum(state).allclose(torch.tensor(0.397887).double())


def test_rounding_by_name_and_what_passes_gradients():
    space = Space({"a": (1, 4), "b": (1, 9)})
    for straight_through in (False, True):
        entry = {"name": "rounded", "space": space.to_json(), "straight_through": straight_through}
        functions = make_problem("BBO-Branin-2d-v0", transforms=[entry]).functions
        assert functions.differentiable == straight_through
        x = random_points(50, 2).requires_grad_()
        y, _ = functions.evaluate(functions.sample(50, seeded()), x)
        assert y.unique().numel() <= 4 * 9
        (gradient,) = torch.autograd.grad(y.sum(), x)
        assert bool((gradient != 0).any()) == straight_through
