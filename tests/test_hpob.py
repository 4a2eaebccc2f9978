"""HPO-B: the nearest configuration, and surrogates."""

import json
import math

import numpy as np
import pytest
import torch
from hpo_files import rows, write_hpob, write_surrogates

from bbo_envs.errors import UnknownNameError
from bbo_envs.hpo import hpob
from bbo_envs.hpo.hpob import HPOB, HPOBSurrogate


@pytest.fixture
def hpob_folder(tmp_path):
    return write_hpob(tmp_path)


@pytest.fixture(scope="module")
def surrogates(tmp_path_factory):
    return write_surrogates(tmp_path_factory.mktemp("surrogates"))


def test_a_query_is_the_nearest_configuration(hpob_folder):
    folder, data = hpob_folder
    functions = HPOB(folder, "5970", ["37", "3485"])
    x = torch.rand(200, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    state = rows(functions, 200)
    y, _ = functions.evaluate(state, x)
    native, optimum = functions.native(state, x), functions.optimum(state)
    for row in range(200):
        entry = data["5970"][["37", "3485"][state.dataset[row]]]
        stored, accuracy = np.array(entry["X"]), np.array(entry["y"]).ravel()
        nearest = ((stored - x[row].numpy()) ** 2).sum(1).argmin()
        # As HPOBHandler.normalize, turned around.
        scaled = (accuracy - accuracy.min()) / (accuracy.max() - accuracy.min())
        assert y[row].item() == pytest.approx(1 - scaled[nearest], abs=1e-12)
        assert native[row].tolist() == stored[nearest].tolist()
    assert optimum.tolist() == [0.0] * 200
    again, _ = functions.evaluate(state, native)
    assert torch.equal(again, y)


def test_many_queries_are_taken_in_parts(hpob_folder, monkeypatch):
    functions = HPOB(hpob_folder[0], "5970", "37")
    x = torch.rand(100, 2, generator=torch.Generator().manual_seed(0))
    state = rows(functions, 100)
    together, _ = functions.evaluate(state, x)
    monkeypatch.setattr(hpob, "_AT_ONCE", 7 * 50)
    parts, _ = functions.evaluate(state, x)
    assert torch.equal(together, parts)


def test_a_configuration_stored_twice_counts_with_its_mean(hpob_folder):
    functions = HPOB(hpob_folder[0], "5971", "37")
    y, _ = functions.evaluate(rows(functions, 2), torch.tensor([[0.1], [0.9]]))
    assert y.tolist() == pytest.approx([1.0, 2 / 7])
    assert functions.optimum(rows(functions)).item() == pytest.approx(2 / 7)
    assert functions.prior_mean == pytest.approx(9 / 14)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("5973", "37"), "search space of meta-test-dataset.json '5973'. Did you mean '597"),
        (("5970", "38"), "data set of search space 5970 '38'"),
        (("5970", "37", "tests"), "split of HPO-B 'tests'. Did you mean 'test'"),
    ],
)
def test_unknown_names_of_hpob(arguments, message, hpob_folder):
    with pytest.raises(UnknownNameError, match=message):
        HPOB(hpob_folder[0], *arguments)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"X": [[0.0], [5.0]], "y": [[0.1], [0.2]]}, r"configuration 1, \[5.0\], is not in \[0"),
        ({"X": [[0.0], [math.nan]], "y": [[0.1], [0.2]]}, r"is not in \[0, 1\]"),
        ({"X": [[0.0], [1.0]], "y": [[0.1]]}, r"got X \[2, 1\] and 1 values"),
        ({"X": [[0.0], [1.0]], "y": [[0.1], [0.1]]}, "not all the same"),
        ({"X": [[0.0], [1.0]], "y": [[0.1], [math.nan]]}, "y must be finite"),
        ({"X": [[0.0], ["a"]], "y": [[0.1], [0.2]]}, "must be numbers"),
        ({"y": [[0.1], [0.2]]}, "must be numbers"),
    ],
)
def test_data_that_are_not_of_hpob(entry, message, tmp_path):
    path = tmp_path / "meta-validation-dataset.json"
    path.write_text(json.dumps({"5970": {"37": entry}}))
    with pytest.raises(ValueError, match=message):
        HPOB(tmp_path, "5970", "37", split="validation")


def test_data_sets_of_different_dimension(tmp_path):
    entries = {str(d): {"X": [[0.0] * d, [1.0] * d], "y": [[0.1], [0.2]]} for d in (1, 2)}
    (tmp_path / "meta-train-dataset.json").write_text(json.dumps({"5970": entries}))
    with pytest.raises(ValueError, match="configurations of 2 have 2 coordinates, those of 1 1"):
        HPOB(tmp_path, "5970", ["1", "2"], split="train")


def test_files_of_hpob_that_are_missing_or_cut_off(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"meta-test-dataset\.json does not exist; see http"
    ):
        HPOB(tmp_path, "5970", "37")
    (tmp_path / "meta-test-dataset.json").write_text('{"5970": {"37"')
    with pytest.raises(ValueError, match=r"is not JSON .*download it again"):
        HPOB(tmp_path, "5970", "37")
    (tmp_path / "meta-test-dataset.json").write_text("[]")
    with pytest.raises(ValueError, match="must hold a JSON object, got a list"):
        HPOB(tmp_path, "5970", "37")


def test_surrogates_are_scaled_and_clipped_as_in_the_handler(surrogates):
    xgboost = pytest.importorskip("xgboost")
    folder, boosters = surrogates
    functions = HPOBSurrogate(folder, "5970", ["37", "3485"])
    assert functions.dim == 3
    x = torch.rand(300, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    state = rows(functions, 300)
    y, _ = functions.evaluate(state, x)
    for dataset, name in enumerate(("37", "3485")):
        mine = (state.dataset == dataset).numpy()
        predicted = boosters[name].predict(xgboost.DMatrix(x.numpy()))[mine].astype(np.float64)
        expected = 1 - np.clip((predicted - 0.5) / (0.75 - 0.5), 0, 1)
        assert y.numpy()[mine] == pytest.approx(expected, abs=1e-12)
    assert {0.0, 1.0} <= set(y.tolist())
    assert functions.optimum(state) is None
    assert functions.prior_mean == pytest.approx(y.mean().item(), abs=0.1)
    assert torch.equal(functions.evaluate(state, x)[0], y)


def test_surrogates_that_are_missing_or_broken(surrogates, tmp_path):
    folder, _ = surrogates
    with pytest.raises(UnknownNameError, match=r"search space of summary-stats\.json '5971'"):
        HPOBSurrogate(folder, "5971", "37")
    with pytest.raises(UnknownNameError, match="data set of search space 5970 '38'"):
        HPOBSurrogate(folder, "5970", "38")
    with pytest.raises(FileNotFoundError, match=r"summary-stats\.json does not exist"):
        HPOBSurrogate(tmp_path, "5970", "37")
    statistics = tmp_path / "summary-stats.json"
    statistics.write_text(json.dumps({"surrogate-5970-37": {"y_min": 0.5, "y_max": 0.5}}))
    with pytest.raises(
        ValueError, match=r"y_min of surrogate-5970-37 must be below y_max, got 0.5"
    ):
        HPOBSurrogate(tmp_path, "5970", "37")
    statistics.write_text(json.dumps({"surrogate-5970-37": {"y_min": 0.5}}))
    with pytest.raises(ValueError, match="must have numbers y_min and y_max"):
        HPOBSurrogate(tmp_path, "5970", "37")
    statistics.write_text(json.dumps({"surrogate-5970-37": {"y_min": 0.5, "y_max": 0.8}}))
    with pytest.raises(FileNotFoundError, match=r"surrogate-5970-37\.json does not exist"):
        HPOBSurrogate(tmp_path, "5970", "37")
    (tmp_path / "surrogate-5970-37.json").write_text("{}")
    with pytest.raises(ValueError, match="is not a model of XGBoost in JSON"):
        HPOBSurrogate(tmp_path, "5970", "37")
