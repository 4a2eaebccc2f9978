"""Writing a computed table into the package, with its card."""

import gzip
import importlib.metadata
import json
import platform
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from scipy.special import gammaln

from bbo_envs.hpo.build.recipe import Recipe
from bbo_envs.hpo.store import FOLDER


def save_table(recipe: Recipe, values: NDArray[np.float64], cpu_seconds: float) -> None:
    """Writes a computed table into the package, with its card."""
    objective = values[..., 0]
    best = np.unravel_index(int(objective.argmin()), objective.shape)
    card = {
        "name": recipe.name,
        "about": recipe.about,
        "search_space": recipe.levels,
        "source_of_the_space": recipe.source,
        "metrics": recipe.metrics,
        "objective": recipe.metrics[0],
        "seeds": [0],
        "cells": int(objective.size),
        "best": {
            "value": float(objective.min()),
            "at": {
                name: levels[i]
                for (name, levels), i in zip(recipe.levels.items(), best, strict=True)
            },
        },
        "mean": float(objective.mean()),
        "mean_best_of_random_draws": {
            str(draws): expected_best(objective.ravel(), draws) for draws in (10, 30, 100)
        },
        "cpu_seconds": round(cpu_seconds, 1),
        "versions": {
            "python": platform.python_version(),
            **{package: importlib.metadata.version(package) for package in recipe.packages},
        },
        "machine": platform.machine(),
        "build": f"python -m bbo_envs.hpo.build build {recipe.name}",
    }
    folder = Path(str(FOLDER))
    folder.mkdir(exist_ok=True)
    data = safetensors.torch.save({"values": torch.from_numpy(values).contiguous()})
    (folder / f"{recipe.name}.safetensors.gz").write_bytes(gzip.compress(data, mtime=0))
    (folder / f"{recipe.name}.json").write_text(json.dumps(card, indent=2) + "\n")


def expected_best(values: NDArray[np.float64], draws: int) -> float:
    """The mean of the lowest of ``draws`` values drawn without replacement, in closed form.

    The k-th lowest of n is the minimum with probability C(n - k, draws - 1) / C(n, draws).

    Example:
        >>> best = expected_best(np.array([3.0, 1.0, 2.0]), 2)  # of {1, 2}, {1, 3} and {2, 3}
        >>> round(best, 9)
        1.333333333
    """
    ordered = np.sort(values)
    n = len(ordered)
    below = np.arange(n - 1, draws - 2, -1)  # how many are above the k-th lowest
    log_ways = gammaln(below + 1) - gammaln(draws) - gammaln(below - draws + 2)
    log_all = gammaln(n + 1) - gammaln(draws + 1) - gammaln(n - draws + 1)
    return float((np.exp(log_ways - log_all) * ordered[: len(below)]).sum())
