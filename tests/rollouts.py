"""Playing agents in tests, and looking into their states."""

import torch

from agents import make_agent
from bbo_envs import make_problem
from bbo_envs.core import map_tensors
from training.rollout import unroll
from training.score import score
from training.trainer import Trainer


def play(agent, problem, batch=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return unroll(agent, problem, problem.reset(batch, generator), generator)


def seed_of_library(problem):
    """The seed that an agent hands on to its library in ``play``."""
    generator = torch.Generator().manual_seed(0)
    problem.reset(1, generator)
    return torch.randint(2**31 - 1, (1,), generator=generator).item()


def trained_and_random(config):
    """The mean best on 1,000 held-out functions: of a network trained so, and of random search."""
    run = Trainer(config)
    while run.iteration < config.iterations:
        run.step()
    problem = make_problem(config.task, budget=config.horizon, **config.task_arguments)
    return [
        score(agent, problem, 1_000)["best_at"][str(config.horizon)]["mean"]
        for agent in (run.agent, make_agent("random", problem))
    ]


def tensors(state):
    found = []
    map_tensors(lambda tensor: found.append(tensor) or tensor, state)
    return found
