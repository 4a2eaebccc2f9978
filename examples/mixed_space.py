"""Tunes a gradient-boosting-like toy in its own units: floats, log floats, integers, a choice."""

import math

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


def error(values: dict) -> float:
    """Best at a rate of 0.05, depth 6, all data, and the huber loss."""
    trees = (math.log10(values["rate"] / 0.05)) ** 2 + ((values["depth"] - 6) / 4) ** 2
    other_loss = values["loss"] != "huber"
    return 0.1 + 0.05 * trees + 0.02 * (1 - values["subsample"]) + 0.03 * other_loss


problem = Problem(Objective(error, space=space), budget=60)
generator = torch.Generator().manual_seed(0)
for name in ("random", "sobol"):
    agent = agents.make_agent(name, problem)
    for step in steps(agent, problem, problem.reset(1, generator), generator):
        state = step.state
    found = space.decode(state.best_x[0])
    print(f"{name}: {state.best_y.item():.4f} after {state.t:3d} evaluations at {found}")
