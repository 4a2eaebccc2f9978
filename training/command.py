"""``bbo train``, which is ``python -m training`` too: train, score, write the network's card."""

import itertools
import json
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from rich.console import Console

from agents.networks import Network
from agents.pretrained import WeightsError, save
from agents.saved import SavedOptimizerError
from bbo_envs.checks import positive_integer
from bbo_envs.errors import (
    MissingExtraError,
    ObjectiveError,
    StoreError,
    UnknownNameError,
    WorkerLostError,
    require_extra,
)
from training.bptt import Report, commit_of_run, train
from training.checkpoint import CheckpointError
from training.configs import PRESETS, TrainConfig
from training.distributed import Processes, processes
from training.progress import counting
from training.score import own_tasks, scores
from training.trainer import DivergedError

DEFAULT_PRESET = "lstm-oi-6d"

# What a user can mend: shown as one line. Anything else is a defect, and shows its traceback.
_USER_ERRORS = (
    CheckpointError,
    DivergedError,
    MissingExtraError,
    ObjectiveError,
    SavedOptimizerError,
    StoreError,
    UnknownNameError,
    WeightsError,
    WorkerLostError,
    ValueError,
    OSError,
)

_console = Console()


@contextmanager
def one_line_errors(program: str) -> Iterator[None]:
    """Shows errors that a user can mend in one line on stderr, and ends with exit status 2.

    Args:
        program: Whose errors they are; the line begins with it.
    """
    try:
        yield
    except _USER_ERRORS as error:
        shown = Console(stderr=True)
        shown.print(f"{program}: {error}", markup=False, highlight=False, soft_wrap=True)
        raise SystemExit(2) from error


def train_command(arguments: Sequence[str]) -> Callable[..., None]:
    """The command, whose defaults are those of the preset that its arguments name."""
    default = preset_of(arguments)

    def train_command(
        config: Annotated[TrainConfig, tyro.conf.arg(name="")] = default,
        preset: str = DEFAULT_PRESET,
        folder: Path | None = None,
        device: str = "cpu",
        threads: int = 1,
        checkpoint_every: int = 500,
        score_functions: int = 1000,
    ) -> None:
        """Train an optimiser by back-propagation through time, or by REINFORCE.

        Shows progress, logs to TensorBoard if it is installed, and writes checkpoints: a run that
        was stopped goes on when the same command is given again. At the end the network is scored
        on held-out functions and written with its card. Under torchrun, processes share the work:
        torchrun --nproc-per-node 2 -m training --preset PRESET.

        Args:
            config: What to train and how.
            preset: The configuration that the other arguments change.
            folder: Where the run lives; runs/PRESET by default.
            device: Where to compute, such as cuda.
            threads: Threads of PyTorch; two runs of one thread use two cores better.
            checkpoint_every: Iterations between checkpoints.
            score_functions: Held-out functions for the score on the card.
        """
        torch.set_num_threads(positive_integer("threads", threads))
        positive_integer("checkpoint_every", checkpoint_every)
        positive_integer("score_functions", score_functions)
        path = (folder or Path("runs") / preset) / f"{preset}.safetensors"
        with processes(device) as together:
            agent = run(config, path.parent, preset, checkpoint_every, together)
        if together.first:
            export(agent, config, path, score_functions, command_for(config, preset))

    return train_command


def run(
    config: TrainConfig,
    folder: Path,
    name: str,
    checkpoint_every: int,
    together: Processes,
) -> Network:
    """Trains, showing progress on the terminal and, where it is installed, in TensorBoard."""
    with ExitStack() as stack:
        report = _progress(config, folder, name, stack) if together.first else None
        agent = train(
            config,
            folder,
            device=together.device,
            checkpoint_every=checkpoint_every,
            report=report,
            processes=together,
        )
    return agent.cpu()


def export(agent: Network, config: TrainConfig, path: Path, functions: int, command: str) -> None:
    """Scores a trained network and writes it with its card.

    Args:
        agent: The network.
        config: What was trained and how.
        path: Where it goes: in the run's folder, ending in ``.safetensors``.
        functions: Held-out functions for the score.
        command: What trains it once more.
    """
    facts = {
        "training": {
            "command": command,
            "commit": commit_of_run(path.parent),
            "seed": config.seed,
            "config": asdict(config),
        },
        **scores(agent, score_tasks(config), functions),
    }
    save(path, agent, facts)
    _console.print(f"The network: {path}\nIts card: {path.with_suffix('.json')}")


def score_tasks(config: TrainConfig) -> list[dict[str, Any]]:
    """The tasks that a network is scored on, its own first.

    Example:
        >>> [entry["arguments"] for entry in score_tasks(TrainConfig())]
        [{}, {'workers': 5}]
    """
    default = {"arguments": {}, "budget": 100}
    others = [default | entry for entry in config.score_tasks]
    return [*own_tasks(config.task, config.task_arguments), *others]


def command_for(config: TrainConfig, preset: str) -> str:
    """The command that trains with this configuration, wherever it is run.

    Example:
        >>> from dataclasses import replace
        >>> command_for(replace(PRESETS["lstm-oi-2d"], batch=64), "lstm-oi-2d")
        'bbo train --preset lstm-oi-2d --batch 64'
    """
    words = ["bbo", "train", "--preset", preset]
    return shlex.join(words + changes(config, PRESETS[preset]))


def changes(config: Any, default: Any) -> list[str]:
    """The words of a command line by which a configuration differs from its defaults.

    Args:
        config: A dataclass that the command takes.
        default: Another one of its class.
    """
    words = []
    mine, theirs = asdict(config), asdict(default)
    for key in (key for key in mine if mine[key] != theirs[key]):
        name = key.replace("_", "-")
        if isinstance(mine[key], bool):
            words.append(f"--{name}" if mine[key] else f"--no-{name}")
        else:
            value = json.dumps(mine[key]) if isinstance(mine[key], dict | list) else str(mine[key])
            words += [f"--{name}", value]
    return words


def preset_of(arguments: Sequence[str]) -> TrainConfig:
    """The configuration that ``--preset`` names: the defaults of all other arguments."""
    name = DEFAULT_PRESET
    for argument, following in itertools.pairwise([*arguments, ""]):
        if argument == "--preset":
            name = following
        elif argument.startswith("--preset="):
            name = argument.removeprefix("--preset=")
    if name not in PRESETS:
        raise UnknownNameError("preset", name, PRESETS)
    return PRESETS[name]


def _progress(config: TrainConfig, folder: Path, name: str, stack: ExitStack) -> Report:
    """What to call with the lines of the log, to see them; it lasts as long as the stack."""
    progress = stack.enter_context(counting(_console))
    bar = progress.add_task(name, total=config.iterations)
    board = _tensorboard(folder)
    if board:
        stack.callback(board.close)

    def report(facts: dict[str, Any]) -> None:
        progress.update(bar, completed=facts["iteration"])
        if "loss" not in facts:
            return
        known = {key: value for key, value in facts.items() if value is not None}
        best = {k.removeprefix("best_at_"): v for k, v in known.items() if "best_at_" in k}
        shown = "  ".join(f"@{t} {value:.2f}" for t, value in best.items() if "/" not in t)
        if facts["skipped"]:
            shown += f"  skipped {facts['skipped']}"
        progress.update(bar, description=f"{name}  T = {facts['horizon']}  {shown}")
        for key, value in known.items() if board else ():
            board.add_scalar(key, value, facts["iteration"])

    return report


def _tensorboard(folder: Path) -> Any:
    """A TensorBoard writer, or None (and a line that says so) where it is not installed."""
    try:
        require_extra("A TensorBoard log", "train", "tensorboard")
    except MissingExtraError as error:
        _console.print(str(error))
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder / "tensorboard"))
