"""How horizon and learning rate go with the iterations."""

import math

import torch

from training.configs import TrainConfig


def horizon_at(config: TrainConfig, iteration: int) -> int:
    """The horizon of an iteration: linear from the first to the last, then constant.

    Example:
        >>> config = TrainConfig(iterations=100, curriculum=0.5, first_horizon=10, horizon=100)
        >>> [horizon_at(config, i) for i in (0, 25, 50, 99)]
        [10, 55, 100, 100]
    """
    ramp = min(1.0, iteration / max(1.0, config.curriculum * config.iterations))
    return round(config.first_horizon + ramp * (config.horizon - config.first_horizon))


def entropy_weight_at(config: TrainConfig, iteration: int) -> float:
    """The weight of the entropy in an iteration: it falls linearly, to zero at the end.

    Example:
        >>> config = TrainConfig(iterations=100, estimator="score", entropy=0.1)
        >>> [entropy_weight_at(config, i) for i in (0, 50, 100)]
        [0.1, 0.05, 0.0]
    """
    return config.entropy * (1.0 - iteration / config.iterations)


def draw_horizon(first: int, last: int, generator: torch.Generator) -> int:
    """Draws a horizon log-uniformly from first to last, both included.

    Example:
        >>> draw_horizon(10, 10, torch.Generator())
        10
    """
    share = torch.rand((), generator=generator, dtype=torch.float64).item()
    return round(math.exp(math.log(first) + share * math.log(last / first)))


def learning_rate_at(config: TrainConfig, iteration: int) -> float:
    """The learning rate of an iteration: a linear warm-up times a half cosine down to 1 %.

    Example:
        >>> config = TrainConfig(iterations=1000, learning_rate=1.0, warm_up=10)
        >>> [round(learning_rate_at(config, i), 3) for i in (0, 10, 500, 1000)]
        [0.1, 1.0, 0.505, 0.01]
    """
    warm_up = min(1.0, (iteration + 1) / max(1, config.warm_up))
    cosine = 0.5 * (1.0 + math.cos(math.pi * iteration / config.iterations))
    return config.learning_rate * warm_up * (0.01 + 0.99 * cosine)
