"""The store: whole units or nothing, resumable, shared by processes, readable by others."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time

import duckdb
import pandas as pd
import pytest

from bbo_envs.errors import StoreError
from evaluation.store import SCHEMA, UNIT, WITHOUT_QUERIES, Store, results


def unit(agent="a", seed=0, budget=5, error=None):
    """The rows of one unit; with an error, one of evaluations and one of that."""
    common = {
        "agent": agent,
        "version": "1",
        "task": "T",
        "arguments": "{}",
        "budget": budget,
        "seed": seed,
    }
    numbers = {"asked": 0.0, "finished": 1.0, "reference": 0.0, "seconds": 0.5, "batch": 1}
    rows = [
        common | numbers | {"t": t, "x": [0.5, t / 10], "y": -t, "best": -t, "regret": None}
        for t in range(1, budget + 1)
    ]
    return [*rows[:1], common | {"t": 2, "error": error}] if error else rows


def key(agent="a", seed=0, budget=5):
    return agent, "1", "T", "{}", budget, seed


def append_many(folder, agent, count):
    store = Store(folder)
    for seed in range(count):
        store.append(unit(agent, seed))
        if seed % 10 == 9:
            store.compact()


def test_what_is_appended_is_read(tmp_path):
    store = Store(tmp_path)
    store.append(unit("b") + unit("a", seed=1))
    store.append(unit("a", seed=0))
    frame = Store(tmp_path).read()
    assert list(frame.columns) == SCHEMA.names
    expected = unit("a", 0) + unit("a", 1) + unit("b")
    assert frame["y"].tolist() == [row["y"] for row in expected]
    assert [x.tolist() for x in frame["x"]] == [row["x"] for row in expected]
    assert frame["agent"].tolist() == [row["agent"] for row in expected]
    assert list(store.read(WITHOUT_QUERIES).columns) == [n for n in SCHEMA.names if n != "x"]
    assert store.units() == {key("b"): True, key("a", 1): True, key("a", 0): True}


def test_others_can_read_it(tmp_path):
    store = Store(tmp_path)
    for seed in range(3):
        store.append(unit(seed=seed))
    found = duckdb.sql(
        f"SELECT seed, min(y), count(*) FROM '{tmp_path}/evaluations/*.parquet' "
        "GROUP BY seed ORDER BY seed"
    ).fetchall()
    assert found == [(0, -5.0, 5), (1, -5.0, 5), (2, -5.0, 5)]
    assert len(pd.read_parquet(tmp_path / "evaluations")) == 15


def test_a_unit_counts_once_and_success_before_failure(tmp_path):
    store = Store(tmp_path)
    store.append(unit(seed=0, error="RuntimeError: no"))
    store.append(unit(seed=1, error="RuntimeError: no"))
    assert store.units() == {key(seed=0): False, key(seed=1): False}
    for _ in range(2):
        store.append(unit(seed=0))
    for _ in range(2):  # before it is compacted, and after
        frame = store.read()
        assert frame.groupby("seed").size().to_dict() == {0: 5, 1: 2}
        assert frame[frame["seed"] == 0]["error"].isna().all()
        assert store.units() == {key(seed=0): True, key(seed=1): False}
        store.compact()
    assert len(list((tmp_path / "evaluations").iterdir())) == 1


def test_compacting_changes_nothing_that_is_read(tmp_path):
    store = Store(tmp_path)
    for seed in range(5):
        store.append(unit(seed=seed))
    before = store.read()
    store.compact()
    pd.testing.assert_frame_equal(store.read(), before)


def test_processes_that_write_and_compact_at_once_lose_nothing(tmp_path):
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=append_many, args=(tmp_path, agent, 40)) for agent in "abc"]
    for writer in writers:
        writer.start()
    sizes = []
    while any(writer.is_alive() for writer in writers):
        sizes.append(len(Store(tmp_path).read()))
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    frame = Store(tmp_path).read()
    assert frame.groupby(UNIT).size().tolist() == [5] * 120
    assert sizes == sorted(sizes)  # nor is anything missing meanwhile


def test_a_killed_process_leaves_whole_units(tmp_path):
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[2])\n"
        "from test_store import append_many\n"
        "append_many(Path(sys.argv[1]), 'a', 10**6)"
    )
    here = os.path.dirname(__file__)
    process = subprocess.Popen([sys.executable, "-c", code, tmp_path, here])
    try:
        deadline = time.monotonic() + 60
        while len(list(tmp_path.glob("evaluations/*.parquet"))) < 5:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    store = Store(tmp_path)
    sizes = store.read().groupby(UNIT).size()
    assert len(sizes) >= 5
    assert set(sizes) == {5}
    store.append(unit("b"))
    assert store.units()[key("b")]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"format.json": json.dumps({"format": 3})}, "have format 3, expected 2"),
        ({"evaluations.parquet": ""}, "have format 1, expected 2"),
        ({"format.json": "{"}, "format.json is damaged"),
        ({"format.json": "[]"}, "format.json is damaged"),
    ],
)
def test_folders_of_another_version_are_refused_and_left_as_they_are(tmp_path, files, message):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(StoreError, match=message):
        Store(tmp_path)
    with pytest.raises(StoreError, match=message):
        results(tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == files


def test_results_must_be_there(tmp_path):
    with pytest.raises(StoreError, match="there are no results in"):
        results(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
    Store(tmp_path)
    assert len(results(tmp_path).read()) == 0


def test_records_are_kept_in_the_order_of_runs(tmp_path):
    store = Store(tmp_path)
    store.record("late", {"started": "2026-02-01", "finished": None})
    store.record("early", {"started": "2026-01-01"})
    store.record("late", {"started": "2026-02-01", "finished": "2026-02-02"})
    assert [facts["started"] for facts in store.records()] == ["2026-01-01", "2026-02-01"]
    assert store.records()[-1]["finished"] == "2026-02-02"
