"""The live table of ``bbo minimize``: what is running, what came back last, and the best so far."""

import math
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import accumulate
from typing import Any, Literal, NamedTuple

from rich import box
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from agents.optimize import Trial

# Of what has ended, so many rows; around all rows there are so many lines: headings and the bar.
_LAST, _AROUND = 8, 6
# The widest column, what is around each, and the heading of one that stands for the rest.
_WIDEST, _PADDING, _MORE = 24, 3, "and {} more"


class Board:
    """Follows a search: a table that is redrawn in a terminal, or else a line per evaluation.

    Args:
        names: The parameters.
        history: What has been evaluated before.
        budget: Evaluations in all.
        maximised: Whether large values are good.
        console: Where it is shown.
    """

    def __init__(
        self,
        names: Sequence[str],
        history: Sequence[Trial],
        budget: int,
        maximised: bool,
        console: Console,
    ) -> None:
        self.names, self.budget, self.maximised = names, budget, maximised
        self.console = console
        self._trials = list(history)
        self._running: dict[int, tuple[dict[str, Any], float]] = {}
        self._lock = threading.Lock()  # evaluations start in threads

    def shown(self) -> AbstractContextManager[object]:
        """Redraws the table while the context lasts, in a terminal."""
        if not self.console.is_terminal:
            return nullcontext()
        return Live(console=self.console, get_renderable=self.__rich__, refresh_per_second=4)

    def followed(self, f: Callable[[dict[str, Any]], float]) -> Callable[[dict[str, Any]], float]:
        """The function, whose evaluations are shown while they run."""

        def evaluate(x: dict[str, Any]) -> float:
            with self._lock:
                self._running[id(x)] = x, time.monotonic()
            try:
                return f(x)
            finally:
                with self._lock:
                    del self._running[id(x)]

        return evaluate

    def ended(self, trial: Trial) -> None:
        """Takes in an evaluation that has ended."""
        with self._lock:
            self._trials.append(trial)
        if not self.console.is_terminal:
            point = ", ".join(f"{name}={_short(value)}" for name, value in trial.x.items())
            count = f"{len(self._trials):>{len(str(self.budget))}}/{self.budget}"
            line = f"{count}  {_value(trial):>12}  {trial.seconds:7.1f} s  {point}"
            self.console.print(line, markup=False, emoji=False, highlight=False, soft_wrap=True)

    def __rich__(self) -> RenderableType:
        with self._lock:
            trials, running = list(self._trials), list(self._running.values())
        known = [n for n, trial in enumerate(trials) if not trial.failed]
        best = (max if self.maximised else min)(known, key=lambda n: trials[n].y, default=-1)
        first = max(0, len(trials) - _LAST)
        rows = []
        for n in [best] * (0 <= best < first) + list(range(first, len(trials))):
            trial, style = trials[n], "bold green" if n == best else ""
            label = f"{n + 1} best" if n == best else str(n + 1)
            seconds = "" if math.isnan(trial.seconds) else f"{trial.seconds:.1f}"
            rows.append(_Row(label, _value(trial), seconds, trial.x, style))
        now = time.monotonic()
        room = max(1, self.console.height - len(rows) - _AROUND)
        for x, since in running[:room]:
            rows.append(_Row("running", "", f"{now - since:.1f}", x, "dim"))
        if len(running) > room:
            rows.append(_Row(f"and {len(running) - room} more", "", "", {}, "dim"))
        count = Text(f"  {len(trials)} of {self.budget} evaluations  ")
        bar = Table.grid()
        bar.add_row(count, ProgressBar(self.budget, len(trials), width=min(40, self._left(count))))
        return Group(self._table(rows), bar)

    def _table(self, rows: "list[_Row]") -> Table:
        """The rows, with as many of the parameters as fit; long choices are cut off."""
        columns = [
            ["", *(row.label for row in rows)],
            ["value", *(row.value for row in rows)],
            ["seconds", *(row.seconds for row in rows)],
        ]
        for name in self.names:
            columns.append([name, *(_short(row.x[name]) if row.x else "" for row in rows)])
        widths = [min(_WIDEST, max(map(cell_len, column))) for column in columns]
        ends = list(accumulate(width + _PADDING for width in widths))
        shown = len(columns)
        if ends[-1] > self.console.width:
            left = self.console.width - len(_MORE) - _PADDING
            shown = max(3, sum(end <= left for end in ends))
            rest = [_MORE.format(len(columns) - shown), *[""] * len(rows)]
            del columns[shown:], widths[shown:]
            if shown > 3:
                columns.append(rest)
                widths.append(len(_MORE))
        table = Table(box=box.SIMPLE_HEAD)
        # As text, for names and choices may look like markup.
        for n, ((heading, *_), width) in enumerate(zip(columns, widths, strict=True)):
            justify: Literal["left", "right"] = "right" if 0 < n < shown else "left"
            table.add_column(Text(heading), justify=justify, no_wrap=True, width=width)
        for row, cells in zip(rows, list(zip(*columns, strict=True))[1:], strict=True):
            table.add_row(*map(Text, cells), style=row.style)
        return table

    def _left(self, text: Text) -> int:
        return max(1, self.console.width - text.cell_len)


class _Row(NamedTuple):
    """A row of the table; x is empty where it is of no one point."""

    label: str
    value: str
    seconds: str
    x: dict[str, Any]
    style: str


def _value(trial: Trial) -> str:
    return "failed" if trial.failed else f"{trial.y:.6g}"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
