"""Trainers side by side: the best value that an optimiser finds against the time it was trained.

``python -m evaluation.trainers FOLDER TRAINER ...`` trains by each of these ``TRAINERS``, or by
all, in a folder of its own, and judges them on the way by functions that none is trained on. Every
run is one thread, so that seconds can be compared where no more runs go on than there are cores;
one that was stopped goes on.
"""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from rich.console import Console

from agents.networks import Network
from bbo_envs.errors import UnknownNameError
from evaluation.drawing import Curve, draw_curve
from evaluation.markdown import table
from evaluation.style import styles
from training import bptt, log
from training.configs import PRESETS, TrainConfig
from training.rl_configs import RLConfig
from training.score import validate

_REINFORCE = PRESETS["universal-reinforce-6d"]
TASK, BUDGET = _REINFORCE.task, _REINFORCE.horizon
_ARGUMENTS = _REINFORCE.task_arguments
_TASKS = [{"task": TASK, "arguments": _ARGUMENTS, "budget": BUDGET}]
_FUNCTIONS, _LOOKS = 512, 20

# The first three train the same network; the last two, policies of Stable-Baselines3.
TRAINERS: dict[str, TrainConfig | RLConfig] = {
    "bptt": replace(
        _REINFORCE,
        estimator="pathwise",
        iterations=3_000,
        batch=128,
        learning_rate=3e-3,
        max_gradient=1.0,
    ),
    "reinforce": _REINFORCE,
    "mixed": replace(_REINFORCE, estimator="mixed"),
    "ppo": RLConfig("ppo", TASK, _ARGUMENTS, BUDGET, steps=4_000_000, envs=256),
    "recurrent-ppo": RLConfig("recurrent-ppo", TASK, _ARGUMENTS, BUDGET, steps=1_500_000, envs=256),
}


def train_by(trainer: str, folder: Path, console: Console) -> None:
    """Trains by one of ``TRAINERS`` in ``folder / trainer``, or goes on there.

    Raises:
        UnknownNameError: If there is no such trainer.
        CheckpointError: If the folder holds a run with another configuration, or a damaged one.
    """
    if trainer not in TRAINERS:
        raise UnknownNameError("trainer", trainer, TRAINERS)
    config = TRAINERS[trainer]

    def report(line: dict[str, Any]) -> None:
        if "best" in line:
            console.print(f"{trainer}: {line}", highlight=False)

    if isinstance(config, RLConfig):
        # Imported here, so that the docs are made without Stable-Baselines3.
        from training.rl import train_rl

        every = config.steps // _LOOKS
        train_rl(
            config, folder / trainer, evaluate_every=every, functions=_FUNCTIONS, report=report
        )
        return
    every = config.iterations // _LOOKS
    bptt.train(
        config,
        folder / trainer,
        checkpoint_every=every,
        log_every=every,
        judge=_judge,
        report=report,
    )


def _judge(agent: Network) -> dict[str, Any]:
    return {"best": validate(agent, _TASKS, _FUNCTIONS)}


def collect(folder: Path) -> pd.DataFrame:
    """What has been logged: columns trainer, seconds, evaluations, best; in the order of TRAINERS.

    ``seconds`` are of training alone, ``best`` is the mean best value after ``BUDGET`` evaluations.
    """
    frames = []
    for trainer, config in TRAINERS.items():
        lines = pd.DataFrame(log.read(folder / trainer / bptt.LOG))
        if lines.empty:
            continue
        if isinstance(config, RLConfig):
            lines["evaluations"] = lines["steps"]
        else:
            lines["evaluations"] = lines["iteration"] * config.batch * config.horizon
            passed = lines["iteration"].diff().fillna(lines["iteration"])
            lines["seconds"] = (lines["seconds_per_iteration"] * passed).cumsum()
        frames.append(lines.assign(trainer=trainer))
    columns = ["trainer", "seconds", "evaluations", "best"]
    return pd.concat(frames, ignore_index=True)[columns]


def markdown(frame: pd.DataFrame) -> str:
    """A table: what each trainer comes to after equal times, in the end, and at which cost.

    Args:
        frame: See ``collect``.
    """
    times = _times(frame)
    rows = []
    for trainer, own in frame.groupby("trainer", sort=False):
        last = own.iloc[-1]
        rows.append(
            [
                f"`{trainer}`",
                *(_best_by(own, 60.0 * minutes) for minutes in times),
                f"{last['best']:.2f}",
                f"{last['seconds'] / 60:.0f}",
                f"{last['evaluations'] / 1e6:.1f}",
            ]
        )
    after = [f"after {minutes} min" for minutes in times]
    headings = ["trainer", *after, "in the end", "minutes", "million evaluations"]
    return table(headings, rows, "l" + "r" * (len(headings) - 1))


def _times(frame: pd.DataFrame) -> list[int]:
    """Minutes to compare at, as far as all trainers have come: 1, 2, 4, ..."""
    shortest = frame.groupby("trainer")["seconds"].max().min() / 60.0
    return [2**n for n in range(10) if 2**n <= shortest]


def _best_by(own: pd.DataFrame, seconds: float) -> str:
    """The last figure by then; a run that has none yet has nothing to show."""
    known = own[own["seconds"] <= seconds]["best"]
    return "" if known.empty else f"{known.iloc[-1]:.2f}"


def draw(frame: pd.DataFrame, path: Path) -> None:
    """Draws the best value against the minutes of training.

    Args:
        frame: See ``collect``.
        path: The picture; its suffix decides the format.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 4.4), layout="constrained")
    axis = figure.subplots()
    looks = styles(list(frame["trainer"].unique()))
    for trainer, own in frame.groupby("trainer", sort=False):
        curve = Curve(str(trainer), (own["seconds"] / 60.0).tolist(), own["best"].tolist())
        draw_curve(axis, curve, looks[str(trainer)])
    axis.set_xlabel("minutes of training on one core")
    axis.set_ylabel(f"mean best value after {BUDGET} evaluations")
    axis.set_title(f"{TASK}: {_FUNCTIONS} functions not trained on", fontsize="medium")
    axis.grid(alpha=0.3)
    axis.legend(fontsize="small")
    figure.savefig(path, dpi=110)


def main() -> None:
    """Trains by the trainers named on the command line, or by all, in the folder named first."""
    torch.set_num_threads(1)
    folder, *chosen = sys.argv[1:]
    for trainer in chosen or TRAINERS:
        train_by(trainer, Path(folder), Console())


if __name__ == "__main__":
    main()
