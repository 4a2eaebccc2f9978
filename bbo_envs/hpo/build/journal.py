"""Computing the units of a table in parallel, each once: a killed build goes on where it was."""

import json
import os
import time
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from rich.progress import track

from bbo_envs.hpo.build.recipe import Recipe


def compute(recipe: Recipe, journal: Path, jobs: int) -> tuple[NDArray[np.float64], float]:
    """Computes the units that the journal lacks, and assembles the table.

    Args:
        recipe: Of the table.
        journal: A file of one JSON line per finished unit.
        jobs: The number of processes, one thread each.

    Raises:
        ValueError: If the journal is of another recipe.

    Returns:
        Values ``[*shape, metrics]`` and the CPU seconds that all units took.
    """
    journal.parent.mkdir(parents=True, exist_ok=True)
    head = {"recipe": recipe.name, "about": recipe.about, "levels": recipe.levels}
    _claim(journal, json.dumps(head))
    missing = set(recipe.units()) - read(journal).keys()
    # In a fixed random order, so that the time left can be told from the time so far.
    todo = [recipe.units()[i] for i in np.random.default_rng(0).permutation(len(recipe.units()))]
    todo = [unit for unit in todo if unit in missing]
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"
    results = Parallel(jobs, return_as="generator_unordered", inner_max_num_threads=1)(
        delayed(_timed)(recipe.name, unit) for unit in todo
    )
    with journal.open("a") as file:
        if not journal.read_text().endswith("\n"):
            file.write("\n")  # ends the line that a kill cut off
        for unit, values, seconds in track(results, recipe.name, total=len(todo)):
            line = {"unit": unit, "values": values.tolist(), "seconds": seconds}
            file.write(json.dumps(line) + "\n")
            file.flush()
    done = read(journal)
    table = np.stack([done[unit][0] for unit in recipe.units()])
    return table.reshape(*recipe.shape, -1), sum(seconds for _, seconds in done.values())


def read(journal: Path) -> dict[tuple[int, ...], tuple[NDArray[np.float64], float]]:
    """What a journal holds, by unit; a last line that was cut off by a kill is left out."""
    done = {}
    for line in journal.read_text().splitlines() if journal.exists() else []:
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue
        if "recipe" in entry:
            continue
        done[tuple(entry["unit"])] = np.array(entry["values"]), entry["seconds"]
    return done


def _claim(journal: Path, head: str) -> None:
    """Writes what a journal is of, or checks it.

    Raises:
        ValueError: If it is of another recipe.
    """
    if not journal.exists():
        journal.write_text(head + "\n")
    elif not journal.read_text().startswith(head + "\n"):
        raise ValueError(
            f"{journal} is of another recipe (other levels, or trained otherwise); remove it to "
            "compute the table anew"
        )


def _timed(name: str, unit: tuple[int, ...]) -> tuple[tuple[int, ...], NDArray[np.float64], float]:
    from bbo_envs.hpo.build.command import RECIPES  # recipes hold functions: named, not pickled

    start = time.process_time()
    values = RECIPES[name].run(unit)
    return unit, values, time.process_time() - start
