"""Optimisers: learned ones with shipped weights, and classical ones behind the same interface."""

from bbo_envs.core import FunctionDistribution
from bbo_envs.errors import UnknownNameError

from agents.base import Agent
from agents.pretrained import WeightsError, card, load, trained_names
from agents.recurrent import LSTMAgent

__all__ = [
    "CLASSICAL",
    "Agent",
    "LSTMAgent",
    "WeightsError",
    "card",
    "load",
    "make_agent",
    "trained_names",
]

CLASSICAL = ("random", "sobol", "tpe", "cmaes", "gp-ei", "gp-ei-known")


def make_agent(name: str, functions: FunctionDistribution) -> Agent:
    """Makes an optimiser by name for a function distribution.

    Args:
        name: One of ``CLASSICAL``; a trained network, or its name without the dimension
            (``"lstm-oi"`` is ``"lstm-oi-6d"`` where d = 6); or the path of a weights file.
        functions: What it will be used on. Only its dimension is looked at, save by
            ``"gp-ei-known"``, which is given the kernel that generates the functions.

    Raises:
        UnknownNameError: If no optimiser has this name.
        MissingExtraError: If its library is not installed.
        ValueError: If it cannot be used on these functions.

    Example:
        >>> import bbo_envs
        >>> make_agent("lstm-oi", bbo_envs.make_problem("BBO-GP-6d-v0").functions).dim
        6
    """
    # Imported here: some of these start up slowly.
    if name == "random":
        from agents.baselines.sampling import RandomSearch

        return RandomSearch()
    if name == "sobol":
        from agents.baselines.sampling import sobol

        return sobol()
    if name == "tpe":
        from agents.baselines.tpe import tpe

        return tpe()
    if name == "cmaes":
        from agents.baselines.cmaes import cmaes

        return cmaes()
    if name in ("gp-ei", "gp-ei-known"):
        from agents.baselines.gp_ei import gp_ei

        if name == "gp-ei":
            return gp_ei()
        if not hasattr(functions, "kernel"):
            raise ValueError(
                "agent 'gp-ei-known' needs functions drawn from a GP with a known kernel, got "
                f"{type(functions).__name__}; use 'gp-ei', which fits one"
            )
        return gp_ei(functions.kernel)
    if name.endswith(".safetensors"):
        return load(name)
    for candidate in (name, f"{name}-{functions.dim}d"):
        if candidate in trained_names():
            return load(candidate)
    raise UnknownNameError("agent", name, [*CLASSICAL, *trained_names()])
