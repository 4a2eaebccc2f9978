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
from safetensors.torch import load_file

from agents import make_agent
from evaluation import cli
from training import bptt
from training.bptt import CHECKPOINT, LOG, Trainer, train
from training.checkpoint import CheckpointError
from training.configs import PRESETS, TrainConfig
from training.score import score

SMALL = TrainConfig(
    task="BBO-GP-1d-v0", hidden=8, iterations=7, batch=4, first_horizon=3, horizon=6, truncation=4
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


def test_a_killed_and_resumed_run_equals_one_that_was_not(tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    settings = {"checkpoint_every": 2, "log_every": 1}
    agent = train(SMALL, whole, **settings)
    for moment in (3, 6):  # before the run's own saves at 4 and 6
        with pytest.raises(Killed):
            train(SMALL, broken, **settings, report=kill_at(moment))
    resumed = train(SMALL, broken, **settings)
    for name, weight in agent.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[name])
    left, right = tensors(whole), tensors(broken)
    assert left.keys() == right.keys()
    assert all(torch.equal(left[key], right[key]) for key in left)
    assert log(whole) == log(broken)
    assert [line["iteration"] for line in log(whole)] == list(range(1, 8))


def test_a_process_killed_by_the_system_resumes_to_the_bit(tmp_path):
    """The command itself, ended by SIGKILL in the middle of a run."""
    options = "--task BBO-GP-1d-v0 --hidden 8 --iterations 120 --batch 4 --horizon 12".split()
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
        hidden=32,
        iterations=250,
        batch=64,
        first_horizon=5,
        horizon=10,
        learning_rate=1e-2,
        warm_up=20,
    )
    trainer = Trainer(config)
    while trainer.iteration < config.iterations:
        trainer.step()
    problem = trainer._problem(horizon=10)
    found, floor = (
        score(agent, problem, 1_000)["best_at"]["10"]["mean"]
        for agent in (trainer.agent, make_agent("random", problem))
    )
    assert found < floor - 0.15


def test_a_gradient_that_is_not_finite_changes_nothing(monkeypatch):
    trainer = Trainer(SMALL)
    before = {k: v.clone() for k, v in trainer.agent.state_dict().items()}
    monkeypatch.setattr(bptt, "make_loss", lambda *_: lambda run: run.value.sum(-1) * float("nan"))
    facts = trainer.step()
    assert facts["gradient_norm"] != facts["gradient_norm"]
    assert all(torch.equal(before[k], v) for k, v in trainer.agent.state_dict().items())
    assert trainer.iteration == 1


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    train(SMALL, tmp_path)
    other = dataclasses.replace(SMALL, learning_rate=1.0)
    with pytest.raises(CheckpointError, match=r"learning_rate=0.002, not 1.0.*another folder"):
        train(other, tmp_path)
    with pytest.raises(CheckpointError, match="cannot be resumed"):
        train(dataclasses.replace(SMALL, hidden=9), tmp_path)


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
        trainer = Trainer(SMALL)
        facts.append([trainer.step()["loss"] for _ in range(2)])
    assert facts[0] == facts[1]


@pytest.mark.parametrize("name", PRESETS)
def test_presets_make_networks_for_their_dimension(name):
    trainer = Trainer(PRESETS[name])
    assert f"{trainer.agent.dim}d" in name
    assert PRESETS[name].loss in name


def test_the_command_on_a_card_trains_the_same_configuration(monkeypatch, tmp_path):
    """A changed configuration goes through the command's words and back."""
    config = dataclasses.replace(
        PRESETS["lstm-oi-2d"],
        task_arguments={"sampler": "fourier", "kernel": "matern52"},
        detach_feedback=False,
        learning_rate=1e-4,
    )
    seen = []
    monkeypatch.setattr(cli, "_train", lambda config, *_: seen.append(config))
    monkeypatch.setattr(cli, "_export", lambda *_: None)
    command = cli._command_for(config, "lstm-oi-2d")
    cli.main([*shlex.split(command)[1:], "--folder", str(tmp_path)])
    assert seen == [config]
    assert cli._command_for(PRESETS["lstm-oi-2d"], "lstm-oi-2d") == "bbo train --preset lstm-oi-2d"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden": 0}, "hidden must be an integer of at least 1, got 0"),
        ({"horizon": 0}, "horizon must be"),
        ({"learning_rate": float("nan")}, "learning_rate must be a finite number"),
        ({"seed": 2**31}, "those above are for evaluation"),
        ({"task_arguments": [1]}, "task_arguments must be an object"),
        ({"task_arguments": {"budget": 3}}, "task_arguments must be an object without budget"),
    ],
)
def test_mistakes_in_a_configuration_show_before_training(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SMALL, **change)


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
        hidden=8,
        batch=32,
    )
    assert Trainer(config).step()["gradient_norm"] >= 0
