"""The page of a benchmark's results: right numbers, and harmless text."""

import re

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from report_results import (
    AGENTS,
    BUDGET,
    ERROR,
    KNOWN,
    RECORD,
    SCRIPT,
    SEEDS,
    SLOW,
    UNKNOWN,
    WORKERS,
    Page,
    failed,
    made_up,
    plots_of,
    run,
)
from scipy import stats

from evaluation.report import write_report
from evaluation.style import styles


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(1)
    other = failed(run("tpe", KNOWN, SEEDS, rng), 12)
    return pd.concat([made_up((*AGENTS, SLOW)), other], ignore_index=True)


@pytest.fixture(scope="module")
def page(frame, tmp_path_factory):
    return write_report(frame, [RECORD], tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def parsed(page):
    return Page(page)


@pytest.mark.parametrize(("number", "task"), list(enumerate([KNOWN, UNKNOWN, WORKERS])))
def test_milestones_are_those_of_plain_pandas(frame, parsed, number, task):
    table = parsed.table("Best value after t evaluations", number)
    own = frame[(frame["task"] == task[0]) & (frame["arguments"] == task[1])]
    own = own[own["error"].isna()]
    assert set(table) == {*AGENTS, SLOW}
    for agent, row in table.items():
        runs = own[own["agent"] == agent]
        for t in (10, 25, 30):
            values = runs[runs["t"] == t]["best"]
            low, high = stats.t.interval(
                0.95, len(values) - 1, loc=values.mean(), scale=stats.sem(values)
            )
            mean, half = map(float, row[f"t = {t}"].split(" ± "))
            decimals = len(row[f"t = {t}"].split(" ± ")[1].split(".")[1])
            assert abs(mean - values.mean()) <= 0.5 * 10.0**-decimals + 1e-12
            assert abs(half - (high - low) / 2) <= 0.5 * 10.0**-decimals + 1e-12
        assert int(row["n"]) == (runs["t"] == BUDGET).sum()
        assert float(row["ms/proposal"]) == pytest.approx(1e3 * runs["seconds"].mean(), rel=5e-3)


def test_the_best_of_those_with_most_functions_is_bold(frame, parsed):
    own = frame[(frame["task"] == KNOWN[0]) & frame["error"].isna()]
    # One optimiser has too few functions.
    own = own[own["agent"] != SLOW]
    means = own.groupby(["t", "agent"])["best"].mean().unstack()
    expected = {(means.loc[t].idxmin(), f"t = {t}") for t in (10, 25, 30)}
    assert parsed.bold("Best value after t evaluations") == expected


def test_curves_are_those_of_plain_pandas(frame, page):
    (figure,) = [
        plot for name, plot in plots_of(page).items() if name.startswith("plot-BBO-Branin")
    ]
    assert figure["layout"]["yaxis"]["type"] == "log"
    lines = {
        trace["legendgroup"]: trace for trace in figure["data"] if trace.get("mode") == "lines"
    }
    assert set(lines) == {*AGENTS, SLOW}
    own = frame[(frame["task"] == KNOWN[0]) & frame["error"].isna()]
    for agent, line in lines.items():
        expected = own[own["agent"] == agent].groupby("t")["regret"].mean()
        np.testing.assert_allclose(line["y"], expected, rtol=1e-4)
        assert line["x"] == expected.index.tolist()


def test_ranks_and_regrets_over_all_tasks_are_those_of_plain_pandas(frame, parsed):
    # The slow one has played too few functions to be among the others.
    own = frame[frame["agent"].isin(AGENTS) & (frame["seed"] < SEEDS)].copy()
    lowest = frame.groupby(["task", "arguments", "seed"])["y"].min().rename("lowest")
    own = own.join(lowest, on=["task", "arguments", "seed"])
    least = (own["best"] - own["regret"]).fillna(own["lowest"])
    own["normalised"] = (own["best"] - least) / (own["reference"] - least)
    ends = own[own["t"] == BUDGET].copy()
    function = ["task", "arguments", "seed"]
    ends["rank"] = ends.groupby(function)["best"].rank()
    by_task = ends.groupby(["agent", "task", "arguments"])[["rank", "normalised"]].mean()
    expected = by_task.groupby("agent").mean()
    table = parsed.table("Over all tasks")
    assert set(table) == set(AGENTS)
    for agent, row in table.items():
        assert float(row["average rank"]) == pytest.approx(expected["rank"][agent], rel=5e-3)
        assert float(row["normalised regret"]) == pytest.approx(
            expected["normalised"][agent], rel=5e-3
        )
    assert list(table) == list(expected.sort_values("rank").index)
    assert set(parsed.table("Over all tasks", 1)) == {*AGENTS, SLOW}
    # Friedman's test of the mean ranks on three tasks.
    wide = by_task["rank"].unstack("agent")
    p = stats.friedmanchisquare(*wide.to_numpy().T).pvalue
    assert f"Friedman's test over 3 tasks: p = {p:.3f}" in parsed.text


def test_all_is_told(parsed):
    text = parsed.text
    for agent in (*AGENTS, SLOW):
        assert agent in text
    for words in ("BBO-Branin-2d-v0 (perturbed)", "workers = 2", RECORD["command"], "<b>fast</b>"):
        assert words in text
    assert "5 optimisers" in text
    assert "3 tasks" in text
    assert "2 to 7 functions per task" in text
    assert "One run failed." in text
    assert "own $x$ & co has the best average rank" in text
    assert parsed.table("Runs that ended")["tpe"] == {
        "optimiser": "tpe",
        "task": "BBO-Branin-2d-v0 (perturbed)",
        "runs": "1",
        "functions": str(SEEDS),
        "error": ERROR,
    }
    assert parsed.table("Left out")["smac"]["reason"] == "smac is <not> installed"


def test_speed_ups_are_those_of_a_plain_count(frame, parsed):
    # Means after each evaluation; two workers end two evaluations at each unit of time.
    for agent, row in parsed.table("Simulated time until").items():
        own = frame[frame["agent"] == agent]
        alone, both = (
            own[(own["task"] == task[0]) & (own["arguments"] == task[1])]
            .groupby("t")["best"]
            .mean()
            .to_numpy()
            for task in (UNKNOWN, WORKERS)
        )
        target = max(alone[-1], both[-1]) + 1e-9
        sequential = 1 + np.argmax(alone <= target)
        parallel = 1 + np.argmax(both[1::2] <= target)
        assert float(row["one worker"]) == sequential
        assert float(row["these workers"]) == parallel
        assert float(row["speed-up"]) == pytest.approx(sequential / parallel, rel=5e-3)


def test_nothing_comes_from_elsewhere(parsed):
    for tag, attributes in parsed.elements:
        assert "src" not in attributes
        if tag != "a":
            assert not re.match("(https?:)?//", attributes.get("href") or "")
    page_style = [a for tag, a in parsed.elements if tag == "link"]
    assert page_style == [{"rel": "icon", "href": "data:,"}]


def test_names_and_errors_are_harmless(page, parsed):
    text = page.read_text(encoding="utf-8")
    assert SCRIPT not in text
    assert "<img src=x" not in text
    # The data, the library and the page's own script, and no other.
    assert [tag for tag, _ in parsed.elements].count("script") == 3
    handlers = {name for _, attributes in parsed.elements for name in attributes}
    assert not {name for name in handlers if name.startswith("on")}


def test_headings_are_in_order_and_names_unique(parsed):
    levels = [int(tag[1]) for tag, _ in parsed.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))
    ids = [a["id"] for _, a in parsed.elements if "id" in a]
    assert len(set(ids)) == len(ids)
    links = {a["href"][1:] for tag, a in parsed.elements if tag == "a" and a["href"][0] == "#"}
    assert links <= set(ids)
    assert all(table["caption"] for table in parsed.tables)
    for _, attributes in parsed.elements:
        if attributes.get("role") == "img":
            assert attributes["aria-label"]


def test_figures_are_what_plotly_takes(page):
    plots = plots_of(page)
    # Three curves, the times and two intervals, twice; a curve per task, and one against time.
    assert len(plots) == 2 * 6 + 3 + 1
    for plot in plots.values():
        go.Figure(plot)  # raises where there is no such property


def test_files_are_pictures(page):
    names = {path.name for path in (page.parent / "figures").iterdir()}
    assert {path.removesuffix(".svg") for path in names if path.endswith(".svg")} == {
        "overall",
        "overall-2",
        "critical-difference",
        "critical-difference-2",
        "BBO-Branin-2d-v0-perturbed",
        "BBO-Repellers-6d-v0",
        "BBO-Repellers-6d-v0-workers-2",
    }
    for path in (page.parent / "figures").iterdir():
        start = b"\x89PNG" if path.suffix == ".png" else b"<?xml"
        assert path.read_bytes().startswith(start)
        assert SCRIPT.encode() not in path.read_bytes()


def test_an_agent_has_the_same_colour_everywhere(page):
    looks = styles([*AGENTS, SLOW])
    for plot in plots_of(page).values():
        for trace in plot["data"]:
            look = trace.get("line") or trace.get("marker") or {"color": trace.get("fillcolor")}
            assert look["color"][:7] == looks[trace["legendgroup"]].colour


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (made_up(tasks=[KNOWN]), "Nemenyi's test over 6 functions"),
        (made_up(tasks=[UNKNOWN]), "Nemenyi's test over 6 functions"),
        (made_up(["random"], [KNOWN, UNKNOWN]), "nothing to rank"),
        (made_up(["random"], [KNOWN], seeds=1), "nothing to rank"),
        (made_up(tasks=[KNOWN, UNKNOWN], seeds=1), "2 tasks"),
    ],
    ids=["one task", "unknown minimum", "one agent", "one run", "one seed"],
)
def test_small_benchmarks(frame, words, tmp_path):
    page = write_report(frame, [], tmp_path)
    text = Page(page).text
    assert words in text
    assert "nan" not in re.findall(r"\w+", text)
    assert ("Overall" in text) == (frame[["task", "arguments"]].drop_duplicates().shape[0] > 1)
    assert len(plots_of(page)) >= 1


def test_a_benchmark_in_which_all_failed(tmp_path):
    rng = np.random.default_rng(0)
    page = write_report(failed(run("tpe", KNOWN, 0, rng), 1), [RECORD], tmp_path)
    assert ERROR in Page(page).text


def test_tasks_that_no_agent_shares(tmp_path):
    frame = pd.concat([made_up(["random"], [KNOWN]), made_up(["tpe"], [UNKNOWN])])
    assert "No optimiser has played every task" in Page(write_report(frame, [], tmp_path)).text


def test_versions_of_an_agent_are_told_apart(tmp_path):
    frame = pd.concat([made_up(["tpe"], [KNOWN]), made_up(["tpe"], [KNOWN]).assign(version="2")])
    table = Page(write_report(frame, [], tmp_path)).table("Best value")
    assert set(table) == {"tpe (1)", "tpe (2)"}


def test_a_task_that_cannot_be_made_goes_by_its_id(tmp_path):
    frame = made_up(tasks=[("Plugin-v0", '{"depth": 3}')])
    assert 'Plugin-v0 {"depth": 3}' in Page(write_report(frame, [], tmp_path)).text


def test_no_evaluations(tmp_path):
    with pytest.raises(ValueError, match="run bbo benchmark first"):
        write_report(made_up()[:0], [], tmp_path)
