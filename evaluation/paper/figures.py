"""The figures of ``bbo paper``, as PNG and SVG files by Matplotlib."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from bbo_envs.core import map_tensors
from bbo_envs.registration import make_problem
from bbo_envs.suites import TaskSpec
from evaluation.drawing import curves_of, draw_curve, pen
from evaluation.figures import describe
from evaluation.metrics import curves
from evaluation.paper import experiments
from evaluation.run import evaluations_of
from evaluation.style import styles
from evaluation.workers import best_by_time
from training.score import held_out

AGENTS = (
    *experiments.NETWORKS,
    *experiments.FAST,
    *experiments.GP,
    *experiments.SLOW,
    *experiments.LOSSES,
    *experiments.MORE,
)
LOOKS = styles(AGENTS)
_GRID = 400
_TRAJECTORIES = ("lstm-oi", "dnc-oi", "universal", "posterior-guided", "gp-ei-known", "tpe")
_STEPS = 50


class Panel(NamedTuple):
    """A pair of axes: some optimisers on a task.

    Attributes:
        task: The task.
        agents: Who is drawn.
        against: ``"t"`` (evaluations), ``"seconds"`` (spent on proposals), or ``"time"``
            (simulated, where workers evaluate side by side).
        budget: Of the runs.
        title: Where it is not the task's description.
        all_functions: Whether functions count that only networks have played.
    """

    task: TaskSpec
    agents: Sequence[str]
    against: str = "t"
    budget: int = experiments.BUDGET
    title: str = ""
    all_functions: bool = False


_EVERYBODY = (*experiments.NETWORKS, *experiments.FAST, *experiments.GP, "smac", *experiments.MORE)
_RESNET = (*experiments.NETWORKS, "tpe", "smac", "gp-ei")

PANELS: dict[str, tuple[Panel, ...]] = {
    "figure-3-gp-samples": (
        *(Panel(task, _EVERYBODY) for task in experiments.SAMPLES),
        Panel(
            experiments.SAMPLES[2],
            (*experiments.FLAT, *experiments.LOSSES),
            title="d = 6: losses of training",
            all_functions=True,
        ),
    ),
    "figure-5-benchmark-functions": tuple(
        Panel(task, _EVERYBODY) for task in experiments.SYNTHETIC
    ),
    "figure-5-run-time": tuple(
        Panel(task, (*_EVERYBODY, "gp-bayesian"), against="seconds")
        for task in experiments.SYNTHETIC
    ),
    "figure-6-repellers": (Panel(experiments.REPELLERS, _EVERYBODY),),
    "figure-7-hpo": (
        *(Panel(task, _EVERYBODY) for task in experiments.TABLES),
        Panel(experiments.RESNET, _RESNET, title="ResNet, one evaluation after another"),
        Panel(experiments.RESNET_PARALLEL, _RESNET, title="ResNet, 5 workers"),
        Panel(
            experiments.RESNET_PARALLEL, _RESNET, "time", title="ResNet, 5 workers: simulated time"
        ),
    ),
    "limits": (
        Panel(
            experiments.LONGER,
            (*experiments.NETWORKS, *experiments.FAST, "gp-ei"),
            budget=experiments.LONGER_BUDGET,
        ),
        *(
            Panel(task, (*experiments.ANY_DIMENSION, *experiments.FAST, "gp-ei"))
            for task in experiments.LIMITS
        ),
    ),
}


def draw(
    evaluations: pd.DataFrame, folder: Path, suffixes: Sequence[str] = (".png", ".svg")
) -> list[Path]:
    """Draws all figures.

    Args:
        evaluations: Of ``experiments.paper``, queries included.
        folder: Where they go.
        suffixes: The formats.

    Returns:
        The files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    figures = {name: draw_panels(evaluations, panels) for name, panels in PANELS.items()}
    figures["figure-4-trajectories"] = _trajectories(evaluations)
    figures["figure-6-trajectory"] = _ball(evaluations)
    paths = []
    for name, figure in sorted(figures.items()):
        for suffix in suffixes:
            paths.append(folder / f"{name}{suffix}")
            figure.savefig(paths[-1], dpi=110, metadata={"Date": None} if suffix == ".svg" else {})
    return paths


def draw_panels(evaluations: pd.DataFrame, panels: Sequence[Panel]) -> Any:
    """A Matplotlib figure of panels with one legend."""
    columns = min(len(panels), 3 if len(panels) != 4 else 2)
    rows = -(-len(panels) // columns)
    figure, axes = _axes(rows, columns, (5.4 * columns, 4.0 * rows + 0.8))
    labels: dict[str, Any] = {}
    for axis, panel in zip(axes, panels, strict=False):
        labels |= _draw_panel(axis, evaluations, panel)
    for axis in axes[len(panels) :]:
        axis.axis("off")
    figure.legend(labels.values(), labels, loc="outside lower center", ncols=6, fontsize="small")
    return figure


def _draw_panel(axis: Any, evaluations: pd.DataFrame, panel: Panel) -> dict[str, Any]:
    own = evaluations_of(evaluations, panel.task)
    own = own[own["budget"] == panel.budget]
    own = own if panel.all_functions else experiments.comparable(own)
    column = "regret" if own["regret"].notna().any() else "best"
    labels = {}
    for agent in panel.agents:
        runs = own[own["agent"] == agent]
        line = _line(runs, panel.against, column)
        if line.empty:
            continue
        (curve,) = curves_of(line.assign(agent=agent), [agent])
        labels[agent] = draw_curve(axis, curve, LOOKS[agent], log_y=column == "regret")
    axis.set_title(panel.title or describe(panel.task), fontsize="medium")
    axis.set_xlabel(
        {"t": "evaluations", "seconds": "seconds spent on proposals", "time": "simulated time"}[
            panel.against
        ]
    )
    axis.set_ylabel("regret of the best so far" if column == "regret" else "best value so far")
    if panel.against == "seconds":
        axis.set_xscale("log")
    axis.grid(alpha=0.3)
    return labels


def _line(runs: pd.DataFrame, against: str, column: str) -> pd.DataFrame:
    """Columns t (where it stands on the axis), mean, half_width, n."""
    if against == "time":
        last = runs["finished"].max()
        times = np.linspace(0.0, 0.0 if pd.isna(last) else last, 200)
        return best_by_time(runs, times).rename(columns={"time": "t"})
    line = curves(runs, column)
    if against == "seconds":
        alone = runs[(runs["batch"] == 1) & runs["error"].isna()]
        # What proposing has taken by the time of each query, on average over the runs timed.
        spent = alone.groupby("t")["seconds"].mean().cumsum()
        line = line[line["t"].isin(spent.index)]
        line["t"] = line["t"].map(spent)
    return line


def _trajectories(evaluations: pd.DataFrame) -> Any:
    """Figure 4: a function of one variable, the values found, and the queries in order."""
    task, seed = experiments.SAMPLES[0], 0
    grid = torch.linspace(0.0, 1.0, _GRID, dtype=torch.float64).unsqueeze(1)
    y = _values(task, seed, grid)
    own = evaluations_of(evaluations, task)
    own = own[(own["budget"] == experiments.BUDGET) & (own["seed"] == seed) & (own["t"] <= _STEPS)]
    figure, axes = _axes(2, 3, (13.0, 7.0))
    for axis, agent in zip(axes, _TRAJECTORIES, strict=True):
        run = own[(own["agent"] == agent) & own["error"].isna()].sort_values("t")
        x = [query[0] for query in run["x"]]
        axis.plot(grid[:, 0], y, color="#0072B2", lw=1.5)
        axis.plot(x, run["y"], "+", color="#009E73", ms=7)
        axis.set(title=agent, xlabel="x", ylabel="f(x)")
        queries = axis.twinx()
        queries.plot(x, run["t"], color="#D55E00", lw=1.0, marker=".", ms=3)
        queries.set(ylabel="query", ylim=(_STEPS, 0))
    return figure


def _ball(evaluations: pd.DataFrame) -> Any:
    """Figure 6: the paths of the ball under the best query of each optimiser, on three starts."""
    agents = ("lstm-oi", "dnc-oi", "universal", "posterior-guided", "tpe", "random")
    problem = make_problem(experiments.REPELLERS.id)
    functions: Any = problem.functions
    side = torch.linspace(-6.0, 4.0, 200, dtype=torch.float64)
    down = torch.linspace(-7.0, 1.5, 200, dtype=torch.float64)
    reward = functions.reward(torch.cartesian_prod(side, down)).view(200, 200)
    own = evaluations_of(evaluations, experiments.REPELLERS)
    figure, axes = _axes(1, 3, (14.0, 4.6))
    labels: dict[str, Any] = {}
    for seed, axis in enumerate(axes):
        state = held_out(problem, [seed])[0].function
        axis.contourf(side, down, reward.T, levels=12, cmap="Greys", alpha=0.8)
        axis.plot(*state.start[0], "o", color="#000000", ms=6)
        for agent in agents:
            run = own[(own["agent"] == agent) & (own["seed"] == seed) & own["error"].isna()]
            if run.empty:
                continue
            query = run.sort_values("y")["x"].iloc[0]
            path = functions.trace(state, torch.tensor([list(query)]))[0]
            (labels[agent],) = axis.plot(*path.T, **pen(LOOKS[agent]))
        axis.set(title=f"start {seed}", xlim=(-6.0, 4.0), ylim=(-7.0, 1.5), aspect="equal")
    figure.legend(labels.values(), labels, loc="outside lower center", ncols=6, fontsize="small")
    return figure


def _values(task: TaskSpec, seed: int, x: Tensor) -> Tensor:
    """The noise-free values ``[n]`` of an evaluation function at points ``[n, d]``."""
    problem = make_problem(task.id, **task.arguments)
    one = held_out(problem, [seed])[0].function
    alike = map_tensors(lambda part: part.expand(len(x), *part.shape[1:]), one)
    return problem.functions.evaluate(alike, x)[0]


def _axes(rows: int, columns: int, size: tuple[float, float]) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False).flatten()
