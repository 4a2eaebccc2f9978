"""Optimisers by name: networks with shipped weights, and classical ones."""

import importlib

from agents.base import Agent
from agents.networks import Network
from agents.pretrained import load, names_of, trained_names
from bbo_envs.errors import UnknownNameError, require_extra
from bbo_envs.problem import Problem

# The factory of each, imported when asked for, the library that it needs, and the extra with it.
CLASSICAL = {
    "random": ("agents.baselines.sampling:random_search", "torch", "baselines"),
    "sobol": ("agents.baselines.sampling:sobol", "torch", "baselines"),
    "tpe": ("agents.baselines.optuna:tpe", "optuna", "baselines"),
    "tpe-univariate": ("agents.baselines.optuna:tpe_univariate", "optuna", "baselines"),
    "tpe-hyperopt": ("agents.baselines.hyperopt:tpe", "hyperopt", "rivals"),
    "cmaes": ("agents.baselines.cmaes:cmaes", "cma", "baselines"),
    "gp-ei": ("agents.baselines.gp_ei:gp_ei", "botorch", "baselines"),
    "gp-ei-known": ("agents.baselines.gp_ei:gp_ei_known", "botorch", "baselines"),
    "gp-optuna": ("agents.baselines.optuna:gp", "optuna", "baselines"),
    "gp-bayesian": ("agents.baselines.gp_bayesian:gp_bayesian", "numpyro", "rivals"),
    "smac": ("agents.baselines.smac:smac", "smac", "smac"),
    "ngopt": ("agents.baselines.nevergrad:ngopt", "nevergrad", "rivals"),
    "les": ("agents.baselines.les:les", "evosax", "les"),
}


def make_agent(name: str, problem: Problem) -> Agent:
    """Makes an optimiser by name for a problem.

    Args:
        name: One of ``CLASSICAL``; a trained network, or its name without the dimension
            (``"lstm-oi"`` is ``"lstm-oi-6d"`` where d = 6); or the path of a weights file, or of
            a model by Stable-Baselines3 (``.zip``, or exported). Networks that propose in any
            number of dimensions have none in their names.
        problem: What it will be used on. Only its dimension is looked at, save by
            ``"gp-ei-known"``, which is given the kernel that generates the functions, and the
            noise.

    Raises:
        UnknownNameError: If no optimiser has this name.
        MissingExtraError: If its library is not installed.
        ValueError: If it cannot be used on this problem.

    Example:
        >>> import bbo_envs
        >>> make_agent("lstm-oi", bbo_envs.make_problem("BBO-GP-6d-v0")).dim
        6
    """
    if name in CLASSICAL:
        place, library, extra = CLASSICAL[name]
        require_extra(f"agent {name!r}", extra, library)
        module, _, factory = place.partition(":")
        agent: Agent = getattr(importlib.import_module(module), factory)(problem)
        return agent
    dim = problem.functions.dim
    full = trained_name(name, dim)
    network = _played(full) if full.endswith(".zip") else load(full)
    if network.dim not in (None, dim):
        raise ValueError(f"agent {name!r} proposes in {network.dim} dimensions, not in {dim}")
    return network


def trained_name(name: str, dim: int) -> str:
    """The whole name of a trained network in so many dimensions; the path of a file as it is.

    Raises:
        UnknownNameError: If there is none of this name.
        ValueError: If there is one in other dimensions only.

    Example:
        >>> trained_name("lstm-oi", 6), trained_name("universal", 6)
        ('lstm-oi-6d', 'universal')
    """
    check_name(name)
    if name.endswith((".zip", ".safetensors")) or name in trained_names():
        return name
    others = names_of(name)
    if f"{name}-{dim}d" in others:
        return f"{name}-{dim}d"
    raise ValueError(f"there is no {name!r} network for d = {dim}, only {', '.join(others)}")


def check_name(name: str) -> None:
    """Checks that there is an optimiser of a name, in some number of dimensions.

    Raises:
        UnknownNameError: If there is none.
    """
    is_path = name.endswith((".zip", ".safetensors"))
    if not is_path and name not in CLASSICAL and not names_of(name):
        raise UnknownNameError("agent", name, [*CLASSICAL, *trained_names()])


def _played(path: str) -> Network:
    require_extra(f"the model {path}", "rl", "stable_baselines3", "sb3_contrib")
    agent: Network = importlib.import_module("agents.sb3").from_sb3(path)
    return agent
