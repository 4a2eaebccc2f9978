"""The search algorithm of Ray Tune."""

import math
import os
import sys
import warnings

import pytest

from agents import AskTell, minimize
from agents.integrations.ray import BBOSearch, RayExecutor

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
    again = BBOSearch(SPACE, "loss", "min", budget=10)
    again.restore(str(tmp_path / "search.json"))
    for each in (search, again):
        each.on_trial_complete("b", {"loss": 2.0})
    assert again.suggest("c") == search.suggest("c")


def test_a_space_beside_its_own_is_refused():
    with pytest.raises(ValueError, match=r"must be empty, got \['lr'\]"):
        BBOSearch(SPACE).set_search_properties("loss", "min", {"lr": 0.1})


def test_what_cannot_be_saved_or_done_is_refused_at_once():
    with pytest.raises(ValueError, match="mode must be 'min' or 'max', got 'maximum'"):
        BBOSearch(SPACE, mode="maximum")
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
def test_ray_tunes_with_it(tmp_path):
    import ray
    from ray import tune

    # Workers cannot import this module.
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])

    def trainable(config):
        if config["layers"] == 8:
            raise OverflowError
        tune.report({"loss": loss(config)})

    ray.init(num_cpus=2, include_dashboard=False)
    try:
        tuner = tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                metric="loss",
                mode="min",
                search_alg=BBOSearch(SPACE, budget=12),
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
    assert best.metrics["loss"] < 2.0
