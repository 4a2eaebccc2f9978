"""Configurations of training by reinforcement learning, as ``bbo train-rl`` takes them."""

from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Any, Literal

from bbo_envs.checks import number_between, positive_integer
from bbo_envs.errors import UnknownNameError
from bbo_envs.seeds import AGENT_SEED
from training.configs import PRESETS, Json, TrainConfig

REINFORCE_PRESET = "universal-reinforce-6d"


@dataclass(frozen=True)
class RLConfig:
    """A training run by an algorithm of Stable-Baselines3, or by REINFORCE.

    Raises:
        ValueError: If a number is out of range.
    """

    algo: Literal["ppo", "recurrent-ppo", "sac", "reinforce"] = "ppo"
    """The algorithm: PPO and SAC see what ``agents.flat`` tells of the search, RecurrentPPO
    remembers it in an LSTM too; all three by Stable-Baselines3. REINFORCE trains the network of
    the preset universal-reinforce-6d."""
    task: str = "BBO-GP-6d-v0"
    """Gymnasium id of the task; it needs no gradients."""
    task_arguments: Annotated[dict[str, Any], Json(dict)] = field(default_factory=dict)
    """Arguments of the task."""
    budget: int = 30
    """Evaluations of a function, which are the steps of an episode."""
    steps: int = 1_000_000
    """Evaluations in all."""
    envs: int = 256
    """Functions side by side."""
    learning_rate: float = 1e-3
    """Of Adam; it falls linearly, to zero at the end. With REINFORCE, along a half cosine."""
    arguments: Annotated[dict[str, Any], Json(dict)] = field(default_factory=dict)
    """Further arguments of the algorithm's class, such as {"ent_coef": 0.01}; with REINFORCE, of
    ``TrainConfig``."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        for name in ("budget", "steps", "envs"):
            positive_integer(name, getattr(self, name))
        number_between("learning_rate", self.learning_rate, 0.0)
        if not 0 <= self.seed < AGENT_SEED:
            raise ValueError(
                f"seed must be in [0, 2^30), got {self.seed!r}: those above are for evaluation"
            )


def reinforce_config(config: RLConfig) -> TrainConfig:
    """What ``bbo train`` would be told to train by REINFORCE in the same way.

    Raises:
        UnknownNameError: If ``arguments`` has something that ``TrainConfig`` has not.

    Example:
        >>> reinforce_config(RLConfig("reinforce", budget=10, steps=256_000)).iterations
        100
    """
    own: dict[str, Any] = {
        "task": config.task,
        "task_arguments": config.task_arguments,
        "batch": config.envs,
        "horizon": config.budget,
        "first_horizon": config.budget,
        "curriculum": 0.0,
        "iterations": max(config.steps // (config.envs * config.budget), 1),
        "learning_rate": config.learning_rate,
        "seed": config.seed,
        "score_tasks": [],
    }
    check_arguments("TrainConfig", config.arguments, [each.name for each in fields(TrainConfig)])
    return replace(PRESETS[REINFORCE_PRESET], **own | config.arguments)


def check_arguments(of: str, arguments: Iterable[str], known: Iterable[str]) -> None:
    """Checks the names of further arguments.

    Raises:
        UnknownNameError: If one is none of those known.
    """
    for name in arguments:
        if name not in known:
            raise UnknownNameError(f"argument of {of}", name, known)
