"""What the adapters share: one of several data sets per function, and reading their files."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bbo_envs.errors import UnknownNameError
from bbo_envs.functions.base import Functions


class DatasetState(NamedTuple):
    """State of ``OneOfDatasets``.

    Attributes:
        dataset: ``[B]`` int64: which of the data sets each row is about.
    """

    dataset: Tensor


class OneOfDatasets(Functions):
    """Base of distributions in which a function is one of several data sets, drawn uniformly."""

    differentiable = False

    def __init__(self, datasets: int, dtype: torch.dtype, device: torch.device | str) -> None:
        self._datasets = datasets
        self.dtype = dtype
        self.device = torch.device(device)

    def sample(self, batch: int, generator: torch.Generator) -> DatasetState:
        dataset = torch.randint(
            self._datasets, (batch,), generator=generator, device=generator.device
        )
        return DatasetState(dataset.to(self.device))


def read_object(path: Path, source: str) -> dict[str, Any]:
    """Reads a JSON object from a file.

    Raises:
        FileNotFoundError: If there is no such file; the message ends with its ``source``.
        ValueError: If it is not a JSON object.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; {source}")
    try:
        data = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}); download it again") from error
    if not isinstance(data, dict):
        raise ValueError(f"{path} must hold a JSON object, got a {type(data).__name__}")
    return data


def chosen(kind: str, names: str | Sequence[str], known: Iterable[str]) -> list[str]:
    """One name, or several, as a list of known ones.

    Raises:
        UnknownNameError: If one is not known.
        ValueError: If there is none.

    Example:
        >>> chosen("data set", "car", ["car", "kc1"])
        ['car']
    """
    known = list(known)
    names = [names] if isinstance(names, str) else list(names)
    if not names:
        raise ValueError(f"name at least one {kind}: {', '.join(known)}")
    for name in names:
        if name not in known:
            raise UnknownNameError(kind, name, known)
    return names
