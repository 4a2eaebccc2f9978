"""The command ``bbo``."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import tyro
from agents import WeightsError, card, load
from agents.pretrained import save
from bbo_envs.errors import MissingExtraError, UnknownNameError
from bbo_envs.registration import make_problem
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from training.bptt import git_commit, train
from training.checkpoint import CheckpointError
from training.configs import PRESETS, TrainConfig
from training.score import score

app = tyro.extras.SubcommandApp()
console = Console()

# What a user can mend: shown as one line. Anything else is a defect, and shows its traceback.
_USER_ERRORS = (
    CheckpointError, MissingExtraError, UnknownNameError, WeightsError, ValueError, OSError,
)  # fmt: skip


@app.command(name="benchmark")
def benchmark_command(
    agents: Annotated[tuple[str, ...] | None, tyro.conf.arg(metavar="NAME ...")] = None,
    budget: int = 100,
    seeds: int = 64,
    slow_seeds: int = 8,
    jobs: int | None = None,
    folder: Path = Path("results"),
) -> None:
    """Compare learned with classical optimisers on BBO-GP-6d-v0 and BBO-Branin-2d-v0.

    Args:
        agents: Optimisers to compare; all by default.
        budget: Evaluations per function.
        seeds: Functions per task.
        slow_seeds: Functions per task for GP-EI, which takes a second per proposal.
        jobs: Processes; the number of cores by default.
        folder: Where the evaluations (Parquet) and the picture go.
    """
    # Imported here, so that the other commands run without the extra.
    try:
        from evaluation.benchmark import DEFAULT_AGENTS, benchmark
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"bbo benchmark (it imports {error.name})", "all") from error
    benchmark(
        agents or DEFAULT_AGENTS,
        budget=budget,
        seeds=seeds,
        slow_seeds=slow_seeds,
        jobs=jobs,
        folder=folder,
        console=console,
    )


def train_command(
    config: TrainConfig, name: str, folder: Path, device: str = "cpu", threads: int = 1
) -> None:
    """Trains a network, showing progress, and writes it with its card when it is done."""
    import torch

    torch.set_num_threads(threads)
    board = _tensorboard(folder)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        bar = progress.add_task(name, total=config.iterations)

        def report(facts: dict[str, Any]) -> None:
            progress.update(bar, completed=facts["iteration"])
            if "loss" not in facts:
                return
            best = {key: value for key, value in facts.items() if key.startswith("best_at_")}
            shown = "  ".join(f"@{key[8:]} {value:.2f}" for key, value in best.items())
            progress.update(bar, description=f"{name}  T = {facts['horizon']}  {shown}")
            for key, value in facts.items() if board else ():
                board.add_scalar(key, value, facts["iteration"])

        agent = train(config, folder, device=device, report=report)
    if board:
        board.close()
    console.print("Scoring on held-out functions ...")
    facts = {
        "training": {
            "command": "bbo " + " ".join(sys.argv[1:]),
            "commit": git_commit(),
            "seed": config.seed,
            "config": asdict(config),
        },
        "score": score_facts(agent, config.task),
    }
    path = folder / f"{name}.safetensors"
    save(path, agent, facts)
    console.print(f"The network: {path}\nIts card: {path.with_suffix('.json')}")
