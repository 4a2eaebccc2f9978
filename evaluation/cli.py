"""The command ``bbo``."""

import itertools
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from agents import LSTMAgent, WeightsError, card, load
from agents.pretrained import save
from bbo_envs.checks import positive_integer
from bbo_envs.errors import MissingExtraError, UnknownNameError, require_extra
from bbo_envs.registration import make_problem
from evaluation import listing
from training.bptt import commit_of_run, train
from training.checkpoint import CheckpointError
from training.configs import PRESETS, TrainConfig
from training.score import score

# What a user can mend: shown as one line. Anything else is a defect, and shows its traceback.
_USER_ERRORS = (
    CheckpointError,
    MissingExtraError,
    UnknownNameError,
    WeightsError,
    ValueError,
    OSError,
)

_SAMPLER_ARGUMENTS = ("sampler", "features")

_DEFAULT_PRESET = "lstm-oi-6d"

_console = Console()


def benchmark_command(
    agents: tuple[str, ...] = (),
    budget: int = 100,
    seeds: int = 192,
    slow_seeds: int = 6,
    jobs: int | None = None,
    folder: Path = Path("results"),
) -> None:
    """Compare learned with classical optimisers on BBO-GP-6d-v0 and BBO-Branin-2d-v0.

    Prints a table for each task, and writes every evaluation (Parquet) and the curves (PNG).

    Args:
        agents: Optimisers to compare; all by default.
        budget: Evaluations per function.
        seeds: Functions per task.
        slow_seeds: Functions per task for GP-EI, which takes a second per proposal.
        jobs: Processes; the number of cores by default.
        folder: Where the results go.
    """
    require_extra("bbo benchmark", "all", "matplotlib", "pandas", "pyarrow")
    # Imported here, so that the other commands run without the extra.
    from evaluation.benchmark import DEFAULT_AGENTS, benchmark

    benchmark(
        agents or DEFAULT_AGENTS,
        budget=budget,
        seeds=seeds,
        slow_seeds=slow_seeds,
        jobs=jobs,
        folder=folder,
        console=_console,
    )


def _train_command(default: TrainConfig) -> Callable[..., None]:
    def train_command(
        config: Annotated[TrainConfig, tyro.conf.arg(name="")] = default,
        preset: str = _DEFAULT_PRESET,
        folder: Path | None = None,
        device: str = "cpu",
        threads: int = 1,
        checkpoint_every: int = 500,
        score_functions: int = 1000,
    ) -> None:
        """Train an optimiser by back-propagation through time.

        Shows progress, logs to TensorBoard if it is installed, and writes checkpoints: a run that
        was stopped goes on when the same command is given again. At the end the network is scored
        on held-out functions and written with its card.

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
        folder = folder or Path("runs") / preset
        agent = _train(config, preset, folder, device, checkpoint_every)
        _export(agent, config, folder / f"{preset}.safetensors", score_functions)

    return train_command


def score_command(
    network: Annotated[str, tyro.conf.Positional], functions: int = 1000, threads: int = 1
) -> None:
    """Score a trained network again on the held-out functions of its card, and show both.

    Args:
        network: Its name, or the path of its weights.
        functions: How many functions.
        threads: Threads of PyTorch.
    """
    torch.set_num_threads(positive_integer("threads", threads))
    on_card = card(network).get("score", {})
    if not {"task", "arguments"} <= on_card.keys():
        raise WeightsError(f"the card of {network} names no task to score it on")
    problem = make_problem(on_card["task"], **on_card["arguments"])
    found = score(load(network), problem, positive_integer("functions", functions))
    _console.print_json(data={"card": on_card, "now": found})


def list_command(family: str | None = None) -> None:
    """List every task: dimension, kind, whether it is differentiable, its optimum and its source.

    Args:
        family: Only those of gp, synthetic, bbob, control or hpo.
    """
    # On a narrow terminal lines wrap, but no id is cut off.
    Console(width=max(_console.width, 130)).print(listing.table(family))


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; errors that a user can mend are one line and exit status 2."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        tyro.extras.subcommand_cli_from_dict(
            {
                "list": list_command,
                "benchmark": benchmark_command,
                "train": _train_command(_preset(arguments)),
                "score": score_command,
            },
            prog="bbo",
            description="Learned black-box optimisers and their tasks: list, train, compare.",
            args=arguments,
        )
    except _USER_ERRORS as error:
        Console(stderr=True).print(f"bbo: {error}", markup=False, highlight=False, soft_wrap=True)
        raise SystemExit(2) from error


def _preset(arguments: Sequence[str]) -> TrainConfig:
    """The configuration that ``--preset`` names: the defaults of all other arguments."""
    name = _DEFAULT_PRESET
    for argument, following in itertools.pairwise([*arguments, ""]):
        if argument == "--preset":
            name = following
        elif argument.startswith("--preset="):
            name = argument.removeprefix("--preset=")
    if name not in PRESETS:
        raise UnknownNameError("preset", name, PRESETS)
    return PRESETS[name]


def _train(
    config: TrainConfig, name: str, folder: Path, device: str, checkpoint_every: int
) -> LSTMAgent:
    """Trains, showing progress on the terminal and, where it is installed, in TensorBoard."""
    board = _tensorboard(folder)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=_console) as progress:
        bar = progress.add_task(name, total=config.iterations)

        def report(facts: dict[str, Any]) -> None:
            progress.update(bar, completed=facts["iteration"])
            if "loss" not in facts:
                return
            best = {k.removeprefix("best_at_"): v for k, v in facts.items() if "best_at_" in k}
            shown = "  ".join(f"@{t} {value:.2f}" for t, value in best.items())
            progress.update(bar, description=f"{name}  T = {facts['horizon']}  {shown}")
            for key, value in facts.items() if board else ():
                board.add_scalar(key, value, facts["iteration"])

        agent = train(
            config, folder, device=device, checkpoint_every=checkpoint_every, report=report
        )
    if board:
        board.close()
    return agent.cpu()


def _export(agent: LSTMAgent, config: TrainConfig, path: Path, functions: int) -> None:
    """Scores a trained network and writes it with its card."""
    _console.print("Scoring on held-out functions ...")
    # Whatever the network was trained on, GP samples are exact where it is scored.
    arguments = {k: v for k, v in config.task_arguments.items() if k not in _SAMPLER_ARGUMENTS}
    found = score(agent, make_problem(config.task, **arguments), functions)
    facts = {
        "training": {
            "command": _command_for(config, path.stem),
            "commit": commit_of_run(path.parent),
            "seed": config.seed,
            "config": asdict(config),
        },
        "score": {"task": config.task, "arguments": arguments, **found},
    }
    save(path, agent, facts)
    _console.print(f"The network: {path}\nIts card: {path.with_suffix('.json')}")


def _command_for(config: TrainConfig, preset: str) -> str:
    """The command that trains with this configuration, wherever it is run."""
    words = ["bbo", "train", "--preset", preset]
    mine, theirs = asdict(config), asdict(PRESETS[preset])
    for key in (key for key in mine if mine[key] != theirs[key]):
        name = key.replace("_", "-")
        if isinstance(mine[key], bool):
            words.append(f"--{name}" if mine[key] else f"--no-{name}")
        else:
            value = json.dumps(mine[key]) if isinstance(mine[key], dict) else str(mine[key])
            words += [f"--{name}", value]
    return shlex.join(words)


def _tensorboard(folder: Path) -> Any:
    """A TensorBoard writer, or None (and a line that says so) where it is not installed."""
    try:
        require_extra("A TensorBoard log", "train", "tensorboard")
    except MissingExtraError as error:
        _console.print(str(error))
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder / "tensorboard"))


if __name__ == "__main__":
    main()
