"""Training by back-propagation or by REINFORCE in a folder: log, checkpoints, and going on."""

import json
import math
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agents.networks import Network
from training import log
from training.configs import TrainConfig
from training.distributed import Processes
from training.trainer import Trainer

CHECKPOINT = "checkpoint.safetensors"
LOG = "log.jsonl"
RUN = "run.json"

Report = Callable[[dict[str, Any]], None]
Judge = Callable[[Network], dict[str, Any]]


def train(
    config: TrainConfig,
    folder: Path,
    *,
    device: str = "cpu",
    checkpoint_every: int = 500,
    log_every: int = 50,
    report: Report | None = None,
    judge: Judge | None = None,
    processes: Processes | None = None,
) -> Network:
    """Trains a network, or goes on with the run that the folder holds.

    The folder gets ``run.json`` (the commit), ``checkpoint.safetensors`` and ``log.jsonl`` (a line
    per ``log_every`` iterations, averaged over them). A run that is killed and started again with
    the same arguments ends with the same weights, to the bit, as one that was not.

    Args:
        config: What to train and how.
        folder: Where the run lives; all processes see it.
        device: Where to compute.
        checkpoint_every: Iterations between checkpoints.
        log_every: Iterations between lines of the log.
        report: Called with every line of the log, and with ``iteration`` after each iteration.
        judge: Called with the network before each line of the log, which takes in what it tells;
            ``seconds_per_iteration`` is without it.
        processes: Those that share the work; only the first writes and reports.

    Returns:
        The trained network.

    Raises:
        CheckpointError: If the folder holds a run with another configuration, or a damaged one.
        DivergedError: If the losses or gradients are no longer finite.
    """
    processes = processes or Processes()
    trainer = Trainer(config, device, processes)
    checkpoint, lines = folder / CHECKPOINT, folder / LOG
    begun = checkpoint.exists()
    if begun:
        trainer.resume(checkpoint)
    processes.wait()  # until all have looked, and read
    if processes.first:
        if not begun:
            note_commit(folder)
        log.forget_after(lines, trainer.iteration)
    # So that a run which stops in between neither repeats nor loses a line of its log.
    checkpoint_every = log_every * math.ceil(checkpoint_every / log_every)
    window: list[dict[str, Any]] = []
    started = time.perf_counter()
    while trainer.iteration < config.iterations:
        window.append(trainer.step())
        if not processes.first:
            continue
        if report:
            report({"iteration": trainer.iteration})
        if trainer.iteration % log_every == 0 or trainer.iteration == config.iterations:
            line = log.summary(window) | {
                "seconds_per_iteration": (time.perf_counter() - started) / len(window),
            }
            if judge:
                line |= judge(trainer.agent)
            log.append(lines, line)
            if report:
                report(line)
            window, started = [], time.perf_counter()
        if trainer.iteration % checkpoint_every == 0 or trainer.iteration == config.iterations:
            trainer.save(checkpoint)
    return trainer.agent.eval()


def note_commit(folder: Path) -> None:
    """Writes down, in a new run's folder, the commit that is checked out."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RUN).write_text(json.dumps({"commit": _git_commit()}) + "\n")


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
