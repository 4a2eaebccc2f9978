"""Checkpoints from which a run goes on exactly: one safetensors file, nothing pickled."""

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from agents.networks import Network


class CheckpointError(RuntimeError):
    """A checkpoint cannot be read, or belongs to another run."""


def save_checkpoint(
    path: Path,
    module: Network,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
    facts: dict[str, Any],
) -> None:
    """Writes weights, optimiser state, generator and facts; a crash leaves the old file whole.

    Args:
        path: The file.
        module: The network.
        optimizer: Its optimiser, whose per-parameter state is made of tensors (as Adam's is).
        generator: The generator of the run.
        facts: Anything that JSON holds: the iteration, the configuration.
    """
    tensors = {f"weight/{name}": tensor for name, tensor in module.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{key}": value for key, value in state.items()}
    tensors["generator"] = generator.get_state()
    write_safetensors(path, tensors, {"facts": json.dumps(facts)})


def write_safetensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Writes a safetensors file in one move, so that no reader meets half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, partial, metadata)
    os.replace(partial, path)


def load_checkpoint(
    path: Path, module: Network, optimizer: torch.optim.Optimizer, generator: torch.Generator
) -> dict[str, Any]:
    """Puts a run back where ``save_checkpoint`` left it, in place, and returns its facts.

    Raises:
        CheckpointError: If the file is damaged, or its tensors do not fit the network.
    """
    try:
        with safe_open(path, framework="pt") as file:
            facts: dict[str, Any] = json.loads(file.metadata()["facts"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        generator.set_state(tensors.pop("generator"))
        weights: dict[str, Tensor] = {}
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            part, _, key = name.partition("/")
            if part == "weight":
                weights[key] = tensor
            else:
                index, _, moment = key.partition("/")
                moments.setdefault(int(index), {})[moment] = tensor
        module.load_state_dict(weights)
        optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError, OSError) as error:
        raise CheckpointError(
            f"the checkpoint {path} cannot be resumed ({error}); delete it to start the run anew, "
            "or name another folder"
        ) from error
    return facts
