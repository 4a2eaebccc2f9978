"""Pictures of stored evaluations, by Matplotlib."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from bbo_envs.registration import make_problem
from bbo_envs.suites import TaskSpec
from evaluation.drawing import curves_of, draw_curve
from evaluation.metrics import curves
from evaluation.run import evaluations_of
from evaluation.style import Style, styles

_COLUMNS = 3


def describe(task: TaskSpec) -> str:
    """A task in words: its id, and what its arguments and kernel make of it.

    Example:
        >>> describe(TaskSpec("BBO-GP-6d-v0", {"sampler": "fourier", "features": 64}))
        'BBO-GP-6d-v0 (RBF kernel, ℓ = 0.3)'
        >>> describe(TaskSpec("BBO-HPO-MLP-5d-v0", {"dataset": "vehicle"}))
        'BBO-HPO-MLP-5d-v0 (vehicle)'
    """
    functions = make_problem(task.id, **task.arguments).functions
    if hasattr(functions, "kernel"):
        kernel = functions.kernel
        dim = f"d = {task.arguments['dim']}, " if "dim" in task.arguments else ""
        return f"{task.id} ({dim}{type(kernel).__name__} kernel, ℓ = {kernel.length_scale:.3g})"
    words = {"perturb": "perturbed", "rescaled": "rescaled"}
    variants = [word for name, word in words.items() if task.arguments.get(name)]
    variants += [str(task.arguments["dataset"])] if "dataset" in task.arguments else []
    return f"{task.id} ({', '.join(variants)})" if variants else task.id


def draw_curves(evaluations: pd.DataFrame, tasks: list[TaskSpec], path: Path) -> None:
    """Draws, for each task, the mean best value (or regret) over the evaluations.

    Where the minimum is known, the regret is drawn on a logarithmic axis. Bands are 95 % Student
    intervals over functions.

    Args:
        evaluations: As read from a store.
        tasks: The panels, in order.
        path: The picture; its suffix decides the format.
    """
    from matplotlib.figure import Figure

    columns = min(len(tasks), _COLUMNS)
    rows = -(-len(tasks) // columns)
    figure = Figure(figsize=(6.0 * columns, 4.2 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    looks = styles(list(dict.fromkeys(evaluations["agent"])))
    for axis, task in zip(axes, tasks, strict=False):
        _draw_panel(axis, evaluations_of(evaluations, task), looks)
        axis.set_title(describe(task))
    for axis in axes[len(tasks) :]:
        axis.axis("off")
    figure.savefig(path, dpi=150)


def _draw_panel(axis: Any, evaluations: pd.DataFrame, looks: Mapping[str, Style]) -> None:
    with_regret = bool(evaluations["regret"].notna().any())
    frame = curves(evaluations, "regret" if with_regret else "best")
    counts = frame.groupby("agent")["n"].max()
    for curve in curves_of(frame, list(looks)):
        label = f"{curve.agent} (n = {counts[curve.agent]})"
        draw_curve(axis, curve, looks[curve.agent], log_y=with_regret, label=label)
    axis.set_xlabel("evaluations")
    axis.set_ylabel("regret of the best so far" if with_regret else "best value so far")
    axis.grid(alpha=0.3)
    axis.legend(fontsize="small")
