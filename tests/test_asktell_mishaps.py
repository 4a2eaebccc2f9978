"""Asking and telling where something goes wrong, or is not quite as it was: nothing is lost."""

import copy
import json
import math
import os
import pty
import random
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch

from agents import AskTell, SavedOptimizerError, WeightsError, maximize, minimize
from agents.baselines import optuna as of_optuna
from bbo_envs import ObjectiveError
from tests.test_asktell import CUBE, SIX, bowl, history_of, played, spread

# --- Which point is told.


@pytest.mark.parametrize(
    ("parameter", "other"),
    [
        ((1, 10**7), lambda n: n - 5 if n > 5 else n + 5),
        ((0, 10**9), lambda n: n - 200 if n > 200 else n + 200),
        ((1e-5, 1e5, "log"), lambda x: x * (1 + 1e-5) if x < 1 else x * (1 - 1e-5)),
        ((0.0, 1.0), lambda x: x + 1e-5 if x < 0.5 else x - 1e-5),
    ],
)
def test_a_point_near_one_that_is_out_is_another_one(parameter, other):
    optimizer = AskTell({"n": parameter}, 20)
    x = optimizer.ask()
    optimizer.tell({"n": other(x["n"])}, 1.0)
    assert optimizer.pending == [x]
    assert optimizer.best.x["n"] == pytest.approx(other(x["n"]), rel=1e-12)
    optimizer.tell(x, 2.0)
    assert optimizer.pending == []


@pytest.mark.parametrize("name", ["universal", "posterior-guided"])
def test_points_may_come_back_in_single_precision(name):
    """Such as from a tensor; also at the ends of a range, which are rounded outwards."""
    space = {"a": (0.0, 0.99), "lr": (1e-5, 0.1, "log"), "b": (-0.7, 0.1), "n": (1, 10**6)}
    optimizer = AskTell(space, 30, name)
    for _ in range(20):
        x = {k: torch.tensor(v).item() for k, v in optimizer.ask().items()}
        optimizer.tell(x, x["a"] + x["b"] + x["n"] + math.log(x["lr"]))
    assert optimizer.pending == []
    for y, (lr, a) in enumerate([(0.1, 0.99), (1e-5, -1e-18)]):
        optimizer.tell({"a": np.float32(a), "lr": np.float32(lr), "b": 0.0, "n": 1}, y)
        assert optimizer.history[-1].x["lr"] == lr
    with pytest.raises(ValueError, match=r"a must be a finite number in \[0, 0.99\], got 0.99001"):
        optimizer.tell({"a": 0.99001, "lr": 0.1, "b": 0.0, "n": 1}, 1.0)


# --- What raises on the way.


@pytest.mark.parametrize("name", ["universal", "lstm-oi"])
def test_a_query_that_is_interrupted_loses_nothing_that_was_told(name):
    optimizer = AskTell(CUBE, 20, name)
    for n, x in enumerate(optimizer.ask(5)):
        optimizer.tell(x, float(-n))
    step, calls = optimizer._optimizer.step, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return step(*arguments)

    optimizer._optimizer.step = interrupted
    with pytest.raises(KeyboardInterrupt):
        optimizer.ask()
    assert optimizer.pending == []
    optimizer.ask()
    history = history_of(optimizer)
    assert (history.steps, history.returned.item(), history.best_y.item()) == (6, 5, -4.0)


@pytest.mark.parametrize("at", ["ask", "tell", "other"])
def test_a_journal_that_cannot_be_written_knows_as_much_as_the_optimiser(at):
    events, full = [], [False]

    def journal(event):
        if full[0]:
            raise OSError("no space left on device")
        events.append(event)

    optimizer = AskTell(CUBE, 20, seed=1, journal=journal)
    played(optimizer, bowl, 3)
    x = optimizer.ask()
    calls = {
        "ask": optimizer.ask,
        "tell": lambda: optimizer.tell(x, 1.0),
        "other": lambda: optimizer.tell({"a": 0.1, "b": 0.1}, 1.0),
    }
    full[0] = True
    with pytest.raises(OSError, match="no space left"):
        calls[at]()
    full[0] = False
    assert optimizer.pending == [x]
    assert len(optimizer.history) == 3
    again = AskTell.from_state_dict(optimizer.state_dict())
    assert optimizer.state_dict()["journal"] == events
    assert (again.pending, again.history) == (optimizer.pending, optimizer.history)
    optimizer.tell(x, 0.5)
    assert optimizer.pending == []
    optimizer.ask()
    assert history_of(optimizer).steps == 5


# --- The state of the process.


@pytest.mark.parametrize("name", ["universal", "lstm-oi", "dnc-oi", "posterior-guided"])
def test_no_mode_of_pytorch_changes_what_is_asked(name, tmp_path):
    expected = played(AskTell(SIX, 12, name), spread, 6)
    with torch.inference_mode():
        optimizer = AskTell(SIX, 12, name)
        assert played(optimizer, spread, 3) == expected[:3]
    optimizer.save(tmp_path / "saved.json")
    assert played(optimizer, spread, 3) == expected[3:]
    torch.set_default_dtype(torch.float64)
    try:
        assert played(AskTell.load(tmp_path / "saved.json"), spread, 3) == expected[3:]
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("name", ["universal", "lstm-oi", "posterior-guided"])
def test_the_global_generators_are_left_alone(name):
    before = torch.get_rng_state(), random.getstate()
    played(AskTell(CUBE, 12, name), bowl, 3)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]


@pytest.mark.parametrize("name", ["universal", "posterior-guided", "tpe"])
def test_threads_may_ask_and_tell(name):
    optimizer = AskTell(CUBE, 40, name, workers=4)
    asked, interval = [], sys.getswitchinterval()

    def work():
        for _ in range(6):
            x = optimizer.ask()
            asked.append(tuple(x.values()))
            optimizer.tell(x, bowl(x))

    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert len(set(asked)) == len(asked) == len(optimizer.history) == 24
    again = AskTell.from_state_dict(optimizer.state_dict())
    assert again.history == optimizer.history
    assert again.ask() == optimizer.ask()


def test_a_copy_goes_its_own_way():
    optimizer = AskTell(CUBE, 12)
    played(optimizer, bowl, 3)
    other = copy.deepcopy(optimizer)
    assert played(other, bowl, 3) == played(optimizer, bowl, 3)
    other.ask()
    assert (len(other.pending), len(optimizer.pending)) == (1, 0)


# --- Workers.


def test_classical_optimisers_are_told_of_workers(monkeypatch):
    told, sampler = [], of_optuna.TPESampler

    def spy(**arguments):
        told.append(arguments["constant_liar"])
        return sampler(**arguments)

    monkeypatch.setattr(of_optuna, "TPESampler", spy)
    for workers in (1, 4):
        minimize(bowl, CUBE, 6, workers, agent="tpe", progress=False)
        maximize(bowl, CUBE, 6, workers, agent="tpe", progress=False)
        optimizer = AskTell(CUBE, 6, "tpe", workers=workers)
        AskTell.from_state_dict(optimizer.state_dict())
    assert told == [False] * 4 + [True] * 4


def test_one_that_waits_for_values_says_so():
    """It would have waited for ever."""
    assert len(minimize(bowl, CUBE, 12, workers=2, agent="ngopt", progress=False).history) == 12
    optimizer = AskTell(CUBE, 12, "ngopt", workers=2)
    optimizer.ask(2)
    with pytest.raises(ValueError, match="ngopt was told of 2 workers, and waits"):
        optimizer.ask()


# --- Files.


def test_choices_of_numpy_are_saved_as_plain_ones(tmp_path):
    space = {"n": list(np.arange(3)), "b": list(np.array([True, False])), "s": [np.str_("x"), "y"]}
    optimizer = AskTell(space, 12)
    x = optimizer.ask()
    assert [type(value) for value in x.values()] == [int, bool, str]
    optimizer.save(tmp_path / "saved.json")
    assert AskTell.load(tmp_path / "saved.json").pending == [x]


def test_values_of_a_file_are_checked(tmp_path):
    optimizer = AskTell(CUBE, 12)
    played(optimizer, bowl, 2)
    state = json.loads(json.dumps(optimizer.state_dict()))
    for y in (math.nan, math.inf, 10**400):
        state["journal"][-1]["y"] = y
        assert AskTell.from_state_dict(state).history[-1].failed
    state["journal"][-1]["y"] = "0.5"
    with pytest.raises(SavedOptimizerError, match="y must be a number, got '0.5'"):
        AskTell.from_state_dict(state)
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(SavedOptimizerError, match="cannot be read"):
        AskTell.load(tmp_path / "deep.json")


def test_an_agent_may_be_a_path(tmp_path):
    for path in (tmp_path / "none.safetensors", tmp_path / "none.zip"):
        for agent in (path, str(path)):
            with pytest.raises(WeightsError, match=f"{path.name} cannot be read .No such file"):
                AskTell(CUBE, 12, agent)


# --- Mistakes.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"agent": None}, "agent must be the name of an optimiser, .* got None"),
        ({"seed": None}, "seed must be an integer from 0 to .*, got None"),
        ({"seed": 1.5}, "seed must be an integer"),
        ({"seed": 2**64}, "seed must be an integer"),
        ({"seed": -1}, "seed must be an integer"),
        ({"workers": 0}, "workers must be"),
        ({"space": {"lr": [1e-5, 0.1, "log"]}}, r"'lr' must be a tuple .* \(low, high, 'log'\)"),
    ],
)
def test_arguments_that_make_no_sense_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        AskTell(**{"space": CUBE, "budget": 12} | arguments)


@pytest.mark.parametrize("y", ["3.5", b"3", "nan", np.complex128(1), torch.tensor(1 + 1j), [1, 2]])
def test_what_is_no_real_number_is_refused(y):
    optimizer = AskTell(CUBE, 12)
    x = optimizer.ask()
    with pytest.raises(ValueError, match="y must be a number, got"):
        optimizer.tell(x, y)
    assert optimizer.pending == [x]


def test_an_array_is_no_choice():
    with pytest.raises(ValueError, match="opt must be one of"):
        AskTell({"opt": ["adam", "sgd"]}, 12).tell({"opt": np.array(["adam", "sgd"])}, 1.0)


# --- The loop around it.


def test_what_the_function_prints_stays_on_standard_output(tmp_path):
    """Also where standard error is a terminal, on which the bar is."""
    script = tmp_path / "script.py"
    script.write_text(
        "from agents import minimize\n"
        "minimize(lambda x: print('PRINTED') or x['a'], {'a': (0.0, 1.0)}, budget=3)\n"
    )
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run(
            [sys.executable, script], check=True, stdout=subprocess.PIPE, stderr=theirs, text=True
        )
    finally:
        os.close(theirs)
        os.close(ours)
    assert done.stdout.split() == ["PRINTED"] * 3


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: {"loss": 1.0}, "what the function returns must be a number, got {'loss': 1.0}"),
        (lambda x: "0.5", "what the function returns must be a number, got '0.5'"),
    ],
)
def test_functions_that_return_no_numbers_are_told_so(function, message):
    with pytest.raises(ValueError, match=message):
        minimize(function, CUBE, 5, progress=False)


@pytest.mark.parametrize(
    ("value", "reason"),
    [(math.inf, "it returned inf"), (None, "it returned None"), (-(10**400), "it returned -inf")],
    ids=["infinite", "none", "beyond floats"],
)
def test_what_was_returned_is_told(value, reason):
    with pytest.raises(ObjectiveError, match=rf"none of the 3 evaluations succeeded \({reason}\)"):
        minimize(lambda x: value, CUBE, 3, progress=False)


@pytest.mark.parametrize(
    ("executor", "message"),
    [
        ("processes", "processes need a function of a module, got .*executor='threads'"),
        ([], r"executor must be 'threads', 'processes' or .* got \[\]"),
        (threading.Thread, "executor must be 'threads', 'processes' or an instance of"),
    ],
)
def test_executors_that_cannot_work_are_named(executor, message):
    with pytest.raises(ValueError, match=message):
        minimize(lambda x: 1.0, CUBE, 5, workers=2, executor=executor, progress=False)


def test_a_result_is_shown_in_a_line():
    result = minimize(bowl, CUBE, 40, progress=False)
    assert repr(result).startswith(f"Result(x={result.x!r}, y={result.y!r}")
    assert len(repr(result)) < 200
