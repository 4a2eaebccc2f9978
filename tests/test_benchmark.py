"""The benchmark: common functions, true values, failures kept, numbers that can be recomputed."""

import io
import json
import re

import numpy as np
import pandas as pd
import pytest
import torch
from rich.console import Console
from scipy import stats

from agents import make_agent
from bbo_envs import UnknownNameError, make_problem
from bbo_envs.suites import TaskSpec
from evaluation import benchmark as module
from evaluation import run as run_module
from evaluation.benchmark import benchmark
from evaluation.cli import main
from evaluation.metrics import curves, mean_and_interval, milliseconds_per_proposal
from evaluation.run import Unit, run_unit
from evaluation.store import Store, read

GP = TaskSpec("BBO-GP-2d-v0", {"sampler": "fourier", "features": 64})
BRANIN = TaskSpec("BBO-Branin-2d-v0", {"perturb": True})


def printed():
    """A console as wide as a plain terminal."""
    return Console(file=io.StringIO(), width=80)


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    folder, console = tmp_path_factory.mktemp("results"), printed()
    frame = benchmark(
        ["random", "sobol", "gp-ei-known"],
        [GP, BRANIN],
        budget=10,
        seeds=3,
        slow_seeds=2,
        jobs=2,
        folder=folder,
        console=console,
    )
    return frame, folder, console.file.getvalue()


def test_every_evaluation_is_in_the_file(result):
    frame, folder, text = result
    # random and sobol on both tasks, GP-EI on the one with a known kernel.
    assert len(frame) == 10 * (2 * 2 * 3 + 2)
    stored = pd.read_parquet(folder / "evaluations.parquet")
    pd.testing.assert_frame_equal(stored, frame)
    assert not list(folder.glob("parts*"))
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    unwrapped = text.replace("\n", "")
    assert str(folder / "evaluations.parquet") in unwrapped
    assert str(folder / "curves.png") in unwrapped


def test_agents_that_do_not_fit_are_left_out_with_a_line(result):
    shown = " ".join(result[2].split())
    assert "gp-ei-known is left out on BBO-Branin-2d-v0: agent 'gp-ei-known' needs" in shown


def test_stored_values_are_the_functions_own(result):
    """Recomputed from the stored queries: the same seed is the same function for all agents."""
    frame, _, _ = result
    for (task, arguments, seed), rows in frame.groupby(["task", "arguments", "seed"]):
        problem = make_problem(task, **json.loads(arguments))
        generator = torch.Generator().manual_seed(2**31 + seed)
        state, _ = problem.reset(1, generator)
        for _, row in rows.iterrows():
            x = torch.tensor(np.array([row["x"]]))
            value = problem.functions.evaluate(state.function, x)[0].item()
            assert row["value"] == pytest.approx(value, rel=1e-12)
        for _, own in rows.groupby("agent"):
            assert own["t"].tolist() == list(range(1, 11))
            np.testing.assert_allclose(own["best"], np.minimum.accumulate(own["value"]))
            if task == BRANIN.id:
                np.testing.assert_allclose(own["regret"], own["best"] - 0.39788735772973816)
            else:
                assert own["regret"].isna().all()


def test_the_table_shows_what_the_file_says(result):
    frame, _, text = result
    own = frame[(frame["task"] == GP.id) & (frame["agent"] == "sobol") & (frame["t"] == 10)]
    mean = own["best"].mean()
    low, high = stats.t.interval(0.95, 2, mean, stats.sem(own["best"]))
    line = next(line for line in text.splitlines() if line.startswith("  sobol"))
    cells = [float(cell) for cell in re.findall(r"-?\d+\.\d+", line)]
    assert cells[:2] == pytest.approx([mean, (high - low) / 2], abs=0.006)


def test_intervals_against_scipy():
    values = pd.Series(np.random.default_rng(0).normal(size=17))
    mean, half_width = mean_and_interval(values)
    low, high = stats.t.interval(0.95, 16, values.mean(), stats.sem(values))
    assert (mean - half_width, mean + half_width) == pytest.approx((low, high))


def test_curves_and_times_against_plain_loops(result):
    frame, _, _ = result
    summary = curves(frame)
    for _, line in summary.iterrows():
        chosen = frame[
            (frame["task"] == line["task"])
            & (frame["agent"] == line["agent"])
            & (frame["t"] == line["t"])
        ]
        mean, half_width = mean_and_interval(chosen["best"])
        assert line["mean"] == pytest.approx(mean)
        assert line["half_width"] == pytest.approx(half_width)
        assert line["n"] == len(chosen)
    times = milliseconds_per_proposal(frame)
    random = frame[(frame["agent"] == "random") & (frame["task"] == GP.id)]
    assert times[GP.id, "random"] == pytest.approx(1e3 * random["seconds"].mean())
    assert times[GP.id, "random"] < times[GP.id, "gp-ei-known"]


def test_a_unit_that_fails_keeps_its_rows_and_ends_no_other(tmp_path, monkeypatch):
    class Breaks:
        def __init__(self, agent):
            self.agent, self.left = agent, 4

        def init(self, *arguments):
            return self.agent.init(*arguments)

        def step(self, state, observation):
            self.left -= 1
            if not self.left:
                return torch.full((1, 2), float("nan")), state
            return self.agent.step(state, observation)

    def make(name, problem):
        agent = make_agent("random", problem)
        return Breaks(agent) if name == "sobol" else agent

    monkeypatch.setattr(run_module, "make_agent", make)
    console = printed()
    frame = benchmark(
        ["sobol", "random"], [GP], budget=6, seeds=2, jobs=1, folder=tmp_path, console=console
    )
    failed = frame[frame["agent"] == "sobol"]
    assert failed["t"].tolist() == [1, 2, 3, 4] * 2
    assert failed["error"].notna().tolist() == [False, False, False, True] * 2
    assert failed["error"].iloc[3].startswith("QueryError: query [nan, nan]")
    assert len(frame[frame["agent"] == "random"]) == 12
    assert "sobol on BBO-GP-2d-v0 failed: QueryError" in console.file.getvalue()


def test_an_interrupted_run_keeps_what_was_made(tmp_path, monkeypatch):
    def units_then_interrupt(units, jobs):
        yield run_unit(units[0])
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "run_units", units_then_interrupt)
    with pytest.raises(KeyboardInterrupt):
        benchmark(["random"], [GP], budget=5, seeds=4, folder=tmp_path, console=printed())
    assert len(read(tmp_path / "evaluations.parquet")) == 5


def test_parts_of_a_killed_process_can_be_read(tmp_path):
    store = Store(tmp_path)
    store.append(run_unit(Unit("random", GP, 0, 5)))
    store.append(run_unit(Unit("random", GP, 1, 5)))
    killed = list(store.parts.iterdir())
    assert sum(len(read(part)) for part in killed) == 10
    Store(tmp_path).finish()  # a later run with nothing to show neither deletes nor replaces
    assert all(part.exists() for part in killed)
    store.finish()
    Store(tmp_path).finish()
    assert len(read(tmp_path / "evaluations.parquet")) == 10


def test_noise_is_not_in_what_is_stored():
    quiet, noisy = (
        run_unit(Unit("sobol", TaskSpec(GP.id, {**GP.arguments, "noise": noise}), 0, 6))
        for noise in (0.0, 1.0)
    )
    assert [row["value"] for row in quiet] == [row["value"] for row in noisy]


def test_with_workers_queries_are_asked_while_others_run():
    rows = run_unit(Unit("random", TaskSpec(GP.id, {**GP.arguments, "workers": 3}), 0, 6))
    clocks = [row["clock"] for row in rows]
    assert clocks[:3] == [0.0] * 3
    assert clocks == sorted(clocks)
    assert clocks[3] > 0.0


def test_unknown_agents_and_tasks_suggest_the_nearest(tmp_path):
    with pytest.raises(UnknownNameError, match="Did you mean 'random'"):
        benchmark(["randon"], [GP], folder=tmp_path, console=printed())
    with pytest.raises(UnknownNameError, match="Did you mean 'BBO-GP-2d-v0'"):
        benchmark(["random"], [TaskSpec("BBO-GP-2d-v")], folder=tmp_path, console=printed())


def test_the_command(tmp_path, capsys):
    main(
        [
            "benchmark",
            "--agents",
            "random",
            "lstm-oi",
            "--budget",
            "4",
            "--seeds",
            "2",
            "--jobs",
            "1",
        ]
        + ["--folder", str(tmp_path)]
    )
    shown = capsys.readouterr().out
    assert "BBO-GP-6d-v0 (RBF kernel, ℓ = 0.3)" in shown
    assert "BBO-Branin-2d-v0 (perturbed)" in shown
    assert len(read(tmp_path / "evaluations.parquet")) == 2 * 2 * 2 * 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("benchmark --agents randon", "bbo: Unknown agent 'randon'. Did you mean 'random'?"),
        ("train --preset lstm-oi-6", "bbo: Unknown preset 'lstm-oi-6'. Did you mean"),
        ("score lstm-oi-8d", "bbo: Unknown trained network 'lstm-oi-8d'. Did you mean"),
        ("train --task BBO-GP-6-v0 --folder {tmp}", "bbo: Unknown task 'BBO-GP-6-v0'."),
    ],
)
def test_mistakes_on_the_command_line_give_one_line(arguments, message, capsys, tmp_path):
    with pytest.raises(SystemExit) as stop:
        main(arguments.format(tmp=tmp_path).split())
    assert stop.value.code == 2
    shown = capsys.readouterr().err.strip()
    assert shown.startswith(message)
    assert "\n" not in shown


def test_mistakes_do_not_touch_earlier_results(tmp_path):
    benchmark(["random"], [GP], budget=3, seeds=2, jobs=1, folder=tmp_path, console=printed())
    before = (tmp_path / "evaluations.parquet").read_bytes()
    for mistake in ({"jobs": -1}, {"seeds": 0}, {"budget": 0}):
        with pytest.raises(ValueError, match="must be an integer of at least 1"):
            benchmark(["random"], [GP], folder=tmp_path, console=printed(), **mistake)
    spec = TaskSpec("BBO-GP-1d-v0")
    with pytest.raises(ValueError, match="none of the agents cmaes can be used"):
        benchmark(["cmaes"], [spec], folder=tmp_path, console=printed())
    assert (tmp_path / "evaluations.parquet").read_bytes() == before


def test_variants_of_one_task_are_kept_apart(tmp_path):
    tasks = [BRANIN, TaskSpec(BRANIN.id, {"perturb": True, "rescaled": True})]
    console = printed()
    benchmark(["random"], tasks, budget=4, seeds=2, jobs=1, folder=tmp_path, console=console)
    text = console.file.getvalue()
    assert "BBO-Branin-2d-v0 (perturbed):" in text
    assert "BBO-Branin-2d-v0 (perturbed, rescaled):" in text
    lines = [line for line in text.splitlines() if line.startswith("  random")]
    assert len(lines) == len(set(lines)) == 2


def test_the_command_without_arguments_shows_its_usage(capsys):
    with pytest.raises(SystemExit):
        main([])
    shown = capsys.readouterr()
    assert "benchmark" in shown.out + shown.err
