"""``bbo train-rl``: training by reinforcement learning, scored and written as all networks are."""

import shlex
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from rich.console import Console

from bbo_envs.checks import positive_integer
from bbo_envs.errors import require_extra
from training.command import changes, export, run
from training.distributed import Processes
from training.progress import counting
from training.rl_configs import RLConfig, reinforce_config

_console = Console()


def train_rl_command(
    config: Annotated[RLConfig, tyro.conf.arg(name="")] = RLConfig(),  # noqa: B008 (frozen)
    folder: Path | None = None,
    evaluate_every: int = 50_000,
    validation_functions: int = 128,
    score_functions: int = 1000,
    threads: int = 1,
) -> None:
    """Train an optimiser by reinforcement learning, on any task.

    Shows progress, logs to TensorBoard, and writes checkpoints: a run that was stopped goes on
    when the same command is given again. At the end the best policy of the run's validations is
    scored on held-out functions and written with its card; agents.load, bbo benchmark and bbo score
    take its path.

    Args:
        config: What to train and how.
        folder: Where the run lives; runs/ALGO-TASK by default.
        evaluate_every: Evaluations between validations, each of which writes a checkpoint.
        validation_functions: Functions by which the best policy is chosen.
        score_functions: Held-out functions for the score on the card.
        threads: Threads of PyTorch; two runs of one thread use two cores better.
    """
    torch.set_num_threads(positive_integer("threads", threads))
    positive_integer("evaluate_every", evaluate_every)
    positive_integer("validation_functions", validation_functions)
    positive_integer("score_functions", score_functions)
    name = f"{config.algo}-{config.task.removeprefix('BBO-').removesuffix('-v0')}"
    path = (folder or Path("runs") / name) / f"{name}.safetensors"
    command = shlex.join(["bbo", "train-rl", *changes(config, RLConfig())])
    if config.algo == "reinforce":
        ours = reinforce_config(config)
        every = max(evaluate_every // (ours.batch * ours.horizon), 1)
        agent = run(ours, path.parent, name, every, Processes())
        export(agent, ours, path, score_functions, command)
        return
    require_extra("bbo train-rl", "rl", "stable_baselines3", "sb3_contrib", "tensorboard")
    # Imported here, so that the other commands run without the extra.
    from training.rl import export_best, train_rl

    with counting(_console) as progress:
        bar = progress.add_task(name, total=config.steps)

        def report(line: dict[str, Any]) -> None:
            progress.update(bar, completed=line["steps"])
            if "best" in line:
                progress.update(bar, description=f"{name}  @{config.budget} {line['best']:.4g}")

        train_rl(
            config,
            path.parent,
            evaluate_every=evaluate_every,
            functions=validation_functions,
            report=report,
        )
    export_best(config, path, score_functions, command)
    _console.print(f"The policy: {path}\nIts card: {path.with_suffix('.json')}", soft_wrap=True)
