"""Exhaustive tables: look-ups, the tables that ship against their builds and cards, the builds."""

import itertools
import json

import numpy as np
import pytest
import torch
from scipy import stats

from bbo_envs import Categorical, Float, Ordinal, Space, UnknownNameError
from bbo_envs.functions.table import Table
from bbo_envs.hpo import shipped_table
from bbo_envs.hpo.build import journal
from bbo_envs.hpo.build.card import expected_best
from bbo_envs.hpo.build.command import RECIPES, check
from bbo_envs.hpo.build.recipe import Recipe
from bbo_envs.hpo.store import load_table

SPACE = Space({"depth": Ordinal((1, 2, 5)), "kernel": Categorical(("rbf", "linear"))})
NAMES = ("svm", "lda", "logreg", "resnet")


def sampled(table, batch=1, seed=0):
    return table.sample(batch, torch.Generator().manual_seed(seed))


class TestTable:
    values = torch.arange(36.0).view(2, 6, 3)

    def test_each_cell_has_an_equal_share_and_its_own_value(self):
        table = Table(SPACE, self.values[:1])
        side = (torch.arange(600, dtype=torch.float64) + 0.5) / 600
        x = torch.cartesian_prod(side, side)
        y, _ = table.evaluate(sampled(table, len(x)), x)
        for cell, (depth, kernel) in enumerate(itertools.product(range(3), range(2))):
            inside = (x[:, 0] * 3 // 1 == depth) & (x[:, 1] * 2 // 1 == kernel)
            assert inside.sum() == 600 * 600 / 6
            assert (y[inside] == self.values[0, cell].mean()).all()
        corners = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
        y, _ = table.evaluate(sampled(table, 2), corners)
        assert y.tolist() == [1.0, 16.0]
        assert table.native((), corners).tolist() == [[1.0, 0.0], [5.0, 1.0]]

    def test_a_function_is_one_of_the_tables(self):
        table = Table(SPACE, self.values)
        state = sampled(table, 1000)
        # A fair coin: 500 +- 5 standard errors of 15.8.
        assert abs(int((state.table == 0).sum()) - 500) < 79
        y, _ = table.evaluate(state, torch.zeros(1000, 2))
        assert y.tolist() == torch.tensor([1.0, 19.0])[state.table].tolist()
        assert table.optimum(state).tolist() == torch.tensor([1.0, 19.0])[state.table].tolist()

    def test_repetitions_are_drawn_uniformly_and_anew(self):
        table = Table(SPACE, self.values[:1], repetition="random")
        state = sampled(table, 3000)
        x = torch.full((3000, 2), 0.99)
        draws = []
        for _ in range(3):
            y, state = table.evaluate(state, x)
            draws.append(y)
            counts = [(y == value).sum().item() for value in (15.0, 16.0, 17.0)]
            assert sum(counts) == 3000
            assert stats.chisquare(counts).pvalue > 1e-6  # wrongly fails once in 300,000 runs
        both = torch.stack(draws[:2])
        joint = torch.zeros(3, 3).index_put(tuple((both - 15).long()), torch.ones(3000), True)
        assert stats.chi2_contingency(joint.numpy()).pvalue > 1e-6
        assert table.optimum(state).tolist() == [1.0] * 3000  # of the means

    @pytest.mark.parametrize(
        ("space", "values", "message"),
        [
            (SPACE, torch.zeros(1, 5, 1), r"\[tables, 6 cells, repetitions\].*got \(1, 5, 1\)"),
            (SPACE, torch.full((1, 6, 1), torch.nan), "must be finite"),
            (Space({"lr": Float(0.0, 1.0)}), torch.zeros(1, 1, 1), "lr"),
        ],
    )
    def test_what_is_no_table(self, space, values, message):
        with pytest.raises(ValueError, match=message):
            Table(space, values)

    def test_an_unknown_repetition(self):
        with pytest.raises(UnknownNameError, match="Did you mean 'random'"):
            Table(SPACE, self.values, repetition="randm")


def test_the_expected_best_is_that_of_all_subsets():
    values = np.random.default_rng(0).normal(size=9)
    for draws in (1, 2, 5, 9):
        minima = [min(chosen) for chosen in itertools.combinations(values, draws)]
        assert expected_best(values, draws) == pytest.approx(np.mean(minima), abs=1e-12)


@pytest.mark.parametrize("name", NAMES)
class TestShippedTables:
    def test_the_card_tells_of_the_table(self, name):
        values, card = load_table(name)
        assert list(values.shape[:-1]) == [len(v) for v in card["search_space"].values()]
        assert values.isfinite().all()
        objective = values[..., 0].numpy()
        assert card["cells"] == objective.size >= 288
        assert card["best"]["value"] == objective.min()
        for draws, mean in card["mean_best_of_random_draws"].items():
            assert mean == pytest.approx(expected_best(objective.ravel(), int(draws)))
        assert card["cpu_seconds"] > 60
        assert set(card["versions"]) == {"python", *RECIPES[name].packages}
        assert card["about"] == RECIPES[name].about
        assert {k: tuple(v) for k, v in card["search_space"].items()} == RECIPES[name].levels

    def test_the_best_cell_is_found_at_its_levels(self, name):
        table, card = shipped_table(name), load_table(name).card
        x = torch.from_numpy(table.space.encode(card["best"]["at"])).unsqueeze(0)
        state = sampled(table)
        assert table.evaluate(state, x)[0].item() == card["best"]["value"]
        assert table.optimum(state).item() == card["best"]["value"]

    def test_random_search_finds_what_the_card_says(self, name):
        """Draws with replacement from the cube, over 2,000 rows: within 5 standard errors."""
        table, card = shipped_table(name), load_table(name).card
        generator = torch.Generator().manual_seed(0)
        state = sampled(table, 2000)
        best = torch.full((2000,), torch.inf, dtype=torch.float64)
        for _ in range(10):
            x = torch.rand(2000, table.dim, generator=generator)
            best = best.minimum(table.evaluate(state, x)[0])
        error = (best.mean() - card["mean_best_of_random_draws"]["10"]).abs()
        # With replacement the best is a little worse; at 288 cells by under a standard error.
        assert error < 6 * best.std() / 2000**0.5


def test_one_cell_is_computed_again_on_the_command_line(capsys):
    check("svm", at=(17, 10, 1))
    assert capsys.readouterr().out == "svm[17, 10, 1] is as stored\n"
    with pytest.raises(ValueError, match=r"svm has no unit \(30, 0, 0\)"):
        check("svm", at=(30, 0, 0))


def test_the_spaces_of_hpolib():
    """Sizes, levels and ends as in HPOlib's own grids (see its README of 2013)."""
    c, alpha, epsilon = RECIPES["svm"].levels.values()
    assert (len(c), len(alpha), len(epsilon)) == (25, 14, 4)
    assert (c[0], c[-1], alpha[0], alpha[-1]) == (0.1, 1e6, 0.1, 5.0)
    kappa, tau, s = RECIPES["lda"].levels.values()
    assert (kappa, len(tau), s[-1]) == ((0.5, 0.6, 0.7, 0.8, 0.9, 1.0), 6, 16384)
    assert sorted(RECIPES["logreg"].shape) == [8, 10, 11, 11]
    assert np.prod(RECIPES["resnet"].shape) == 4096


@pytest.mark.parametrize("unit", [(0, 0, 0), (17, 10, 1), (24, 13, 3)])
def test_cells_of_the_svm_table_are_rebuilt_to_what_is_stored(unit):
    stored = load_table("svm").values[unit].numpy()
    assert np.array_equal(RECIPES["svm"].run(unit), stored)


@pytest.mark.parametrize("unit", [(1, 3, 2, 1, 0, 0), (3, 0, 1, 1, 1, 1)])
def test_cells_of_the_resnet_table_are_rebuilt_to_what_is_stored(unit):
    """On another processor, float32 may round otherwise: by a few digits of 450 at most.

    Not where learning rate and momentum are both large: training is chaotic there, and two
    processors came to errors on the cell (3, 2, 1, 0, 2, 1) that differ by 12 of 450.
    """
    stored = load_table("resnet").values[unit].numpy()
    assert np.abs(RECIPES["resnet"].run(unit) - stored).max() <= 5 / 450


@pytest.mark.slow
@pytest.mark.parametrize("name", ["svm", "lda"])
def test_random_units_are_rebuilt_to_what_is_stored(name, capsys):
    check(name, units=8, seed=1)
    assert capsys.readouterr().out.count("is as stored") == 8


@pytest.mark.slow
def test_a_run_of_the_logreg_table_is_rebuilt_to_what_is_stored():
    unit = (3, 7)
    assert np.array_equal(RECIPES["logreg"].run(unit), load_table("logreg").values[unit].numpy())


class TestBuilds:
    levels = {"a": (1, 2, 3), "b": (10.0, 20.0)}

    def recipe(self, run):
        return Recipe("toy", self.levels, ("error",), 1, run, "", "", ("numpy",))

    def test_a_build_computes_every_unit_once_and_resumes(self, tmp_path, monkeypatch):
        calls = []

        def run(unit):
            calls.append(unit)
            a = self.levels["a"][unit[0]]
            return np.array([[a * b] for b in self.levels["b"]])

        recipe = self.recipe(run)
        monkeypatch.setitem(RECIPES, "toy", recipe)
        path = tmp_path / "toy.jsonl"
        # One unit is done, and a kill cut off the line of another.
        done = {"unit": [1], "values": [[-1.0], [-2.0]], "seconds": 5.0}
        head = {"recipe": "toy", "about": "", "levels": self.levels}
        lines = [json.dumps(head), json.dumps(done), '{"unit": [2], "val']
        path.write_text("\n".join(lines))
        values, seconds = journal.compute(recipe, path, jobs=1)
        assert sorted(calls) == [(0,), (2,)]
        assert values[..., 0].tolist() == [[10.0, 20.0], [-1.0, -2.0], [30.0, 60.0]]
        assert seconds >= 5.0
        calls.clear()
        again, _ = journal.compute(recipe, path, jobs=1)
        assert not calls
        assert np.array_equal(values, again)

    def test_a_journal_of_other_levels_is_refused(self, tmp_path, monkeypatch):
        recipe = self.recipe(lambda unit: np.ones((2, 1)))
        monkeypatch.setitem(RECIPES, "toy", recipe)
        path = tmp_path / "toy.jsonl"
        journal.compute(recipe, path, jobs=1)
        other = Recipe(**{**vars(recipe), "levels": {"a": (1, 2, 4), "b": (10.0, 20.0)}})
        with pytest.raises(ValueError, match=r"toy.jsonl is of another recipe .* remove it"):
            journal.compute(other, path, jobs=1)

    def test_processes_compute_what_one_does(self, tmp_path, monkeypatch):
        """The real table of SVMs, cut down to three of its cells."""
        recipe = RECIPES["svm"]
        cut = [(0, 0, 0), (17, 10, 1), (20, 3, 2)]
        monkeypatch.setattr(Recipe, "units", lambda self: cut)
        monkeypatch.setattr(Recipe, "shape", (3,))
        values, _ = journal.compute(recipe, tmp_path / "svm.jsonl", jobs=2)
        stored = load_table("svm").values
        assert np.array_equal(values, np.stack([stored[unit].numpy() for unit in cut]))

    def test_a_cell_that_differs_from_the_stored_one_is_told(self, monkeypatch):
        recipe = RECIPES["svm"]
        broken = Recipe(**{**vars(recipe), "run": lambda unit: np.array([0.5, 0.5])})
        monkeypatch.setitem(RECIPES, "svm", broken)
        with pytest.raises(SystemExit, match=r"svm\[.*stored .*computed"):
            check("svm", units=1)


def test_unknown_tables_and_metrics():
    with pytest.raises(UnknownNameError, match="Did you mean 'svm'"):
        shipped_table("svn")
    with pytest.raises(UnknownNameError, match="Did you mean 'test_error'"):
        shipped_table("svm", metric="tst_error")
