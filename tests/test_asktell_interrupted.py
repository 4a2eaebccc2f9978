"""Asking and telling where something raises on the way: it has taken place, or it has not."""

import itertools
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import numpy as np
import pytest
import torch

from agents import AskTell, SavedOptimizerError
from agents.baselines import optuna as of_optuna
from tests.test_asktell import CUBE, bowl, history_of, played


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


@pytest.mark.parametrize(
    "name",
    ["universal", "lstm-oi", "posterior-guided", "tpe", "cmaes", "sobol", "random", "gp-ei"],
)
@pytest.mark.parametrize("at", ["ask", "tell", "other", "expect"])
def test_a_journal_that_cannot_be_written_knows_as_much_as_the_optimiser(at, name):
    """What raised has not taken place, and what follows is as if it had not been tried."""
    events, full = [], [False]

    def journal(event):
        if full[0]:
            raise OSError("no space left on device")
        events.append(event)

    optimizer, untroubled = AskTell(CUBE, 20, name, 1, journal=journal), AskTell(CUBE, 20, name, 1)
    for each in (optimizer, untroubled):
        played(each, bowl, 3)
        x = each.ask(2)[0]
    calls = {
        "ask": optimizer.ask,
        "tell": lambda: optimizer.tell(x, 1.0),
        "other": lambda: optimizer.tell({"a": 0.1, "b": 0.1}, 1.0),
        "expect": lambda: optimizer.expect({"a": 0.1, "b": 0.1}),
    }
    full[0] = True
    refused = ValueError if at in ("other", "expect") and not optimizer.takes_any else OSError
    for _ in range(2):
        with pytest.raises(refused, match="no space left|cannot be told"):
            calls[at]()
    full[0] = False
    assert optimizer.pending == untroubled.pending
    assert optimizer.history == untroubled.history
    for each in (optimizer, untroubled):
        each.tell(x, 0.5)
    assert played(optimizer, bowl, 3) == played(untroubled, bowl, 3)
    again = AskTell.from_state_dict(optimizer.state_dict())
    assert optimizer.state_dict()["journal"] == events
    assert (again.pending, again.history) == (optimizer.pending, optimizer.history)
    assert again.ask() == optimizer.ask() == untroubled.ask()


@pytest.mark.parametrize(("name", "growth"), [("universal", 1.1), ("random", 1), ("gp-ei", 3)])
def test_wherever_an_ask_or_a_tell_is_interrupted_it_has_taken_place_or_not(name, growth):
    """By an exception at some call of a function in it, a later one each time."""
    untroubled, kept, number = AskTell(CUBE, 20, name), [], 0
    done = played(untroubled, bowl, 6)
    expected = untroubled.ask()
    while True:
        optimizer, events = AskTell(CUBE, 20, name), []
        assert played(optimizer, bowl, 6) == done
        optimizer._journal = events.append
        number = 1 + int(growth * number)
        try:
            with interrupted_at(number):
                optimizer.ask()
                optimizer.tell(expected, 1.0)
            break
        except KeyboardInterrupt as error:
            kept.append(error)  # and with it all that was going on
        told = len(optimizer.history) == 7
        asked = told or optimizer.pending == [expected]
        assert len(optimizer.pending) == asked - told
        if not asked:
            assert optimizer.ask() == expected
        if not told:
            optimizer.tell(expected, 1.0)
        again = AskTell.from_state_dict(optimizer.state_dict())
        assert (again.history, again.pending) == (optimizer.history, optimizer.pending)
        kept.clear()
        assert len(optimizer.history) == 7
        assert [list(event) for event in events] == [["ask"], ["tell", "y"]]
        assert again.ask() == optimizer.ask()
    assert number > 50


@contextmanager
def interrupted_at(call):
    """Raises KeyboardInterrupt at that call of a Python function from here on."""
    calls = itertools.count(1)

    def trace(frame, event, argument):
        # PyTorch's modes are left by functions of Python too: they would stay on. What a generator
        # raises when it is collected is raised nowhere.
        of_mode = "torch" in frame.f_code.co_filename and frame.f_code.co_name == "__exit__"
        spared = of_mode or frame.f_code.co_name == "<genexpr>"
        if not spared and next(calls) == call:
            sys.settrace(None)
            raise KeyboardInterrupt

    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(None)


@pytest.mark.parametrize("at", ["other", "expect"])
def test_what_is_interrupted_amid_a_step_has_not_taken_place(at):
    """A network's second step of two, with one value to show."""
    events = []
    optimizer, untroubled = AskTell(CUBE, 20, journal=events.append), AskTell(CUBE, 20)
    for each in (optimizer, untroubled):
        each.tell(each.ask(), 1.0)
    expected = list(events)
    network, other = optimizer._optimizer, {"a": 0.1, "b": 0.1}
    call = {"other": lambda: optimizer.tell(other, 1.0), "expect": lambda: optimizer.expect(other)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "asked", lambda *_: signal.raise_signal(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            call[at]()
    assert events == expected
    assert (optimizer.pending, optimizer.history) == (untroubled.pending, untroubled.history)
    assert played(optimizer, bowl, 3) == played(untroubled, bowl, 3)


def test_a_classical_optimiser_that_is_interrupted_goes_on_from_what_took_place():
    """The library has been told of the first value when the second is not there yet."""
    optimizer, untroubled = AskTell(CUBE, 20, "tpe"), AskTell(CUBE, 20, "tpe")
    for each in (optimizer, untroubled):
        for n, x in enumerate(each.ask(3)):
            each.tell(x, float(n))
    original, calls = of_optuna.TPESampler.sample_relative, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(of_optuna.TPESampler, "sample_relative", interrupted)
        with pytest.raises(KeyboardInterrupt):
            optimizer.ask()
    assert optimizer.pending == []
    assert played(optimizer, bowl, 12) == played(untroubled, bowl, 12)


@pytest.mark.parametrize("restored", [True, False])
def test_what_took_place_is_made_again_only_where_something_was_undone(restored, monkeypatch):
    """It takes as long as the library took for it, which may be minutes."""
    optimizer, proposed = AskTell(CUBE, 20, "tpe"), []
    played(optimizer, bowl, 6)
    propose = of_optuna.TPESampler.sample_relative
    monkeypatch.setattr(
        of_optuna.TPESampler,
        "sample_relative",
        lambda *arguments: proposed.append(arguments) or propose(*arguments),
    )
    if restored:
        optimizer = AskTell.from_state_dict(optimizer.state_dict())
        assert len(proposed) == 6
        proposed.clear()
    optimizer.ask()
    assert len(proposed) == 1


@pytest.mark.parametrize("name", ["random", "universal"])
def test_no_interruption_keeps_other_threads_out(name):
    """By real signals, at moments spread over an ask and a tell."""

    def interrupt(*_):
        raise KeyboardInterrupt

    optimizer, before = AskTell(CUBE, 40, name), signal.signal(signal.SIGALRM, interrupt)
    try:
        for delay in np.geomspace(1e-6, 2e-3, 400):
            with suppress(KeyboardInterrupt):
                signal.setitimer(signal.ITIMER_REAL, delay)
                optimizer.ask()
                optimizer.tell(optimizer.pending[0], 1.0)
                signal.setitimer(signal.ITIMER_REAL, 0)
            signal.setitimer(signal.ITIMER_REAL, 0)
            with ThreadPoolExecutor(1) as pool:
                assert pool.submit(optimizer._lock.acquire, timeout=0.0).result()
                pool.submit(optimizer._lock.release).result()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        torch.set_grad_enabled(True)  # whose own context may have been interrupted


def test_a_library_that_draws_from_elsewhere_survives_a_journal_that_cannot_be_written():
    """NGOpt, of that budget; a tell touches no library."""
    full = [False]

    def journal(event):
        if full[0]:
            raise OSError("no space left on device")

    optimizer = AskTell({f"x{n}": (0.0, 1.0) for n in range(5)}, 300, "ngopt", journal=journal)
    played(optimizer, lambda x: sum(x.values()), 8)
    x = optimizer.ask()
    full[0] = True
    with pytest.raises(OSError, match="no space"):
        optimizer.tell(x, 1.0)
    full[0] = False
    optimizer.tell(x, 1.0)
    assert len(played(optimizer, lambda x: sum(x.values()), 8)) == 8
    with pytest.raises(SavedOptimizerError, match="its library draws from generators of its own"):
        AskTell.from_state_dict(optimizer.state_dict())
