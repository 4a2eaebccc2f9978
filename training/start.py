"""The network that a run of training begins with."""

import torch

from agents.networks import Network, make_network
from agents.pretrained import load
from agents.stochastic import StochasticAgent
from training.configs import TrainConfig


def initial_network(config: TrainConfig, dim: int, generator: torch.Generator) -> Network:
    """Builds a network with random weights, or those of a trained one.

    Args:
        config: What to train and how; with REINFORCE, the network is in its stochastic form.
        dim: The number of coordinates, where the network needs to know.
        generator: Draws the random weights.

    Raises:
        UnknownNameError: If no such network, argument or trained network is known.
        WeightsError: If the trained network cannot be read.
        ValueError: If the trained one has another architecture.

    Example:
        >>> config = TrainConfig(task="BBO-GP-2d-v0", initial="lstm-oi-2d", estimator="score")
        >>> initial_network(config, 2, torch.Generator()).kind
        'stochastic'
    """
    network = make_network(config.network, dim, config.network_arguments, generator)
    whole = network
    if config.estimator != "pathwise":
        whole = StochasticAgent(network, config.scale, generator)
    if config.initial:
        parent = load(config.initial)
        # What REINFORCE has begun it goes on with; back-propagation takes what is within.
        if isinstance(parent, StochasticAgent) and config.estimator != "pathwise":
            network = whole
        elif isinstance(parent, StochasticAgent):
            parent = parent.network
        theirs, mine = ({"kind": n.kind, **n.architecture} for n in (parent, network))
        if theirs != mine:
            raise ValueError(
                f"initial={config.initial!r} is {theirs}, the configuration's network {mine}; "
                "change network, network_arguments, scale or the task"
            )
        network.load_state_dict(parent.state_dict())
    return whole
