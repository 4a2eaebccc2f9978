"""The choice of a network, against the cards and against cards made up."""

import pytest
from consoles import printed

from agents import AskTell, card, choice, minimize, recommend
from evaluation.cli import main


def cube(dim):
    return {f"x{i}": (0.0, 1.0) for i in range(dim)}


def entry(dim, best, workers=1):
    """A score on a card: the same best value after 10 and after 100 evaluations."""
    at = {t: {"mean": best, "ci95": 0.05} for t in ("10", "100")}
    return {
        "task": "BBO-GP-v0",
        "arguments": {"dim": dim} | ({"workers": workers} if workers > 1 else {}),
        "best_at_own_budget": at,
    }


def facts(scores, milliseconds, *, kind="universal", dims=None):
    return {
        "architecture": {"kind": kind},
        "training": {"config": {"mixture": {"dim": dims} if dims else {}}},
        "score": scores[0],
        "scores": scores[1:],
        "ms_per_proposal": milliseconds,
    }


@pytest.fixture
def cards(monkeypatch):
    made = {}
    monkeypatch.setattr(choice, "trained_names", lambda: sorted(made))
    monkeypatch.setattr(choice, "card", lambda name: made[name])
    monkeypatch.setattr(choice, "is_sb3", lambda name: made[name]["architecture"]["kind"] == "sb3")
    return made


def test_the_best_is_taken_unless_a_faster_one_is_level(cards):
    cards["slow"] = facts([entry(6, -3.0)], 9.0, dims=[6])
    cards["near"] = facts([entry(6, -2.96)], 1.0, dims=[6])
    cards["fast"] = facts([entry(6, -2.94)], 0.1, dims=[6])
    found = recommend(cube(6))
    assert found.agent == "near"  # within 0.05 of the best, and "fast" is not
    assert [candidate.name for candidate in found.candidates] == ["slow", "near", "fast"]
    assert "near (-2.96 ± 0.05, 1 ms a proposal) is level with the best, slow" in found.reason
    cards["near"] = facts([entry(6, -2.9)], 1.0, dims=[6])
    assert recommend(cube(6)).agent == "slow"
    assert "slow (-3.00 ± 0.05, 9 ms a proposal) is ahead of all others" in str(recommend(cube(6)))


def test_scores_are_those_nearest_in_dimension_budget_and_workers(cards):
    cards["a"] = facts([entry(6, -3.0), entry(2, -1.0), entry(6, -1.0, workers=5)], 1, dims=[6, 2])
    cards["b"] = facts([entry(6, -2.0), entry(2, -2.0), entry(6, -2.0, workers=5)], 1, dims=[6, 2])
    assert recommend(cube(5)).agent == "a"
    assert recommend(cube(20)).agent == "a"
    assert recommend(cube(3)).agent == "b"  # 2 is nearer by ratio
    assert recommend(cube(1)).agent == "b"
    assert recommend(cube(6), workers=3).agent == "b"
    cards["a"]["score"]["best_at_own_budget"]["10"]["mean"] = -1.0
    assert recommend(cube(6), 20).agent == "b"
    assert recommend(cube(6), 40).agent == "a"
    assert "d = 6, after 10 evaluations by five workers" in recommend(cube(6), 5, 2).reason


def test_networks_for_other_dimensions_functions_and_extras_are_left_out(cards):
    cards["wide"] = facts([entry(6, -1.0), entry(2, -1.0)], 1, dims=[6, 2])
    cards["for-two"] = facts([entry(2, -5.0)], 1)
    cards["sb3"] = facts([entry(6, -5.0)], 1, kind="sb3")
    table = entry(5, -5.0) | {"task": "BBO-HPO-MLP-5d-v0", "arguments": {"dataset": "car"}}
    cards["table"] = facts([table], 1)
    assert [candidate.name for candidate in recommend(cube(6)).candidates] == ["wide"]
    assert [candidate.name for candidate in recommend(cube(2)).candidates] == ["for-two", "wide"]


def test_what_takes_ever_longer_is_left_out_where_the_budget_is_large(cards):
    cards["wide"] = facts([entry(6, -1.0), entry(2, -1.0)], 1, dims=[6, 2])
    cards["slow"] = facts([entry(6, -2.0)], 9, kind="posterior-guided", dims=[6])
    assert recommend(cube(6), 2_000).agent == "slow"
    assert recommend(cube(6), 2_001).agent == "wide"
    assert recommend(cube(6), 10**400).agent == "wide"


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("budget", [5, 60, 1000])
@pytest.mark.parametrize("dim", [1, 2, 5, 6, 7, 30])
def test_what_ships_has_an_answer_for_everyone(dim, budget, workers):
    found = recommend(cube(dim), budget, workers)
    assert found.agent in [candidate.name for candidate in found.candidates]
    assert {"universal", "posterior-guided"} <= {c.name for c in found.candidates}
    AskTell(cube(dim), budget, found.agent).ask()


def test_figures_are_those_of_the_cards():
    found = recommend(cube(6), 100)
    for candidate in found.candidates:
        on_card = card(candidate.name)["score"]["best_at_own_budget"]["100"]
        assert (candidate.best, candidate.half_width) == (on_card["mean"], on_card["ci95"])


def test_the_automatic_agent_is_the_one_recommended():
    space = {"a": (0.0, 1.0), "n": (1, 8), "kind": ["x", "y"]}
    named = recommend(space, 8, 4).agent
    assert AskTell(space, 8, "auto").agent == recommend(space, 8).agent
    assert AskTell(space, 8, "auto", workers=4).agent == named

    def f(x):
        return x["a"] + x["n"]

    with_auto = minimize(f, space, 8, agent="auto", progress=False)
    by_name = minimize(f, space, 8, agent=recommend(space, 8).agent, progress=False)
    assert with_auto.history[-1].x == by_name.history[-1].x
    assert choice.automatic("auto", space, 8, 4) == named
    agent = object()
    assert choice.automatic(agent, space, 8) is agent


@pytest.mark.parametrize(
    ("arguments", "message"), [({"budget": 0}, "budget must be"), ({"workers": 0}, "workers must")]
)
def test_mistakes_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        recommend(cube(2), **arguments)


def test_the_command_tells_why(tmp_path, monkeypatch):
    (tmp_path / "space.json").write_text('{"lr": [1e-5, 0.1, "log"], "layers": [1, 8]}')
    console = printed()
    monkeypatch.setattr("evaluation.cli._console", console)
    main(["recommend", "--space", str(tmp_path / "space.json"), "--budget", "30"])
    text = " ".join(console.file.getvalue().split())
    assert str(recommend({"lr": (1e-5, 1e-1, "log"), "layers": (1, 8)}, 30)) in text
