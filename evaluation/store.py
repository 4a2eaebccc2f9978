"""Evaluations on disk: Parquet, written so that an interruption loses none of them."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

SCHEMA = pa.schema(
    [
        ("agent", pa.string()),
        ("task", pa.string()),
        ("arguments", pa.string()),
        ("seed", pa.int64()),
        ("t", pa.int64()),
        ("x", pa.list_(pa.float64())),
        ("value", pa.float64()),
        ("best", pa.float64()),
        ("regret", pa.float64()),
        ("clock", pa.float64()),
        ("seconds", pa.float64()),
        ("error", pa.string()),
    ]
)


class Store:
    """Collects evaluations in a folder; ``finish`` makes one file of them.

    Every call of ``append`` writes a part of its own in one move, so that a killed process leaves
    whole, readable parts behind, in a folder ``parts-...`` that no later store touches.

    Args:
        folder: Where ``evaluations.parquet`` is to be. An old one is replaced by ``finish``, unless
            there is nothing to replace it with.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "evaluations.parquet"
        self.parts = Path(tempfile.mkdtemp(prefix="parts-", dir=folder))
        self.count = 0

    def append(self, rows: list[dict[str, Any]]) -> None:
        """Writes rows (keys as in ``SCHEMA``)."""
        _write(pa.Table.from_pylist(rows, SCHEMA), self.parts / f"{self.count:06d}.parquet")
        self.count += 1

    def finish(self) -> pd.DataFrame:
        """Merges the parts into one file, and returns what is in it."""
        parts = sorted(self.parts.glob("*.parquet"))
        tables = [pq.read_table(part, schema=SCHEMA) for part in parts]
        table = pa.concat_tables([SCHEMA.empty_table(), *tables])
        if parts:
            _write(table, self.path)
        shutil.rmtree(self.parts)
        frame: pd.DataFrame = table.to_pandas()
        return frame


def read(path: Path) -> pd.DataFrame:
    """Reads a file that a store has written."""
    frame: pd.DataFrame = pq.read_table(path, schema=SCHEMA).to_pandas()
    return frame


def _write(table: pa.Table, path: Path) -> None:
    partial = path.with_suffix(".partial")
    pq.write_table(table, partial, compression="zstd")
    os.replace(partial, path)
