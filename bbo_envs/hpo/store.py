"""The tables that ship: compressed safetensors, and a JSON card each."""

import gzip
import json
from importlib.resources import files
from typing import Any, NamedTuple

from safetensors.torch import load as load_tensors
from torch import Tensor

from bbo_envs.errors import UnknownNameError

FOLDER = files("bbo_envs.hpo") / "data"


class StoredTable(NamedTuple):
    """A table and its card.

    Attributes:
        values: ``[*levels, metrics]`` float64.
        card: Its JSON card.
    """

    values: Tensor
    card: dict[str, Any]


def load_table(name: str) -> StoredTable:
    """Reads a table that ships, such as ``"svm"``.

    Raises:
        UnknownNameError: If there is no such table.
    """
    names = [file.name.removesuffix(".json") for file in FOLDER.iterdir() if "json" in file.name]
    if name not in names:
        raise UnknownNameError("table", name, names)
    data = gzip.decompress((FOLDER / f"{name}.safetensors.gz").read_bytes())
    card = json.loads((FOLDER / f"{name}.json").read_text())
    return StoredTable(load_tensors(data)["values"], card)
