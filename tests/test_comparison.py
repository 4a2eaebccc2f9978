"""Networks beside their rivals: who plays what, on which functions, and what is shown of it."""

import pandas as pd
import pytest

from agents import card, make_agent, trained_names
from bbo_envs import make_problem
from bbo_envs.seeds import agent_generator
from bbo_envs.suites import FOURIER
from evaluation import cards, comparison
from evaluation.comparison import Run, Setting, compare, markdown, play, runs
from training.rollout import unroll
from training.score import held_out

SMALL = (Setting(2, 12, ("lstm-oi", "random")), Setting(2, 10, ("random",)))


def test_networks_are_told_each_budget_and_rivals_the_longest():
    found = runs(SMALL, 3)
    assert found == [
        Run("lstm-oi", 2, 10, 3),
        Run("lstm-oi", 2, 12, 3),
        Run("random", 2, 12, 3),
        Run("random", 2, 10, 3),
    ]
    assert len(set(runs(comparison.SETTINGS, 8))) == len(runs(comparison.SETTINGS, 8))


def test_a_run_is_the_unroll_on_the_held_out_functions():
    frame = play(Run("lstm-oi", 2, 12, 3))
    problem = make_problem("BBO-GP-2d-v0", budget=12, **FOURIER)
    agent = make_agent("lstm-oi", problem)
    run = unroll(agent, problem, held_out(problem, range(3)), agent_generator(0))
    for row in frame.itertuples():
        assert row.best == pytest.approx(run.value[row.seed, : row.t].min().item())
    assert frame["t"].tolist() == [10, 12] * 3


def test_a_comparison_goes_on_where_it_was_stopped(tmp_path, monkeypatch):
    first = compare(SMALL[1:], 3, tmp_path, jobs=1)
    both = compare(SMALL, 3, tmp_path, jobs=1)
    pd.testing.assert_frame_equal(both.iloc[: len(first)], first)
    monkeypatch.setattr(comparison, "runs", lambda *_: [Run("random", 2, 12, 3)])
    assert len(compare(SMALL, 3, tmp_path, jobs=1)) == len(both)


def test_the_table_shows_each_figure_from_its_own_run(tmp_path):
    frame = compare(SMALL, 3, tmp_path, jobs=1)
    text = markdown(frame, SMALL[:1])
    row = next(line for line in text.splitlines() if "`lstm-oi`" in line)
    for t in (10, 12):
        own = frame[(frame["agent"] == "lstm-oi") & (frame["budget"] == t) & (frame["t"] == t)][
            "best"
        ]
        assert f"{own.mean():.2f} ±" in row
    assert "`random`" in text


def test_an_optimiser_that_cannot_play_is_left_out_with_a_line(tmp_path, capsys):
    frame = compare([Setting(4, 10, ("lstm-oi", "random"))], 2, tmp_path, jobs=1)
    assert set(frame["agent"]) == {"random"}
    assert "no 'lstm-oi' network for d = 4" in capsys.readouterr().out


def test_every_network_stands_in_the_table_with_its_score():
    rows = {line.split("`")[1]: line for line in cards.markdown().splitlines()[2:]}
    assert set(rows) == set(trained_names())
    for name, row in rows.items():
        score = card(name)["score"]
        mean = score.get("best_at_own_budget", score["best_at"])["50"]["mean"]
        assert f" {mean:.2f} ± " in row
