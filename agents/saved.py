"""Files of optimisers: what was asked and told, as JSON with a digest."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FORMAT = 1


class SavedOptimizerError(RuntimeError):
    """A saved optimiser is damaged, or of another kind or version."""


def write_state(path: Path, state: Mapping[str, Any]) -> None:
    """Writes a state to a file, in one piece or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps({"sha256": _digest(state), **state}) + "\n")
    os.replace(partial, path)


def read_state(path: Path) -> dict[str, Any]:
    """Reads what ``write_state`` wrote.

    Raises:
        SavedOptimizerError: If the file is missing or damaged.
    """
    try:
        state: dict[str, Any] = json.loads(path.read_text())
        if state.pop("sha256") != _digest(state):
            raise ValueError("its content does not fit its SHA-256")
    except (OSError, LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise SavedOptimizerError(
            f"the saved optimiser {path} cannot be read ({type(error).__name__}: {error}); use a "
            "copy, or tell a new one what is known"
        ) from error
    return state


def _digest(state: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()
