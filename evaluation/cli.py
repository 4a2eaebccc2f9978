"""The command ``bbo``."""

import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import torch
import tyro
from rich.console import Console

from agents.choice import recommend
from bbo_envs.checks import positive_integer
from bbo_envs.errors import require_extra
from evaluation import cards, listing, scoring
from evaluation.programs import Program, minimize_program, space_of_file
from training.command import one_line_errors, train_command
from training.rl_command import train_rl_command
from training.search_command import search_command

_console = Console()


def benchmark_command(
    agents: tuple[str, ...] = (),
    tasks: tuple[str, ...] = (),
    budget: int = 100,
    seeds: int = 64,
    slow_seeds: int = 6,
    workers: int = 1,
    batch: int = 1,
    jobs: int | None = None,
    ray: bool = False,
    retry_failed: bool = False,
    folder: Path = Path("results"),
) -> None:
    """Compare optimisers, learned and classical, on tasks; goes on where it was stopped.

    Prints a table for each task, keeps every evaluation (Parquet), and draws the curves (PNG).
    "bbo report FOLDER" makes a page of them.

    Args:
        agents: Optimisers to compare: names, paths of .safetensors or of .zip by
            Stable-Baselines3, or file.py:attribute. By default eight that ship.
        tasks: Suites (paper, quick, hpo, bbob), ids as "bbo list" shows them, or ids with
            arguments, as in BBO-GP-v0:{"dim": 4}. By default BBO-GP-6d-v0 and BBO-Branin-2d-v0.
        budget: Evaluations per function.
        seeds: Functions per task.
        slow_seeds: Functions per task for GP-EI and SMAC, which take longest.
        workers: Parallel workers, where a task does not say how many.
        batch: Functions that an optimiser plays side by side: faster for networks and GP-EI, but
            times per proposal are not measured then.
        jobs: Processes; the number of cores by default.
        ray: Spread over the Ray cluster at RAY_ADDRESS, or over this machine without it.
        retry_failed: Play units again that have failed.
        folder: Where the results are kept.
    """
    require_extra("bbo benchmark", "all", "joblib", "matplotlib", "pandas", "pyarrow")
    # Imported here, so that the other commands run without the extra.
    from evaluation.benchmark import DEFAULT_AGENTS, DEFAULT_TASKS, benchmark

    benchmark(
        agents or DEFAULT_AGENTS,
        tasks or DEFAULT_TASKS,
        budget=budget,
        seeds=seeds,
        slow_seeds=slow_seeds,
        workers=workers,
        batch=batch,
        jobs=jobs,
        ray=ray,
        retry_failed=retry_failed,
        folder=folder,
        console=_console,
    )


def report_command(folder: Annotated[Path, tyro.conf.Positional] = Path("results")) -> None:
    """Make a page (HTML) and pictures (PNG, SVG) of the results in a folder.

    Args:
        folder: Where a benchmark has kept them.
    """
    require_extra("bbo report", "all", "jinja2", "matplotlib", "pandas", "plotly", "pyarrow")
    from evaluation.report import write_report
    from evaluation.store import WITHOUT_QUERIES, results

    store = results(folder)
    page = write_report(store.read(WITHOUT_QUERIES), store.records(), folder)
    _console.print(f"The page: {page}\nThe pictures: {folder / 'figures'}", soft_wrap=True)


def paper_command(
    full: bool = False,
    jobs: int | None = None,
    ray: bool = False,
    folder: Path = Path("results/paper"),
) -> None:
    """Reproduce figures 3 to 7 and table 1 of Chen et al. 2017, with the networks that ship.

    An hour on two cores; goes on where it was stopped. Writes RESULTS.md and its pictures.

    Args:
        full: As many functions as in the paper, and more rivals: days.
        jobs: Processes; the number of cores by default.
        ray: Spread over the Ray cluster at RAY_ADDRESS, or over this machine without it.
        folder: Where the results are kept.
    """
    require_extra("bbo paper", "all", "joblib", "matplotlib", "pandas", "pyarrow")
    from evaluation.paper import experiments, figures
    from evaluation.paper.page import page
    from evaluation.store import Store

    evaluations = experiments.paper(folder, full=full, jobs=jobs, ray=ray, console=_console)
    figures.draw(evaluations, folder / "figures")
    path = folder / "RESULTS.md"
    records = Store(folder).records()[-1:]
    path.write_text(page(evaluations, records, Path("figures")))
    _console.print(f"The page: {path}\nThe pictures: {folder / 'figures'}", soft_wrap=True)


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


def minimize_command(
    space: Path,
    command: str,
    budget: int = 50,
    workers: int = 1,
    timeout: float | None = None,
    retries: int = 0,
    journal: Path = Path("minimize.jsonl"),
    agent: str = "universal",
    seed: int = 0,
    maximize: bool = False,
) -> None:
    """Find the best parameters of a program, which is run once per evaluation.

    The last line that the program prints is its value. A search that was stopped, at whatever
    moment, goes on when the same command is given again, with a larger budget if you like.

    Args:
        space: A JSON file: {"lr": [1e-5, 0.1, "log"], "layers": [1, 8], "opt": ["adam", "sgd"]}.
            Two integers make an integer, other numbers a float, any other list has choices.
        command: Such as "python train.py --lr {lr} --layers {layers} --opt {opt}"; other braces are
            doubled.
        budget: How many evaluations there will be.
        workers: How many programs run at a time.
        timeout: Seconds after which an attempt is given up.
        retries: Further attempts where one fails.
        journal: Where every evaluation is kept.
        agent: The name of an optimiser; or auto, for the one that "bbo recommend" names.
        seed: Of its randomness.
        maximize: Look for large values in place of small ones.
    """
    parameters = space_of_file(space)
    try:
        result = minimize_program(
            Program(command, parameters, timeout, retries),
            parameters,
            journal,
            budget=positive_integer("budget", budget),
            workers=positive_integer("workers", workers),
            agent=agent,
            seed=seed,
            maximised=maximize,
            console=_console,
        )
    except KeyboardInterrupt:
        line = f"Stopped. {journal} has it all: the same command goes on."
        _console.print(line, markup=False, soft_wrap=True)
        raise SystemExit(130) from None
    _console.print(f"The best of {len(result.history)}: {result.y:.6g}")
    _console.print_json(data=result.x)


def recommend_command(space: Path, budget: int = 50, workers: int = 1) -> None:
    """Choose a network for a search, and tell why: by the scores on the cards.

    Args:
        space: A JSON file, as for "bbo minimize".
        budget: How many evaluations there will be.
        workers: How many at a time.
    """
    found = recommend(space_of_file(space), budget, workers)
    _console.print(cards.candidates(found))
    _console.print(str(found), highlight=False)


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
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # where it takes ASCII only
    with one_line_errors("bbo"):
        tyro.extras.subcommand_cli_from_dict(
            {
                "list": list_command,
                "benchmark": benchmark_command,
                "report": report_command,
                "paper": paper_command,
                "train": train_command(arguments),
                "train-rl": train_rl_command,
                "search": search_command(arguments),
                "score": score_command,
                "minimize": minimize_command,
                "recommend": recommend_command,
            },
            prog="bbo",
            description="Learned black-box optimisers and their tasks: use, train, compare.",
            args=arguments,
        )


if __name__ == "__main__":
    main()
