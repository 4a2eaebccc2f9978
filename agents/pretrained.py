"""Trained networks: safetensors with a JSON card beside each, checked before use."""

import hashlib
import importlib
import json
import re
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_tensors
from safetensors.torch import save as pack_tensors

from agents.networks import Network, make_network
from agents.stochastic import StochasticAgent
from bbo_envs.errors import UnknownNameError, require_extra


class WeightsError(RuntimeError):
    """A weights file, or its card, is damaged or does not fit."""


def trained_names() -> list[str]:
    """The names of the networks that ship with the package.

    Example:
        >>> "lstm-oi-6d" in trained_names()
        True
    """
    return sorted(path.stem for path in _shipped().glob("*.safetensors"))


def names_of(name: str) -> list[str]:
    """The shipped networks that a name stands for: itself, or it in each number of dimensions.

    Example:
        >>> names_of("lstm-ei"), names_of("universal"), names_of("none")
        (['lstm-ei-6d'], ['universal'], [])
    """
    known = trained_names()
    return [o for o in known if o == name or re.fullmatch(rf"{re.escape(name)}-\d+d", o)]


def load(name: str | Path) -> Network:
    """Loads a trained network, ready to propose.

    Its parameters require no gradient; call ``requires_grad_()`` to train it further. A policy of
    Stable-Baselines3 is what ``agents.from_sb3`` makes of it.

    Args:
        name: The name of a shipped network, or the path of a ``.safetensors`` file that has its
            card (``.json``) beside it.

    Raises:
        UnknownNameError: If no shipped network has this name.
        WeightsError: If the file or its card is missing, damaged, or does not fit.
        MissingExtraError: If it is a policy of Stable-Baselines3, which is not installed.

    Example:
        >>> load("lstm-oi-6d").dim
        6
    """
    path = _path(name)
    if not path.exists():
        raise WeightsError(
            f"the weights {path} cannot be read (No such file); correct the path, or "
            f"name one of {', '.join(trained_names())}"
        )
    facts = card(path)
    if is_sb3(path):
        require_extra(f"the network {str(name)!r}", "rl", "stable_baselines3", "sb3_contrib")
        policy: Network = importlib.import_module("agents.sb3").from_sb3(path)
        return policy
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"the weights {path} cannot be read ({error}); {_REMEDY}") from error
    found = hashlib.sha256(data).hexdigest()
    if found != facts.get("sha256"):
        raise WeightsError(
            f"the weights {path} are damaged: their SHA-256 is {found[:12]}…, their card says "
            f"{str(facts.get('sha256'))[:12]}…; {_REMEDY}"
        )
    try:
        tensors = parse_tensors(data)
        with torch.random.fork_rng(devices=[]):  # layers are drawn at random before they are filled
            agent = _build(facts["architecture"])
        agent.load_state_dict(tensors)
    except (
        SafetensorError,
        ImportError,
        LookupError,
        AttributeError,
        TypeError,
        ValueError,
        RuntimeError,
    ) as error:
        raise WeightsError(
            f"the weights {path} do not fit their card ({type(error).__name__}: {error}); {_REMEDY}"
        ) from error
    # Whatever PyTorch's default is at the moment.
    agent = agent.to(next(iter(tensors.values())).dtype)
    return agent.eval().requires_grad_(False)


def card(name: str | Path) -> dict[str, Any]:
    """The card of a trained network: architecture, training, score; see ``load``.

    Example:
        >>> card("lstm-oi-6d")["architecture"]["dim"]
        6
    """
    path = _path(name).with_suffix(".json")
    try:
        facts: dict[str, Any] = json.loads(path.read_text())
        if not isinstance(facts, dict):
            raise ValueError(f"it holds {facts!r}, not an object")
    except (OSError, ValueError) as error:
        raise WeightsError(f"the card {path} cannot be read ({error}); {_REMEDY}") from error
    return facts


def is_sb3(name: str | Path) -> bool:
    """Whether a trained network is a policy of Stable-Baselines3, by its card.

    Example:
        >>> is_sb3("lstm-oi-6d")
        False
    """
    architecture = card(name).get("architecture")
    return isinstance(architecture, dict) and architecture.get("kind") == "sb3"


def save(path: Path, agent: Network, facts: dict[str, Any]) -> None:
    """Writes a network and its card: ``path`` and ``path`` with the suffix ``.json``.

    Args:
        path: Where; it ends in ``.safetensors``.
        agent: The network.
        facts: What the card says beside the architecture and the file's hash.
    """
    data = pack_tensors({k: v.cpu().contiguous() for k, v in agent.state_dict().items()})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    architecture = {"kind": agent.kind, **agent.architecture}
    own = {"architecture": architecture, "sha256": hashlib.sha256(data).hexdigest()}
    path.with_suffix(".json").write_text(json.dumps(own | facts, indent=2) + "\n")


_REMEDY = "copy it again, or reinstall: pip install --force-reinstall --no-deps bbo-envs"


def _build(architecture: dict[str, Any]) -> Network:
    arguments = dict(architecture)
    # The first networks were all LSTMs, and their cards do not say so.
    kind = arguments.pop("kind", "lstm")
    if kind == StochasticAgent.kind:
        return StochasticAgent(_build(arguments.pop("network")), **arguments)
    return make_network(kind, arguments.pop("dim", None), arguments)


def _shipped() -> Path:
    return Path(str(resources.files("agents"))) / "weights"


def _path(name: str | Path) -> Path:
    if isinstance(name, Path) or name.endswith(".safetensors"):
        return Path(name)
    path = _shipped() / f"{name}.safetensors"
    if not path.exists():
        raise UnknownNameError("trained network", name, trained_names())
    return path
