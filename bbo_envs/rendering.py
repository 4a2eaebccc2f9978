"""Pictures of an episode: the landscape, the queries in order, and the incumbent.

One and two dimensions show the function itself, the repellers their map; beyond, a
parallel-coordinates view shows the queries. matplotlib is imported when the first one is drawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.text import Text
from torch import Tensor

from bbo_envs.core import FunctionDistribution, Observation, map_tensors
from bbo_envs.errors import require_extra
from bbo_envs.functions.base import Functions
from bbo_envs.functions.repellers import Repellers
from bbo_envs.functions.transformed import Transformed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RENDER_MODES = ("rgb_array", "ansi")

_SHADES = " .:-=+*#%@"  # from high to low: dark where the function is low
_WIDTH, _HEIGHT = 64, 20
_PIXELS, _DPI = 480, 96


@dataclass(frozen=True)
class Scene:
    """What a picture shows of one row.

    Attributes:
        functions: The distribution.
        state: Its state, of one row.
        x: ``[t, d]`` the queries that came back, in the order in which they did.
        y: ``[t]`` their values.
        trace: ``[steps, 2]`` what ``Functions.trace`` gave for the incumbent, if anything.
    """

    functions: FunctionDistribution
    state: Any
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    trace: NDArray[np.float64] | None = None

    @property
    def incumbent(self) -> int | None:
        """The index of the lowest value; None before any came back."""
        return int(self.y.argmin()) if len(self.y) else None

    @property
    def title(self) -> str:
        """How far the episode is."""
        best = "" if self.incumbent is None else f", best {self.y.min():.4g}"
        return f"{len(self.y)} evaluations{best}"

    def surface(self, points: NDArray[np.float64]) -> NDArray[np.float64] | None:
        """The function at points ``[n, d]``, or None where a look at it would be an evaluation."""
        if not isinstance(self.functions, Functions):
            return None
        with torch.no_grad():
            values = self.functions.surface(self.state, torch.from_numpy(points))
        return None if values is None else values.double().cpu().numpy()


class Episode:
    """What has been asked and what came back since the last reset, of all rows."""

    def __init__(self) -> None:
        self.asked: list[Tensor] = []
        self.traces: list[Tensor | None] = []
        self.came_back: list[Observation] = []

    def add(
        self,
        functions: FunctionDistribution,
        function: Any,
        x: Tensor,
        came_back: Sequence[Observation],
    ) -> None:
        """Takes in a step.

        Args:
            functions: The distribution.
            function: Its state before the step.
            x: ``[B, d]`` what was asked.
            came_back: What the step returned, and what came back late.
        """
        self.asked.append(x)
        with torch.no_grad():
            traced = functions.trace(function, x) if isinstance(functions, Functions) else None
        self.traces.append(traced)
        self.came_back.extend(came_back)

    def scene(self, functions: FunctionDistribution, function: Any, row: int) -> Scene:
        """What a picture shows of one row.

        Args:
            functions: The distribution.
            function: Its state now.
            row: Which row.
        """
        seen = [(o.x[row], o.y[row].item()) for o in self.came_back if o.o[row]]
        trace = None
        if seen:
            best, _ = min(seen, key=lambda pair: pair[1])
            when = next(t for t, x in enumerate(self.asked) if torch.equal(x[row].to(best), best))
            traced = self.traces[when]
            trace = None if traced is None else traced[row].double().cpu().numpy()
        return Scene(
            functions,
            map_tensors(lambda part: part[row : row + 1], function),
            np.array([x.double().cpu().numpy() for x, _ in seen]).reshape(-1, functions.dim),
            np.array([y for _, y in seen]),
            trace,
        )


def render(mode: str, scene: Scene) -> NDArray[np.uint8] | str:
    """Draws a scene.

    Args:
        mode: ``"rgb_array"`` (an image ``[480, 480, 3]``) or ``"ansi"`` (text).
        scene: What to draw.
    """
    return _text(scene) if mode == "ansi" else _image(scene)


def check_render_mode(mode: str | None) -> str | None:
    """Returns a render mode that can be used here.

    Raises:
        ValueError: If there is no such mode.
        MissingExtraError: If it needs matplotlib, which is not installed.
    """
    if mode is not None and mode not in RENDER_MODES:
        raise ValueError(f"render_mode must be None or one of {RENDER_MODES}, got {mode!r}")
    if mode == "rgb_array":
        require_extra("render_mode='rgb_array'", "plot", "matplotlib")
    return mode


def figure(scene: Scene) -> "Figure":
    """The picture as a matplotlib figure, for documents and notebooks."""
    from matplotlib.figure import Figure

    made = Figure(figsize=(_PIXELS / _DPI, _PIXELS / _DPI), dpi=_DPI, layout="constrained")
    axes = made.add_subplot()
    axes.set_title(scene.title, fontsize="medium")
    bare = scene.functions
    while isinstance(bare, Transformed):
        bare = bare.functions
    if isinstance(bare, Repellers):
        _draw_repellers(axes, scene, bare)
    elif scene.functions.dim == 1:
        _draw_curve(axes, scene)
    elif scene.functions.dim == 2:
        _draw_contours(axes, scene)
    else:
        _draw_parallel(axes, scene)
    return made


def _image(scene: Scene) -> NDArray[np.uint8]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure(scene))
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _draw_curve(axes: "Axes", scene: Scene) -> None:
    grid = np.linspace(0.0, 1.0, 401)
    values = scene.surface(grid[:, None])
    if values is not None:
        axes.plot(grid, values, color="0.5", linewidth=1)
    axes.scatter(scene.x[:, 0], scene.y, c=np.arange(len(scene.y)), cmap="viridis", zorder=2)
    if scene.incumbent is not None:
        best = scene.incumbent
        axes.plot(scene.x[best, 0], scene.y[best], "*", color="crimson", markersize=14)
    axes.set(xlim=(-0.02, 1.02), xlabel="x", ylabel="y")


def _draw_contours(axes: "Axes", scene: Scene) -> None:
    side = np.linspace(0.0, 1.0, 81)
    values = scene.surface(_grid(side, side))
    if values is not None:
        # By rank, so that a few huge values do not hide the rest.
        ranks = values.argsort().argsort().reshape(81, 81)
        axes.contourf(side, side, ranks, levels=20, cmap="Greys_r", alpha=0.8)
    axes.plot(scene.x[:, 0], scene.x[:, 1], color="0.3", linewidth=0.5)
    axes.scatter(scene.x[:, 0], scene.x[:, 1], c=np.arange(len(scene.y)), cmap="viridis", zorder=2)
    if scene.incumbent is not None:
        axes.plot(*scene.x[scene.incumbent], "*", color="crimson", markersize=14)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="x1", ylabel="x2", aspect="equal")


def _draw_parallel(axes: "Axes", scene: Scene) -> None:
    from matplotlib import colormaps
    from matplotlib.ticker import MaxNLocator

    columns = np.arange(1, scene.functions.dim + 1)
    worst_first = (-scene.y).argsort(kind="stable")
    for rank, query in enumerate(worst_first):
        shade = (rank + 1) / len(worst_first)
        colour = colormaps["viridis"](shade)
        axes.plot(columns, scene.x[query], color=colour, alpha=0.3 + 0.5 * shade)
    if scene.incumbent is not None:
        axes.plot(columns, scene.x[scene.incumbent], color="crimson", linewidth=2.5)
    axes.set(ylim=(-0.02, 1.02), xlabel="coordinate", ylabel="x")
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))


def _draw_repellers(axes: "Axes", scene: Scene, repellers: Repellers) -> None:
    across, up = np.linspace(-8.0, 8.0, 161), np.linspace(-10.0, 2.0, 121)
    reward = repellers.reward(torch.from_numpy(_grid(across, up)).to(repellers.dtype))
    axes.contourf(across, up, reward.reshape(121, 161).numpy(), levels=12, cmap="Greens")
    if scene.incumbent is not None and scene.trace is not None:
        best = torch.from_numpy(scene.x[[scene.incumbent]])
        strength, x, y = scene.functions.native(scene.state, best).reshape(-1, 3).numpy().T
        axes.plot(*scene.trace.T, "o-", color="crimson", markersize=3, linewidth=1)
        axes.plot(*scene.trace[0], "s", color="black", markersize=5)
        axes.scatter(x, y, s=30 + 400 * strength, marker="X", color="navy")
    axes.set(xlim=(-8.0, 8.0), ylim=(-10.0, 2.0), xlabel="x", ylabel="y", aspect="equal")


def _text(scene: Scene) -> str:
    dim = scene.functions.dim
    cells = _text_curve(scene) if dim == 1 else _text_map(scene) if dim == 2 else _text_bars(scene)
    out = StringIO()
    console = Console(file=out, force_terminal=True, color_system="standard", width=_WIDTH + 16)
    console.print(scene.title, highlight=False)
    for row in cells:
        line = Text()
        for mark in row:
            style = "bold red" if mark == "★" else "bold cyan" if mark.isdigit() else ""
            line.append(mark, style)
        console.print(line)
    console.print("★ incumbent; 0 to 9: the last ten queries, 9 the latest", highlight=False)
    return out.getvalue()


def _text_curve(scene: Scene) -> list[list[str]]:
    values = scene.surface(((np.arange(_WIDTH) + 0.5) / _WIDTH)[:, None])
    seen = np.concatenate([scene.y, [] if values is None else values])
    low, high = (seen.min(), seen.max()) if len(seen) else (0.0, 1.0)

    def row(y: NDArray[np.float64]) -> NDArray[np.int64]:
        fallen: NDArray[np.float64] = (high - y) / max(high - low, 1e-300)
        return np.rint(fallen * (_HEIGHT - 1)).astype(np.int64)

    cells = [[" "] * _WIDTH for _ in range(_HEIGHT)]
    for column, line in enumerate([] if values is None else row(values)):
        cells[line][column] = "·"
    _mark(cells, scene, row(scene.y), _places(scene.x[:, 0], _WIDTH))
    return cells


def _text_map(scene: Scene) -> list[list[str]]:
    across = (np.arange(_WIDTH) + 0.5) / _WIDTH
    down = 1.0 - (np.arange(_HEIGHT) + 0.5) / _HEIGHT
    values = scene.surface(_grid(across, down))
    cells = [[" "] * _WIDTH for _ in range(_HEIGHT)]
    if values is not None:
        ranks = (-values).argsort().argsort() * len(_SHADES) // len(values)
        cells = [[_SHADES[rank] for rank in row] for row in ranks.reshape(_HEIGHT, _WIDTH)]
    _mark(cells, scene, _places(1.0 - scene.x[:, 1], _HEIGHT), _places(scene.x[:, 0], _WIDTH))
    return cells


def _text_bars(scene: Scene) -> list[list[str]]:
    """One line per coordinate, from 0 to 1: where each query and the incumbent are."""
    cells = []
    for column in range(scene.functions.dim):
        bar = [["-"] * _WIDTH]
        line = np.zeros(len(scene.x), dtype=np.int64)
        _mark(bar, scene, line, _places(scene.x[:, column], _WIDTH))
        cells.append([f"x{column + 1}".rjust(4) + " |", *bar[0], "|"])
    return cells


def _mark(
    cells: list[list[str]], scene: Scene, rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> None:
    """Writes the queries over a picture: the last ten as digits, those before as o."""
    count = len(scene.y)
    for query, (row, column) in enumerate(zip(rows, columns, strict=True)):
        last = query - (count - 10)
        cells[row][column] = str(last) if last >= 0 else "o"
    if scene.incumbent is not None:
        cells[rows[scene.incumbent]][columns[scene.incumbent]] = "★"


def _places(x: NDArray[np.float64], size: int) -> NDArray[np.int64]:
    return np.minimum((x * size).astype(np.int64), size - 1)


def _grid(across: NDArray[np.float64], up: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points ``[n, 2]``, row by row."""
    x, y = np.meshgrid(across, up)
    return np.stack([x.ravel(), y.ravel()], 1)
