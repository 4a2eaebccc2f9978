"""Asking and telling: the queries of training, any order, failures, what is saved and restored."""

import json
import math
import sys

import ConfigSpace
import numpy as np
import optuna
import pytest
import torch
from scipy import stats

from agents import AskTell, SavedOptimizerError, load, make_agent
from agents.pfn import PFNAgent
from bbo_envs import Space, UnknownNameError, make_problem
from training.rollout import steps

CUBE = {"a": (0.0, 1.0), "b": (0.0, 1.0)}
SIX = {f"x{i}": (0.0, 1.0) for i in range(6)}
MIXED = {
    "lr": (1e-5, 1e-1, "log"),
    "layers": (1, 8),
    "momentum": (0.0, 0.99),
    "opt": ["adam", "sgd"],
}
NETWORKS = ("universal", "lstm-oi", "dnc-oi", "posterior-guided", "universal-reinforce")


def bowl(x):
    return (x["a"] - 0.3) ** 2 + (x["b"] - 0.8) ** 2


def spread(x):
    return sum((value - 0.1 * n) ** 2 for n, value in enumerate(x.values()))


def mixed(x):
    return abs(math.log10(x["lr"]) + 3) + (x["layers"] - 3) ** 2 + 5 * (x["opt"] == "sgd")


def played(optimizer, f, count):
    """The points that an optimiser asks for, one after the other."""
    asked = []
    for _ in range(count):
        asked.append(optimizer.ask())
        optimizer.tell(asked[-1], f(asked[-1]))
    return asked


def history_of(optimizer):
    """What the network has been shown, behind what wraps it."""
    state = optimizer._state
    while not hasattr(state, "history"):
        state = state.network if hasattr(state, "network") else state.proposer
    return state.history


# --- What networks see.


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("name", ["universal", "lstm-oi", "dnc-oi", "posterior-guided", "tpe"])
def test_queries_are_those_of_the_unroll_for_the_same_observations(name, workers):
    """To the bit, whatever comes back first."""
    problem = make_problem("BBO-GP-2d-v0", sampler="fourier", budget=12, workers=workers)
    start = problem.reset(1, torch.Generator().manual_seed(3))
    generator = torch.Generator().manual_seed(7)
    run = list(steps(make_agent(name, problem), problem, start, generator))
    optimizer = AskTell(CUBE, budget=12, agent=name, seed=7)
    for step in run:
        x, y, o = (part[0] for part in step.observation)
        if o:
            optimizer.tell({"a": x[0].item(), "b": x[1].item()}, y.item())
        assert list(optimizer.ask().values()) == step.x[0].tolist()
    assert len(optimizer.pending) == workers


@pytest.mark.parametrize("name", ["universal", "lstm-oi", "posterior-guided"])
def test_any_scale_of_the_values_leads_to_the_same_points(name):
    first, other = (
        played(AskTell(CUBE, 15, name), lambda x, s=scale: s * bowl(x) + 1e4 * (s > 1), 15)
        for scale in (1.0, 1e3)
    )
    assert [list(x.values()) for x in first] == [
        pytest.approx(list(x.values()), abs=1e-3) for x in other
    ]


@pytest.mark.parametrize("name", ["universal", "lstm-oi", "posterior-guided"])
@pytest.mark.parametrize(
    "f",
    [lambda x: 0.0, lambda x: float(x["a"] > 0.5), lambda x: 1e300 * bowl(x), lambda x: 1e-300],
    ids=["constant", "plateaus", "huge", "tiny"],
)
def test_points_are_points_whatever_the_values(name, f):
    for x in played(AskTell(CUBE, 12, name), f, 15):
        assert all(0.0 <= value <= 1.0 for value in x.values())


@pytest.mark.parametrize("name", ["universal", "lstm-oi", "dnc-oi", "posterior-guided"])
@pytest.mark.parametrize(
    "values",
    [
        [0.5, 0.3, sys.float_info.max],
        [1.7e308, -1.7e308, 0.0],
        [5.0, 5.0 + 1e-12, 1e300, 7.0],
        [0.0, 1e-310, 1.0],
        [0.0, 5e-324, 5e-324, 1e300],
    ],
)
def test_values_of_any_size_are_recorded_and_the_search_goes_on(values, name):
    optimizer = AskTell(CUBE, 12, name)
    for y in [*values, 0.1, 0.2]:
        optimizer.tell(optimizer.ask(), y)
    assert [e.y for e in optimizer.history] == [*values, 0.1, 0.2]
    assert all(0.0 <= value <= 1.0 for x in optimizer.ask(3) for value in x.values())


def test_seeds_and_values_of_other_kinds_of_integers():
    optimizer = AskTell(CUBE, 12, seed=np.int64(3))
    assert optimizer.ask() == AskTell(CUBE, 12, seed=3).ask()
    optimizer.tell(optimizer.pending[0], 10**400)
    assert optimizer.history[0].failed
    json.dumps(optimizer.state_dict())


@pytest.mark.parametrize("name", ["universal", "lstm-oi", "posterior-guided"])
def test_noise_does_not_keep_queries_from_where_values_are_low(name):
    """The mean of the last ten of thirty, without noise, is lower than random search's, p < 0.001.

    Over twenty runs; the noise has a deviation of 0.1, the bowl values up to 1.1.
    """
    random = np.random.default_rng(0)
    last = {}
    for agent in (name, "random"):
        last[agent] = []
        for seed in range(20):
            optimizer = AskTell(CUBE, 30, agent, seed)
            asked = played(optimizer, lambda x: bowl(x) + random.normal(0, 0.1), 30)
            last[agent].append(np.mean([bowl(x) for x in asked[-10:]]))
    assert stats.wilcoxon(last[name], last["random"], alternative="less").pvalue < 1e-3


def test_it_finds_minima_of_mixed_spaces_in_their_own_units():
    optimizer = AskTell(MIXED, budget=60)
    for x in played(optimizer, mixed, 60):
        assert type(x["layers"]) is int
        assert x["opt"] in MIXED["opt"]
    best = optimizer.best
    assert best.x["layers"] == 3
    assert best.x["opt"] == "adam"
    assert mixed(best.x) == best.y < 0.5


# --- Orders.


def test_several_pending_points_are_told_in_any_order():
    optimizer = AskTell(MIXED, budget=30)
    asked = optimizer.ask(4)
    assert optimizer.pending == asked
    assert len({json.dumps(x) for x in asked}) == 4
    for number in (2, 0, 3, 1):
        optimizer.tell(asked[number], mixed(asked[number]))
    assert optimizer.pending == []
    assert [e.x for e in optimizer.history] == [asked[number] for number in (2, 0, 3, 1)]
    assert optimizer.best.y == min(map(mixed, asked))
    assert len(optimizer.ask(2)) == 2


@pytest.mark.parametrize("name", ["universal", "lstm-oi", "posterior-guided"])
def test_what_was_told_in_a_lump_is_all_known(name):
    """The last told alone would leave the incumbent out, which points are proposed around."""
    optimizer = AskTell(CUBE, 40, name)
    asked = optimizer.ask(6)
    values = [-1000.0, *[float(n) for n in range(5)]]
    for x, y in zip(asked, values, strict=True):
        optimizer.tell(x, y)
    optimizer.ask()
    history = history_of(optimizer)
    assert history.returned.item() == 6
    assert history.best_y.item() == -1000.0


@pytest.mark.parametrize("name", [*NETWORKS, "recurrent-ppo"])
def test_the_clock_counts_queries_however_they_are_asked_for(name):
    """Lots of four, told in a lump: after 20 queries, 20 are known to be made, as one by one."""
    optimizer = AskTell(SIX, 24, name)
    for _ in range(5):
        for x in optimizer.ask(4):
            optimizer.tell(x, sum(x.values()))
    assert history_of(optimizer).steps == 20
    optimizer.ask()
    assert history_of(optimizer).steps == 21
    assert history_of(optimizer).returned.item() == 20


def test_a_library_waits_for_no_value_of_what_is_never_asked():
    """A classical optimiser answers each value with a query; in lots, all of them are used."""
    optimizer = AskTell(CUBE, 40, "tpe")
    asked = []
    for _ in range(6):
        lot = optimizer.ask(4)
        asked += lot
        for x in lot:
            optimizer.tell(x, bowl(x))
    optimizer.ask()
    (study,) = optimizer._state
    known = [trial.params for trial in study.study.trials]
    assert len(known) == 4 * 6 + 4
    assert [list(p.values()) for p in known[:4]] == [list(x.values()) for x in asked[:4]]
    assert len(study.pending) == 4
    waiting = [point.tolist() for point, _ in study.pending]
    assert all(list(x.values()) in waiting for x in optimizer.ask(3))


def test_points_that_nobody_asked_for_are_taken_in():
    """What follows is around the best of them."""
    optimizer = AskTell(CUBE, 40)
    for a in np.linspace(0, 1, 6):
        for b in np.linspace(0, 1, 4):
            optimizer.tell({"a": a, "b": b}, bowl({"a": a, "b": b}))
    assert optimizer.best.x == {"a": pytest.approx(0.2), "b": pytest.approx(2 / 3)}
    near = [math.hypot(x["a"] - 0.3, x["b"] - 0.8) for x in played(optimizer, bowl, 8)]
    # Of eight uniform points three are as near with probability 0.015 (a binomial's tail).
    assert sorted(near)[2] < 0.15


def test_a_network_of_ones_own_makes_any_kind_of_run():
    """A prior-data fitted one, of which none ships."""
    network = PFNAgent(width=8, heads=2, layers=1, candidates=16)
    optimizer = AskTell(CUBE, 24, network)
    optimizer.tell({"a": 0.1, "b": 0.7}, 2.0)
    for _ in range(3):
        for x in optimizer.ask(4):
            optimizer.tell(x, bowl(x))
    optimizer.ask()
    memory = optimizer._state.memory
    assert (memory.history.steps, memory.history.returned.item()) == (13, 13)
    assert memory.pending.x.shape[1] == 1


@pytest.mark.parametrize("name", NETWORKS)
def test_what_others_evaluate_of_a_budget_is_as_if_it_had_been_asked_for(name):
    """Told the points of a run that it has not made, it goes on as the one that made them."""
    own, other = (AskTell(SIX, 12, name, seed=1) for _ in "ab")
    for x in played(own, spread, 5):
        other.expect(x)
        other.tell(x, spread(x))
    assert other.ask() == own.ask()


@pytest.mark.parametrize("name", [*NETWORKS, "recurrent-ppo"])
def test_the_clock_stands_still_for_what_nobody_asked_for(name):
    """A budget is for what is evaluated from now on, before the first query and amid others."""
    optimizer = AskTell(SIX, 24, name)
    for n in range(7):
        optimizer.tell(dict.fromkeys(SIX, n / 7), n)
    optimizer.ask()
    x, _ = optimizer.ask(2)
    optimizer.tell(dict.fromkeys(SIX, 0.99), -1.0)
    optimizer.tell(x, 5.0)
    assert history_of(optimizer).steps == 3
    optimizer.ask()
    assert history_of(optimizer).steps == 4
    assert history_of(optimizer).returned.item() == 9
    assert history_of(optimizer).best_y.item() == -1.0
    assert len(optimizer.pending) == 3
    state = optimizer._state
    while not hasattr(state, "history"):
        out = getattr(state, "pending", None)
        assert out is None or out.x.shape[1] == 3
        state = state.network if hasattr(state, "network") else state.proposer


def test_points_are_recorded_as_they_were_told(tmp_path):
    """Not in the precision of the network."""
    x = {"n": 123456789, "x": 0.3, "y": 1e-7}
    optimizer = AskTell({"n": (0, 10**9), "x": (0.0, 1.0), "y": (1e-9, 1.0, "log")}, 10)
    optimizer.tell(x, 1.0)
    optimizer.save(tmp_path / "saved.json")
    for each in (optimizer, AskTell.load(tmp_path / "saved.json")):
        assert each.best.x["n"] == x["n"]
        assert each.best.x == pytest.approx(x, rel=1e-12)
    assert AskTell.load(tmp_path / "saved.json").ask() == optimizer.ask()


def test_points_that_others_evaluate_are_out_until_they_are_told():
    theirs = {"a": 0.1, "b": 0.7}  # in no precision exact
    optimizer = AskTell(CUBE, 12)
    optimizer.expect(theirs)
    assert optimizer.pending == [theirs]
    x = optimizer.ask()
    again = AskTell.from_state_dict(optimizer.state_dict())
    for each in (optimizer, again):
        each.tell(theirs, 1.0)
        assert each.pending == [x]
    again = AskTell.from_state_dict(optimizer.state_dict())
    assert again.pending == [x]
    assert again.ask() == optimizer.ask()
    with pytest.raises(ValueError, match="cannot be told of such points"):
        AskTell(CUBE, 12, "tpe").expect({"a": 0.25, "b": 0.75})


def test_points_told_twice_count_twice():
    optimizer = AskTell(CUBE, 12)
    x = optimizer.ask()
    optimizer.tell(x, 1.0)
    optimizer.tell(x, 1.1)
    assert [e.y for e in optimizer.history] == [1.0, 1.1]
    optimizer.ask()


def test_an_optimiser_without_weights_is_told_what_it_asked_alone():
    optimizer = AskTell(CUBE, 12, "tpe")
    optimizer.tell(optimizer.ask(), 1.0)
    with pytest.raises(ValueError, match="'tpe' cannot be told of such points"):
        optimizer.tell({"a": 0.1, "b": 0.1}, 1.0)
    assert len(optimizer.history) == 1
    optimizer.tell(optimizer.ask(), 0.5)


@pytest.mark.parametrize("name", ["universal", "lstm-oi"])
def test_more_is_asked_for_than_the_budget(name):
    optimizer = AskTell(CUBE, 5, name)
    assert len(played(optimizer, bowl, 12)) == 12


# --- Failures.


@pytest.mark.parametrize("y", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_has_failed(y):
    optimizer = AskTell(CUBE, 12)
    optimizer.tell(optimizer.ask(), 1.0)
    optimizer.tell(optimizer.ask(), y)
    optimizer.tell(optimizer.ask(), failed=True)
    assert [e.failed for e in optimizer.history] == [False, True, True]
    assert optimizer.best.y == 1.0
    optimizer.ask()


def test_a_failure_is_shown_as_the_worst_value_until_then():
    failing, told = AskTell(CUBE, 12, seed=2), AskTell(CUBE, 12, seed=2)
    for optimizer in (failing, told):
        for y in (1.0, 5.0, 2.0):
            optimizer.tell(optimizer.ask(), y)
    failing.tell(failing.ask(), failed=True)
    told.tell(told.ask(), 5.0)
    assert failing.ask() == told.ask()


def test_failures_before_any_success_are_shown_after_it():
    optimizer = AskTell(CUBE, 12, "lstm-oi")
    for _ in range(3):
        optimizer.tell(optimizer.ask(), failed=True)
    with pytest.raises(ValueError, match="none of the 3 evaluations"):
        _ = optimizer.best
    optimizer.tell(optimizer.ask(), -2.0)
    optimizer.ask()
    assert history_of(optimizer).returned.item() == 4
    assert history_of(optimizer).mean.item() == -2.0


def test_the_search_keeps_away_from_where_evaluations_fail():
    """Where half of the space fails, fewer than a quarter of the last 30 queries go there."""
    optimizer = AskTell(CUBE, 60)
    for _ in range(60):
        x = optimizer.ask()
        optimizer.tell(x, bowl(x), failed=x["a"] > 0.5)
    assert sum(e.failed for e in optimizer.history[30:]) < 8


# --- Saved and restored.


@pytest.mark.parametrize("name", ["universal", "lstm-oi", "posterior-guided", "tpe"])
def test_a_restored_optimiser_asks_the_same_points(name, tmp_path):
    optimizer = AskTell(CUBE, 20, name, seed=5)
    played(optimizer, bowl, 4)
    out = optimizer.ask(2)
    optimizer.tell(out[1], failed=True)
    if name != "tpe":
        optimizer.tell({"a": 0.3, "b": 0.7}, 0.01)
    path = tmp_path / "optimizer.json"
    optimizer.save(path)
    again = AskTell.load(path)
    assert again.pending == optimizer.pending == out[:1]
    assert str(again.history) == str(optimizer.history)
    assert played(again, bowl, 5) == played(optimizer, bowl, 5)
    again.tell(out[0], 1.0)
    assert again.pending == []


def test_mixed_spaces_are_restored(tmp_path):
    optimizer = AskTell(MIXED, 20)
    played(optimizer, mixed, 3)
    optimizer.save(tmp_path / "optimizer.json")
    again = AskTell.load(tmp_path / "optimizer.json")
    assert again.space == optimizer.space
    assert again.ask() == optimizer.ask()


def test_another_answer_than_before_changes_nothing_that_was_asked(tmp_path):
    """As after an update that rounds otherwise: it goes on from what had been asked."""
    optimizer = AskTell(CUBE, 20, seed=5)
    optimizer.ask()
    state = optimizer.state_dict()
    state["journal"][0]["ask"] = [0.25, 0.75]
    again = AskTell.from_state_dict(state)
    assert again.pending == [{"a": 0.25, "b": 0.75}]
    again.tell({"a": 0.25, "b": 0.75}, 1.0)
    assert again.history[0].y == 1.0


def _truncated(text):
    return text[: len(text) // 2]


def _changed(text):
    return text.replace('"seed": 0', '"seed": 1')


def _newer(text):
    state = json.loads(text)
    return json.dumps(state | {"format": 2})


@pytest.mark.parametrize("damage", [_truncated, _changed, _newer, lambda _: "[]", lambda _: ""])
def test_a_damaged_file_is_refused(damage, tmp_path):
    optimizer, path = AskTell(CUBE, 20), tmp_path / "optimizer.json"
    played(optimizer, bowl, 2)
    optimizer.save(path)
    path.write_text(damage(path.read_text()))
    with pytest.raises(SavedOptimizerError, match="cannot be read .*use a copy"):
        AskTell.load(path)
    with pytest.raises(SavedOptimizerError, match="cannot be read"):
        AskTell.load(tmp_path / "missing.json")


def test_states_of_another_version_are_refused():
    state = AskTell(CUBE, 20).state_dict()
    with pytest.raises(SavedOptimizerError, match="format 1, got 2"):
        AskTell.from_state_dict(state | {"format": 2})
    with pytest.raises(SavedOptimizerError, match="damaged"):
        AskTell.from_state_dict(state | {"journal": [{"ask": "x"}]})


def test_an_object_cannot_be_saved_but_can_play():
    optimizer = AskTell(CUBE, 12, load("universal"), seed=4)
    assert optimizer.ask() == AskTell(CUBE, 12, "universal", seed=4).ask()
    with pytest.raises(ValueError, match="cannot be saved"):
        optimizer.state_dict()


# --- Spaces, and mistakes.


def test_spaces_of_other_libraries_are_taken():
    space = Space({"lr": (1e-5, 1e-1, "log"), "layers": (1, 8)})
    distributions = {
        "lr": optuna.distributions.FloatDistribution(1e-5, 1e-1, log=True),
        "layers": optuna.distributions.IntDistribution(1, 8),
    }
    configspace = ConfigSpace.ConfigurationSpace(
        {"layers": (1, 8), "lr": ConfigSpace.Float("lr", (1e-5, 1e-1), log=True)}
    )
    assert AskTell(distributions).space == AskTell(space).space == space
    assert set(AskTell(configspace).ask()) == {"lr", "layers"}


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: AskTell(3), ValueError, "a space must be .* got 3"),
        (lambda: AskTell({}), ValueError, "at least one parameter"),
        (lambda: AskTell(CUBE, budget=0), ValueError, "budget must be"),
        (lambda: AskTell(CUBE, agent="universel"), UnknownNameError, "Did you mean 'universal'"),
        (lambda: AskTell(CUBE, agent="lstm-oi-6d"), ValueError, "6 dimensions, not in 2"),
        (lambda: AskTell(CUBE).ask(0), ValueError, "n must be"),
        (lambda: AskTell(CUBE).best, ValueError, "none of the 0 evaluations"),
    ],
)
def test_mistakes_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ({"a": 0.5}, 1.0, "b"),
        ({"a": 0.5, "b": 2.0}, 1.0, "b must be"),
        ({"a": 0.5, "b": 0.5, "c": 0.5}, 1.0, "parameter 'c'"),
        ({"a": 0.5, "b": 0.5}, "high", "y must be a number, got 'high'"),
        ({"a": 0.5, "b": 0.5}, None, "y must be a number, got None; tell.*failed=True"),
    ],
)
def test_bad_input_loses_nothing(x, y, message):
    optimizer, other = AskTell(CUBE, 12), AskTell(CUBE, 12)
    played(optimizer, bowl, 3)
    played(other, bowl, 3)
    with pytest.raises((ValueError, UnknownNameError), match=message):
        optimizer.tell(x, y)
    assert len(optimizer.history) == 3
    assert optimizer.ask() == other.ask()
