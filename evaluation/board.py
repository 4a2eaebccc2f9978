"""The live table of ``bbo minimize``: what is running, what came back last, and the best so far."""

import math
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from agents.optimize import Trial

# More rows than fit on a screen would be cut off.
_LAST = 8


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
        table = Table(box=box.SIMPLE_HEAD)
        for heading in ("", "value", "seconds", *self.names):
            table.add_column(
                Text(heading), justify="left" if heading == "" else "right", no_wrap=True
            )
        known = [n for n, trial in enumerate(trials) if not trial.failed]
        best = (max if self.maximised else min)(known, key=lambda n: trials[n].y, default=-1)
        first = max(0, len(trials) - _LAST)
        for n in [best] * (0 <= best < first) + list(range(first, len(trials))):
            trial, style = trials[n], "bold green" if n == best else ""
            label = f"{n + 1} best" if n == best else str(n + 1)
            seconds = "" if math.isnan(trial.seconds) else f"{trial.seconds:.1f}"
            table.add_row(label, _value(trial), seconds, *self._point(trial.x), style=style)
        now = time.monotonic()
        for x, since in running:
            table.add_row("running", "", f"{now - since:.1f}", *self._point(x), style="dim")
        count = Text(f"  {len(trials)} of {self.budget} evaluations  ")
        bar = Table.grid()
        bar.add_row(count, ProgressBar(self.budget, len(trials), width=40))
        return Group(table, bar)

    def _point(self, x: dict[str, Any]) -> list[Text]:
        # As text, for names and choices may look like markup.
        return [Text(_short(x[name])) for name in self.names]


def _value(trial: Trial) -> str:
    return "failed" if trial.failed else f"{trial.y:.6g}"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
