"""Who takes part in a benchmark: optimisers by name, from a file, or as objects."""

import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as pack_tensors

from agents import CLASSICAL, WeightsError, make_agent, trained_names
from agents.base import Agent
from agents.pretrained import names_of
from bbo_envs.errors import UnknownNameError
from bbo_envs.problem import Problem

Factory = Callable[[Problem], Agent]
Reference = str | Agent | Factory


@dataclass(frozen=True)
class Entrant:
    """An optimiser that takes part.

    Attributes:
        name: What it is called in tables.
        reference: What makes it: see ``enter``.
        version: What changes when it does: of its library, or a hash of its weights or its code.
    """

    name: str
    reference: Reference
    version: str

    def make(self, problem: Problem) -> Agent:
        """Makes the optimiser for a problem.

        Raises:
            UnknownNameError: If there is none of this name.
            MissingExtraError: If its library is not installed.
            ValueError: If it cannot be used on this problem, or is no optimiser.
        """
        reference = self.reference
        if not isinstance(reference, str):
            return _made(reference, problem, self.name)
        if _is_attribute(reference):
            return _made(_attribute(reference), problem, reference)
        return make_agent(reference, problem)


def enter(agents: Sequence[Reference] | Mapping[str, Reference]) -> list[Entrant]:
    """The entrants of a benchmark.

    Args:
        agents: Each is a name, as for ``agents.make_agent``; the path of a network's
            ``.safetensors``, or of a ``.zip`` by Stable-Baselines3; ``"file.py:attribute"`` or
            ``"package.module:attribute"``; or an object. An attribute or object is an ``Agent``, or
            what makes one when it is called with the problem. A mapping gives them names.

    Raises:
        UnknownNameError: If there is no such optimiser, file or attribute.
        ValueError: If two have the same name.

    Example:
        >>> [entrant.name for entrant in enter(["lstm-oi-6d", "random"])]
        ['lstm-oi-6d', 'random']
    """
    named = agents if isinstance(agents, Mapping) else None
    pairs = named.items() if named else ((_name(reference), reference) for reference in agents)
    entrants = [Entrant(name, reference, _version(reference)) for name, reference in pairs]
    names = [entrant.name for entrant in entrants]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(
            f"two optimisers are called {twice[0]!r}; give them names: "
            'benchmark({"a name": ..., "another": ...}, ...)'
        )
    return entrants


def _name(reference: Any) -> str:
    if not isinstance(reference, str):
        return str(getattr(reference, "__name__", type(reference).__name__))
    if _is_attribute(reference):
        return reference.rpartition(":")[2]
    return Path(reference).stem if reference.endswith((".safetensors", ".zip")) else reference


def _version(reference: Any) -> str:
    if not isinstance(reference, str):
        return _version_of_object(reference)
    if reference.endswith((".safetensors", ".zip")):
        return _sha256(_readable(reference).read_bytes())
    if _is_attribute(reference):
        place = reference.rpartition(":")[0]
        if place.endswith(".py"):
            return _sha256(_readable(place).read_bytes())
        return _version_of_object(_attribute(reference))
    if reference in CLASSICAL:
        return _version_of_library(CLASSICAL[reference][1])
    networks = names_of(reference)
    if not networks:
        raise UnknownNameError("agent", reference, [*CLASSICAL, *trained_names()])
    weights = (f"{name}.safetensors" for name in networks)
    folder = importlib.resources.files("agents") / "weights"
    return _sha256(b"".join((folder / name).read_bytes() for name in weights))


@cache
def _version_of_library(module: str) -> str:
    distribution = next(iter(packages_distributions().get(module, [module])))
    try:
        return f"{distribution} {version(distribution)}"
    except PackageNotFoundError:
        return "not installed"


def _version_of_object(thing: Any) -> str:
    """A hash of its source, and of its weights if it is a network."""
    code = thing if inspect.isclass(thing) or inspect.isroutine(thing) else type(thing)
    try:
        content = inspect.getsource(code).encode()
    except (OSError, TypeError):  # typed in at a prompt, or built in
        content = code.__qualname__.encode()
    if isinstance(thing, torch.nn.Module):
        content += pack_tensors({k: v.cpu().contiguous() for k, v in thing.state_dict().items()})
    return _sha256(content)


def _sha256(content: bytes) -> str:
    return f"sha256 {hashlib.sha256(content).hexdigest()[:12]}"


def _readable(place: str) -> Path:
    path = Path(place)
    if not path.is_file():
        kind = WeightsError if path.suffix == ".safetensors" else ValueError
        raise kind(f"there is no file {place!r}; give the path of an optimiser's file")
    return path


def _is_attribute(reference: str) -> bool:
    return ":" in reference


def _attribute(reference: str) -> Any:
    """What ``"file.py:attribute"`` or ``"package.module:attribute"`` names."""
    place, _, attribute = reference.rpartition(":")
    try:
        file = place.endswith(".py")
        module = _module(_readable(place)) if file else importlib.import_module(place)
    except Exception as error:  # Whatever a file of one's own may raise.
        raise ValueError(
            f"{place} cannot be imported ({type(error).__name__}: {error}); mend it, or name "
            "another as file.py:attribute or package.module:attribute"
        ) from error
    if not hasattr(module, attribute):
        known = [name for name in vars(module) if not name.startswith("_")]
        raise UnknownNameError(f"attribute of {place}", attribute, known)
    return getattr(module, attribute)


def _module(path: Path) -> Any:
    """Runs a file as a module, once; what lies beside it can be imported by it."""
    name = f"_bbo_agent_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None  # a file that ends in .py has a loader
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        sys.path.pop(0)
    return module


def _made(thing: Any, problem: Problem, name: str) -> Agent:
    """An agent as it is, or what a class or function makes, of the problem if it takes one."""
    made = thing
    if callable(thing) and (_is_class(thing) or not isinstance(thing, Agent)):
        made = thing() if _is_class(thing) and _without_arguments(thing) else thing(problem)
    if not isinstance(made, Agent):
        raise ValueError(
            f"{name} gives {type(made).__name__}, where an agent with init(batch, space, budget, "
            "generator) and step(state, observation) is expected; see agents.base.Agent"
        )
    return made


def _is_class(thing: Any) -> bool:
    return inspect.isclass(thing)


def _without_arguments(thing: Any) -> bool:
    try:
        inspect.signature(thing).bind()
    except TypeError:
        return False
    return True
