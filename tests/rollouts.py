"""Playing agents in tests, and looking into their states."""

import torch

from bbo_envs.core import map_tensors
from training.rollout import unroll


def play(agent, problem, batch=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return unroll(agent, problem, problem.reset(batch, generator), generator)


def tensors(state):
    found = []
    map_tensors(lambda tensor: found.append(tensor) or tensor, state)
    return found
