"""Evaluations on disk: an append-only Parquet data set that several processes may write at once.

A store is a folder:

- ``format.json`` says which layout it has;
- ``evaluations/*.parquet`` hold the evaluations, a row each (``SCHEMA``). Every unit of work
  arrives whole, in a file of its own, by one move: a killed process leaves no half of one behind,
  and two that write at once lose nothing;
- ``runs/*.json`` tell of every run that wrote here: command, environment, what was left out.

Any reader of Parquet understands it, DuckDB for instance: ``SELECT agent, min(best) FROM
'results/evaluations/*.parquet' GROUP BY agent``.
"""

import json
import os
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bbo_envs.errors import StoreError

FORMAT = 2

SCHEMA = pa.schema(
    [
        ("agent", pa.string()),
        ("version", pa.string()),
        ("task", pa.string()),
        ("arguments", pa.string()),
        ("budget", pa.int64()),
        ("seed", pa.int64()),
        ("t", pa.int64()),
        ("asked", pa.float64()),
        ("finished", pa.float64()),
        ("x", pa.list_(pa.float64())),
        ("y", pa.float64()),
        ("best", pa.float64()),
        ("regret", pa.float64()),
        ("reference", pa.float64()),
        ("seconds", pa.float64()),
        ("batch", pa.int64()),
        ("error", pa.string()),
    ]
)

# The queries take most of the time to read.
WITHOUT_QUERIES = [name for name in SCHEMA.names if name != "x"]

# What tells a unit of work from all others.
UNIT = ["agent", "version", "task", "arguments", "budget", "seed"]

Key = tuple[str, str, str, str, int, int]

# A reader may meet a file that another process has just merged into another one.
_ATTEMPTS = 10


class Store:
    """Results in a folder, which is made if it is missing.

    Args:
        folder: Where they are, or go.

    Raises:
        StoreError: If the folder holds results of another format, or something else.

    Example:
        >>> import tempfile
        >>> store = Store(Path(tempfile.mkdtemp()) / "results")
        >>> len(store.read())
        0
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.evaluations = folder / "evaluations"
        self.runs = folder / "runs"
        self._check_format()
        self.evaluations.mkdir(parents=True, exist_ok=True)
        self.runs.mkdir(exist_ok=True)
        _write_text(folder / "format.json", json.dumps({"format": FORMAT}) + "\n")

    def append(self, rows: Iterable[dict[str, Any]]) -> None:
        """Writes whole units (rows with the keys of ``SCHEMA``), all of them or none."""
        self._write(pa.Table.from_pylist(list(rows), SCHEMA))

    def read(self, columns: Sequence[str] = tuple(SCHEMA.names)) -> pd.DataFrame:
        """All evaluations, in the order of units and t.

        A unit that was run twice, by two processes or because it failed at first, counts once; the
        run that succeeded is taken.

        Args:
            columns: Those wanted, such as ``WITHOUT_QUERIES``.
        """
        table, _ = self._read(SCHEMA.names if "x" in columns else WITHOUT_QUERIES)
        frame: pd.DataFrame = _each_unit_once(table).select(list(columns)).to_pandas()
        return frame

    def units(self) -> dict[Key, bool]:
        """The units that are there, and whether each went well."""
        table, _ = self._read([*UNIT, "t", "error"])
        rows = _each_unit_once(table).to_pandas()
        failed = rows["error"].notna().groupby([rows[name] for name in UNIT], sort=False).any()
        return {tuple(key): not bad for key, bad in failed.items()}

    def compact(self) -> None:
        """Merges all files into one; the same rows are read before, meanwhile and after."""
        table, files = self._read(SCHEMA.names)
        if len(files) < 2:
            return
        self._write(_each_unit_once(table))
        for file in files:
            file.unlink(missing_ok=True)

    def record(self, name: str, facts: dict[str, Any]) -> None:
        """Keeps what there is to know of a run (JSON), in place of what it said before."""
        _write_text(self.runs / f"{name}.json", json.dumps(facts, indent=2) + "\n")

    def records(self) -> list[dict[str, Any]]:
        """What is known of the runs that wrote here, the earliest first."""
        found = [json.loads(path.read_text()) for path in self.runs.glob("*.json")]
        return sorted(found, key=lambda facts: str(facts.get("started", "")))

    def _write(self, table: pa.Table) -> None:
        path = self.evaluations / f"{uuid.uuid4().hex}.parquet"
        partial = path.with_suffix(".partial")
        pq.write_table(table, partial, compression="zstd")
        os.replace(partial, path)

    def _read(self, columns: list[str]) -> tuple[pa.Table, list[Path]]:
        """Some columns of all files, with the name of each row's ``file``; and the files."""
        for attempt in range(_ATTEMPTS):
            files = sorted(self.evaluations.glob("*.parquet"))
            try:
                return _tables(files, columns), files
            except FileNotFoundError:
                if attempt == _ATTEMPTS - 1:
                    raise
        raise AssertionError

    def _check_format(self) -> None:
        path = self.folder / "format.json"
        if path.exists():
            try:
                found = json.loads(path.read_text())["format"]
            except (ValueError, LookupError, TypeError) as error:
                raise StoreError(f"{path} is damaged ({error}); use another folder") from error
        elif (self.folder / "evaluations.parquet").exists():
            found = 1
        else:
            found = FORMAT
        if found != FORMAT:
            raise StoreError(
                f"the results in {self.folder} have format {found}, expected {FORMAT}: another "
                "version of bbo-envs wrote them. Name another folder, or move this one away"
            )


def results(folder: Path) -> Store:
    """The store in a folder that must be there.

    Raises:
        StoreError: If there is none.
    """
    if not (folder / "format.json").exists() and not (folder / "evaluations.parquet").exists():
        raise StoreError(
            f"there are no results in {folder}; name the folder of a benchmark, or make one: "
            f"bbo benchmark --folder {folder}"
        )
    return Store(folder)


def _tables(files: list[Path], columns: list[str]) -> pa.Table:
    schema = pa.schema([SCHEMA.field(name) for name in columns])
    tables = [schema.append(pa.field("file", pa.string())).empty_table()]
    for file in files:
        table = pq.read_table(file, schema=schema, columns=columns)
        tables.append(table.append_column("file", pa.array([file.name] * len(table), pa.string())))
    return pa.concat_tables(tables)


def _each_unit_once(table: pa.Table) -> pa.Table:
    """Of every unit the rows of one file: one in which it went well, if there is any; in order."""
    rows = table.select([*UNIT, "t", "file"]).to_pandas()
    rows["failed"] = table["error"].is_valid().to_pandas()
    runs = rows.groupby([*UNIT, "file"], as_index=False, sort=False)["failed"].any()
    chosen = runs.sort_values(["failed", "file"]).drop_duplicates(UNIT)
    if len(chosen) < len(runs):
        rows = rows.reset_index().merge(chosen[[*UNIT, "file"]]).set_index("index")
    order = rows.sort_values([*UNIT, "t"]).index.to_numpy()
    return table.take(order).drop_columns("file")


def _write_text(path: Path, text: str) -> None:
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    partial.write_text(text)
    os.replace(partial, path)
