"""Observations as plain vectors, and steps as actions in [-1, 1]: what RL libraries are fed.

Training (``training.sb3_env``) and playing (``agents.sb3``) share them, so that a policy is shown
the same in both. Values are normalised by their own running statistics (``agents.features``): a
policy needs no statistics of its training tasks, and its queries do not change when y becomes
a * y + b with a > 0.
"""

import numpy as np
import torch
from gymnasium.spaces import Box
from torch import Tensor

from agents.features import VALUE_FEATURES, History, update, value_features
from bbo_envs.core import Observation


def flat_observation(history: History, observation: Observation) -> tuple[Tensor, History]:
    """Takes in an observation, and describes where the search stands by one vector.

    Its parts are the query that came back and the incumbent, both in [-1, 1] (the incumbent is the
    centre of the cube before anything came back, and stands in for the query where nothing did),
    and the 7 of ``agents.features.value_features``: the last and the best value in running
    deviations, the flag o, and the share of the budget that is left among them.

    Args:
        history: That of the observations before this one.
        observation: What an optimiser sees: x ``[B, d]``, y ``[B]``, o ``[B]``.

    Returns:
        The features ``[B, 2 d + 7]``, in the dtype of the history's incumbent, and the history
        that includes the observation.

    Example:
        >>> from agents.features import empty_history
        >>> history = empty_history(1, 2, 10, torch.float32, torch.device("cpu"))
        >>> first = Observation(torch.zeros(1, 2), torch.zeros(1), torch.zeros(1))
        >>> features, history = flat_observation(history, first)
        >>> features.shape
        torch.Size([1, 11])
    """
    history = update(history, observation)
    best = history.best_x
    last = torch.where(observation.o.unsqueeze(-1) > 0, observation.x.to(best), best)
    places = [2.0 * last - 1.0, 2.0 * best - 1.0]
    return torch.cat([*places, value_features(history, observation)], -1), history


def action_to_query(action: Tensor, incumbent: Tensor) -> Tensor:
    """Maps actions in [-1, 1]^d to queries: steps from the incumbent, clipped to the unit cube.

    An action of 1 is half of the cube's width, as much as 1 is in observations: from the centre,
    where the search begins, the steps reach every point. Policies learn far more with steps as
    actions than with queries, for the noise with which they explore is then a search around the
    incumbent (figures in ``training/EXPERIMENTS.md``).

    Args:
        action: ``[B, d]``.
        incumbent: ``[B, d]`` the best query so far, ``History.best_x``.

    Example:
        >>> action_to_query(torch.tensor([[-1.0, 0.0, 1.0]]), torch.tensor([[0.5, 0.5, 0.9]]))
        tensor([[0.0000, 0.5000, 1.0000]])
    """
    return (incumbent + action / 2.0).clamp(0.0, 1.0)


def flat_spaces(dim: int) -> tuple[Box, Box]:
    """The spaces of flat observations and of actions, for d coordinates.

    Example:
        >>> [space.shape for space in flat_spaces(2)]
        [(11,), (2,)]
    """
    size = 2 * dim + VALUE_FEATURES
    return Box(-np.inf, np.inf, (size,), np.float32), Box(-1.0, 1.0, (dim,), np.float32)
