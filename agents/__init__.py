"""Optimisers: learned ones with shipped weights, and classical ones behind the same interface."""

import importlib
from typing import TYPE_CHECKING, Any

from agents.asktell import AskTell
from agents.base import Agent
from agents.choice import Recommendation, recommend
from agents.make import CLASSICAL, make_agent
from agents.networks import NETWORKS, Network
from agents.optimize import Result, maximize, minimize
from agents.pretrained import WeightsError, card, load, trained_names
from agents.recurrent import LSTMAgent
from agents.saved import SavedOptimizerError
from bbo_envs.errors import require_extra

if TYPE_CHECKING:
    from agents.sb3 import export_sb3 as export_sb3
    from agents.sb3 import from_sb3 as from_sb3

__all__ = [
    "CLASSICAL",
    "NETWORKS",
    "Agent",
    "AskTell",
    "LSTMAgent",
    "Network",
    "Recommendation",
    "Result",
    "SavedOptimizerError",
    "WeightsError",
    "card",
    "load",
    "make_agent",
    "maximize",
    "minimize",
    "recommend",
    "trained_names",
]


def _of_sb3(name: str) -> Any:
    """What is imported when it is asked for, with its library."""
    if name not in ("export_sb3", "from_sb3"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    require_extra(f"agents.{name}", "rl", "stable_baselines3", "sb3_contrib")
    return getattr(importlib.import_module("agents.sb3"), name)


if not TYPE_CHECKING:  # or else every name would be one to a type checker
    __getattr__ = _of_sb3
