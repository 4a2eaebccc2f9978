"""The interface of every optimiser, learned or classical."""

from typing import Any, Protocol, runtime_checkable

import torch
from gymnasium.spaces import Box
from torch import Tensor

from bbo_envs.core import Observation


@runtime_checkable
class Agent(Protocol):
    """An optimiser of B functions side by side: it proposes queries and is shown what comes back.

    ``init`` and ``step`` change nothing but the generator that ``init`` was given; only classical
    agents may keep the objects of their library in the state. The first observation is empty
    (o = 0), as is every one that comes while a worker is still free; an agent that is asked without
    having been told proposes another point beside those that are still out.

    Example:
        >>> from bbo_envs import make_problem
        >>> from agents import make_agent
        >>> problem = make_problem("BBO-GP-2d-v0")
        >>> generator = torch.Generator().manual_seed(0)
        >>> state, observation = problem.reset(4, generator)
        >>> agent = make_agent("random", problem)
        >>> agent_state = agent.init(4, problem.space, problem.budget, generator)
        >>> x, agent_state = agent.step(agent_state, observation)
        >>> x.shape
        torch.Size([4, 2])
    """

    def init(self, batch: int, space: Box, budget: int, generator: torch.Generator) -> Any:
        """The state before the first query.

        Args:
            batch: The number of functions, B.
            space: The unit cube [0, 1]^d; its shape tells d.
            budget: The number of queries that there will be, T.
            generator: The source of all randomness of this run.
        """

    def step(self, state: Any, observation: Observation) -> tuple[Tensor, Any]:
        """The next query ``[B, d]`` in the unit cube, and the state that follows."""
