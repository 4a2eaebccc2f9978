"""A task of one's own: valleys of every direction and steepness, as environment and as problem."""

from typing import NamedTuple

import gymnasium
import torch
from gymnasium.utils.env_checker import check_env

import agents
from bbo_envs import BlackBoxEnv, Problem
from training.rollout import unroll
from training.score import held_out


class Valley(NamedTuple):
    """State: a minimum ``[B, d]``, and the axes of an ellipsoid ``[B, d, d]``."""

    minimum: torch.Tensor
    axes: torch.Tensor


class Valleys:
    """A ``FunctionDistribution``: what ``sample`` draws, ``evaluate`` evaluates, batch first."""

    differentiable, dtype, device = True, torch.float64, torch.device("cpu")
    prior_mean = 1.0

    def __init__(self, dim=3):
        self.dim = dim

    def sample(self, batch, generator):
        minimum = torch.rand(batch, self.dim, generator=generator, dtype=self.dtype)
        directions = torch.randn(batch, self.dim, self.dim, generator=generator, dtype=self.dtype)
        lengths = torch.logspace(-1, 1, self.dim, dtype=self.dtype)
        return Valley(minimum, torch.linalg.qr(directions).Q * lengths)

    def evaluate(self, state, x):
        along = (x - state.minimum).unsqueeze(1) @ state.axes
        return along.square().sum((1, 2)).sqrt(), state

    def optimum(self, state):
        return torch.zeros(1, dtype=self.dtype)

    def native(self, state, x):
        return x


def make(budget=60, dim=3, **options):
    return BlackBoxEnv(Problem(Valleys(dim), budget=budget), **options)


gymnasium.register("Valleys-v0", entry_point=make)
env = gymnasium.make("Valleys-v0", budget=60)
check_env(env.unwrapped, skip_render_check=True)

problem = env.unwrapped.problem
for name in ("universal", "lstm-oi", "random"):
    # The 64 functions that are held out for evaluation; the seed is the agent's.
    start = held_out(problem, range(64))
    with torch.no_grad():
        agent = agents.make_agent(name, problem)
        run = unroll(agent, problem, start, torch.Generator().manual_seed(0))
    best = run.value.amin(1).mean().item()
    print(f"{name}: after  {problem.budget} evaluations {best:.3f} above the minimum, on average")
