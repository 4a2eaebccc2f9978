"""The three pre-computed grids of HPOlib (2013), read from CSV files."""

import csv
import itertools
import math
from pathlib import Path
from typing import NamedTuple

import torch

from bbo_envs.errors import UnknownNameError
from bbo_envs.functions.table import Table
from bbo_envs.space import Ordinal, Space


class _Grid(NamedTuple):
    """The columns of a grid that are used."""

    parameters: tuple[str, ...]
    objective: str


_GRIDS = {
    "svm": _Grid(("C", "alpha", "epsilon"), "error"),
    "lda": _Grid(("kappa", "tau", "s"), "perplexity"),
    "logreg": _Grid(("lrate", "l2_reg", "batchsize", "n_epochs"), "valid_error"),
}


def hpolib_table(
    name: str,
    folder: Path | str,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> Table:
    """Reads a grid of HPOlib (Eggensperger et al. 2013), as used by Chen et al. 2017.

    ====== ======================================================== =========== =====
    Name   Parameters (levels)                                      Objective   Cells
    ====== ======================================================== =========== =====
    svm    C (25), alpha (14), epsilon (4)                          error       1,400
    lda    kappa (6), tau (6), s (8)                                perplexity    288
    logreg lrate (11), l2_reg (11), batchsize (8), n_epochs (10)    valid_error 9,680
    ====== ======================================================== =========== =====

    ``<name>_on_grid.csv`` has these columns and a row for each cell; further columns, such as
    ``time_s``, are ignored. Levels are what a column holds, in ascending order, each as wide as the
    others in the cube, as HPOlib has it: no logarithms. ``lrate`` is an ordinal, 0 to 10, and not a
    learning rate.

    The data are not part of this package: they stand in ``HPOlib/benchmarks/*_on_grid.py`` of
    https://github.com/automl/HPOlib. Two traps there: the function of LDA looks S up in Tau, which
    leaves 36 of its cells reachable, and its cell (0.5, 1024, 64) is given twice (the later value
    counts).

    Args:
        name: ``"svm"``, ``"lda"`` or ``"logreg"``.
        folder: Where the files are.
        dtype: Of all tensors.
        device: Of all tensors.

    Raises:
        UnknownNameError: If there is no such grid.
        FileNotFoundError: If its file is not in the folder.
        ValueError: If a column is missing, a value is not a finite number, or a cell is missing or
            given twice.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with (folder / "lda_on_grid.csv").open("w") as file:
        ...     print("kappa,tau,s,perplexity", file=file)
        ...     print("0.5,1,1,1300", file=file)
        ...     print("0.5,1,4,1200", file=file)
        >>> table = hpolib_table("lda", folder)
        >>> state = table.sample(2, torch.Generator().manual_seed(0))
        >>> table.evaluate(state, torch.tensor([[0.5, 0.5, 0.2], [0.5, 0.5, 0.8]]))[0].tolist()
        [1300.0, 1200.0]
    """
    if name not in _GRIDS:
        raise UnknownNameError("grid of HPOlib", name, _GRIDS)
    grid = _GRIDS[name]
    path = Path(folder) / f"{name}_on_grid.csv"
    cells = _read(path, grid)
    levels = {
        parameter: tuple(sorted({cell[i] for cell in cells}))
        for i, parameter in enumerate(grid.parameters)
    }
    order = list(itertools.product(*levels.values()))
    for cell in order:
        if cell not in cells:
            raise ValueError(
                f"{path} has no row for {_named(grid, cell)}; a grid needs one for each "
                f"combination of its levels, {len(order)} in all, got {len(cells)}"
            )
    values = torch.tensor([cells[cell] for cell in order], dtype=torch.float64)
    space = Space({parameter: Ordinal(levels[parameter]) for parameter in levels})
    return Table(space, values.view(1, -1, 1), dtype=dtype, device=device)


def _read(path: Path, grid: _Grid) -> dict[tuple[float, ...], float]:
    """The objective of each cell."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist; it is to hold the columns {', '.join(grid.parameters)} and "
            f"{grid.objective}, with the numbers of HPOlib/benchmarks/{path.stem}.py of "
            "https://github.com/automl/HPOlib"
        )
    cells: dict[tuple[float, ...], float] = {}
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        for column in (*grid.parameters, grid.objective):
            if column not in (rows.fieldnames or ()):
                raise ValueError(
                    f"{path} has no column {column!r}; its header is {list(rows.fieldnames or ())}"
                )
        for row in rows:
            cell = tuple(_number(path, rows.line_num, row, name) for name in grid.parameters)
            if cell in cells:
                raise ValueError(
                    f"{path}, line {rows.line_num}: {_named(grid, cell)} is given twice; keep one "
                    "of the rows"
                )
            cells[cell] = _number(path, rows.line_num, row, grid.objective)
    if not cells:
        raise ValueError(f"{path} has no rows")
    return cells


def _number(path: Path, line: int, row: dict[str, str], column: str) -> float:
    """A cell's number in a column."""
    try:
        value = float(row[column])
    except (TypeError, ValueError):  # None, where a row is too short
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(
            f"{path}, line {line}: {column} must be a finite number, got {row[column]!r}"
        )
    return value


def _named(grid: _Grid, cell: tuple[float, ...]) -> str:
    """A cell in words."""
    return ", ".join(
        f"{name} = {value:g}" for name, value in zip(grid.parameters, cell, strict=True)
    )
