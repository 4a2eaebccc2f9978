"""Minimises a function of one's own with the shipped network, four functions' worth in a batch."""

import numpy as np
import torch

import agents
from bbo_envs import Objective, Problem
from training.rollout import steps


def objective(x: np.ndarray) -> float:
    """A curved valley in two dimensions, in any unit: networks do not care about y's scale."""
    a, b = 4 * x - 2
    return 1e3 * ((1 - a) ** 2 + 5 * (b - a**2) ** 2)


problem = Problem(Objective(objective, dim=2), budget=60)
generator = torch.Generator().manual_seed(0)
run = steps(agents.load("lstm-oi-2d"), problem, problem.reset(4, generator), generator)
for step in run:
    if step.state.t % 10 == 0:
        best = ", ".join(f"{y:8.2f}" for y in step.state.best_y.tolist())
        print(f"after {step.state.t:3d} evaluations, best of four runs: {best}")
