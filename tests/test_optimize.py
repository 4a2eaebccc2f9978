"""Minimising and maximising a function: workers, executors, failures, what is shown."""

import concurrent.futures
import math
import multiprocessing
import os
import threading
import time

import numpy as np
import pytest
import torch
from dask.distributed import Client
from PIL import Image

import agents
from agents import AskTell, maximize, minimize
from bbo_envs import ObjectiveError, UnknownNameError

SPACE = {"a": (0.0, 1.0), "n": (1, 8), "kind": ["x", "y"]}


def f(x):
    return (x["a"] - 0.3) ** 2 + 0.1 * abs(x["n"] - 3) + (x["kind"] == "y")


def quiet(function=f, space=SPACE, **arguments):
    return minimize(function, space, progress=False, **{"budget": 20} | arguments)


def test_it_is_the_loop_of_asking_and_telling():
    optimizer, expected = AskTell(SPACE, 20, seed=3), []
    for _ in range(20):
        x = optimizer.ask()
        expected.append((x, f(x)))
        optimizer.tell(x, f(x))
    result = quiet(seed=3)
    assert [(trial.x, trial.y) for trial in result.history] == expected
    assert result.y == min(y for _, y in expected) == f(result.x)


def test_it_finds_what_random_search_does_not():
    found = [quiet(budget=40, seed=seed).y for seed in range(5)]
    random = [quiet(budget=40, seed=seed, agent="random").y for seed in range(5)]
    assert sum(found) < sum(random) / 2


def test_maximising_is_minimising_the_negative():
    least = quiet(seed=1)
    most = maximize(lambda x: -f(x), SPACE, 20, seed=1, progress=False)
    assert [trial.x for trial in most.history] == [trial.x for trial in least.history]
    assert (most.x, most.y) == (least.x, -least.y)
    assert most.y == max(trial.y for trial in most.history)


def slow(x):
    time.sleep(0.02)
    return f(x)


@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_workers_evaluate_side_by_side(executor):
    result = quiet(slow, workers=4, executor=executor, budget=16)
    assert len(result.history) == 16
    assert all(trial.y == f(trial.x) for trial in result.history)


def test_as_many_are_out_as_there_are_workers_and_never_more():
    """Each evaluation waits until two others are out."""
    out, seen, lock, together = [0], [], threading.Lock(), threading.Barrier(3)

    def counted(x):
        with lock:
            out[0] += 1
            seen.append(out[0])
        together.wait(60)
        with lock:
            out[0] -= 1
        return f(x)

    assert not any(trial.failed for trial in quiet(counted, workers=3, budget=12).history)
    assert max(seen) == 3


def test_any_executor_evaluates_and_stays_open():
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        assert len(quiet(workers=2, executor=pool, budget=6).history) == 6
        assert pool.submit(int, "3").result() == 3


def dies(x):
    if x["n"] == 5:
        os._exit(1)
    return f(x)


def multiplies(x):
    matrix = torch.rand(600, 600)
    return f(x) + 0.0 * float((matrix @ matrix).sum())


def test_processes_may_use_pytorch():
    """One that is forked off a process in which PyTorch has run threads would hang."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        multiplies({"a": 0.5, "n": 3, "kind": "x"})
        assert len(quiet(multiplies, workers=2, executor="processes", budget=4).history) == 4
    finally:
        torch.set_num_threads(threads)


class TwoArgumentsError(Exception):
    def __init__(self, a, b):
        super().__init__("boom")


def raises_oddly(x):
    if x["n"] == 5:
        raise TwoArgumentsError(1, 2)
    return f(x)


def raises_with_a_cause(x):
    if x["n"] == 5:
        raise ValueError("boom", TwoArgumentsError(1, 2))
    return f(x)


@pytest.mark.parametrize(
    ("function", "said"),
    [(raises_oddly, "TwoArgumentsError: boom"), (raises_with_a_cause, r"ValueError: \('boom'")],
)
def test_an_exception_that_cannot_be_sent_is_told_in_words(function, said):
    with pytest.warns(UserWarning, match=f"RuntimeError: {said}"):
        result = quiet(function, workers=2, executor="processes", budget=24, agent="sobol")
    assert all(trial.failed == (trial.x["n"] == 5) for trial in result.history)


def test_where_ones_own_executor_breaks_what_was_found_is_returned():
    context = multiprocessing.get_context("forkserver")
    with (
        concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool,
        pytest.warns(UserWarning, match="is broken; the search has ended"),
    ):
        result = quiet(dies, workers=2, executor=pool, budget=60, agent="sobol")
    assert 1 < len(result.history) < 60
    assert result.y == min(trial.y for trial in result.history if not trial.failed)


def test_a_process_that_dies_takes_no_search_with_it():
    """What was out with it has failed too; a new pool goes on."""
    with pytest.warns(UserWarning, match="BrokenProcessPool"):
        result = quiet(dies, workers=2, executor="processes", budget=30, agent="sobol")
    assert len(result.history) == 30
    failed = [trial for trial in result.history if trial.failed]
    there = {trial.x["n"] == 5 for trial in failed}
    assert True in there
    assert all(trial.failed for trial in result.history if trial.x["n"] == 5)
    assert len(failed) <= 2 * sum(trial.x["n"] == 5 for trial in result.history)
    assert all(trial.y == f(trial.x) for trial in result.history if not trial.failed)


@pytest.mark.slow
def test_the_executor_of_dask_evaluates():
    with Client(n_workers=2, threads_per_worker=1, dashboard_address=None) as client:
        assert len(quiet(workers=2, executor=client.get_executor(), budget=6).history) == 6


def test_failures_are_kept_and_the_search_goes_on():
    with pytest.warns(UserWarning, match=r"failed \(OverflowError: too far\)"):
        result = quiet(_second_fails(), budget=10)
    assert [trial.failed for trial in result.history] == [False, True] + [False] * 8
    assert result.history[1].error == "OverflowError: too far"
    assert math.isnan(result.history[1].y)
    assert result.y == min(trial.y for trial in result.history if not trial.failed)


def _second_fails():
    calls = []

    def function(x):
        calls.append(x)
        if len(calls) == 2:
            raise OverflowError("too far")
        return f(x)

    return function


@pytest.mark.parametrize("bad", [math.nan, math.inf, None])
def test_what_is_no_number_has_failed(bad):
    result = quiet(lambda x: bad if x["kind"] == "y" else f(x))
    assert {trial.failed for trial in result.history} == {False, True}
    assert all(trial.failed == (trial.x["kind"] == "y") for trial in result.history)


def test_a_function_that_never_works_is_named():
    with pytest.raises(ZeroDivisionError):
        quiet(lambda x: 1 / 0)
    with pytest.raises(ObjectiveError, match="none of the 5 evaluations succeeded"):
        quiet(lambda x: math.nan, budget=5)


def test_a_callback_sees_every_evaluation_and_ends_the_search():
    seen = []

    def callback(trial):
        seen.append(trial)
        return len(seen) == 7

    result = quiet(callback=callback)
    assert result.history == seen
    assert len(seen) == 7


@pytest.mark.parametrize("workers", [1, 2])
def test_a_function_may_change_what_it_is_given(workers):
    def takes(x):
        return (x.pop("a") - 0.3) ** 2 + 0.1 * abs(x.pop("n") - 3) + (x.pop("kind") == "y")

    result = quiet(takes, workers=workers)
    assert all(trial.y == f(trial.x) for trial in result.history)


def test_numbers_of_other_libraries_are_numbers():
    assert quiet(lambda x: np.float32(f(x)), budget=3).y < 10
    assert quiet(lambda x: np.array(f(x)), budget=3).y < 10


def test_progress_is_shown_on_standard_error(capsys):
    minimize(f, SPACE, budget=5)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "5/5" in shown.err
    quiet(budget=5)
    assert capsys.readouterr().err == ""


def test_the_picture_shows_values_and_the_best_so_far(tmp_path):
    for result in (quiet(), maximize(f, SPACE, 20, progress=False)):
        figure = result.plot(tmp_path / "run.png")
        dots, best = figure.axes[0].lines[:2]
        values = [trial.y for trial in result.history]
        assert list(dots.get_ydata()) == values
        running = np.maximum if result.maximised else np.minimum
        assert list(best.get_ydata()) == list(running.accumulate(values))
        with Image.open(tmp_path / "run.png") as picture:
            assert picture.width > 400


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"workers": 0}, ValueError, "workers must be"),
        ({"budget": 0}, ValueError, "budget must be"),
        ({"executor": "thread", "workers": 2}, UnknownNameError, "Did you mean 'threads'"),
        ({"agent": "lstm-oi-6d"}, ValueError, "6 dimensions, not in 3"),
    ],
)
def test_mistakes_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        quiet(**arguments)


def test_the_names_are_those_of_the_package():
    assert agents.minimize is minimize
    assert agents.maximize is maximize
