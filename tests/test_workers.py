"""The best value against simulated time: against loops, and speed-ups known in closed form."""

import numpy as np
import pytest
from frames import frame, run

from evaluation.metrics import curves
from evaluation.workers import best_by_time, speed_ups

FIVE = '{"noise": 0.1, "workers": 5}'
ALONE = '{"noise": 0.1}'


def played(agent, arguments, rng, seeds, budget=12):
    """Runs whose evaluations end in another order than they are asked in."""
    workers = 5 if "workers" in arguments else 1
    return [
        run(
            agent,
            "A",
            seed,
            rng.integers(0, 50, size=budget) / 4.0,
            arguments=arguments,
            finished=(np.arange(budget) // workers) + rng.exponential(size=budget),
        )
        for seed in seeds
    ]


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    runs = played("a", FIVE, rng, range(4)) + played("a", ALONE, rng, range(3))
    runs += played("b", FIVE, rng, range(1, 4)) + played("b", ALONE, rng, range(2, 6))
    runs += played("alone", ALONE, rng, range(2)) + played("c", FIVE, rng, [7])
    # On none of the functions that it has played with workers.
    runs += played("c", ALONE, rng, [9])
    # Fails: it does not count.
    runs.append(run("c", "A", 8, [-9.0], budget=12, arguments=FIVE))
    return frame(*runs)


def values_at(rows, time):
    """The best of each run by a time, one evaluation at a time; None where there is none."""
    best = dict.fromkeys(rows["seed"])
    for row in rows.to_dict("records"):
        if row["finished"] <= time:
            old = best[row["seed"]]
            best[row["seed"]] = row["y"] if old is None else min(old, row["y"])
    return list(best.values())


def test_best_by_time_against_a_loop(rows):
    exactly = rows["finished"].dropna().sample(3, random_state=0).tolist()
    times = [25.0, 0.1, 0.5, 2.0, 4.0, 0.5, *exactly]
    found = best_by_time(rows, times).set_index(["agent", "arguments", "time"])
    complete = rows[~((rows["agent"] == "c") & (rows["seed"] == 8))]
    expected = 0
    for (agent, arguments), own in complete.groupby(["agent", "arguments"]):
        for time in set(times):
            values = values_at(own, time)
            if None in values:
                assert (agent, arguments, time) not in found.index
                continue
            expected += 1
            line = found.loc[(agent, arguments, time)]
            assert line["mean"] == pytest.approx(np.mean(values))
            assert line["n"] == len(values)
            if len(values) > 1:
                error = np.std(values, ddof=1) / np.sqrt(len(values))
                quantile = {2: 12.7062, 3: 4.30265, 4: 3.18245}[len(values)]
                assert line["half_width"] == pytest.approx(quantile * error, rel=1e-5)
    assert len(found) == expected
    assert expected > 20


def test_long_after_the_end_it_is_the_best_of_the_run(rows):
    end = curves(rows).query("t == 12").set_index(["agent", "arguments"])["mean"]
    late = best_by_time(rows, [1e6]).set_index(["agent", "arguments"])["mean"]
    assert late.to_dict() == pytest.approx(end.to_dict())


def test_speed_ups_against_a_loop(rows):
    """On the functions played both ways; time by time, until the mean is low enough."""
    found = speed_ups(rows).set_index("agent")
    assert sorted(found.index) == ["a", "b"]
    for agent, seeds in {"a": [0, 1, 2], "b": [2, 3]}.items():
        own = rows[(rows["agent"] == agent) & rows["seed"].isin(seeds)]
        ways = [own[own["arguments"] == arguments] for arguments in (ALONE, FIVE)]
        target = max(np.mean(values_at(way, 1e6)) for way in ways)
        times = []
        for way in ways:
            for time in sorted(way["finished"]):
                values = values_at(way, time)
                if None not in values and np.mean(values) <= target + 1e-9:
                    times.append(time)
                    break
        line = found.loc[agent]
        assert line["target"] == pytest.approx(target)
        assert (line["sequential"], line["parallel"]) == pytest.approx(tuple(times))
        assert line["speed_up"] == pytest.approx(times[0] / times[1])
        assert (line["workers"], line["n"]) == (5, len(seeds))
        assert line["arguments"] == FIVE


def test_an_agent_that_ignores_answers_is_five_times_as_fast():
    """The same queries, five at a time, of evaluations that take one unit each."""
    rng = np.random.default_rng(0)
    runs = []
    for seed in range(6):
        y = np.sort(rng.random(20))[::-1]  # improves to the end
        runs.append(run("a", "A", seed, y, finished=np.arange(1.0, 21.0)))
        five = np.arange(20) // 5 + 1.0
        runs.append(run("a", "A", seed, y, finished=five, arguments='{"workers": 5}'))
    line = speed_ups(frame(*runs)).iloc[0]
    assert (line["sequential"], line["parallel"], line["speed_up"]) == (20.0, 4.0, 5.0)


def test_a_target_of_ones_own():
    """The first at the mean of the sequential runs' ends, which the parallel ones miss.

    Improvements added up in the order in which the runs make them end 2e-16 above this mean.
    """
    ends = [2.5, 0.8, 0.4, 0.9, 1.3]
    runs = [run("a", "A", seed, [3.0, y]) for seed, y in enumerate(ends)]
    runs += [
        run("a", "A", seed, [3.0, 1.25], arguments='{"workers": 2}', finished=[1.0, 1.5])
        for seed in range(5)
    ]
    rows = frame(*runs)
    missed = speed_ups(rows, target=float(np.mean(ends))).iloc[0]
    assert (missed["sequential"], missed["parallel"]) == (2.0, np.inf)
    assert np.isnan(missed["speed_up"])
    both = speed_ups(rows).iloc[0]
    assert (both["target"], both["sequential"], both["parallel"]) == (1.25, 2.0, 1.5)
    first = speed_ups(rows, target=3.0).iloc[0]
    assert (first["sequential"], first["parallel"], first["speed_up"]) == (1.0, 1.0, 1.0)


def test_without_workers_there_is_nothing_to_compare(rows):
    assert speed_ups(rows[rows["arguments"] == ALONE]).empty
    assert speed_ups(rows[rows["arguments"] == FIVE]).empty
    assert list(speed_ups(rows[:0]).columns) == list(speed_ups(rows).columns)
