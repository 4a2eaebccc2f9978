"""The benchmark: common functions, true values, failures kept, numbers that can be recomputed."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import torch
from consoles import printed
from scipy import stats

from agents import CLASSICAL
from bbo_envs import UnknownNameError, make_problem
from bbo_envs.errors import StoreError
from bbo_envs.suites import FOURIER, TaskSpec, suite
from evaluation.benchmark import benchmark
from evaluation.cli import main
from evaluation.entrants import enter
from evaluation.plan import named_tasks, plan
from evaluation.run import Unit, play
from evaluation.store import SCHEMA, UNIT, Store

GP = TaskSpec("BBO-GP-2d-v0", {"sampler": "fourier", "features": 64})
BRANIN = TaskSpec("BBO-Branin-2d-v0", {"perturb": True})


def units(agent, task, seeds, budget):
    (entrant,) = enter([agent])
    return [Unit(entrant, task, seed, budget) for seed in seeds]


def without_times(frame):
    return frame.drop(columns="seconds").reset_index(drop=True)


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
    assert list(frame.columns) == SCHEMA.names
    pd.testing.assert_frame_equal(Store(folder).read(), frame)
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    unwrapped = text.replace("\n", "")
    assert str(folder / "evaluations") in unwrapped
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
            assert row["y"] == pytest.approx(value, rel=1e-12)
        for _, own in rows.groupby("agent"):
            assert own["t"].tolist() == list(range(1, 11))
            np.testing.assert_allclose(own["best"], np.minimum.accumulate(own["y"]))
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


class Fails:
    """Its fourth query is what it was told to ask; only on some functions, if these are given."""

    def __init__(self, query, seeds=None):
        self.query, self.seeds = query, seeds

    def init(self, batch, space, budget, generator):
        hit = self.seeds is None or generator.initial_seed() - 2**30 in self.seeds
        return 0, torch.full((batch,), hit)

    def step(self, state, observation):
        t, hit = state
        x = torch.full(observation.x.shape, 0.1 * t, dtype=torch.float64)
        if t == 3:
            x = torch.where(hit.unsqueeze(1), torch.tensor(self.query, dtype=x.dtype), x)
        return x, (t + 1, hit)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (float("nan"), "QueryError: query [nan, nan]"),
        (1.5, "QueryError: query [1.5, 1.5]"),
        (-0.1, "QueryError: query [-0.1, -0.1]"),
    ],
)
def test_a_unit_that_fails_keeps_its_rows_and_ends_no_other(query, message, tmp_path):
    console = printed()
    agents = {"breaks": Fails(query), "random": "random"}
    frame = benchmark(agents, [GP], budget=6, seeds=2, jobs=1, folder=tmp_path, console=console)
    failed = frame[frame["agent"] == "breaks"]
    assert failed["t"].tolist() == [1, 2, 3, 4] * 2
    assert failed["error"].notna().tolist() == [False, False, False, True] * 2
    assert failed["error"].iloc[3].startswith(message)
    assert len(frame[frame["agent"] == "random"]) == 12
    told = " ".join(console.file.getvalue().split())
    assert told.count(f"breaks on BBO-GP-2d-v0 failed: {message}") == 1
    pd.testing.assert_frame_equal(Store(tmp_path).read(), frame)


def test_failed_units_are_played_again_only_if_asked(tmp_path):
    def play_again(agent, **options):
        options = {"budget": 5, "seeds": 2, "jobs": 1, "console": printed(), **options}
        return benchmark({"own": agent}, [GP], folder=tmp_path, **options)

    agent = Fails(2.0, seeds=[1])
    assert play_again(agent)["error"].notna().sum() == 1
    agent.query = 0.5  # mended, without a new version
    assert play_again(agent)["error"].notna().sum() == 1
    mended = play_again(agent, retry_failed=True)
    assert mended["error"].isna().all()
    assert len(mended) == len(Store(tmp_path).read()) == 10


def test_a_failure_side_by_side_is_that_of_one_function(tmp_path):
    agent = Fails(float("nan"), seeds=[1, 4])
    options = {"budget": 5, "seeds": 6, "jobs": 1, "console": printed()}
    frame = benchmark({"own": agent}, [GP], batch=6, folder=tmp_path / "a", **options)
    alone = benchmark({"own": agent}, [GP], folder=tmp_path / "b", **options)
    assert set(frame[frame["error"].notna()]["seed"]) == {1, 4}
    pd.testing.assert_frame_equal(without_times(frame), without_times(alone))


@pytest.mark.parametrize("agent", ["universal", "tpe", "gp-ei-known", "sobol"])
def test_functions_side_by_side_are_played_as_alone(agent):
    together = play(units(agent, GP, range(3), 8))
    assert {row["batch"] for row in together} == {3}
    alone = [row for unit in units(agent, GP, range(3), 8) for row in play([unit])]
    assert {row["batch"] for row in alone} == {1}
    for one, other in zip(together, alone, strict=True):
        assert one["seed"] == other["seed"]
        np.testing.assert_allclose(one["x"], other["x"], atol=1e-4)
        np.testing.assert_allclose(one["y"], other["y"], atol=1e-3)


def test_an_interrupted_run_goes_on_and_repeats_nothing(tmp_path, monkeypatch):
    options = {"budget": 5, "seeds": 4, "jobs": 1, "console": printed()}
    whole = benchmark(["random", "sobol"], [GP], folder=tmp_path / "whole", **options)
    played = []

    def until_the_third(lot):
        if len(played) == 3:
            raise KeyboardInterrupt
        played.append(lot)
        return play(lot)

    monkeypatch.setattr("evaluation.spread.play", until_the_third)
    folder = tmp_path / "killed"
    with pytest.raises(KeyboardInterrupt):
        benchmark(["random", "sobol"], [GP], folder=folder, **options)
    assert len(Store(folder).read()) == 15
    assert Store(folder).records()[-1]["finished"] is None

    monkeypatch.setattr("evaluation.spread.play", lambda lot: played.append(lot) or play(lot))
    console = options["console"] = printed()
    frame = benchmark(["random", "sobol"], [GP], folder=folder, **options)
    assert len({lot[0].key for lot in played}) == len(played) == 8
    assert "3 of 8 runs are there already; 5 to go." in console.file.getvalue()
    pd.testing.assert_frame_equal(without_times(frame), without_times(whole))
    assert Store(folder).records()[-1]["finished"] is not None
    assert len(list((folder / "evaluations").iterdir())) == 1

    benchmark(["random", "sobol"], [GP], folder=folder, **options)
    assert len(played) == 8


def test_more_of_everything_can_be_added_to_results(tmp_path):
    options = {"budget": 4, "jobs": 1, "folder": tmp_path, "console": printed()}
    benchmark(["random"], [GP], seeds=2, **options)
    frame = benchmark(["random", "sobol"], [GP, BRANIN], seeds=3, **options)
    assert frame.groupby(["agent", "task"])["seed"].nunique().tolist() == [3] * 4
    assert len(benchmark(["sobol"], [BRANIN], seeds=1, **options)) == 4
    assert len(Store(tmp_path).read()) == 48


def test_another_version_of_an_optimiser_is_played_anew(tmp_path):
    file = tmp_path / "own.py"
    source = "from agents.baselines.sampling import random_search as own\n"
    options = {"budget": 3, "seeds": 2, "jobs": 1, "console": printed()}
    versions = set()
    for text in (source, source + "# another\n"):
        file.write_text(text)
        frame = benchmark([f"{file}:own"], [GP], folder=tmp_path / "results", **options)
        assert len(frame) == 6
        versions |= set(frame["version"])
    assert len(versions) == 2
    assert len(Store(tmp_path / "results").read()) == 12


def test_the_record_tells_how_it_was_made(tmp_path):
    console = printed()
    benchmark(["random", "gp-ei-known"], [BRANIN], budget=3, seeds=1, jobs=1, folder=tmp_path,
              console=console)  # fmt: skip
    (record,) = Store(tmp_path).records()
    assert record["versions"]["torch"] == torch.__version__.partition("+")[0] or record["versions"][
        "torch"
    ] == str(torch.__version__)
    assert record["started"] <= record["finished"]
    (left_out,) = record["left_out"]
    assert (left_out["agent"], left_out["task"]) == ("gp-ei-known", BRANIN.id)
    assert "needs functions drawn from a GP" in left_out["reason"]


def test_a_rival_that_is_not_installed_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setitem(CLASSICAL, "elsewhere", ("nowhere:make", "no_such_module", "rivals"))
    console = printed()
    frame = benchmark(["elsewhere", "random"], [GP], budget=3, seeds=1, jobs=1, folder=tmp_path,
                      console=console)  # fmt: skip
    assert set(frame["agent"]) == {"random"}
    told = " ".join(console.file.getvalue().split())
    assert told.count("elsewhere is left out on BBO-GP-2d-v0: agent 'elsewhere' needs more") == 1
    assert Store(tmp_path).records()[0]["left_out"][0]["agent"] == "elsewhere"


def test_noise_is_common_and_not_in_what_is_stored():
    quiet, noisy = (
        play(units("sobol", TaskSpec(GP.id, {**GP.arguments, "noise": noise}), [0], 6))
        for noise in (0.0, 1.0)
    )
    assert [row["y"] for row in quiet] == [row["y"] for row in noisy]


def test_with_workers_queries_are_asked_while_others_run():
    """The simulated times are those of a heap of finishing times."""
    task = TaskSpec(GP.id, {**GP.arguments, "workers": 3})
    rows = play(units("random", task, [0], 6))
    asked, finished = ([row[name] for row in rows] for name in ("asked", "finished"))
    assert asked[:3] == [0.0] * 3
    out = finished[:3]
    for start, end in zip(asked[3:], finished[3:], strict=True):
        assert start == pytest.approx(min(out))
        out.remove(min(out))
        out.append(end)
    durations = np.subtract(finished, asked)
    assert (durations > 0.5).all()
    assert (durations < 1.5).all()


def test_tasks_by_name():
    assert named_tasks(["paper"]) == suite("paper")
    (plain,) = named_tasks(["BBO-Ackley-2d-v0"])
    assert plain == TaskSpec("BBO-Ackley-2d-v0")
    (given,) = named_tasks(['BBO-Ackley-v0:{"dim": 3, "noise": 0.1}'], workers=5)
    assert given.arguments == {"dim": 3, "noise": 0.1, "workers": 5}
    # A seed has to be the same function for all.
    assert named_tasks(["BBO-GP-3d-v0"])[0].arguments == FOURIER
    exact = {"sampler": "exact"}
    assert named_tasks(['BBO-GP-3d-v0:{"sampler": "exact"}'])[0].arguments == exact
    # The paper's ResNet has five workers in one of its two tasks.
    assert len(named_tasks(["paper"], workers=5)) == len(suite("paper")) - 1
    assert len(named_tasks(["BBO-Branin-2d-v0", "BBO-Branin-2d-v0"])) == 1


def test_a_seed_is_the_same_function_for_all_though_queries_differ(tmp_path):
    frame = benchmark(["random", "sobol"], ["BBO-GP-2d-v0"], budget=4, seeds=2, jobs=1,
                      folder=tmp_path, console=printed())  # fmt: skip
    for seed, rows in frame.groupby("seed"):
        problem = make_problem("BBO-GP-2d-v0", **FOURIER)
        state, _ = problem.reset(1, torch.Generator().manual_seed(2**31 + seed))
        for x, y in zip(rows["x"], rows["y"], strict=True):
            value = problem.functions.evaluate(state.function, torch.tensor([list(x)]))[0]
            assert y == pytest.approx(value.item(), rel=1e-9)


def test_a_plan_gives_every_unit_once():
    entrants = enter(["random", "tpe"])
    whole = plan(entrants, [GP, BRANIN], budget=5, seeds=range(7), batch=3, fewer={"tpe": 2})
    keys = [unit.key for unit in whole.units]
    assert len(keys) == len(set(keys)) == 2 * 7 + 2 * 2
    assert sorted(len(lot) for lot in whole.lots) == [1, 1, 2, 2, 3, 3, 3, 3]
    assert all(len({unit.key[:-1] for unit in lot}) == 1 for lot in whole.lots)
    rest = whole.without(keys[:4])
    assert [unit.key for unit in rest.units] == keys[4:]
    assert len(Unit.__dataclass_fields__) + 2 == len(UNIT)


def test_unknown_agents_and_tasks_suggest_the_nearest(tmp_path):
    with pytest.raises(UnknownNameError, match="Did you mean 'random'"):
        benchmark(["randon"], [GP], folder=tmp_path, console=printed())
    for task in (TaskSpec("BBO-GP-2d-v"), "BBO-GP-2d-v"):
        with pytest.raises(UnknownNameError, match="Did you mean 'BBO-GP-2d-v0'"):
            benchmark(["random"], [task], folder=tmp_path, console=printed())
    with pytest.raises(UnknownNameError, match="Did you mean 'paper'"):
        benchmark(["random"], ["papers"], folder=tmp_path, console=printed())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["BBO-GP-v0:{dim}", "BBO-GP-v0:[4]"])
def test_arguments_that_are_not_json_are_named(text, tmp_path):
    with pytest.raises(ValueError, match=r"the arguments in 'BBO-GP-v0:.*' are not"):
        benchmark(["random"], [text], folder=tmp_path, console=printed())


def test_results_of_another_version_are_refused_before_anything_is_played(tmp_path):
    (tmp_path / "format.json").write_text('{"format": 1}')
    with pytest.raises(StoreError, match="have format 1, expected 2"):
        benchmark(["random"], [GP], folder=tmp_path, console=printed())


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
    assert len(Store(tmp_path).read()) == 2 * 2 * 2 * 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("benchmark --agents randon", "bbo: Unknown agent 'randon'. Did you mean 'random'?"),
        ("train --preset lstm-oi-6", "bbo: Unknown preset 'lstm-oi-6'. Did you mean"),
        ("benchmark --tasks papr", "bbo: Unknown task or suite 'papr'. Did you mean 'paper'?"),
        ("benchmark --agents no.py:a", "bbo: there is no file 'no.py'"),
        ("report {tmp}", "bbo: there are no results in {tmp}"),
        ("score lstm-oi-8d", "bbo: Unknown trained network 'lstm-oi-8d'. Did you mean"),
        ("train --task BBO-GP-6-v0 --folder {tmp}", "bbo: Unknown task 'BBO-GP-6-v0'."),
    ],
)
def test_mistakes_on_the_command_line_give_one_line(arguments, message, capsys, tmp_path):
    with pytest.raises(SystemExit) as stop:
        main(arguments.format(tmp=tmp_path).split())
    assert stop.value.code == 2
    shown = capsys.readouterr().err.strip()
    assert shown.startswith(message.format(tmp=tmp_path))
    assert "\n" not in shown


def test_mistakes_do_not_touch_earlier_results(tmp_path):
    options = {"folder": tmp_path, "console": printed()}
    benchmark(["random"], [GP], budget=3, seeds=2, jobs=1, **options)
    before = Store(tmp_path).read()
    for name in ("jobs", "seeds", "budget", "workers", "batch", "slow_seeds"):
        with pytest.raises(ValueError, match="must be an integer of at least 1"):
            benchmark(["random"], [GP.id], **options, **{name: -1})
    with pytest.raises(ValueError, match="none of the agents cmaes can be used"):
        benchmark(["cmaes"], ["BBO-GP-1d-v0"], **options)
    pd.testing.assert_frame_equal(Store(tmp_path).read(), before)


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
