"""YAHPO Gym: models in closed form, conditions, and the format of its files."""

import json

import numpy as np
import pytest
import torch
from hpo_files import (
    choice,
    encoding_of,
    equal,
    linear_model,
    number,
    rbv2_ranger,
    rows,
    write_ranger,
)

from bbo_envs.errors import UnknownNameError
from bbo_envs.hpo import yahpo
from bbo_envs.hpo.yahpo import YAHPO


@pytest.fixture
def ranger(tmp_path):
    return write_ranger(tmp_path)


# The order in which rbv2's columns stand in yahpo_gym/benchmarks/rbv2.py.
CATEGORICAL = ["task_id", "respect.unordered.factors", "splitrule", "num.impute.selected.cpo"]
CONTINUOUS = [
    "num.trees",
    "sample.fraction",
    "mtry.power",
    "min.node.size",
    "num.random.splits",
    "trainsize",
    "repl",
]
TARGETS = "acc bac auc brier f1 logloss timetrain timepredict memory".split()


def by_hand(weights, values, target):
    """As yahpo_gym's BenchmarkSet._config_to_xs, and the model in closed form."""
    encoding = encoding_of(rbv2_ranger())
    values = dict(values)
    if values["splitrule"] != "extratrees":
        del values["num.random.splits"]
    x_cat = [encoding[name][values.get(name, "#na#")] for name in CATEGORICAL]
    x_cont = [values.get(name, 0) for name in CONTINUOUS]
    w, v, b = weights
    return (np.array(x_cat) @ w + np.array(x_cont) @ v + b[0])[TARGETS.index(target)]


@pytest.mark.parametrize(("target", "sign"), [("acc", -1), ("f1", -1), ("timetrain", 1)])
def test_yahpo_agrees_with_its_model_in_closed_form(target, sign, ranger):
    folder, weights = ranger
    instances = ["16", "40981"]
    functions = YAHPO(folder, "rbv2_ranger", instances, target, fidelity={"repl": 3})
    assert functions.dim == 8
    assert not {"task_id", "trainsize", "repl"} & set(functions.space.names)
    x = torch.rand(64, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    state = rows(functions, 64)
    y, _ = functions.evaluate(state, x)
    for row, values in enumerate(functions.space.decode(x)):
        fixed = {"task_id": instances[state.dataset[row]], "trainsize": 1.0, "repl": 3}
        expected = sign * by_hand(weights, {**values, **fixed}, target)
        assert y[row].item() == pytest.approx(expected, rel=1e-5, abs=1e-2)
    assert {"gini", "extratrees"} == {v["splitrule"] for v in functions.space.decode(x)}
    assert functions.optimum(state) is None
    assert functions.prior_mean == pytest.approx(y.mean().item(), abs=2 * y.std().item())
    assert torch.equal(functions.native(state, x), functions.space.native(x))
    assert torch.equal(functions.evaluate(state, x)[0], y)


def test_a_parameter_whose_condition_fails_has_no_effect(ranger):
    functions = YAHPO(ranger[0], "rbv2_ranger", "16", "brier")
    names = functions.space.names
    x = torch.full((2, 8), 0.3)
    x[1, names.index("num.random.splits")] = 0.9
    gini, _ = functions.evaluate(rows(functions, 2), x)
    x[:, names.index("splitrule")] = 0.9
    extratrees, _ = functions.evaluate(rows(functions, 2), x)
    assert gini[0] == gini[1]
    assert extratrees[0] != extratrees[1]


def test_conditions_on_conditional_parents(tmp_path):
    """iaml_super: a learner's own choice counts only where the learner is chosen."""
    learners = ["ranger", "rpart", "glmnet", "xgboost"]
    about = yahpo._SCENARIOS["iaml_super"]
    config = {
        "hyperparameters": [
            choice("learner", *learners),
            choice("task_id", "1067", "1489"),
            *(number(name, 1.0, 2.0) for name in about.continuous),
            *(choice(name, "a", "b", "c") for name in about.categorical[2:]),
        ],
        "conditions": [
            {
                "child": "xgboost.eta",
                "type": "AND",
                "conditions": [
                    {
                        "child": "xgboost.eta",
                        "parent": "xgboost.booster",
                        "type": "IN",
                        "values": ["a", "b"],
                    },
                    equal("xgboost.eta", "learner", "xgboost"),
                ],
            },
            # Only by way of its parent: without a clause on the learner.
            equal("xgboost.rate_drop", "xgboost.booster", "c"),
            equal("xgboost.booster", "learner", "xgboost"),
        ],
        "forbiddens": [],
    }
    folder = tmp_path / "iaml_super"
    folder.mkdir()
    (folder / "config_space.json").write_text(json.dumps(config))
    (folder / "encoding.json").write_text(json.dumps(encoding_of(config)))
    w, v, b = linear_model(folder / "model.onnx", 6, 24, 12)
    functions = YAHPO(tmp_path, "iaml_super", "1489", "mmce")
    assert functions.dim == 1 + 4 + 23
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(256, functions.dim, dtype=torch.float64, generator=generator)
    y, _ = functions.evaluate(rows(functions, 256), x)
    seen = set()
    encoding = encoding_of(config)
    for row, values in enumerate(functions.space.decode(x)):
        boosting = values["learner"] == "xgboost"
        booster = values["xgboost.booster"] if boosting else "#na#"
        values |= {"task_id": "1489", "trainsize": 2.0, "xgboost.booster": booster}
        if booster not in ("a", "b"):
            values["xgboost.eta"] = 0.0
        if booster != "c":
            values["xgboost.rate_drop"] = 0.0
        seen.add(booster)
        x_cat = np.array([encoding[name][values[name]] for name in about.categorical])
        x_cont = np.array([values[name] for name in about.continuous])
        assert y[row].item() == pytest.approx((x_cat @ w + x_cont @ v + b[0])[0], abs=1e-4)
    assert seen == {"#na#", "a", "b", "c"}


def test_a_scenario_without_instances_and_with_constants(tmp_path):
    about = yahpo._SCENARIOS["nb301"]
    first, *others = about.categorical
    config = {
        "hyperparameters": [
            {"name": first, "type": "constant", "value": "b"},
            *(choice(name, "a", "b") for name in others),
            choice("dataset", "CIFAR10"),  # not an input of the model
            number("epoch", 1, 98),
        ],
        "conditions": [],
        "forbiddens": [],
    }
    encoding = encoding_of(config) | {first: {"#na#": 0, "a": 1, "b": 2}}
    folder = tmp_path / "nb301"
    folder.mkdir()
    (folder / "config_space.json").write_text(json.dumps(config))
    (folder / "encoding.json").write_text(json.dumps(encoding))
    w, v, b = linear_model(folder / "model.onnx", 34, 1, 2)
    functions = YAHPO(tmp_path, "nb301", "CIFAR10", "runtime")
    assert functions.space.names == tuple(others)
    y, _ = functions.evaluate(rows(functions), torch.zeros(1, 33))
    expected = (np.array([2] + [1] * 33) @ w + np.array([98]) @ v + b[0])[1]
    assert y.item() == pytest.approx(expected, rel=1e-5)


def test_the_columns_of_the_scenarios():
    sizes = {name: (len(s.categorical), len(s.continuous)) for name, s in yahpo._SCENARIOS.items()}
    assert sizes == {  # categorical and continuous inputs, as yahpo_gym counts them
        "lcbench": (1, 8),
        "nb301": (34, 1),
        "rbv2_svm": (3, 6),
        "rbv2_glmnet": (2, 4),
        "rbv2_rpart": (2, 6),
        "rbv2_ranger": (4, 7),
        "rbv2_aknn": (3, 6),
        "rbv2_xgboost": (3, 14),
        "rbv2_super": (8, 33),
        "iaml_ranger": (4, 6),
        "iaml_rpart": (1, 5),
        "iaml_glmnet": (1, 3),
        "iaml_xgboost": (2, 13),
        "iaml_super": (6, 24),
    }
    for scenario in yahpo._SCENARIOS.values():
        inputs = {*scenario.categorical, *scenario.continuous}
        assert {*scenario.fidelity} <= {*scenario.continuous}
        assert scenario.instance is None or scenario.instance in scenario.categorical
        assert len(inputs) == len(scenario.categorical) + len(scenario.continuous)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("rbv2_rangr", "16", "acc"), "scenario of YAHPO Gym.*Did you mean 'rbv2_ranger'"),
        (("rbv2_ranger", "17", "acc"), "instance of rbv2_ranger '17'"),
        (("rbv2_ranger", "16", "accuracy"), "target of rbv2_ranger 'accuracy'"),
        (("rbv2_ranger", "16", "acc", {"epoch": 1}), "fidelity parameter of rbv2_ranger 'epoch'"),
    ],
)
def test_unknown_names_of_yahpo(arguments, message, ranger):
    with pytest.raises(UnknownNameError, match=message):
        YAHPO(ranger[0], *arguments)


def test_a_fidelity_out_of_range(ranger):
    with pytest.raises(ValueError, match=r"fidelity repl must be an integer in \[1, 10\], got 11"):
        YAHPO(ranger[0], "rbv2_ranger", "16", "acc", {"repl": 11})


@pytest.mark.parametrize("name", ["config_space.json", "encoding.json", "model.onnx"])
def test_files_of_yahpo_that_are_missing(name, ranger):
    (ranger[0] / "rbv2_ranger" / name).unlink()
    with pytest.raises(FileNotFoundError, match=rf"{name} does not exist; get .*yahpo_data"):
        YAHPO(ranger[0], "rbv2_ranger", "16", "acc")


def without(config, name):
    config["hyperparameters"] = [e for e in config["hyperparameters"] if e["name"] != name]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: without(c, "splitrule"),
            "must have a categorical parameter 'splitrule', got No",
        ),
        (lambda c: without(c, "repl"), "must have a numeric parameter 'repl', got None"),
        (
            lambda c: (without(c, "repl"), c["hyperparameters"].append(choice("repl", "1", "2"))),
            r"must have a numeric parameter 'repl', got Categorical",
        ),
        (
            lambda c: (
                without(c, "trainsize"),
                c["hyperparameters"].append({"name": "trainsize", "type": "constant", "value": 1}),
            ),
            "must have a numeric parameter 'trainsize', got None",
        ),
        (
            lambda c: c["hyperparameters"].append({"name": "x", "type": "normal_float"}),
            "'x' is of type 'normal_float', expected uniform_float",
        ),
        (lambda c: c["hyperparameters"][0].pop("upper"), "not a space of YAHPO Gym: 'upper'"),
        (
            lambda c: c["conditions"].append(c["conditions"][0] | {"type": "GT"}),
            "expected AND, EQ or IN, got 'GT'",
        ),
        (
            lambda c: c["conditions"].append(equal("mtry.power", "splitrule", "hellinger")),
            "splitrule must be one of .*'hellinger'",
        ),
        (lambda c: c["forbiddens"].append({}), "forbidden combinations are not supported"),
    ],
)
def test_spaces_that_are_not_of_yahpo(change, message, ranger):
    config = rbv2_ranger()
    change(config)
    (ranger[0] / "rbv2_ranger" / "config_space.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=message):
        YAHPO(ranger[0], "rbv2_ranger", "16", "acc")


def test_a_choice_without_a_code(ranger):
    path = ranger[0] / "rbv2_ranger" / "encoding.json"
    encoding = encoding_of(rbv2_ranger())
    del encoding["splitrule"]["gini"]
    path.write_text(json.dumps(encoding))
    with pytest.raises(ValueError, match="no code for splitrule = 'gini'"):
        YAHPO(ranger[0], "rbv2_ranger", "16", "acc")


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((3, 7, 9), "does not take the 4 categorical and 7 continuous inputs of rbv2_ranger"),
        ((4, 7, 8), r"must give the 9 targets of rbv2_ranger, got the shape \[1024, 8\]"),
    ],
)
def test_models_of_another_scenario(shape, message, ranger):
    linear_model(ranger[0] / "rbv2_ranger" / "model.onnx", *shape)
    with pytest.raises(ValueError, match=message):
        YAHPO(ranger[0], "rbv2_ranger", "16", "acc")


def test_models_that_are_none(ranger):
    (ranger[0] / "rbv2_ranger" / "model.onnx").write_bytes(b"version https://git-lfs")
    with pytest.raises(ValueError, match="is not a model that onnxruntime reads"):
        YAHPO(ranger[0], "rbv2_ranger", "16", "acc")
