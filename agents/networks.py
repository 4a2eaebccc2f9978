"""The networks that can be trained: what each kind is built from, imported when it is asked for."""

import importlib
import inspect
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Protocol, Self

import torch
from torch import Tensor, nn

from agents.base import Agent
from bbo_envs.checks import positive_integer
from bbo_envs.errors import UnknownNameError

NETWORKS = {
    "lstm": "agents.recurrent:LSTMAgent",
    "dnc": "agents.dnc:DNCAgent",
    "universal": "agents.universal:UniversalAgent",
    "pfn": "agents.pfn:PFNAgent",
    "posterior-guided": "agents.posterior_guided:PosteriorGuidedAgent",
}

# What the caller of make_network decides itself.
_OTHERS = {"dim", "generator"}


class Network(Agent, Protocol):
    """A learned optimiser: an ``nn.Module`` that is an agent and knows how to be built again.

    Attributes:
        kind: What ``NETWORKS`` calls it.
        dim: The number of coordinates it proposes; None where it proposes in any number.
        architecture: The arguments of its class, as JSON holds them.
    """

    kind: ClassVar[str]

    @property
    def dim(self) -> int | None: ...

    @property
    def architecture(self) -> dict[str, Any]: ...

    def asked(self, state: Any, x: Tensor | None) -> Any:
        """The state where another query ``[B, d]`` was made than the one proposed, or none."""

    def announced(self, state: Any, x: Tensor) -> Any:
        """The state where somebody else made a query ``[B, d]`` too, which no budget counts."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """As for ``nn.Module``, like the methods below."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any: ...

    def to(self, device: Any) -> Self: ...

    def cpu(self) -> Self: ...

    def eval(self) -> Self: ...

    def requires_grad_(self, requires_grad: bool = True) -> Self: ...


def make_network(
    kind: str,
    dim: int | None,
    arguments: Mapping[str, Any],
    generator: torch.Generator | None = None,
) -> Network:
    """Builds a network with random weights.

    Args:
        kind: One of ``NETWORKS``.
        dim: The number of coordinates; only networks for a fixed number of them are given it.
        arguments: Those of its class, beside ``dim`` and ``generator``.
        generator: Draws the initial weights.

    Raises:
        UnknownNameError: If there is no such kind, or it has no such argument.
        ValueError: If an argument that counts something is no integer of at least 1.

    Example:
        >>> make_network("lstm", 3, {"hidden": 8}).architecture["hidden"]
        8
    """
    build = network_class(kind)
    known = inspect.signature(build).parameters
    for name, value in arguments.items():
        if name not in known or name in _OTHERS:
            raise UnknownNameError(f"argument of the network {kind}", name, known.keys() - _OTHERS)
        if known[name].annotation is int:
            positive_integer(name, value)
    place = {"dim": dim} if needs_dim(kind) else {}
    network: Network = build(**place, **arguments, generator=generator)
    return network


def needs_dim(kind: str) -> bool:
    """Whether a kind of network is built for a fixed number of coordinates.

    Example:
        >>> needs_dim("lstm")
        True
    """
    return "dim" in inspect.signature(network_class(kind)).parameters


def network_class(kind: str) -> Any:
    """The class of a kind of network.

    Raises:
        UnknownNameError: If there is no such kind.
    """
    if kind not in NETWORKS:
        raise UnknownNameError("kind of network", kind, NETWORKS)
    module, _, name = NETWORKS[kind].partition(":")
    return getattr(importlib.import_module(module), name)
