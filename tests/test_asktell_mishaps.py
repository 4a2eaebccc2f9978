"""Asking and telling where something goes wrong, or is not quite as it was: nothing is lost."""

import copy
import io
import json
import math
import os
import pty
import random
import subprocess
import sys
import threading
import types

import numpy as np
import pytest
import torch

from agents import AskTell, SavedOptimizerError, WeightsError, maximize, minimize
from agents.baselines import optuna as of_optuna
from bbo_envs import ObjectiveError
from tests.test_asktell import CUBE, SIX, bowl, played, spread

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


def test_of_points_closer_than_rounding_the_nearest_is_told():
    optimizer = AskTell({"x": (0.0, 1e3)}, 20)
    for x in (500.0, 500.0002):
        optimizer.expect({"x": x})
    optimizer.tell({"x": 500.00019}, 1.0)
    assert optimizer.pending == [{"x": 500.0}]


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


# --- The state of the process.


@pytest.mark.parametrize("name", ["universal", "lstm-oi", "dnc-oi", "posterior-guided"])
def test_no_mode_of_pytorch_changes_what_is_asked(name, tmp_path):
    expected = played(AskTell(SIX, 12, name), spread, 6)
    with torch.inference_mode():
        optimizer = AskTell(SIX, 12, name)
        assert played(optimizer, spread, 3) == expected[:3]
    optimizer.save(tmp_path / "saved.json")
    with torch.autocast("cpu", torch.bfloat16):
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
    assert len(asked) == len(optimizer.history) == 24
    assert optimizer.pending == []
    again = AskTell.from_state_dict(optimizer.state_dict())
    assert again.history == optimizer.history
    assert again.ask() == optimizer.ask()


@pytest.mark.parametrize("name", ["universal", "tpe", "cmaes", "gp-ei"])
def test_a_copy_goes_its_own_way(name):
    optimizer, untroubled = AskTell(CUBE, 30, name), AskTell(CUBE, 30, name)
    played(optimizer, bowl, 3)
    other = copy.deepcopy(optimizer)
    played(other, lambda x: -bowl(x), 9)
    other.ask()
    assert (len(other.pending), len(optimizer.pending)) == (1, 0)
    assert played(optimizer, bowl, 9) == played(untroubled, bowl, 12)[3:]


# --- Agents, and workers.


def test_an_agent_that_can_be_told_of_half_of_it_is_told_what_it_asked():
    """One of a user's own, which may have an ``asked`` and not an ``announced``."""

    class Half:
        def init(self, batch, space, budget, generator):
            return torch.zeros(batch, *space.shape)

        def step(self, state, observation):
            return state + 0.01, state + 0.01

        def asked(self, state, x):
            return state

    optimizer = AskTell(CUBE, 12, Half())
    for x in optimizer.ask(3):
        optimizer.tell(x, bowl(x))
    optimizer.ask()
    with pytest.raises(ValueError, match="cannot be told of such points"):
        optimizer.tell({"a": 0.9, "b": 0.9}, 1.0)


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


@pytest.mark.filterwarnings("ignore:the evaluation of")
@pytest.mark.parametrize("workers", [1, 2])
def test_a_library_that_waits_for_values_is_not_waited_for(workers):
    """Of more workers than it was told of, or where the first evaluations fail."""
    optimizer = AskTell(CUBE, 12, "ngopt", workers=workers)
    assert all(0.0 <= value <= 1.0 for x in optimizer.ask(4) for value in x.values())
    for x in optimizer.pending[::-1]:
        optimizer.tell(x, failed=True)
    assert len(played(optimizer, bowl, 30)) == 30
    again = AskTell.from_state_dict(optimizer.state_dict())
    assert again.ask() == optimizer.ask()


def test_a_library_that_waits_keeps_no_program_from_its_end():
    code = "from agents import AskTell; o = AskTell({'a': (0., 1.), 'b': (0., 1.)}, 100, 'ngopt')\n"
    code += "for _ in range(5): o.tell(o.ask(), 1.0)"
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=120)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("dim", [2, 6])
def test_ngopt_has_its_metamodels(dim, workers):
    """They take part after some fifty evaluations, or fewer."""
    space = {f"x{n}": (0.0, 1.0) for n in range(dim)}
    result = minimize(spread, space, 70, workers, agent="ngopt", progress=False)
    assert len(result.history) == 70


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


def test_what_was_saved_before_there_were_workers_is_restored():
    optimizer = AskTell(CUBE, 12)
    played(optimizer, bowl, 2)
    state = optimizer.state_dict()
    del state["workers"]
    assert AskTell.from_state_dict(state).ask() == optimizer.ask()


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


@pytest.mark.parametrize("y", ["3.5", b"3", "nan", np.complex128(1), torch.tensor(1 + 0j), [1, 2]])
def test_what_is_no_real_number_is_refused(y):
    optimizer = AskTell(CUBE, 12)
    x = optimizer.ask()
    with pytest.raises(ValueError, match="y must be a number, got"):
        optimizer.tell(x, y)
    assert optimizer.pending == [x]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tensors_are_numbers(dtype):
    """Also those with a gradient, such as a loss."""
    optimizer = AskTell(CUBE, 12)
    optimizer.tell(optimizer.ask(), torch.tensor(2.5, dtype=dtype, requires_grad=True))
    assert optimizer.best.y == 2.5
    f = lambda x: torch.tensor(x["a"], dtype=dtype, requires_grad=True).sum()  # noqa: E731
    assert len(minimize(f, CUBE, 3, progress=False).history) == 3


@pytest.mark.parametrize("value", [10**400, -(10**400), math.nan, True])
def test_what_is_no_place_in_a_range_is_refused(value):
    with pytest.raises(ValueError, match=r"a must be a finite number in \[0, 1\]"):
        AskTell(CUBE, 12).tell({"a": value, "b": 0.5}, 1.0)


def test_an_array_is_no_choice():
    with pytest.raises(ValueError, match="opt must be one of"):
        AskTell({"opt": ["adam", "sgd"]}, 12).tell({"opt": np.array(["adam", "sgd"])}, 1.0)


# --- The loop around it.


@pytest.mark.parametrize("stdout", [None, io.BytesIO(), types.SimpleNamespace()])
def test_there_may_be_no_console(stdout, monkeypatch):
    """As in a program without a window, or where somebody else collects what is printed."""
    monkeypatch.setattr(sys, "stdout", stdout)
    assert len(minimize(bowl, CUBE, 3).history) == 3


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
            [sys.executable, script],
            check=True,
            stdout=subprocess.PIPE,
            stderr=theirs,
            text=True,
            timeout=120,
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


@pytest.mark.filterwarnings("ignore:the evaluation of")
@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_a_function_may_exit_elsewhere(executor):
    """As ``argparse`` does, in another thread or process; only in this one it ends the search.

    The first two points are none of those, so that the first evaluation to come back succeeds.
    """
    result = minimize(exits, CUBE, 16, 2, executor=executor, agent="sobol", progress=False)
    assert {trial.x["a"] > 0.9 for trial in result.history if trial.failed} == {True}
    assert "SystemExit: bad" in {trial.error for trial in result.history}
    with pytest.raises(SystemExit):
        minimize(exits, CUBE, 16, agent="sobol", progress=False)


def exits(x):
    if x["a"] > 0.9:
        sys.exit("bad")
    return x["a"]


def test_a_result_is_shown_in_a_line():
    result = minimize(bowl, CUBE, 40, progress=False)
    assert repr(result).startswith(f"Result(x={result.x!r}, y={result.y!r}")
    assert len(repr(result)) < 200
