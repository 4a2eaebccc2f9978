"""``bbo search``: shows a search for hyper-parameters, and how to train what it found."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from bbo_envs.checks import positive_integer
from training.command import DEFAULT_PRESET, command_for, preset_of
from training.configs import Json, TrainConfig
from training.progress import counting
from training.search import BEST, DEFAULT_SPACE, Search

_console = Console()


def search_command(arguments: Sequence[str]) -> Callable[..., None]:
    """The command, whose defaults are those of the preset that its arguments name."""
    default = preset_of(arguments)

    def search_command(
        config: Annotated[TrainConfig, tyro.conf.arg(name="")] = default,
        preset: str = DEFAULT_PRESET,
        trials: int = 30,
        space: Annotated[dict[str, Any], Json(dict)] = DEFAULT_SPACE,
        validation_functions: int = 128,
        folder: Path | None = None,
        device: str = "cpu",
        threads: int = 1,
        search_seed: int = 0,
    ) -> None:
        """Search for hyper-parameters with Optuna.

        A trial is a training run; what counts is the mean best value at the horizon, on functions
        that are neither trained on nor held out for scores. Trials that are worse than the median
        are cut short. A search that was stopped goes on when the same command is given again. At
        the end the best configuration is written, and the command that trains it shown.

        Args:
            config: What the trials train, where the space says nothing else.
            preset: The configuration that the other arguments change.
            trials: How many, those of earlier runs included.
            space: What is tried: {field: [choices]}, or {field: {"low": a, "high": b}} for numbers
                on a logarithmic scale; a field may be network_arguments.NAME.
            validation_functions: Functions by which a trial is judged.
            folder: Where the search lives; runs/search-PRESET by default.
            device: Where to compute, such as cuda.
            threads: Threads of PyTorch.
            search_seed: Of the proposals.
        """
        torch.set_num_threads(positive_integer("threads", threads))
        search = Search(
            config,
            folder or Path("runs") / f"search-{preset}",
            space,
            functions=validation_functions,
            device=device,
            seed=search_seed,
        )
        best = _run(search, positive_integer("trials", trials))
        _console.print(_table(search.ended()))
        _console.print(f"The best configuration: {search.folder / BEST}\nTo train it:")
        command = command_for(TrainConfig(**best["config"]), preset)
        _console.print(command, markup=False, highlight=False, soft_wrap=True)

    return search_command


def _run(search: Search, trials: int) -> dict[str, Any]:
    """Runs a search, showing how far it and its present trial have come."""
    with counting(_console) as progress:
        ended = len(search.ended())
        over = progress.add_task("trials", total=trials, completed=ended)
        within = progress.add_task("iterations")

        def report(facts: dict[str, Any]) -> None:
            if "state" not in facts:
                progress.update(
                    within,
                    description=f"trial {facts['trial']}",
                    completed=facts["iteration"],
                    total=facts["iterations"],
                )
                return
            progress.advance(over)
            if facts["error"]:
                progress.console.print(f"Trial {facts['trial']} failed: {facts['error']}")

        return search.run(trials, report)


def _table(ended: list[dict[str, Any]]) -> Table:
    """The trials, the best first; those without a value last."""
    table = Table("trial", "state", "best at the horizon", "parameters", box=SIMPLE)
    for facts in sorted(ended, key=_rank):
        value = "–" if facts["value"] is None else f"{facts['value']:.3f}"
        parameters = ", ".join(f"{k} {_short(v)}" for k, v in facts["parameters"].items())
        table.add_row(str(facts["trial"]), facts["state"], value, parameters)
    return table


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else json.dumps(value)


def _rank(facts: dict[str, Any]) -> tuple[bool, float]:
    complete = facts["state"] == "complete"
    return not complete, facts["value"] if complete else 0.0
