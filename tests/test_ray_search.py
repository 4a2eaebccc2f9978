"""The search algorithm of Ray Tune."""

import math
import os
import sys
import warnings

import numpy as np
import pytest
import torch
from ray import tune

from agents import AskTell, minimize
from agents.integrations.ray import BBOSearch, RayExecutor, space_of_ray
from bbo_envs import Ordinal, Space

SPACE = {"lr": (1e-5, 1e-1, "log"), "layers": (1, 8)}


def loss(x):
    return abs(math.log10(x["lr"]) + 3) + abs(x["layers"] - 3)


@pytest.mark.parametrize("mode", ["min", "max"])
def test_suggestions_are_those_of_asking_and_telling(mode):
    search, optimizer = (
        BBOSearch(SPACE, "loss", mode, budget=10, seed=2),
        AskTell(SPACE, 10, seed=2),
    )
    sign = 1 if mode == "min" else -1
    for trial in range(10):
        x = search.suggest(str(trial))
        assert x == optimizer.ask()
        failed = trial == 4
        result = {} if failed else {"loss": sign * loss(x)}
        search.on_trial_complete(str(trial), result, error=failed)
        optimizer.tell(x, loss(x), failed=failed)


def test_a_saved_search_goes_on(tmp_path):
    search = BBOSearch(SPACE, "loss", "min", budget=10)
    search.suggest("a")
    search.suggest("b")
    search.on_trial_complete("a", {"loss": 1.0})
    search.save(str(tmp_path / "search.json"))
    again = BBOSearch()
    again.restore(str(tmp_path / "search.json"))
    for each in (search, again):
        each.on_trial_complete("b", {"loss": 2.0})
    assert again.suggest("c") == search.suggest("c")


def test_what_is_not_known_is_asked_for():
    """Ray hands metric and mode on with a param_space only; without them all trials would fail."""
    for search in (BBOSearch(SPACE), BBOSearch(SPACE, "loss"), BBOSearch(SPACE, mode="min")):
        with pytest.raises(ValueError, match=r"metric and mode must be known, .* name them in"):
            search.suggest("a")
    with pytest.raises(ValueError, match="nothing to search over; give BBOSearch a space"):
        BBOSearch(metric="loss", mode="min").suggest("a")
    search = BBOSearch(SPACE, "los", "min")
    search.suggest("a")
    with pytest.raises(ValueError, match=r"must report 'los', got \['loss'\]"):
        search.on_trial_complete("a", {"loss": 1.0})


def test_the_space_may_be_rays_own():
    config = {
        "lr": tune.loguniform(1e-5, 1e-1),
        "net": {"layers": tune.randint(1, 9), "width": tune.qrandint(16, 64, 16), "act": "relu"},
        "momentum": tune.uniform(0.0, 0.99),
        "drop": tune.quniform(0.0, 0.75, 0.25),
        "units": tune.lograndint(1, 101),
        "steps": tune.qrandint(1, 5, 1),
        "opt": tune.choice(["adam", "sgd"]),
    }
    search = BBOSearch(budget=10, seed=2)
    assert search.set_search_properties("loss", "max", config)
    expected = {
        "lr": (1e-5, 1e-1, "log"),
        "momentum": (0.0, 0.99),
        "drop": Ordinal([0.0, 0.25, 0.5, 0.75]),
        "units": (1, 100, "log"),
        "steps": (1, 4),
        "opt": ["adam", "sgd"],
        "net/layers": (1, 8),
        "net/width": Ordinal([16, 32, 48, 64]),
    }
    assert space_of_ray(config) == dict(Space(expected).parameters)
    found = search.suggest("a")
    assert set(found) == {"lr", "momentum", "drop", "units", "steps", "opt", "net"}
    assert set(found["net"]) == {"layers", "width"}  # the rest is constant
    search.on_trial_complete("a", {"loss": 3.0})
    assert search._optimizer.best.y == -3.0


@pytest.mark.parametrize(
    "domain",
    [
        tune.qrandint(1, 5, 1),
        tune.qrandint(-7, 18, 4),
        tune.qrandint(16, 64, 16),
        tune.quniform(-0.3, 0.6, 0.1),
        tune.quniform(0.0, 6.0, 2),
        tune.randint(-2, 3),
        tune.qlograndint(1, 6, 1),
        tune.choice(["a", "b"]),
    ],
)
def test_values_are_those_that_ray_draws(domain):
    """Of at most ten values, all are among 600 with probability above 1 - 1e-9 each."""
    drawn = domain.sample(size=600, random_state=np.random.default_rng(0))
    parameter = space_of_ray({"x": domain})["x"]
    space = Space({"x": parameter})
    size = int(parameter.axis.size)
    ours = [space.decode(torch.tensor([(n + 0.5) / size]))["x"] for n in range(size)]
    if parameter.axis.log:
        ours = range(parameter.low, parameter.high + 1)
    assert set(ours) == {0.0 if value == 0 else value for value in drawn}
    assert {isinstance(value, float) for value in ours} == {isinstance(drawn[0], float)}


def test_constants_may_have_any_names_and_parameters_not():
    config = {"x": tune.uniform(0, 1), "a/b": 3, "layers": [1, 2], 5: "five"}
    assert set(space_of_ray(config)) == {"x"}
    for where in ({"a/b": tune.uniform(0, 1)}, {"layers": [tune.uniform(0, 1)]}):
        with pytest.raises(ValueError, match="must be in dicts, under names without '/'"):
            space_of_ray(where)
    with pytest.raises(ValueError, match="parameter 'a' would have to be a number and a dict"):
        BBOSearch({"a/b": (0.0, 1.0), "a": (0.0, 1.0)})


@pytest.mark.parametrize("mode", ["min", "max"])
def test_a_metric_that_is_none_is_no_value(mode):
    search = BBOSearch(SPACE, "loss", mode)
    for trial, reported in enumerate([None, math.nan]):
        search.suggest(str(trial))
        search.on_trial_complete(str(trial), {"loss": reported})
    assert [e.failed for e in search._optimizer.history] == [True, True]
    search.suggest("a")
    with pytest.raises(ValueError, match="'loss' must be a number, got 'low'; report None where"):
        search.on_trial_complete("a", {"loss": "low"})


@pytest.mark.parametrize(
    ("domain", "message"),
    [
        (lambda: tune.randn(0, 1), "'x' is a Float with a sampler"),
        (lambda: tune.grid_search([1, 2]), r"no grid, got \['x'\]; use tune.choice"),
        (lambda: tune.sample_from(lambda spec: 1), "'x' is a Function"),
        (lambda: tune.qloguniform(1e-3, 1, 1e-3), "'x' is a Float with a sampler"),
    ],
)
def test_what_no_space_has_is_refused(domain, message):
    with pytest.raises(ValueError, match=message):
        BBOSearch().set_search_properties("loss", "min", {"x": domain()})


def test_there_is_one_space():
    with pytest.raises(ValueError, match=r"param_space has another, of \['lr'\]; keep one"):
        BBOSearch(SPACE).set_search_properties("loss", "min", {"lr": tune.uniform(0, 1)})
    assert BBOSearch(SPACE).set_search_properties("loss", "min", {"width": 3})


def test_what_cannot_be_saved_or_done_is_refused_at_once():
    with pytest.raises(ValueError, match="mode must be 'min' or 'max', got 'maximum'"):
        BBOSearch(SPACE, mode="maximum")
    with pytest.raises(ValueError, match="budget must be"):
        BBOSearch(budget=0)
    with pytest.raises(ValueError, match="JSON"):
        BBOSearch({"layers": [(64, 64), (32, 32)]})


@pytest.mark.slow
def test_ray_evaluates_for_minimize():
    """Two at a time, in processes that are not this one; one whose process dies has failed."""
    import ray

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])

    def evaluated(x):
        if x["layers"] == 8:
            os._exit(1)
        return loss(x)

    ray.init(num_cpus=2, include_dashboard=False)
    try:
        executor = RayExecutor(max_retries=0)
        pids = [executor.submit(os.getpid).result() for _ in range(2)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            found = minimize(
                evaluated, SPACE, 24, workers=2, executor=executor, progress=False, agent="sobol"
            )
    finally:
        ray.shutdown()
    assert os.getpid() not in pids
    assert len(found.history) == 24
    assert {trial.x["layers"] == 8 for trial in found.history if trial.failed} == {True}
    assert all(trial.y == loss(trial.x) for trial in found.history if not trial.failed)


@pytest.mark.slow
@pytest.mark.parametrize("whose", ["its own", "Ray's"])
def test_ray_tunes_with_it(whose, tmp_path):
    import ray

    # Workers cannot import this module.
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])

    def trainable(config):
        if config["layers"] == 8:
            raise OverflowError
        tune.report({"loss": loss(config)})

    if whose == "its own":
        search, param_space = BBOSearch(SPACE, "loss", "min", budget=12), None
    else:
        search = BBOSearch(budget=12)
        param_space = {"lr": tune.loguniform(1e-5, 1e-1), "layers": tune.randint(1, 9)}
    ray.init(num_cpus=2, include_dashboard=False)
    try:
        tuner = tune.Tuner(
            trainable,
            param_space=param_space,
            tune_config=tune.TuneConfig(
                metric="loss",
                mode="min",
                search_alg=search,
                num_samples=12,
                max_concurrent_trials=2,
            ),
            run_config=tune.RunConfig(storage_path=str(tmp_path), verbose=0),
        )
        found = tuner.fit()
    finally:
        ray.shutdown()
    assert len(found) == 12
    best = found.get_best_result()
    assert best.metrics["loss"] == pytest.approx(loss(best.config))
    known = search._optimizer.history
    assert len(known) == 12
    assert all(e.failed == (e.x["layers"] == 8) for e in known)
    assert search._optimizer.best.y == pytest.approx(best.metrics["loss"])
