"""Mixed spaces: the paper's rounding, uniformity, round trips, gradients, errors."""

import math
import pickle

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from bbo_envs.errors import QueryError, UnknownNameError
from bbo_envs.functions import Branin, Transformed
from bbo_envs.functions.rounded import Rounded
from bbo_envs.functions.transforms import Translate
from bbo_envs.space import Categorical, Float, Integer, Ordinal, Space

MIXED = Space(
    {
        "lr": (1e-5, 1e-1, "log"),
        "momentum": (-0.5, 0.99),
        "layers": (-3, 8),
        "width": (1, 300, "log"),
        "opt": ["adam", "sgd", None],
        "batch": Ordinal([16, 32, 128]),
        "size": Ordinal(["small", "large"]),
    }
)
DISCRETE = [p for p in MIXED.parameters.values() if not isinstance(p, Float)]


def uniform(count, dim, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).random((count, dim)))


def random_parameter(rng):
    low, length = rng.uniform(-1e3, 1e3), 10 ** rng.uniform(-3, 6)
    first, count = int(rng.integers(-50, 50)), int(rng.integers(1, 10 ** rng.integers(1, 7)))
    return [
        lambda: Float(low, low + length),
        lambda: Float(length, length * 10 ** rng.uniform(0.01, 12), log=True),
        lambda: Integer(first, first + count),
        lambda: Integer(abs(first) + 1, abs(first) + 1 + count, log=True),
        lambda: Categorical([f"choice {i}" for i in range(rng.integers(1, 9))]),
        lambda: Ordinal(np.sort(rng.normal(size=rng.integers(1, 9))).tolist()),
    ][rng.integers(6)]()


def random_spaces(count):
    for seed in range(count):
        rng = np.random.default_rng(seed)
        yield Space({f"p{i}": random_parameter(rng) for i in range(rng.integers(1, 8))})


def test_integers_are_the_papers_rounding():
    x = uniform(5000, 2)
    space = Space({"linear": (-3, 8), "log": (1, 300, "log")})
    linear, log = space.native(x).numpy().T
    affine = -3.5 + 12 * x[:, 0].numpy()
    np.testing.assert_array_equal(linear, np.clip(np.round(affine), -3, 8))
    scaled = math.log(0.5) + (math.log(300.5) - math.log(0.5)) * x[:, 1].numpy()
    np.testing.assert_array_equal(log, np.clip(np.round(np.exp(scaled)), 1, 300))


@pytest.mark.parametrize("parameter", [Integer(-2, 4), Categorical(list("abcde")), Ordinal([1, 9])])
def test_uniform_points_are_uniform_values(parameter):
    """A chi-square test of 20,000 points, which a correct map fails for one seed in 10,000."""
    index = Space({"p": parameter}).indices(uniform(20_000, 1, seed=1))
    assert chisquare(torch.bincount(index.flatten()).numpy()).pvalue > 1e-4


def test_encode_then_decode_gives_the_values_back():
    for space in random_spaces(150):
        points = uniform(20, space.dim)
        values = space.decode(points)
        again = space.decode(space.encode(values))
        for one, other in zip(values, again, strict=True):
            for name, parameter in space.parameters.items():
                if isinstance(parameter, Float):
                    largest = one[name] if parameter.log else max(map(abs, parameter.axis[2:4]))
                    assert other[name] == pytest.approx(one[name], rel=0, abs=1e-12 * abs(largest))
                else:
                    assert other[name] == one[name]
                    assert type(other[name]) is type(one[name])


def test_every_value_of_a_large_integer_range_has_its_bin():
    for parameter in (Integer(1, 2**40), Integer(1, 2**40, log=True)):
        space = Space({"n": parameter})
        values = [{"n": n} for low in (1, 10**6, 2**40 - 999) for n in range(low, low + 1000)]
        assert space.decode(space.encode(values)) == values


def test_ends_of_the_cube_are_exactly_the_ends_of_the_ranges():
    for space in random_spaces(150):
        low, high = space.decode(np.array([[0.0], [1.0]]).repeat(space.dim, 1))
        assert (space.encode(low) <= space.encode(high)).all()
        for name, parameter in space.parameters.items():
            if isinstance(parameter, Float | Integer):
                assert (low[name], high[name]) == (parameter.low, parameter.high)
        nearly = space.decode(np.full(space.dim, np.nextafter(1, 0)))
        assert space.encode(nearly).max() <= 1.0  # would refuse a value beyond its range


def test_snap_goes_to_the_middle_of_the_bin():
    grid = torch.linspace(0, 1, 200_001, dtype=torch.float64)
    for parameter in DISCRETE:
        space = Space({"p": parameter})
        index = space.indices(grid.unsqueeze(1)).squeeze(1)
        assert index.unique().numel() == index.max() + 1 == parameter.axis.size
        first = torch.searchsorted(index, index)
        last = torch.searchsorted(index, index, right=True) - 1
        middle = (grid[first] + grid[last]) / 2
        snapped = space.snap(grid.unsqueeze(1))
        torch.testing.assert_close(snapped.squeeze(1), middle, rtol=0, atol=1e-5)
        torch.testing.assert_close(space.snap(snapped), snapped, rtol=0, atol=0)
        assert torch.equal(space.indices(snapped).squeeze(1), index)


def test_snap_and_native_agree_with_encode_and_decode():
    x = uniform(100, MIXED.dim)
    encoded = torch.from_numpy(MIXED.encode(MIXED.decode(x)))
    torch.testing.assert_close(MIXED.snap(x), encoded, rtol=0, atol=1e-14)
    for row, values in zip(MIXED.native(x).tolist(), MIXED.decode(x), strict=True):
        choice, size = ["adam", "sgd", None].index(values["opt"]), ["small", "large"]
        expected = values | {"opt": choice, "size": size.index(values["size"])}
        assert row == list(expected.values())


def test_a_batch_is_its_rows_and_input_types_agree():
    x = uniform(6, MIXED.dim)
    values = MIXED.decode(x)
    assert values == [MIXED.decode(row) for row in x]
    assert values == MIXED.decode(x.numpy()) == MIXED.decode(x.tolist())
    assert values == MIXED.decode(x.clone().requires_grad_())
    np.testing.assert_array_equal(MIXED.encode(values), [MIXED.encode(v) for v in values])
    assert MIXED.decode(torch.zeros(0, MIXED.dim)) == []
    assert MIXED.encode([]).shape == (0, MIXED.dim)
    for function in (MIXED.native, MIXED.snap):
        assert torch.equal(function(x.view(2, 3, -1)).view(6, -1), function(x))
        assert torch.equal(function(x[0]), function(x)[0])


def test_bins_are_the_same_in_every_precision():
    edges = torch.arange(1, 300, dtype=torch.float32) / 300
    space = Space({"n": (1, 300), "w": (1, 300, "log")})
    x = torch.stack([edges, edges], -1)
    assert space.native(x).dtype == space.snap(x).dtype == torch.float32
    assert torch.equal(space.indices(x), space.indices(x.double()))
    assert torch.equal(space.native(x).double(), space.native(x.double()))


def unrounded(x):
    """The maps of MIXED before rounding, written out."""
    lines = {1: (-0.5, 0.99), 2: (-3.5, 8.5), 4: (-0.5, 2.5), 5: (-12.0, 156.0), 6: (-0.5, 1.5)}
    exponentials = {0: (1e-5, 1e-1), 3: (0.5, 300.5)}
    y = np.empty_like(x)
    for i, (low, high) in lines.items():
        y[:, i] = low + (high - low) * x[:, i]
    for i, (low, high) in exponentials.items():
        y[:, i] = low * (high / low) ** x[:, i]
    return y


def gradient(function, x):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(function(x).sum(), x)[0]


def test_straight_through_gradients_are_those_of_the_unrounded_maps():
    x = 0.01 + 0.98 * uniform(50, MIXED.dim)
    expected = (unrounded(x.numpy() + 1e-6) - unrounded(x.numpy() - 1e-6)) / 2e-6
    found = gradient(lambda x: MIXED.native(x, straight_through=True), x)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)
    assert torch.equal(gradient(lambda x: MIXED.snap(x, True), x), torch.ones_like(x))
    for function in (MIXED.native, MIXED.snap):
        assert torch.equal(function(x, straight_through=True), function(x))


def test_other_gradients_are_those_of_the_floats_only():
    x = uniform(50, MIXED.dim)
    through = gradient(lambda x: MIXED.native(x, True), x)
    for function, floats in ((MIXED.native, through[:, :2]), (MIXED.snap, 1.0)):
        found = gradient(function, x)
        assert (found[:, :2] == floats).all()
        assert (found[:, 2:] == 0).all()


def test_gradients_at_the_ends_are_neither_clipped_nor_nan():
    space = Space({**MIXED.parameters, "steps": (0, 10_000)})  # whose exp is infinite
    x = torch.tensor([[0.0], [1.0]]).double().repeat(1, space.dim)
    assert (gradient(lambda x: space.native(x, True), x) > 0).all()


def test_rounded_functions_are_piecewise_constant():
    space = Space({"a": (1, 4), "b": (0.0, 1.0)})
    function = Transformed(Branin(), [Rounded(space)])
    state = function.sample(3, torch.Generator().manual_seed(0))
    x = torch.tensor([[0.26, 0.3], [0.49, 0.3], [0.375, 0.3]], dtype=torch.float64)
    y, _ = function.evaluate(state, x)
    assert torch.equal(y, Branin().evaluate((), x[2:])[0].expand(3))
    assert function.optimum(state) is None
    assert function.minimisers(state) is None
    slope = gradient(lambda x: function.evaluate(state, x)[0], x)
    assert (slope[:, 0] == 0).all()
    assert (slope[:, 1] != 0).all()
    through = Transformed(Branin(), [Rounded(space, straight_through=True)])
    found = gradient(lambda x: through.evaluate(state, x)[0], x)
    assert torch.equal(found, gradient(lambda x: Branin().evaluate((), x)[0], x[[2, 2, 2]]))


def test_rounded_clips_what_a_transform_before_it_moved_out():
    function = Transformed(Branin(), [Translate(0.4), Rounded(Space({"a": (1, 4), "b": (1, 4)}))])
    state = function.sample(20, torch.Generator().manual_seed(0))
    natives = (function.native(state, torch.ones(20, 2)) - Branin().low) / 15
    assert (natives * 8 == (natives * 8).round()).all()
    assert ((natives > 0) & (natives < 1)).all()


def test_shorthands_stand_for_parameters():
    expected = {
        "a": Float(1e-5, 0.1, log=True),
        "b": Integer(1, 8),
        "c": Float(0.0, 1.0),
        "d": Categorical(("x", 2)),
        "e": Integer(1, 64, log=True),
        "f": Ordinal((3, 2, 1)),
    }
    given = {"a": (1e-5, 0.1, "log"), "b": (np.int64(1), 8), "c": (0, 1.0), "d": ["x", 2]}
    space = Space(given | {"e": (1, 64, "log"), "f": Ordinal([3, 2, 1])})
    assert dict(space.parameters) == expected
    assert space.names == tuple("abcdef")
    assert len(space) == space.dim == 6


def test_spaces_are_values():
    same = Space(MIXED.parameters)
    assert same == MIXED
    assert hash(same) == hash(MIXED)
    assert eval(repr(MIXED)) == MIXED
    assert pickle.loads(pickle.dumps(MIXED)) == MIXED
    assert Space(dict(reversed(MIXED.parameters.items()))) != MIXED
    assert MIXED.parameters != MIXED
    assert Space({"a": (0, 1)}) != Space({"a": (0.0, 1.0)})


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, "at least one parameter"),
        ({"": (0, 1)}, "non-empty strings, got ''"),
        ({"a": (2.0, 1.0)}, "'a': low must be below high, got low 2.0 and high 1.0; swap"),
        ({"a": (3, 3)}, "'a': low must be below high, got low 3 and high 3; .* one choice"),
        ({"a": (0.0, math.inf)}, "'a': high must be a finite number, got inf"),
        ({"a": (math.nan, 1.0)}, "'a': low must be a finite number, got nan"),
        ({"a": (-1e308, 1e308)}, "'a': high - low must be a finite number.*narrow"),
        ({"a": (0.0, 1.0, "log")}, "'a': low must be above 0 on a log scale, got 0.0; raise"),
        ({"a": (False, True)}, "'a': low must be a finite number, got False; give a list"),
        ({"a": (0, 2**41)}, "'a': high must be an integer of magnitude at most 2.40.*use Float"),
        ({"a": []}, r"'a': choices must be .* at least one value, got \[\]"),
        ({"a": ["x", "y", "x"]}, r"'a': choices must be distinct, got \['x', 'y', 'x'\]"),
        ({"a": [[1], [2]]}, "'a': choices must be hashable.*names"),
        ({"a": (0, 1, "lgo")}, r"'a' must be \(low, high\), .*got \(0, 1, 'lgo'\)"),
        ({"a": "adam"}, "'a' must be .* a list of choices.*got 'adam'"),
    ],
)
def test_malformed_parameters_are_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        Space(parameters)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Categorical("adam"), "choices must be a list or tuple .* got 'adam'"),
        (lambda: Categorical({"a", "b"}), "choices must be a list or tuple"),
        (lambda: Ordinal([]), "levels must be a list or tuple"),
        (lambda: Ordinal([1, 3, 2]), r"rise or fall throughout, got \[1, 3, 2\]; sort them"),
        (lambda: Float(1.0, 2.0, "log"), "log must be True or False, got 'log'"),
        (lambda: Integer(1.5, 3), "low must be an integer.*got 1.5; use Float"),
        (lambda: MIXED.indices(torch.zeros(7)), "discrete parameters only, but 'lr' is Float"),
        (
            lambda: Transformed(Branin(), [Rounded(MIXED)]).sample(1, torch.Generator()),
            "the functions have 2 coordinates, but .* has 7",
        ),
    ],
)
def test_other_misuse_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lr": 0.2}, r"lr must be a finite number in \[1e-05, 0.1\], got 0.2"),
        ({"lr": math.nan}, "lr must be a finite number"),
        ({"lr": True}, "lr must be a finite number"),
        ({"layers": 9}, r"layers must be an integer in \[-3, 8\], got 9"),
        ({"layers": 2.0}, "layers must be an integer"),
        ({"layers": True}, "layers must be an integer"),
        ({"opt": "adm"}, r"opt must be one of \['adam', 'sgd', None\], got 'adm'"),
        ({"batch": 64}, r"batch must be one of \[16, 32, 128\], got 64"),
        ({"batch": math.nan}, "batch must be one of"),
        ({"size": 1}, "size must be one of"),
    ],
)
def test_values_outside_of_a_parameter_are_refused(change, message):
    values = MIXED.decode(np.zeros(MIXED.dim)) | change
    with pytest.raises(ValueError, match=message):
        MIXED.encode(values)


def test_unknown_and_missing_names_are_refused():
    values = MIXED.decode(np.zeros(MIXED.dim))
    with pytest.raises(UnknownNameError, match="parameter 'layer'. Did you mean 'layers'"):
        MIXED.encode(values | {"layer": 3})
    with pytest.raises(ValueError, match=r"every parameter, got .*; give \['lr'\] as well"):
        MIXED.encode({name: value for name, value in values.items() if name != "lr"})


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ([0.5, 1.1], "points are in the unit cube"),
        ([0.5, -1e-9], "points are in the unit cube"),
        ([0.5, math.nan], "points are in the unit cube"),
        ([0.5], "must have 2 coordinates"),
        (0.5, "takes a point"),
        ([[[0.5, 0.5]]], r"got shape \(1, 1, 2\); flatten"),
        (["adam", 0.5], "must be 2 numbers"),
        ([[0.5, 0.5], [0.5]], "must be 2 numbers"),
    ],
)
def test_points_outside_of_the_cube_are_refused(x, message):
    space = Space({"a": (1, 8), "b": [True, False]})
    with pytest.raises(QueryError, match=message):
        space.decode(x)


@pytest.mark.parametrize("call", ["native", "snap", "indices"])
def test_tensors_outside_of_the_cube_are_refused(call):
    function = getattr(Space({"a": (1, 8), "b": [True, False]}), call)
    for x, message in (
        (torch.tensor([0.5, 1.1]), "points are in the unit cube"),
        (torch.tensor([0.5, math.nan]), "points are in the unit cube"),
        (torch.zeros(3), "must have 2 coordinates"),
        (torch.zeros(2, dtype=torch.int64), "floating-point tensors, got torch.int64"),
    ):
        with pytest.raises(QueryError, match=message):
            function(x)
