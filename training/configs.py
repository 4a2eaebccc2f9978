"""What to train and how: one dataclass, and a preset for each network that ships."""

import json
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from tyro.constructors import PrimitiveConstructorSpec

from bbo_envs.checks import number_between, positive_integer

_Json = PrimitiveConstructorSpec[dict[str, Any]](
    nargs=1,
    metavar="JSON",
    instance_from_str=lambda arguments: json.loads(arguments[0]),
    is_instance=lambda instance: isinstance(instance, dict),
    str_from_instance=lambda instance: [json.dumps(instance)],
)


@dataclass(frozen=True)
class TrainConfig:
    """A training run by back-propagation through time.

    The horizon grows with the iterations from ``first_horizon`` to ``horizon``; the learning rate
    falls from ``learning_rate`` to a hundredth of it along a half cosine, after a warm-up.
    """

    task: str = "BBO-GP-6d-v0"
    """The task whose functions the network is trained on."""
    task_arguments: Annotated[dict[str, Any], _Json] = field(
        default_factory=lambda: {"sampler": "fourier", "features": 256}
    )
    """Arguments of the task, as for gym.make; the budget is set by the horizon."""
    hidden: int = 128
    """Width of the LSTM."""
    layers: int = 1
    """Layers of the LSTM."""
    loss: Literal["sum", "oi", "oi-telescoped", "ei"] = "oi"
    """The loss; 'oi' is its stop-gradient form."""
    iterations: int = 20_000
    """Steps of Adam."""
    batch: int = 128
    """Functions per iteration."""
    first_horizon: int = 10
    """Evaluations per function at the start of the curriculum."""
    horizon: int = 100
    """Evaluations per function at its end."""
    truncation: int = 50
    """Gradients pass through at most this many steps (truncated BPTT)."""
    curriculum: float = 0.7
    """The share of the iterations over which the horizon grows."""
    learning_rate: float = 2e-3
    """Adam's learning rate at its highest."""
    warm_up: int = 100
    """Iterations over which the learning rate rises to it."""
    max_gradient: float = 1.0
    """The gradient's norm is clipped to this in every iteration."""
    max_query_gradient: float = 1.0
    """The gradient of every query is clipped to this norm, per function, before it goes on."""
    detach_feedback: bool = True
    """Pass no gradient through the values fed back to the network."""
    seed: int = 0
    """Of the initial weights and of all functions."""

    def __post_init__(self) -> None:
        """Checks the numbers, so that a mistake shows before hours are spent on it."""
        counts = ("hidden", "layers", "iterations", "batch", "first_horizon", "horizon")
        for name in (*counts, "truncation", "warm_up"):
            positive_integer(name, getattr(self, name))
        for name in ("learning_rate", "max_gradient", "max_query_gradient"):
            number_between(name, getattr(self, name), 0.0)
        number_between("curriculum", self.curriculum, 0.0, 1.0)
        if not 0 <= self.seed < 2**30:
            raise ValueError(
                f"seed must be in [0, 2^30), got {self.seed!r}: those above are for evaluation"
            )
        arguments = self.task_arguments
        if not isinstance(arguments, dict) or {"budget", "dtype", "device"} & arguments.keys():
            raise ValueError(
                "task_arguments must be an object without budget, dtype and device, which training "
                f"sets itself; got {arguments!r}"
            )


PRESETS: dict[str, TrainConfig] = {
    "lstm-oi-6d": TrainConfig(
        task="BBO-GP-6d-v0",
        hidden=256,
        iterations=1_800,
        batch=256,
        horizon=60,
        truncation=20,
        learning_rate=3e-3,
    ),
    "lstm-oi-2d": TrainConfig(task="BBO-GP-2d-v0", iterations=9_000),
}
