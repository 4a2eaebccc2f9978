"""The command ``bbo``."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import torch
import tyro
from rich.console import Console

from bbo_envs.checks import positive_integer
from bbo_envs.errors import require_extra
from evaluation import listing, scoring
from training.command import one_line_errors, train_command
from training.search_command import search_command

_console = Console()


def benchmark_command(
    agents: tuple[str, ...] = (),
    budget: int = 100,
    seeds: int = 64,
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


def score_command(
    network: Annotated[str, tyro.conf.Positional],
    functions: int = 1000,
    threads: int = 1,
    json: bool = False,
) -> None:
    """Score a trained network again on the held-out functions of its card, and show both.

    Args:
        network: Its name, or the path of its weights.
        functions: How many functions of each task.
        threads: Threads of PyTorch.
        json: Print JSON instead of tables.
    """
    torch.set_num_threads(positive_integer("threads", threads))
    pairs = scoring.compare(network, positive_integer("functions", functions))
    if json:
        _console.print_json(data=pairs)
        return
    for pair in pairs:
        _console.print(scoring.table(pair))


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
    with one_line_errors("bbo"):
        tyro.extras.subcommand_cli_from_dict(
            {
                "list": list_command,
                "benchmark": benchmark_command,
                "train": train_command(arguments),
                "search": search_command(arguments),
                "score": score_command,
            },
            prog="bbo",
            description="Learned black-box optimisers and their tasks: list, train, compare.",
            args=arguments,
        )


if __name__ == "__main__":
    main()
