"""Tunes a gradient-boosting-like toy in its own units: floats, log floats, integers, a choice."""

import math

import numpy as np
import torch

import agents
from bbo_envs import Objective, Problem, Space
from training.rollout import steps

space = Space(
    {
        "rate": (1e-4, 1.0, "log"),
        "depth": (1, 12),
        "subsample": (0.2, 1.0),
        "loss": ["squared", "absolute", "huber"],
    }
)


def error(rate: float, depth: int, subsample: float, loss: str) -> float:
    """Best at a rate of 0.05, depth 6, all data, and the huber loss."""
    trees = (math.log10(rate / 0.05)) ** 2 + ((depth - 6) / 4) ** 2
    return 0.1 + 0.05 * trees + 0.02 * (1.0 - subsample) + 0.03 * (loss != "huber")


def objective(x: np.ndarray) -> float:
    return error(**space.decode(x))


problem = Problem(Objective(objective, dim=space.dim), budget=60)
generator = torch.Generator().manual_seed(0)
for name in ("random", "sobol"):
    agent = agents.make_agent(name, problem)
    for step in steps(agent, problem, problem.reset(1, generator), generator):
        state = step.state
    found = space.decode(state.best_x[0])
    print(f"{name}: {state.best_y.item():.4f} after {state.t:3d} evaluations at {found}")
