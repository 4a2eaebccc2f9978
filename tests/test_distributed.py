"""Training in several processes gives what one process gives."""

import dataclasses
import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from training.bptt import CHECKPOINT, LOG, train
from training.configs import TrainConfig
from training.distributed import Processes, processes
from training.trainer import Trainer

CONFIG = TrainConfig(
    task="BBO-GP-2d-v0",
    mixture={"noise": [0, 0.1], "kernel": ["rbf", "matern52"]},
    network_arguments={"hidden": 8},
    iterations=4,
    batch=16,
    micro_batches=4,
    mix_horizons=True,
    first_horizon=3,
    horizon=8,
)

CONFIGS = {
    "pathwise": CONFIG,
    "score": dataclasses.replace(CONFIG, estimator="score", entropy=0.01),
}

# The gradient in float64, then a run that was stopped after two iterations and goes on.
SCRIPT = """
import pathlib, sys
from safetensors.torch import save_file
from test_distributed import CONFIGS
from training.bptt import CHECKPOINT, train
from training.distributed import processes
from training.trainer import Trainer

folder, CONFIG = pathlib.Path(sys.argv[1]), CONFIGS[sys.argv[2]]
with processes("cpu") as together:
    assert (together.count, together.device) == (2, "cpu")
    assert together.gather(["é" * together.rank]) == ["", "é"]
    trainer = Trainer(CONFIG, processes=together)
    trainer.agent.double()
    trainer.gradient()
    gradients = {name: p.grad for name, p in trainer.agent.named_parameters()}
    save_file(gradients, folder / f"gradient-{together.rank}")
    trainer = Trainer(CONFIG, processes=together)
    for _ in range(2):
        trainer.step()
    if together.first:
        trainer.save(folder / CHECKPOINT)
    together.wait()
    agent = train(CONFIG, folder, log_every=1, processes=together)
    save_file(agent.state_dict(), folder / f"weights-{together.rank}")
"""


@pytest.fixture(scope="module", params=CONFIGS)
def config(request):
    return CONFIGS[request.param]


@pytest.fixture(scope="module")
def folder(config, tmp_path_factory):
    """What two processes leave."""
    path = tmp_path_factory.mktemp("two")
    (path / "script.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*command, path / "script.py", path, config.estimator],
        capture_output=True,
        text=True,
        # So that they find this module.
        env=os.environ | {"PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *sys.path])},
    )
    assert done.returncode == 0, done.stderr
    return path


def test_two_processes_give_the_gradient_of_one(config, folder):
    trainer = Trainer(config)
    trainer.agent.double()
    trainer.gradient()
    parts = [load_file(folder / f"gradient-{rank}") for rank in (0, 1)]
    for name, parameter in trainer.agent.named_parameters():
        assert torch.equal(parts[0][name], parts[1][name])
        torch.testing.assert_close(parts[0][name], parameter.grad, rtol=1e-12, atol=1e-15)
    # The scale of REINFORCE is the same for all before training: what its LSTM sees is no matter.
    reached = [parameter.grad.any() for parameter in trainer.agent.parameters()]
    assert sum(reached) >= len(reached) - 4 * (config.estimator == "score")


def test_two_processes_resume_and_train_as_one(config, folder, tmp_path):
    agent = train(config, tmp_path, log_every=1)
    parts = [load_file(folder / f"weights-{rank}") for rank in (0, 1)]
    for name, weight in agent.state_dict().items():
        assert torch.equal(parts[0][name], parts[1][name])
        torch.testing.assert_close(parts[0][name], weight)
    mine, theirs = (
        [json.loads(line) for line in (path / LOG).read_text().splitlines()]
        for path in (tmp_path, folder)
    )
    assert [line["iteration"] for line in theirs] == [3, 4]
    for left, right in zip(mine[2:], theirs, strict=True):
        del left["seconds_per_iteration"], right["seconds_per_iteration"]
        assert left == pytest.approx(right, rel=1e-5)
    left, right = (load_file(path / CHECKPOINT) for path in (tmp_path, folder))
    assert torch.equal(left["generator"], right["generator"])


def test_micro_batches_that_cannot_be_shared_are_refused():
    config = dataclasses.replace(CONFIG, micro_batches=2)
    with pytest.raises(ValueError, match="multiple of the number of processes, got 2 for 4"):
        Trainer(config, processes=Processes(rank=0, count=4))


def test_processes_without_a_gpu_each_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "65")
    monkeypatch.setenv("LOCAL_RANK", "64")
    with pytest.raises(ValueError, match="process 64 of this machine has no GPU of its own"):
        processes("cuda").__enter__()


def test_a_weight_without_a_gradient_counts_as_zero():
    weight = torch.nn.Parameter(torch.ones(2))
    Processes().average_gradients([weight])
    assert weight.grad.tolist() == [0.0, 0.0]
