"""Training: it learns, it resumes to the bit, it refuses what does not fit."""

import dataclasses
import json
import os
import shlex
import signal
import subprocess
import sys
import time

import pytest
import torch
from rollouts import trained_and_random
from safetensors.torch import load_file

from bbo_envs import UnknownNameError
from evaluation import cli
from training import __main__ as module
from training import command, trainer
from training.bptt import CHECKPOINT, LOG, train
from training.checkpoint import CheckpointError
from training.configs import PRESETS, TrainConfig
from training.losses import OF_POSTERIOR
from training.schedule import draw_horizon
from training.trainer import DivergedError, Trainer, draw_seeds

SMALL = TrainConfig(
    task="BBO-GP-1d-v0",
    network_arguments={"hidden": 8},
    iterations=7,
    batch=4,
    first_horizon=3,
    horizon=6,
    truncation=4,
)
MIXED = dataclasses.replace(
    SMALL,
    mixture={"kernel": ["rbf", "matern52"], "length_scale_factor": {"low": 0.5, "high": 2.0}},
    micro_batches=2,
    mix_horizons=True,
)


class Killed(Exception):
    pass


def kill_at(iteration):
    def report(facts):
        if facts["iteration"] == iteration:
            raise Killed

    return report


def tensors(folder):
    return load_file(folder / CHECKPOINT)


def log(folder):
    lines = [json.loads(line) for line in (folder / LOG).read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "seconds_per_iteration"} for line in lines]


@pytest.mark.parametrize("config", [SMALL, MIXED])
def test_a_killed_and_resumed_run_equals_one_that_was_not(config, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    settings = {"checkpoint_every": 2, "log_every": 1}
    agent = train(config, whole, **settings)
    for moment in (3, 6):  # before the run's own saves at 4 and 6
        with pytest.raises(Killed):
            train(config, broken, **settings, report=kill_at(moment))
    resumed = train(config, broken, **settings)
    for name, weight in agent.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[name])
    left, right = tensors(whole), tensors(broken)
    assert left.keys() == right.keys()
    assert all(torch.equal(left[key], right[key]) for key in left)
    assert log(whole) == log(broken)
    assert [line["iteration"] for line in log(whole)] == list(range(1, 8))


def test_a_process_killed_by_the_system_resumes_to_the_bit(tmp_path):
    """The command itself, ended by SIGKILL in the middle of a run."""
    options = "--task BBO-GP-1d-v0 --iterations 120 --batch 4 --horizon 12".split()
    options += ["--network-arguments", '{"hidden": 8}', "--mixture", '{"noise": [0, 0.1]}']
    options += "--checkpoint-every 50 --score-functions 10".split()

    def command(folder):
        code = "from evaluation.cli import main; main()"
        return [sys.executable, "-c", code, "train", *options, "--folder", str(folder)]

    whole, broken = tmp_path / "whole", tmp_path / "broken"
    subprocess.run(command(whole), check=True, capture_output=True)
    with subprocess.Popen(
        command(broken), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        deadline = time.monotonic() + 60
        while not (broken / CHECKPOINT).exists() and time.monotonic() < deadline:
            time.sleep(0.001)
        os.kill(process.pid, signal.SIGKILL)
    assert len(log(broken)) < len(log(whole))
    subprocess.run(command(broken), check=True, capture_output=True)
    left, right = tensors(whole), tensors(broken)
    assert all(torch.equal(left[key], right[key]) for key in left)
    assert log(whole) == log(broken)


def test_training_learns():
    """After 250 small iterations the network beats random search at 10 evaluations.

    On the same 1,000 held-out functions. The standard error of a mean is 0.03, so the margin is
    more than three of the difference's even if the two were independent.
    """
    config = TrainConfig(
        task="BBO-GP-3d-v0",
        task_arguments={"sampler": "fourier", "features": 128, "length_scale": 1.0},
        network_arguments={"hidden": 32},
        iterations=250,
        batch=64,
        first_horizon=5,
        horizon=10,
        learning_rate=1e-2,
        warm_up=20,
    )
    found, floor = trained_and_random(config)
    assert found < floor - 0.15


def not_finite(monkeypatch, when=lambda: True):
    """Makes losses NaN."""
    right = trainer.make_loss

    def wrong(*arguments):
        loss = right(*arguments)
        return lambda run: loss(run) * (float("nan") if when() else 1.0)

    monkeypatch.setattr(trainer, "make_loss", wrong)


def test_a_gradient_that_is_not_finite_changes_nothing(monkeypatch):
    run = Trainer(SMALL)
    before = {k: v.clone() for k, v in run.agent.state_dict().items()}
    not_finite(monkeypatch)
    facts = run.step()
    assert facts["skipped"]
    assert facts["gradient_norm"] != facts["gradient_norm"]
    assert all(torch.equal(before[k], v) for k, v in run.agent.state_dict().items())
    assert run.iteration == 1


def test_what_is_skipped_is_counted_and_left_out_of_the_means(monkeypatch, tmp_path):
    calls = iter(range(1000))
    not_finite(monkeypatch, when=lambda: next(calls) % 2 == 0)
    train(SMALL, tmp_path, log_every=3)
    lines = log(tmp_path)
    assert [line["skipped"] for line in lines] == [2, 1, 1]
    assert all(line["loss"] == line["loss"] for line in lines[:2])
    assert lines[2]["loss"] is lines[2]["gradient_norm"] is None
    assert "NaN" not in (tmp_path / LOG).read_text()


def test_training_that_has_diverged_ends_with_a_remedy(monkeypatch, tmp_path):
    config = dataclasses.replace(SMALL, iterations=200)
    with monkeypatch.context() as patch:
        not_finite(patch)
        with pytest.raises(DivergedError, match=r"100 iterations in a row, up to number 100.*low"):
            train(config, tmp_path)
    calls = iter(range(1000))
    not_finite(monkeypatch, when=lambda: next(calls) != 60)
    run = Trainer(config)
    for _ in range(120):
        run.step()  # 59 times nothing, one step, and 60 times nothing again


def test_the_gradient_is_the_mean_over_micro_batches():
    """Each from its own seed, and none of them from the seeds of evaluation."""
    run = Trainer(MIXED)
    weights = list(run.agent.parameters())
    run.gradient()
    found = [weight.grad.clone() for weight in weights]
    again = Trainer(MIXED)
    seeds = draw_seeds(2, again.generator)
    assert len({*seeds, *draw_seeds(100, again.generator)}) == 102
    assert all(0 <= seed < 2**30 for seed in draw_seeds(100, again.generator))
    losses = [run.play(seed, 3).loss for seed in seeds]
    assert losses[0] != losses[1]
    expected = torch.autograd.grad(sum(losses) / 2, weights)
    for left, right in zip(found, expected, strict=True):
        torch.testing.assert_close(left, right)


def test_horizons_are_drawn_log_uniformly():
    """The share below the geometric mean is one half; 4 standard errors, 1 of 15,000 fails."""
    generator = torch.Generator().manual_seed(0)
    drawn = [draw_horizon(10, 1000, generator) for _ in range(2000)]
    assert 10 <= min(drawn) <= max(drawn) <= 1000
    assert abs(sum(t < 100 for t in drawn) / 2000 - 0.5) < 4 * 0.5 / 2000**0.5


def test_the_losses_of_a_mixture_see_the_kernel_that_was_drawn(monkeypatch):
    seen = []
    right = trainer.make_loss

    def recorded(name, functions, *arguments):
        seen.append((type(functions.kernel).__name__, functions.kernel.length_scale))
        return right(name, functions, *arguments)

    run = Trainer(dataclasses.replace(MIXED, loss="ei", batch=16, micro_batches=8))
    monkeypatch.setattr(trainer, "make_loss", recorded)
    assert not run.step()["skipped"]
    assert {kernel for kernel, _ in seen} == {"RBF", "Matern52"}
    assert len({scale for _, scale in seen}) == 8
    assert all(0.05 < scale < 0.2 for _, scale in seen)


@pytest.mark.parametrize("detached", [True, False])
def test_losses_take_what_was_fed_back_as_the_network_does(monkeypatch, detached):
    seen = []
    right = trainer.make_loss

    def recorded(*arguments):
        loss_of = right(*arguments)
        return lambda run: seen.append(run.observation) or loss_of(run)

    monkeypatch.setattr(trainer, "make_loss", recorded)
    Trainer(dataclasses.replace(SMALL, loss="ei", detach_feedback=detached)).step()
    assert seen[0].x.requires_grad is not detached
    assert seen[0].y.requires_grad is not detached


def test_the_log_tells_how_good_each_dimension_is(tmp_path):
    config = dataclasses.replace(
        PRESETS["universal"], iterations=2, batch=16, micro_batches=8, mix_horizons=False
    )
    train(config, tmp_path)
    (line,) = log(tmp_path)
    assert line["best_at_10"] < 0
    dims = {key for key in line if key.startswith("best_at_10/")}
    assert len(dims) > 1
    assert dims <= {f"best_at_10/{d}d" for d in config.mixture["dim"]}


def test_the_log_takes_in_how_the_network_is_judged(tmp_path):
    judged = []

    def judge(agent):
        judged.append(agent.head.weight.clone())
        return {"norm": agent.head.weight.norm().item()}

    agent = train(SMALL, tmp_path, log_every=2, judge=judge)
    lines = [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()]
    assert [line["norm"] for line in lines] == [weight.norm().item() for weight in judged]
    assert lines[-1]["norm"] == agent.head.weight.norm().item() != lines[0]["norm"]


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    train(SMALL, tmp_path)
    other = dataclasses.replace(SMALL, learning_rate=1.0)
    with pytest.raises(CheckpointError, match=r"learning_rate=0.002, not 1.0.*another folder"):
        train(other, tmp_path)
    with pytest.raises(CheckpointError, match="cannot be resumed"):
        train(dataclasses.replace(SMALL, network_arguments={"hidden": 9}), tmp_path)


@pytest.mark.parametrize("damage", [lambda data: data[:100], lambda data: b"\xff" * len(data)])
def test_a_damaged_checkpoint_is_refused(tmp_path, damage):
    train(SMALL, tmp_path)
    path = tmp_path / CHECKPOINT
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointError, match="cannot be resumed.*delete it to start the run anew"):
        train(SMALL, tmp_path)


def test_training_does_not_depend_on_the_global_generator():
    facts = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        run = Trainer(MIXED)
        facts.append([run.step()["loss"] for _ in range(2)])
    assert facts[0] == facts[1]


@pytest.mark.parametrize("name", PRESETS)
def test_presets_make_networks_for_their_dimension(name):
    config, agent = PRESETS[name], Trainer(PRESETS[name]).agent
    if config.estimator != "pathwise":
        assert agent.kind == "stochastic"
        agent = agent.network
    assert agent.kind == config.network
    how = config.loss.removesuffix("-balanced")
    if config.estimator != "pathwise":
        how = "tables" if config.initial else "reinforce"
    if agent.dim is not None:
        assert name == f"{config.network}-{how}-{agent.dim}d"
    elif config.estimator == "pathwise":
        assert name == config.network
    else:  # in any number of dimensions, trained in one
        dim = config.task.removesuffix("-v0").rpartition("-")[2]
        assert name == f"{config.network}-{how}-{dim}"


def test_the_presets_of_the_paper():
    """Each network under each loss in six dimensions, and under OI in all of the paper's."""
    for network in ("lstm", "dnc"):
        assert {f"{network}-{loss}-6d" for loss in ("sum", "oi", "ei")} <= PRESETS.keys()
        assert {f"{network}-oi-{dim}d" for dim in (1, 2, 3, 6, 9)} <= PRESETS.keys()


@pytest.mark.parametrize(
    ("preset", "changes"),
    [
        (
            "lstm-oi-2d",
            {
                "task_arguments": {"sampler": "fourier", "kernel": "matern52"},
                "detach_feedback": False,
                "learning_rate": 1e-4,
                "network": "dnc",
                "network_arguments": {"slots": 4},
                "score_tasks": [{"task": "BBO-Branin-2d-v0"}],
            },
        ),
        (
            "universal",
            {
                "mixture": {"transforms": [[], ["warp_values"]], "noise": {"low": 0.1, "high": 1}},
                "micro_batches": 2,
                "mix_horizons": not PRESETS["universal"].mix_horizons,
                "score_tasks": [],
            },
        ),
        ("lstm-oi-2d", {}),
    ],
)
def test_the_command_on_a_card_trains_the_same_configuration(
    preset, changes, monkeypatch, tmp_path
):
    """A changed configuration goes through the command's words and back."""
    config = dataclasses.replace(PRESETS[preset], **changes)
    seen = []
    monkeypatch.setattr(command, "run", lambda config, *_: seen.append(config))
    monkeypatch.setattr(command, "export", lambda *_: None)
    words = command.command_for(config, preset)
    cli.main([*shlex.split(words)[1:], "--folder", str(tmp_path)])
    assert seen == [config]
    assert changes or words == f"bbo train --preset {preset}"


def test_the_module_is_the_command(monkeypatch, tmp_path, capsys):
    seen = []
    monkeypatch.setattr(command, "run", lambda config, *_: seen.append(config))
    monkeypatch.setattr(command, "export", lambda *_: None)
    module.main(["--preset", "lstm-oi-2d", "--batch", "8", "--folder", str(tmp_path)])
    assert seen == [dataclasses.replace(PRESETS["lstm-oi-2d"], batch=8)]
    with pytest.raises(SystemExit) as stop:
        module.main(["--preset=lstm-oi-2e"])
    assert stop.value.code == 2
    assert "Did you mean 'lstm-oi-2d'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch": 0}, "batch must be an integer of at least 1, got 0"),
        ({"micro_batches": 3}, "batch must be a multiple of micro_batches, got 4 and 3"),
        ({"horizon": 0}, "horizon must be"),
        ({"learning_rate": float("nan")}, "learning_rate must be a finite number"),
        ({"seed": 2**31}, "those above are for evaluation"),
        ({"task_arguments": [1]}, "task_arguments must be an object"),
        ({"task_arguments": {"budget": 3}}, "task_arguments must be an object without budget"),
        ({"mixture": {"device": ["cpu"]}}, "mixture must be an object without budget"),
        ({"mixture": {"noise": []}}, r"mixture: noise must be a list of choices.*, got \[\]"),
        ({"network_arguments": [8]}, "network_arguments must be an object, got"),
        ({"score_tasks": [{"dim": 2}]}, "score_tasks must be a list of objects with a task"),
    ],
)
def test_mistakes_in_a_configuration_show_before_training(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SMALL, **change)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"network_arguments": {"hidden": 0}}, ValueError, "hidden must be an integer of at least"),
        ({"network_arguments": {"width": 3}}, UnknownNameError, "argument of the network lstm"),
        ({"network_arguments": {"dim": 3}}, UnknownNameError, "argument of the network lstm"),
        ({"mixture": {"kernel": ["rbf", "matern"]}}, UnknownNameError, "Did you mean 'matern52'"),
        ({"mixture": {"workers": {"low": 1.5, "high": 2}}}, ValueError, "workers must be an"),
        ({"task": "BBO-GP-v0", "mixture": {"dim": [2, 3]}}, ValueError, r"fixed.*has \[2, 3\]"),
        ({"loss": "ei", "mixture": {"transforms": [[], ["flip"]]}}, ValueError, "generating GP"),
        ({"task": "BBO-HPO-SVM-3d-v0", "task_arguments": {}}, ValueError, "passes no gradients"),
        ({"network": "universal", "network_arguments": {}}, ValueError, "among its 16 proposals"),
    ],
)
def test_what_cannot_be_trained_shows_before_training(change, error, message):
    with pytest.raises(error, match=message):
        Trainer(dataclasses.replace(SMALL, **change))


@pytest.mark.parametrize("loss", OF_POSTERIOR)
def test_losses_of_the_posterior_teach_the_choice_among_proposals(loss):
    config = dataclasses.replace(SMALL, network="universal", network_arguments={}, loss=loss)
    run = Trainer(config)
    run.gradient()
    for name, parameter in run.agent.acquisition.named_parameters():
        assert parameter.grad.any(), name


def test_with_one_proposal_there_is_nothing_to_choose_and_any_loss_will_do():
    arguments = {"proposals": 1}
    run = Trainer(
        dataclasses.replace(SMALL, network="universal", network_arguments=arguments, loss="oi")
    )
    assert run.agent.acquisition is None
    assert not run.step()["skipped"]


def test_a_log_that_ends_in_half_a_line_is_mended(tmp_path):
    train(SMALL, tmp_path, log_every=1)
    whole = log(tmp_path)
    with (tmp_path / LOG).open("a") as file:
        file.write('{"iterat')
    train(SMALL, tmp_path, log_every=1)
    assert log(tmp_path) == whole


def test_long_exact_samples_in_float32_train(tmp_path):
    config = TrainConfig(
        task="BBO-GP-1d-v0",
        task_arguments={"sampler": "exact"},
        first_horizon=100,
        network_arguments={"hidden": 8},
        batch=32,
    )
    assert Trainer(config).step()["gradient_norm"] >= 0
