"""Training by back-propagation through time: unroll the optimiser, differentiate its loss."""

import json
import math
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from agents.recurrent import LSTMAgent
from bbo_envs.registration import make_problem
from training.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from training.configs import TrainConfig
from training.losses import make_loss
from training.rollout import unroll
from training.score import MILESTONES

CHECKPOINT = "checkpoint.safetensors"
LOG = "log.jsonl"
RUN = "run.json"

Report = Callable[[dict[str, Any]], None]


def horizon_at(config: TrainConfig, iteration: int) -> int:
    """The horizon of an iteration: linear from the first to the last, then constant.

    Example:
        >>> config = TrainConfig(iterations=100, curriculum=0.5, first_horizon=10, horizon=100)
        >>> [horizon_at(config, i) for i in (0, 25, 50, 99)]
        [10, 55, 100, 100]
    """
    ramp = min(1.0, iteration / max(1.0, config.curriculum * config.iterations))
    return round(config.first_horizon + ramp * (config.horizon - config.first_horizon))


def learning_rate_at(config: TrainConfig, iteration: int) -> float:
    """The learning rate of an iteration: a linear warm-up times a half cosine down to 1 %.

    Example:
        >>> config = TrainConfig(iterations=1000, learning_rate=1.0, warm_up=10)
        >>> [round(learning_rate_at(config, i), 3) for i in (0, 10, 500, 1000)]
        [0.1, 1.0, 0.505, 0.01]
    """
    warm_up = min(1.0, (iteration + 1) / max(1, config.warm_up))
    cosine = 0.5 * (1.0 + math.cos(math.pi * iteration / config.iterations))
    return config.learning_rate * warm_up * (0.01 + 0.99 * cosine)


class Trainer:
    """One run of training: its network, optimiser, generator and place in the curriculum.

    Args:
        config: What to train and how.
        device: Where; all randomness is drawn on the CPU, so that it does not depend on this.

    Raises:
        ValueError: If there is no such device.

    Example:
        >>> config = TrainConfig(iterations=2, hidden=8, batch=4, horizon=10)
        >>> trainer = Trainer(config)
        >>> sorted(trainer.step())
        ['best', 'gradient_norm', 'horizon', 'iteration', 'learning_rate', 'loss']
    """

    def __init__(self, config: TrainConfig, device: str = "cpu") -> None:
        try:
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as error:
            raise ValueError(f"device {device!r} cannot be used here: {error}") from error
        self.config = config
        self.device = device
        self.iteration = 0
        self.generator = torch.Generator().manual_seed(config.seed)
        dim = self._problem(horizon=1).functions.dim
        self.agent = LSTMAgent(dim, config.hidden, config.layers, self.generator).to(device)
        self.optimizer = torch.optim.Adam(self.agent.parameters(), lr=config.learning_rate)

    def step(self) -> dict[str, Any]:
        """One iteration; returns what is worth logging.

        A gradient that is not finite changes nothing but the iteration: its norm in the log tells.
        """
        config, horizon = self.config, horizon_at(self.config, self.iteration)
        problem = self._problem(horizon)
        loss_of = make_loss(config.loss, problem.functions, problem.noise)
        run = unroll(
            self.agent,
            problem,
            problem.reset(config.batch, self.generator),
            self.generator,
            detach_feedback=config.detach_feedback,
            max_query_gradient=config.max_query_gradient,
            truncation=config.truncation,
        )
        # Per step, so that the gradient's size does not grow with the horizon.
        loss = loss_of(run).mean() / horizon
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.agent.parameters(), config.max_gradient)
        rate = learning_rate_at(config, self.iteration)
        if norm.isfinite():
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            self.optimizer.step()
        self.iteration += 1
        return {
            "iteration": self.iteration,
            "horizon": horizon,
            "loss": loss.item(),
            "gradient_norm": norm.item(),
            "learning_rate": rate,
            "best": _best_at(run.value.detach()),
        }

    def save(self, path: Path) -> None:
        """Writes a checkpoint."""
        facts = {"iteration": self.iteration, "config": asdict(self.config)}
        save_checkpoint(path, self.agent, self.optimizer, self.generator, facts)

    def resume(self, path: Path) -> None:
        """Goes on from a checkpoint.

        Raises:
            CheckpointError: If it is damaged, or of a run with another configuration.
        """
        facts = load_checkpoint(path, self.agent, self.optimizer, self.generator)
        mine = json.loads(json.dumps(asdict(self.config)))
        different = [key for key in mine if facts["config"].get(key) != mine[key]]
        if different:
            key = different[0]
            raise CheckpointError(
                f"the checkpoint {path} is of a run with {key}={facts['config'].get(key)!r}, not "
                f"{mine[key]!r}; resume it with its own configuration, or name another folder"
            )
        self.iteration = facts["iteration"]

    def _problem(self, horizon: int) -> Any:
        arguments = {**self.config.task_arguments, "budget": horizon}
        return make_problem(self.config.task, dtype=torch.float32, device=self.device, **arguments)


def train(
    config: TrainConfig,
    folder: Path,
    *,
    device: str = "cpu",
    checkpoint_every: int = 500,
    log_every: int = 50,
    report: Report | None = None,
) -> LSTMAgent:
    """Trains a network, or goes on with the run that the folder holds.

    The folder gets ``run.json`` (the commit), ``checkpoint.safetensors`` and ``log.jsonl`` (a line
    per ``log_every`` iterations, averaged over them). A run that is killed and started again with
    the same arguments ends with the same weights, to the bit, as one that was not.

    Args:
        config: What to train and how.
        folder: Where the run lives.
        device: Where to compute.
        checkpoint_every: Iterations between checkpoints.
        log_every: Iterations between lines of the log.
        report: Called with every line of the log, and with ``iteration`` after each iteration.

    Returns:
        The trained network.

    Raises:
        CheckpointError: If the folder holds a run with another configuration, or a damaged one.
    """
    trainer = Trainer(config, device)
    checkpoint, log = folder / CHECKPOINT, folder / LOG
    folder.mkdir(parents=True, exist_ok=True)
    if checkpoint.exists():
        trainer.resume(checkpoint)
    else:
        (folder / RUN).write_text(json.dumps({"commit": _git_commit()}) + "\n")
    _forget_after(log, trainer.iteration)
    # So that a run which stops in between neither repeats nor loses a line of its log.
    checkpoint_every = log_every * math.ceil(checkpoint_every / log_every)
    window: list[dict[str, Any]] = []
    started = time.perf_counter()
    while trainer.iteration < config.iterations:
        window.append(trainer.step())
        if report:
            report({"iteration": trainer.iteration})
        if trainer.iteration % log_every == 0 or trainer.iteration == config.iterations:
            line = _summary(window) | {
                "seconds_per_iteration": (time.perf_counter() - started) / len(window),
            }
            with log.open("a") as file:
                file.write(json.dumps(line) + "\n")
            if report:
                report(line)
            window, started = [], time.perf_counter()
        if trainer.iteration % checkpoint_every == 0 or trainer.iteration == config.iterations:
            trainer.save(checkpoint)
    return trainer.agent.eval()


def commit_of_run(folder: Path) -> str | None:
    """The commit that was checked out when the run in a folder began; None if there was none."""
    commit: str | None = json.loads((folder / RUN).read_text())["commit"]
    return commit


def _git_commit() -> str | None:
    """The commit of the working directory's repository; None outside one."""
    try:
        shown = subprocess.run(
            ["git", "rev-parse", "HEAD"],  # noqa: S607 (whatever git the user has)
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return shown.stdout.strip()


def _best_at(value: Tensor) -> dict[str, float]:
    """The mean best value after each milestone within the horizon."""
    best = value.cummin(1).values.mean(0)
    marks = [t for t in MILESTONES if t <= len(best)]
    return {str(t): best[t - 1].item() for t in marks}


def _summary(window: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over the iterations of a window; the iteration, horizon and rate are its last."""
    last = window[-1]
    summary = {key: last[key] for key in ("iteration", "horizon", "learning_rate")}
    for key in ("loss", "gradient_norm"):
        summary[key] = sum(line[key] for line in window) / len(window)
    for mark in last["best"]:
        values = [line["best"][mark] for line in window if mark in line["best"]]
        summary[f"best_at_{mark}"] = sum(values) / len(values)
    return summary


def _forget_after(log: Path, iteration: int) -> None:
    """Drops the lines of a log that a killed run wrote after its last checkpoint."""
    if log.exists():
        lines = log.read_text().splitlines(keepends=True)
        whole = [line for line in lines if line.endswith("}\n")]
        kept = [line for line in whole if json.loads(line)["iteration"] <= iteration]
        partial = log.with_suffix(".partial")
        partial.write_text("".join(kept))
        os.replace(partial, log)
