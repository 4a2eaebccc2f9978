"""``bbo report``: one page of a benchmark's results, and its figures as files.

The page needs nothing but itself: no network, no files beside it. It is made from stored
evaluations alone; no optimiser is run.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bbo_envs.errors import require_extra
from evaluation.metrics import normalised_regret
from evaluation.report.data import settings, with_versions
from evaluation.report.overall import comparisons
from evaluation.report.summary import compared, outcome
from evaluation.report.tables import failure_table, left_out_table, moment, speed_up_tables
from evaluation.report.views import overall_part, task_part
from evaluation.selection import made
from evaluation.style import styles


def write_report(frame: pd.DataFrame, records: Sequence[dict[str, Any]], folder: Path) -> Path:
    """Writes ``report.html``, and ``figures/`` with a PNG and an SVG of every task and overall.

    Args:
        frame: Evaluations, as read from a store.
        records: One for each run of the benchmark that contributed: command, started and finished
            (ISO times, the latter None if it did not), python, platform, processor, cores,
            package, versions (by package, None where it is not installed), left_out (agent, task,
            reason).
        folder: Where they go; made if it is missing.

    Returns:
        The path of the page.

    Raises:
        MissingExtraError: If the extra ``plot`` is not installed.
        ValueError: If there are no evaluations.

    Example:
        >>> import tempfile
        >>> run = {"agent": "random", "version": "1", "task": "BBO-Branin-2d-v0", "seconds": 1e-3}
        >>> run |= {"arguments": "{}", "budget": 2, "seed": 0, "batch": 1, "reference": 9.0}
        >>> values = {"t": [1, 2], "y": [5.0, 3.0], "best": [5.0, 3.0], "regret": [4.6, 2.6]}
        >>> frame = pd.DataFrame({**run, **values, "finished": [1.0, 2.0], "error": None})
        >>> write_report(frame, [], Path(tempfile.mkdtemp())).name
        'report.html'
    """
    require_extra("bbo report", "plot", "jinja2", "matplotlib", "plotly")
    if frame.empty:
        raise ValueError("there are no evaluations to report on: run bbo benchmark first")
    pictures = folder / "figures"
    pictures.mkdir(parents=True, exist_ok=True)
    page = folder / "report.html"
    view = _view(normalised_regret(with_versions(frame)), records, pictures)
    page.write_text(_render(view), encoding="utf-8")
    return page


def _view(
    evaluations: pd.DataFrame, records: Sequence[dict[str, Any]], pictures: Path
) -> dict[str, Any]:
    """What the template shows. Draws the files on the way."""
    looks = styles(list(dict.fromkeys(evaluations["agent"])))
    found = settings(evaluations)
    good = made(evaluations)
    levels = comparisons(good, np.random.default_rng(0))
    speed_ups = speed_up_tables(good, found)
    several = levels if len(found) > 1 else []
    overall = [
        overall_part(level, number, found, looks, pictures)
        for number, level in enumerate(several, start=1)
    ]
    tasks = [task_part(evaluations, one, looks, speed_ups, pictures) for one in found]
    figures = [figure for part in overall + tasks for figure in part.figures]
    return {
        "compared": compared(evaluations, found),
        "outcome": outcome(levels),
        "several": len(found) > 1,
        "overall": overall,
        "tasks": tasks,
        "plots": {figure.id: figure.plot for figure in figures},
        "failures": failure_table(evaluations, found),
        "left_out": left_out_table(records),
        "records": records,
        "looks": looks,
    }


def _render(view: dict[str, Any]) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    environment = Environment(
        loader=PackageLoader("evaluation.report"),
        autoescape=select_autoescape(("html",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # What |tojson writes: no number that JSON lacks, no spaces, and nothing that ends a script.
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    environment.filters["moment"] = moment
    library = Markup(get_plotlyjs())  # noqa: S704
    return environment.get_template("report.html").render(**view, plotly=library)
