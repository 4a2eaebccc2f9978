"""Figures of runs: against plain loops over rows, SciPy, and closed forms."""

import numpy as np
import pandas as pd
import pytest
from frames import NAN, frame, run, study
from scipy import stats

from evaluation.metrics import (
    areas,
    curves,
    milliseconds_per_proposal,
    normalised_regret,
    seconds_per_run,
    summary,
)
from evaluation.selection import final, leading_to, shared, up_to


def rows_of(evaluations):
    """The rows without errors, as dictionaries."""
    return [row for row in evaluations.to_dict("records") if not isinstance(row["error"], str)]


def collected(rows, keys, column):
    """Values by key, one row at a time."""
    found = {}
    for row in rows:
        found.setdefault(tuple(row[key] for key in keys), []).append(row[column])
    return found


def assert_means(result, expected, keys):
    """Means and intervals against SciPy's, for each group of values and no other."""
    assert len(result) == len(expected)
    for line in result.to_dict("records"):
        values = expected[tuple(line[key] for key in keys)]
        assert line["n"] == len(values)
        assert line["mean"] == pytest.approx(np.mean(values))
        if len(values) > 1 and np.std(values) > 0:
            low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
            assert line["half_width"] == pytest.approx((high - low) / 2)
        else:
            assert np.isnan(line["half_width"]) == (len(values) == 1)


def test_curves_keep_variants_and_budgets_apart():
    evaluations = study()
    keys = ["task", "arguments", "budget", "agent", "t"]
    result = curves(evaluations)
    assert_means(result, collected(rows_of(evaluations), keys, "best"), keys)
    assert list(result.columns) == [*keys, "mean", "half_width", "n"]
    # Where the minimum is not known there is nothing to average.
    regret = curves(evaluations, "regret").set_index("task")
    assert (regret.loc["B", "n"] == 0).all()
    assert regret.loc["B", "mean"].isna().all()
    assert (regret.loc["A", "n"] > 0).all()


def test_normalised_regret_against_a_loop():
    """A known minimum; else the lowest of all agents, all budgets, and runs that failed."""
    evaluations = normalised_regret(study())
    lowest = collected(rows_of(evaluations), ["task", "arguments", "seed"], "y")
    for row in rows_of(evaluations):
        function = row["task"], row["arguments"], row["seed"]
        minimum = min(lowest[function]) if row["task"] == "B" else -2.0
        expected = (row["best"] - minimum) / (row["reference"] - minimum)
        assert row["normalised_regret"] == pytest.approx(expected, abs=1e-15)
    errors = evaluations["error"].notna()
    assert errors.sum() == 2
    assert (evaluations["normalised_regret"].isna() == errors).all()


def test_the_best_known_is_that_of_any_agent_and_budget():
    rows = frame(
        run("a", "A", 0, [4.0, 3.0], reference=5.0),
        run("b", "A", 0, [1.0], budget=2, reference=5.0),
        run("a", "A", 0, [9.0, 9.0, -3.0], reference=5.0),
        run("a", "A", 1, [-7.0], reference=5.0),
    )
    own = normalised_regret(rows).query("agent == 'a' and budget == 2").sort_values("t")
    assert own["normalised_regret"].tolist() == [7.0 / 8.0, 6.0 / 8.0]


def test_no_scale_is_zero_at_the_minimum_and_one_elsewhere():
    """A constant function, and one whose minimum is above what is ordinary for its task."""
    rows = frame(
        run("a", "A", 0, [2.0, 2.0], minimum=2.0, reference=2.0),
        run("a", "A", 1, [4.0, 3.0], minimum=3.0, reference=2.0),
        run("a", "B", 0, [2.0, 2.0], reference=2.0),
    )
    found = normalised_regret(rows).sort_values(["task", "seed", "t"])["normalised_regret"]
    assert found.tolist() == [0.0, 0.0, 1.0, 0.0, 0.0, 0.0]


def test_normalised_regret_is_never_negative_and_needs_a_reference():
    below = run("a", "A", 0, [0.5 - 1e-12], minimum=0.5)
    assert normalised_regret(below)["normalised_regret"].tolist() == [0.0]
    with pytest.raises(ValueError, match=r"no reference value for A \{\}: store the mean"):
        normalised_regret(run("a", "A", 0, [0.5], reference=NAN))


def test_a_tiny_regret_is_not_lost_beside_a_large_minimum():
    rows = run("a", "A", 0, [1.0], reference=1e9).assign(best=1e9 - 1.0, regret=1e-12)
    scale = 1e9 - (1e9 - 1.0)
    assert normalised_regret(rows)["normalised_regret"].tolist() == [1e-12 / scale]


def test_a_horizon_takes_the_run_that_was_told_it():
    """A network's run of that budget; of a rival the one long run; none of a run that failed."""
    rows = frame(
        run("network", "A", 0, [5.0, 4.0]),
        run("network", "A", 0, [6.0, 3.0, 2.0, 1.0]),
        run("rival", "A", 0, [7.0, 6.5, 5.5, 4.5]),
        run("frail", "A", 0, [7.5], budget=4),
    )

    def bests(horizon):
        return final(rows, horizon).set_index("agent")["best"].to_dict()

    assert bests(2) == {"network": 4.0, "rival": 6.5}
    assert bests(1) == {"network": 5.0, "rival": 7.0, "frail": 7.5}
    assert bests(3) == {"network": 2.0, "rival": 5.5}
    own = final(rows).set_index(["agent", "horizon"])["best"].to_dict()
    assert own == {("network", 2): 4.0, ("network", 4): 1.0, ("rival", 4): 4.5}
    path = up_to(rows, 3).sort_values(["agent", "t"])
    assert path["best"].tolist() == [6.0, 3.0, 2.0, 7.0, 6.5, 5.5]
    assert (path["horizon"] == 3).all()
    with pytest.raises(ValueError, match="horizon must be an integer of at least 1"):
        final(rows, 0)


def test_two_versions_of_an_agent_cannot_be_told_apart():
    one = run("a", "A", 0, [1.0])
    with pytest.raises(ValueError, match="'a' has two runs of budget 1 on function 0 of A"):
        final(frame(one, one.assign(version="2")))


def test_shared_functions():
    results = final(study())
    rows, left_out = shared(results)
    assert left_out == {"late": [("C", "{}", 4), ("C", "{}", 7)]}
    played = collected(rows.to_dict("records"), ["task", "arguments", "horizon", "seed"], "agent")
    assert all(sorted(agents) == ["frail", "good"] for agents in played.values())
    number = {key[:2]: 0 for key in played}
    for key in played:
        number[key[:2]] += 1
    # On A, frail misses function 2 and fails on function 1 of the variant without noise.
    assert number == {("A", "{}"): 2, ("A", '{"noise": 0.1}'): 4, ("B", "{}"): 6, ("C", "{}"): 6}
    assert sorted(leading_to(study(), rows)["agent"].unique()) == ["frail", "good"]


def test_nothing_shared_is_said():
    results = final(frame(run("a", "A", 0, [1.0]), run("b", "B", 0, [1.0])))
    with pytest.raises(ValueError, match="no agent has played all of these 2 tasks"):
        shared(results)
    results = final(frame(run("a", "A", 0, [1.0]), run("b", "A", 1, [1.0])))
    message = r"no function of A \{\} has been played for 1 evaluations by all of a, b"
    with pytest.raises(ValueError, match=message):
        shared(results)


@pytest.mark.parametrize("horizon", [None, 3])
def test_areas_against_a_loop(horizon):
    evaluations = normalised_regret(study())
    keys = ["task", "arguments", "agent", "seed", "budget"]
    expected = {}
    for (*key, budget), values in sorted(
        collected(rows_of(evaluations.sort_values("t")), keys, "normalised_regret").items()
    ):
        at = horizon or budget
        if len(values) >= at:
            # The smallest budget that reaches a horizon, all budgets without one.
            expected.setdefault((*key, at), np.mean(values[:at]))
    found = areas(evaluations, horizon)
    index = ["task", "arguments", "agent", "seed", "horizon"]
    assert found.set_index(index)["area"].to_dict() == pytest.approx(expected)
    keys = ["task", "arguments", "horizon", "agent"]
    by_setting = collected(found.to_dict("records"), keys, "area")
    assert_means(summary(found, "area"), by_setting, keys)


def test_the_area_of_one_evaluation_and_of_a_single_run():
    one = normalised_regret(run("a", "A", 0, [0.25], minimum=0.0))
    assert areas(one)["area"].tolist() == [0.25]
    line = summary(areas(one), "area").iloc[0]
    assert (line["mean"], line["n"]) == (0.25, 1)
    assert np.isnan(line["half_width"])
    with pytest.raises(ValueError, match="no column 'normalised_regret'"):
        areas(run("a", "A", 0, [0.25]))


def test_times_are_of_calls_for_one_function():
    evaluations = study()
    keys = ["task", "arguments", "budget", "agent"]
    rows = rows_of(evaluations)
    latencies = collected(rows, keys, "seconds")
    milliseconds = milliseconds_per_proposal(evaluations)
    assert set(milliseconds.index) == set(latencies)
    for key, values in latencies.items():
        expected = NAN if key[0] == "C" else 1e3 * np.mean(values)
        assert milliseconds[key] == pytest.approx(expected, nan_ok=True)
    whole = {}
    for (*key, _), values in collected(rows, [*keys, "seed"], "seconds").items():
        if len(values) == key[2]:
            whole.setdefault(tuple(key), []).append(sum(values))
    seconds = seconds_per_run(evaluations)
    assert set(seconds.index) == set(whole)
    for key, values in whole.items():
        expected = NAN if key[0] == "C" else np.mean(values)
        assert seconds[key] == pytest.approx(expected, nan_ok=True)


def test_a_run_partly_played_with_others_has_no_time_of_its_own():
    rows = run("a", "A", 0, [1.0, 2.0], seconds=[0.25, 8.0], batch=[1, 64])
    assert milliseconds_per_proposal(rows).tolist() == [250.0]
    assert seconds_per_run(rows).isna().all()


def test_arguments_are_left_as_they_were():
    """Pure functions: the frame passed is not changed."""
    evaluations = study()
    before = evaluations.copy()
    areas(normalised_regret(evaluations))
    pd.testing.assert_frame_equal(evaluations, before)
