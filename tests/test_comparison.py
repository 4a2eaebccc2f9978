"""Networks beside their rivals: who plays what, on which functions, and what is shown of it."""

import numpy as np
import pandas as pd
import pytest
from consoles import printed
from scipy import stats

from agents import card, trained_names
from bbo_envs.suites import FOURIER, TaskSpec
from evaluation import cards, comparison
from evaluation.benchmark import benchmark
from evaluation.comparison import Setting, compare, markdown, ranks

GP = TaskSpec("BBO-GP-2d-v0", FOURIER)
BRANIN = TaskSpec("BBO-Branin-2d-v0", {"perturb": True})
SMALL = (
    Setting(GP, 12, ("lstm-oi", "random", "sobol")),
    Setting(BRANIN, 12, ("lstm-oi", "random", "sobol")),
)


@pytest.fixture(scope="module")
def frame(tmp_path_factory):
    return compare(SMALL, 5, tmp_path_factory.mktemp("comparison"), jobs=1)


def units(settings, functions):
    whole = comparison.experiments(settings, functions)
    return [(unit.entrant.name, unit.budget, unit.seed) for unit in whole.units]


def test_networks_are_told_each_budget_and_rivals_the_longest():
    settings = (Setting(GP, 12, ("lstm-oi", "random")), Setting(GP, 10, ("lstm-oi", "random")))
    expected = [("lstm-oi", 10), ("lstm-oi", 12), ("random", 12), ("random", 10)]
    assert units(settings, 2) == [(*run, seed) for run in expected for seed in range(2)]


def test_a_slow_rival_plays_the_first_functions_only():
    found = units([Setting(GP, 10, ("smac", "random"))], 64)
    assert found == [("smac", 10, seed) for seed in range(6)] + [
        ("random", 10, seed) for seed in range(64)
    ]


def test_figures_are_those_of_the_benchmark(frame, tmp_path):
    for budget, agents in ((10, ["lstm-oi"]), (12, ["lstm-oi", "random", "sobol"])):
        expected = benchmark(
            agents, [GP], budget=budget, seeds=5, batch=5, folder=tmp_path, console=printed()
        )
        expected = expected[expected["t"].isin([10, 12])][frame.columns]
        own = frame[(frame["task"] == GP.id) & (frame["budget"] == budget)]
        columns = ["agent", "seed", "t"]
        pd.testing.assert_frame_equal(
            own.sort_values(columns, ignore_index=True),
            expected.sort_values(columns, ignore_index=True),
        )


def test_a_comparison_goes_on_where_it_was_stopped(tmp_path):
    """What has been played is not played again."""
    one, two = Setting(GP, 10, ("random",)), Setting(GP, 10, ("random", "sobol"))
    console = printed()
    first, both, again = (
        compare([setting], 3, tmp_path, jobs=1, console=console) for setting in (one, two, one)
    )
    text = console.file.getvalue()
    assert "3 of 6 runs are there already; 3 to go." in text
    assert len(first) == len(again) == 3
    pd.testing.assert_frame_equal(both[both["agent"] == "random"], first)
    assert set(both["agent"]) == {"random", "sobol"}


def test_the_table_shows_each_figure_from_its_own_run(frame):
    text = markdown(frame, SMALL[:1])
    row = next(line for line in text.splitlines() if "`lstm-oi`" in line)
    for t in (10, 12):
        own = frame[
            (frame["agent"] == "lstm-oi")
            & (frame["task"] == GP.id)
            & (frame["budget"] == t)
            & (frame["t"] == t)
        ]["best"]
        assert f"{own.mean():.2f} ±" in row
    assert "`random`" in text


def test_ranks_against_scipy(frame):
    """The average over both tasks of the mean rank over five functions, and its interval."""
    expected = {}
    for t in (10, 12):
        means, variances = [], []
        for setting in SMALL:
            own = frame[(frame["task"] == setting.task.id) & (frame["t"] == t)]
            columns = [
                own[(own["agent"] == agent) & (own["budget"] == (t if agent == "lstm-oi" else 12))]
                .sort_values("seed")["best"]
                .to_numpy()
                for agent in setting.agents
            ]
            ranked = stats.rankdata(np.stack(columns, 1), axis=1)
            means.append(ranked.mean(0))
            variances.append(stats.sem(ranked, axis=0) ** 2)
        half = 1.959964 * np.sqrt(np.sum(variances, 0)) / 2
        for agent, mean, width in zip(SMALL[0].agents, np.mean(means, 0), half, strict=True):
            expected[agent, t] = f"{mean:.2f} ± {width:.2f}"
    lines = ranks(frame, SMALL).splitlines()[4:]
    found = {line.split("`")[1]: line.split(" | ") for line in lines}
    for (agent, t), cell in expected.items():
        assert found[agent][1 if t == 10 else 2] == cell
    last = [float(cells[2].split()[0]) for cells in found.values()]
    assert last == sorted(last)


def test_an_optimiser_that_has_played_fewer_functions_is_ranked_on_these(frame):
    """And in a table of its own: the others are ranked on all functions too."""
    fewer = frame[(frame["agent"] != "sobol") | (frame["seed"] < 2)]
    common, others = frame[frame["seed"] < 2], frame[frame["agent"] != "sobol"]
    assert ranks(fewer, SMALL) == ranks(others, SMALL) + "\n" + ranks(common, SMALL)
    assert "5 functions" in ranks(others, SMALL)
    assert "2 functions" in ranks(common, SMALL)


def test_an_optimiser_that_cannot_play_is_left_out_with_a_line(tmp_path):
    task, console = TaskSpec("BBO-GP-v0", {"dim": 4}), printed()
    settings = [Setting(task, 25, ("lstm-oi", "random"))]
    frame = compare(settings, 2, tmp_path, jobs=1, console=console)
    assert set(frame["agent"]) == {"random"}
    text = " ".join(console.file.getvalue().split())
    assert text.count("no 'lstm-oi' network for d = 4") == 1


def test_every_network_stands_in_the_table_with_its_score():
    rows = {line.split("`")[1]: line for line in cards.markdown().splitlines()[2:]}
    assert set(rows) == set(trained_names())
    for name, row in rows.items():
        score = card(name)["score"]
        mean = score.get("best_at_own_budget", score["best_at"])["50"]["mean"]
        at_10, at_25, at_50, *_ = (cell.partition("±")[0] for cell in row.split("|")[5:])
        assert float(at_50) == pytest.approx(mean, abs=0.005)
        assert float(at_10) > float(at_25) > float(at_50)
