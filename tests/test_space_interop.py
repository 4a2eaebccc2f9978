"""Spaces to and from plain data, ConfigSpace and Optuna, and against their own maps to a cube."""

import json

import ConfigSpace
import numpy as np
import optuna.distributions as od
import pytest
import torch
from optuna._transform import _SearchSpaceTransform

from bbo_envs.errors import MissingExtraError, UnknownNameError
from bbo_envs.space import Ordinal, Space

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


def uniform(count, dim):
    return torch.from_numpy(np.random.default_rng(0).random((count, dim)))


def test_agrees_with_optunas_own_transform():
    distributions = {
        "float": od.FloatDistribution(-0.5, 0.99),
        "log": od.FloatDistribution(1e-5, 1e-1, log=True),
        "integer": od.IntDistribution(-3, 8),
        "step": od.IntDistribution(16, 256, step=16),
        "fraction": od.FloatDistribution(0.1, 0.9, step=0.1),
    }
    space = Space.from_optuna(distributions)
    theirs = _SearchSpaceTransform(distributions, transform_0_1=True)
    for x in uniform(200, 5).numpy():
        expected = theirs.untransform(x)
        assert space.decode(x) == pytest.approx(expected, rel=1e-12)
        np.testing.assert_allclose(space.encode(expected), theirs.transform(expected), atol=1e-14)


def test_log_integers_agree_with_optunas_own_transform():
    distributions = {"width": od.IntDistribution(1, 300, log=True)}
    theirs = _SearchSpaceTransform(distributions, transform_0_1=True)
    x = uniform(2000, 1)
    expected = [theirs.untransform(row) for row in x.numpy()]
    assert Space.from_optuna(distributions).decode(x) == expected


@pytest.mark.parametrize("name", ["lr", "momentum"])
def test_floats_agree_with_configspaces_own_map(name):
    theirs = MIXED.to_configspace()[name]
    ours = Space({name: MIXED.parameters[name]})
    x = uniform(500, 1)
    values = theirs.to_value(x[:, 0].numpy())
    np.testing.assert_allclose(ours.native(x)[:, 0].numpy(), values, rtol=1e-12)
    encoded = ours.encode([{name: float(value)} for value in values])[:, 0]
    np.testing.assert_allclose(encoded, theirs.to_vector(values), atol=1e-14)


def test_json_round_trip():
    text = json.dumps(MIXED.to_json(), sort_keys=True)
    assert Space.from_json(json.loads(text)) == MIXED


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ({}, ValueError, "must be what Space.to_json gives, got {}"),
        ({"parameters": [{"name": "a", "kind": "Float"}]}, ValueError, "missing .* 'low'"),
        ({"parameters": [{"name": "a", "kind": "Flot"}]}, UnknownNameError, "mean 'Float'"),
        ({"parameters": []}, ValueError, "at least one parameter"),
    ],
)
def test_malformed_json_is_refused(data, error, message):
    with pytest.raises(error, match=message):
        Space.from_json(data)


def test_objects_are_refused_in_json():
    with pytest.raises(ValueError, match="the choices of 'f' must be text.*give it a name"):
        Space({"f": [print]}).to_json()


def test_configspace_round_trip_up_to_its_order_of_names():
    space = Space({"z": ["the only choice"]} | dict(MIXED.parameters))
    theirs = space.to_configspace()
    assert isinstance(theirs["z"], ConfigSpace.Constant)
    again = Space.from_configspace(theirs)
    assert again == Space(dict(sorted(space.parameters.items())))
    assert again.to_configspace() == theirs
    for configuration in theirs.sample_configuration(20):
        values = dict(configuration)
        assert again.decode(again.encode(values)) == pytest.approx(values)


def test_optuna_round_trip():
    parameters = {name: p for name, p in MIXED.parameters.items() if not isinstance(p, Ordinal)}
    steps = {"n": Ordinal([2, 5, 8]), "x": Ordinal([0.1, 0.2, 0.3]), "one": Ordinal([4])}
    space = Space(parameters | steps)
    theirs = space.to_optuna()
    assert theirs["n"] == od.IntDistribution(2, 8, step=3)
    assert theirs["x"] == od.FloatDistribution(0.1, 0.3, step=0.1)
    assert Space.from_optuna(theirs) == space
    assert space.encode({**space.decode(np.zeros(space.dim)), "x": 0.1 + 2 * 0.1})[-2] == 5 / 6
    uneven = Space({"a": Ordinal([1, 2, 4]), "b": Ordinal([3, 2, 1]), "c": Ordinal("xy".split())})
    assert all(isinstance(d, od.CategoricalDistribution) for d in uneven.to_optuna().values())
    single = Space.from_optuna({"f": od.FloatDistribution(2.0, 2.0), "i": od.IntDistribution(3, 3)})
    assert single == Space({"f": Ordinal([2.0]), "i": Ordinal([3])})


def test_what_a_space_cannot_express_is_refused_by_name():
    def refuse(message, *items):
        configspace = ConfigSpace.ConfigurationSpace({"a": (1, 8), "b": ["x", "y"]})
        configspace.add([item(configspace) for item in items])
        with pytest.raises(ValueError, match=message):
            Space.from_configspace(configspace)

    refuse(
        "'n' is .* cannot express; make it",
        lambda cs: ConfigSpace.Float("n", (0, 1), distribution=ConfigSpace.Normal(0, 1)),
    )
    refuse(
        "'n' is .* cannot express; make it",
        lambda cs: ConfigSpace.BetaFloatHyperparameter("n", 2, 2, 0, 1),
    )
    refuse("'w' is", lambda cs: ConfigSpace.Categorical("w", ["x", "y"], weights=[1, 2]))
    refuse(
        "'a' is conditional .* for each branch",
        lambda cs: ConfigSpace.EqualsCondition(cs["a"], cs["b"], "x"),
    )
    refuse(
        "forbid values .*a == 3.* remove", lambda cs: ConfigSpace.ForbiddenEqualsClause(cs["a"], 3)
    )

    class Other(od.FloatDistribution.__base__):
        _contains = single = to_internal_repr = lambda self, *_: False

    with pytest.raises(ValueError, match="distribution of 'a' is .*Other.* make it a Float"):
        Space.from_optuna({"a": Other()})
    with pytest.raises(ValueError, match="'lr' has the end 1e-14.* other units"):
        Space({"lr": (1e-14, 1.0, "log")}).to_configspace()


@pytest.mark.parametrize("call", ["to_configspace", "to_optuna", "from_configspace", "from_optuna"])
def test_a_missing_library_is_named_with_its_extra(call, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    extra = "spaces" if "configspace" in call else "baselines"
    with pytest.raises(MissingExtraError, match=rf"bbo-envs\[{extra}\]"):
        getattr(MIXED, call)(*[{}] * call.startswith("from"))


def test_what_is_wrong_with_an_imported_parameter_is_told_with_its_name():
    from optuna.distributions import IntDistribution

    for wrong in (IntDistribution(0, 2**50), IntDistribution(0, 10**9, step=2)):
        with pytest.raises(ValueError, match="parameter 'size': "):
            Space.from_optuna({"size": wrong})
