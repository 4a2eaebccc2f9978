"""The command line of the table builds."""

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro
from rich.console import Console

from bbo_envs.hpo.build import lda, logreg, resnet, svm
from bbo_envs.hpo.build.card import save_table
from bbo_envs.hpo.build.journal import compute
from bbo_envs.hpo.build.recipe import Recipe
from bbo_envs.hpo.store import load_table

Name = Literal["svm", "lda", "logreg", "resnet"]
RECIPES: dict[str, Recipe] = {
    module.RECIPE.name: module.RECIPE for module in (svm, lda, logreg, resnet)
}


def build(
    names: Annotated[tuple[Name, ...], tyro.conf.Positional],
    /,
    jobs: int = 2,
    journal: Path = Path("runs/tables"),
) -> None:
    """Computes tables and writes them into the package; resumes where it was stopped.

    Args:
        names: The tables; several are computed one after the other.
        jobs: The number of processes.
        journal: Where finished units of work are kept.
    """
    for name in names:
        recipe = RECIPES[name]
        values, seconds = compute(recipe, journal / f"{name}.jsonl", jobs)
        save_table(recipe, values, seconds)


def check(
    name: Annotated[Name, tyro.conf.Positional],
    /,
    units: int = 5,
    seed: int = 0,
    at: tuple[int, ...] = (),
) -> None:
    """Computes randomly chosen units of a table again, and compares them with what is stored.

    Args:
        name: The table.
        units: How many.
        seed: Of the choice.
        at: The indices of one unit (of its levels, from 0) to compute instead.

    Raises:
        SystemExit: If a cell is not what is stored.
    """
    recipe, stored = RECIPES[name], load_table(name).values.numpy()
    everything = recipe.units()
    if at and at not in everything:
        raise ValueError(f"{name} has no unit {at}; give {recipe.leading} indices, from 0")
    picks = np.random.default_rng(seed).choice(len(everything), units, replace=False)
    for unit in [at] if at else [everything[pick] for pick in picks]:
        again = recipe.run(unit)
        if not np.array_equal(again, stored[unit], equal_nan=False):
            raise SystemExit(f"{name}{list(unit)}: stored {stored[unit]}, computed {again}")
        Console().print(f"{name}{list(unit)} is as stored", markup=False)


def main() -> None:
    """Runs the command given on the command line."""
    tyro.extras.subcommand_cli_from_dict({"build": build, "check": check})
