"""The log of a run: a JSON object per line, each the mean over some iterations."""

import json
import math
import os
from pathlib import Path
from typing import Any


def summary(window: list[dict[str, Any]]) -> dict[str, Any]:
    """Sums up iterations: means, the number that was skipped, and the last iteration and rate.

    Means are over the iterations that were not skipped, and null where all were: their loss or
    gradient is not a number, which JSON does not know.

    Example:
        >>> step = {"iteration": 1, "horizon": 10, "learning_rate": 0.1, "loss": 2.0,
        ...         "gradient_norm": 1.0, "skipped": False, "best": {"10": -1.0}}
        >>> summary([step, step | {"iteration": 2, "loss": 4.0}])["loss"]
        3.0
    """
    last = window[-1]
    found = {key: last[key] for key in ("iteration", "horizon", "learning_rate")}
    taken = [line for line in window if not line["skipped"]]
    found["skipped"] = len(window) - len(taken)
    for key in ("loss", "gradient_norm"):
        found[key] = _mean([line[key] for line in taken])
    for mark in sorted({mark for line in window for mark in line["best"]}, key=_order):
        found[f"best_at_{mark}"] = _mean(
            [line["best"][mark] for line in window if mark in line["best"]]
        )
    return found


def append(log: Path, line: dict[str, Any]) -> None:
    """Adds a line to a log."""
    with log.open("a") as file:
        file.write(json.dumps(line) + "\n")


def read(log: Path) -> list[dict[str, Any]]:
    """The whole lines of a log; none where there is no log yet."""
    if not log.exists():
        return []
    lines = log.read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("}\n")]


def forget_after(log: Path, last: int, unit: str = "iteration") -> None:
    """Drops the lines of a log that a killed run wrote after its last checkpoint.

    Args:
        log: The log.
        last: How far the checkpoint had come.
        unit: In which of a line's numbers.
    """
    if log.exists():
        kept = [line for line in read(log) if line[unit] <= last]
        partial = log.with_suffix(".partial")
        partial.write_text("".join(json.dumps(line) + "\n" for line in kept))
        os.replace(partial, log)


def _mean(values: list[float]) -> float | None:
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else None


def _order(mark: str) -> tuple[bool, list[int]]:
    """Milestones in order: those over all dimensions, such as 10, before those of one, 10/6d."""
    return "/" in mark, [int(part) for part in mark.removesuffix("d").split("/")]
