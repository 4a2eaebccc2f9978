"""Playing agents in tests, and looking into their states."""

import torch

from bbo_envs.core import map_tensors
from training.rollout import unroll


def play(agent, problem, batch=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return unroll(agent, problem, problem.reset(batch, generator), generator)


def seed_of_library(problem):
    """The seed that an agent hands on to its library in ``play``."""
    generator = torch.Generator().manual_seed(0)
    problem.reset(1, generator)
    return torch.randint(2**31 - 1, (1,), generator=generator).item()


def tensors(state):
    found = []
    map_tensors(lambda tensor: found.append(tensor) or tensor, state)
    return found
