"""How good a trained network is, on functions that no training run has seen."""

from typing import Any

import torch
from gymnasium.spaces import Box
from scipy import stats
from torch import Tensor

from agents.base import Agent
from bbo_envs.core import Observation
from bbo_envs.problem import Problem, ProblemState
from bbo_envs.seeds import agent_generator, function_generator
from training.rollout import Trajectory, unroll

MILESTONES = (10, 25, 50, 100)


def held_out(problem: Problem, seeds: range) -> tuple[ProblemState, Observation]:
    """Resets a problem to the evaluation functions with these numbers, one per row.

    Example:
        >>> from bbo_envs import make_problem
        >>> state, observation = held_out(make_problem("BBO-GP-2d-v0"), range(3))
        >>> observation.y.shape
        torch.Size([3])
    """
    return problem.reset_rows([function_generator(seed) for seed in seeds])


def half_width(deviation: Any, count: Any) -> Any:
    """Half the width of the 95 % Student interval of a mean; numbers or arrays of them.

    Args:
        deviation: The sample standard deviation.
        count: The number of samples; NaN results from fewer than two.

    Example:
        >>> round(float(half_width(1.0, 3)), 3)
        2.484
    """
    return stats.t.ppf(0.975, count - 1) * deviation / count**0.5


def score(agent: Agent, problem: Problem, functions: int = 1000) -> dict[str, Any]:
    """Plays an agent on held-out functions.

    Args:
        agent: The optimiser.
        problem: The task.
        functions: The number of functions.

    Returns:
        ``best_at``: for each milestone within the budget, the mean of the best noise-free value
        and the half width of its 95 % interval; ``boundary``: the share of coordinates on the
        boundary of the cube; ``spread``: the mean standard deviation of a query's coordinates over
        functions, zero for a network that has collapsed to fixed queries; ``best_at_shuffled``:
        the means when every function is shown another one's values, which must be worse.
    """
    run = _play(agent, problem, functions)
    shuffled = _play(_Shuffled(agent), problem, functions)
    best, best_shuffled = (r.value.cummin(1).values for r in (run, shuffled))
    marks = [t for t in MILESTONES if t <= problem.budget]
    return {
        "functions": functions,
        "best_at": {
            str(t): {
                "mean": best[:, t - 1].mean().item(),
                "ci95": float(half_width(best[:, t - 1].std().item(), functions)),
            }
            for t in marks
        },
        "boundary": ((run.x <= 0.0) | (run.x >= 1.0)).double().mean().item(),
        "spread": run.x[:, 1:].std(0).mean().item(),
        "best_at_shuffled": {str(t): best_shuffled[:, t - 1].mean().item() for t in marks},
    }


def _play(agent: Agent, problem: Problem, functions: int) -> Trajectory:
    with torch.no_grad():
        start = held_out(problem, range(functions))
        return unroll(agent, problem, start, agent_generator(0))


class _Shuffled:
    """Shows every row the values of its neighbour."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent

    def init(self, batch: int, space: Box, budget: int, generator: torch.Generator) -> Any:
        return self.agent.init(batch, space, budget, generator)

    def step(self, state: Any, observation: Observation) -> tuple[Tensor, Any]:
        return self.agent.step(state, observation._replace(y=observation.y.roll(1)))
