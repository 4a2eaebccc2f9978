"""The experiments of the paper: who plays what, and that page and pictures show what was stored."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from consoles import printed

from agents import CLASSICAL
from bbo_envs.suites import suite
from evaluation import docs
from evaluation.entrants import enter
from evaluation.paper import experiments
from evaluation.paper import figures as paper_figures
from evaluation.paper import page as paper_page
from evaluation.store import Store

TINY = experiments.Size(networks=2, rivals=2, fitted=1, slow=1, slowest=1, more=False)


def fast_stand_ins(agents):
    """Those that take long are played by Sobol points under their names."""
    slow = (*experiments.GP, *experiments.SLOW)
    return enter({name: "sobol" if name in slow else name for name in agents})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setattr(experiments, "BUDGET", 6)
    patch.setattr(experiments, "LONGER_BUDGET", 8)
    patch.setattr(experiments, "HOUR", TINY)
    patch.setattr(experiments, "enter", fast_stand_ins)
    folder = tmp_path_factory.mktemp("paper")
    experiments.paper(folder, jobs=1, console=printed())
    yield folder
    patch.undo()


def test_the_plan_has_as_many_functions_as_the_paper_asks_for(monkeypatch):
    monkeypatch.setattr(experiments, "enter", fast_stand_ins)
    counts = {}
    for unit in experiments.experiments(experiments.HOUR).units:
        key = (unit.entrant.name, unit.task.id, unit.task.arguments_json, unit.budget)
        counts[key] = counts.get(key, 0) + 1
    for task in experiments.SAMPLES:
        usual = (*task_key(task), experiments.BUDGET)
        on = {key[0]: count for key, count in counts.items() if key[1:] == usual}
        assert all(on[name] >= 1000 for name in experiments.NETWORKS)
        assert all(on[name] >= 30 for name in ("random", "tpe", "gp-ei", "gp-ei-known"))
        assert on["smac"] == experiments.HOUR.slow
    played = {key[1:3] for key in counts}
    assert played >= {task_key(task) for task in suite("paper")}


def task_key(task):
    return task.id, task.arguments_json


def test_the_page_says_what_was_stored(folder):
    store = Store(folder)
    frame = store.read()
    page = paper_page.page(frame, store.records(), docs.PAPER.parent)
    for task in suite("paper"):
        assert page.count(task.id) >= 2
    own = frame[(frame["task"] == "BBO-Repellers-6d-v0") & (frame["t"] == 6)]
    section = page.partition("## Figure 6")[2].partition("## Figure 7")[0]
    for agent, runs in own.groupby("agent"):
        line = next(line for line in section.splitlines() if line.startswith(f"| {agent} |"))
        shown = float(re.findall(r"-?\d+\.\d+", line)[0])
        assert shown == pytest.approx(runs["best"].mean(), abs=0.006)


def test_where_networks_lose_is_computed(folder):
    """The verdict on a task against the differences by hand."""
    frame = Store(folder).read()
    text = paper_page.losses(frame)
    line = next(line for line in text.splitlines() if line.startswith("| BBO-Ackley-20d-v0"))
    own = frame[(frame["task"] == "BBO-Ackley-20d-v0") & (frame["t"] == 6)]
    values = {
        agent: runs.sort_values("seed")["best"].tolist() for agent, runs in own.groupby("agent")
    }
    # GP-EI played the first function only.
    means = {agent: sum(best) / 2 for agent, best in values.items() if len(best) == 2}
    assert set(values) - set(means) == {"gp-ei"}
    learned = min((agent for agent in means if agent not in CLASSICAL), key=means.get)
    rival = min((agent for agent in means if agent in CLASSICAL), key=means.get)
    first, second = np.subtract(values[rival], values[learned])
    # Student's interval of two numbers.
    half = 12.706 * abs(first - second) / 2
    apart = (first + second) / 2
    verdict = "level" if abs(apart) <= half else ("ahead" if apart > 0 else "**behind**")
    cells = [cell.strip() for cell in line.split("|")]
    assert cells[-2] == verdict
    assert float(cells[5].split("±")[0]) == pytest.approx(apart, abs=0.006)
    assert f"`{learned}`" in cells[3]
    assert f"`{rival}`" in cells[4]


def test_only_functions_that_all_have_played_are_compared(folder):
    frame = Store(folder).read()
    more = frame[(frame["agent"] == "lstm-oi") & (frame["seed"] == 0)].assign(seed=7, best=-99.0)
    pd.testing.assert_frame_equal(
        experiments.comparable(pd.concat([frame, more], ignore_index=True)),
        experiments.comparable(frame),
    )
    assert len(experiments.comparable(frame)) == len(frame)
    assert paper_page.losses(pd.concat([frame, more])) == paper_page.losses(frame)


def test_the_pictures_are_drawn(folder, tmp_path):
    pictures = paper_figures.draw(Store(folder).read(), tmp_path)
    names = {*paper_figures.PANELS, "figure-4-trajectories", "figure-6-trajectory"}
    assert {path.name for path in pictures} == {n + s for n in names for s in (".png", ".svg")}
    for path in pictures:
        start = b"\x89PNG" if path.suffix == ".png" else b"<?xml"
        assert path.read_bytes().startswith(start)


def test_a_panel_shows_the_means(folder):
    frame = Store(folder).read()
    panel = paper_figures.Panel(experiments.REPELLERS, ("random", "tpe"), budget=6)
    figure = paper_figures.draw_panels(frame, [panel])
    lines = {line.get_color(): line for line in figure.axes[0].lines}
    assert len(lines) == 2
    own = frame[(frame["task"] == experiments.REPELLERS.id) & (frame["agent"] == "tpe")]
    means = own.groupby("t")["best"].mean()
    shown = lines[paper_figures.LOOKS["tpe"].colour]
    np.testing.assert_allclose(shown.get_xdata(), means.index)
    np.testing.assert_allclose(shown.get_ydata(), means)


def test_what_the_repository_keeps_makes_the_same_page(folder, tmp_path, monkeypatch):
    """Though queries and most single values are left out."""
    store = Store(folder)
    frame = store.read()
    monkeypatch.setattr(docs, "PAPER", tmp_path / "docs" / "paper" / "results.parquet")
    monkeypatch.setattr(docs, "PAPER_RECORDS", docs.PAPER.with_suffix(".json"))
    monkeypatch.setattr(docs, "ROOT", tmp_path)
    docs.keep(frame, docs.PAPER)
    docs.PAPER_RECORDS.write_text(json.dumps(store.records()))
    whole = paper_page.page(frame, store.records(), docs.PAPER.parent.relative_to(tmp_path))
    assert docs.rendered_results() == whole
