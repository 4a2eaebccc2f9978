"""Ranks and tests of them: against Demšar's worked example, tables, scikit-posthocs and loops."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from frames import frame, run, study
from scipy import stats

from evaluation.metrics import areas, normalised_regret
from evaluation.ranking import critical_difference, ranks
from evaluation.selection import TASK, final

# Demšar 2006, Table 6: AUC of variants of C4.5 on 14 data sets. Its ranks, since the AUC that are
# printed alike on "voting" are not.
DEMSAR = pd.DataFrame(
    [
        (4, 3, 2, 1),
        (1, 2, 3, 4),
        (4, 1, 2, 3),
        (4, 1, 3, 2),
        (4, 2, 3, 1),
        (1, 2.5, 4, 2.5),
        (3, 2, 4, 1),
        (2.5, 2.5, 4, 1),
        (4, 3, 2, 1),
        (2.5, 2.5, 2.5, 2.5),
        (4, 2.5, 1, 2.5),
        (3, 2, 4, 1),
        (4, 1, 2, 3),
        (3, 1, 4, 2),
    ],
    columns=["C4.5", "C4.5+m", "C4.5+cf", "C4.5+m+cf"],
)


def made_up(blocks, agents, seed=0):
    """Scores with ties."""
    values = np.random.default_rng(seed).integers(0, 6, size=(blocks, agents))
    return pd.DataFrame(values, columns=[f"agent-{i}" for i in range(agents)])


@pytest.mark.parametrize("horizon", [None, 3, 1])
def test_ranks_against_a_loop(horizon):
    results = final(study(), horizon)
    found = ranks(results)
    bests = {}
    for row in results.to_dict("records"):
        function = tuple(row[key] for key in [*TASK, "seed"])
        bests.setdefault(function, {})[row["agent"]] = row["best"]
    by_task = {}
    for function, best in bests.items():
        if {"good", "frail"} <= set(best):
            own = stats.rankdata([best["good"], best["frail"]])
            by_task.setdefault(function[:3], []).append(own)
            assert found.by_function.loc[function, ["good", "frail"]].tolist() == own.tolist()
    assert len(found.by_function) == sum(map(len, by_task.values()))
    means = np.array([np.mean(own, axis=0) for own in by_task.values()])
    average = means.mean(0)
    assert found.average.to_dict() == pytest.approx({"good": average[0], "frail": average[1]})
    assert found.average.is_monotonic_increasing
    assert sorted(found.by_task["good"]) == pytest.approx(sorted(means[:, 0]))
    assert list(found.left_out) == ["late"]
    # There are ties among them, or the test would not see how these are ranked.
    assert (found.by_function == 1.5).any(axis=None)


def test_tasks_weigh_the_same_however_many_functions_they_have():
    runs = [run("a", "A", seed, [0.0]) for seed in range(9)] + [run("a", "B", 0, [1.0])]
    runs += [run("b", "A", seed, [1.0]) for seed in range(9)] + [run("b", "B", 0, [0.0])]
    assert ranks(final(frame(*runs))).average.to_dict() == {"a": 1.5, "b": 1.5}


def test_ranks_by_another_figure_and_of_a_single_function():
    early, late = run("early", "A", 0, [0.1, 0.1]), run("late", "A", 0, [1.0, 0.0])
    evaluations = normalised_regret(frame(early, late))
    assert ranks(final(evaluations)).average.to_dict() == {"late": 1.0, "early": 2.0}
    assert ranks(areas(evaluations), "area").average.to_dict() == {"early": 1.0, "late": 2.0}


def test_ranks_need_a_figure_that_is_known():
    with pytest.raises(ValueError, match="'regret' of .* on B .* is NaN: choose a column"):
        ranks(final(study()), "regret")


def test_demsars_worked_example():
    """Average ranks and Friedman's statistic of section 3.2.3, and what follows in 3.2.4."""
    found = critical_difference(DEMSAR)
    published = {"C4.5": 3.143, "C4.5+m": 2.000, "C4.5+cf": 2.893, "C4.5+m+cf": 1.964}
    assert found.ranks.to_dict() == pytest.approx(published, abs=5e-4)
    assert found.blocks == 14
    # His statistic, 9.28, has no correction for ties, which divides by this.
    ties = 1 - sum((3 * (2**3 - 2), 4**3 - 4)) / (14 * (4**3 - 4))
    assert stats.chi2.isf(found.friedman_p, 3) * ties == pytest.approx(9.28, abs=5e-3)
    # Printed as 1.25 and 1.12 for a level of 0.10.
    assert found.difference == pytest.approx(2.569 * np.sqrt(4 * 5 / (6 * 14)), abs=5e-4)
    assert round(found.difference, 2) == 1.25
    # At 0.10, the two groups of his Figure 1a.
    at_ten = critical_difference(DEMSAR, level=0.1)
    assert round(at_ten.difference, 2) == 1.12
    assert found.groups == [("C4.5+m+cf", "C4.5+m", "C4.5+cf", "C4.5")]
    assert at_ten.groups == [("C4.5+m+cf", "C4.5+m", "C4.5+cf"), ("C4.5+cf", "C4.5")]


@pytest.mark.parametrize(
    ("level", "values"),
    [
        (0.05, (1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164)),
        (0.10, (1.645, 2.052, 2.291, 2.459, 2.589, 2.693, 2.780, 2.855, 2.920)),
    ],
)
def test_the_critical_values_that_demsar_prints(level, values):
    """Table 5a, for 2 to 10 classifiers."""
    for agents, value in enumerate(values, start=2):
        difference = critical_difference(made_up(5, agents), level).difference
        assert difference / np.sqrt(agents * (agents + 1) / 30) == pytest.approx(value, abs=1.1e-3)


@pytest.mark.parametrize(("blocks", "agents"), [(1, 3), (5, 4), (40, 7), (9, 2)])
def test_nemenyi_against_scikit_posthocs(blocks, agents):
    posthocs = pytest.importorskip("scikit_posthocs")
    scores = made_up(blocks, agents)
    expected = posthocs.posthoc_nemenyi_friedman(scores)
    found = critical_difference(scores).p_values.loc[expected.index, expected.columns]
    np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize("seed", range(8))
def test_groups_are_the_largest_sets_that_cannot_be_told_apart(seed):
    """Against all subsets of agents, whose worst pair has a p-value above the level."""
    shift = np.random.default_rng(seed).normal(size=6, scale=2.0)
    scores = made_up(25, 6, seed) + shift
    found = critical_difference(scores)
    alike = [
        set(agents)
        for size in range(2, 7)
        for agents in combinations(scores.columns, size)
        if all(found.p_values.loc[pair] > 0.05 for pair in combinations(agents, 2))
    ]
    largest = [agents for agents in alike if not any(agents < other for other in alike)]
    assert sorted(map(sorted, found.groups)) == sorted(map(sorted, largest))
    for group in found.groups:
        assert found.ranks[list(group)].is_monotonic_increasing


def test_blocks_are_ranked_anew():
    """Ranks averaged within tasks are as far apart as whole ranks, once ranked within them."""
    by_task = pd.DataFrame({"a": [1.4] * 6, "b": [1.6] * 6, "c": [3.0] * 6})
    found = critical_difference(by_task)
    assert found.ranks.to_dict() == {"a": 1.0, "b": 2.0, "c": 3.0}
    assert found.friedman_p == pytest.approx(stats.chi2.sf(12.0, 2))


def test_two_agents_are_compared_by_signs():
    """12 wins, 3 losses, 5 ties: McNemar's statistic, (12 - 3)² / 15."""
    scores = pd.DataFrame({"a": [0] * 12 + [1] * 3 + [0] * 5, "b": [1] * 12 + [0] * 8})
    found = critical_difference(scores)
    assert found.friedman_p == pytest.approx(2 * stats.norm.sf(9 / np.sqrt(15)))
    assert found.p_values.loc["a", "b"] == pytest.approx(2 * stats.norm.sf(9 / np.sqrt(20)))


def test_ties_alone_tell_nothing_apart():
    scores = pd.DataFrame(np.ones((4, 3)), columns=["a", "b", "c"])
    found = critical_difference(scores)
    assert found.friedman_p == 1.0
    assert found.groups == [("a", "b", "c")]
    assert (found.p_values == 1.0).all(axis=None)


@pytest.mark.parametrize("scores", [{"a": [1.0]}, {"a": [], "b": []}, {"a": [1.0], "b": [np.nan]}])
def test_what_cannot_be_tested(scores):
    with pytest.raises(ValueError, match="needs at least 2 agents, 1 block and no NaN"):
        critical_difference(pd.DataFrame(scores))
