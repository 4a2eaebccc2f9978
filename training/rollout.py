"""The loop in which an optimiser meets a problem; training and the benchmark share it."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from agents.acquisition import Proposals
from agents.base import Agent
from agents.stochastic import Draw
from bbo_envs.core import Observation, map_tensors
from bbo_envs.problem import Problem, ProblemState, StepInfo

Through = Literal["run", "step", "nothing"]


class Step(NamedTuple):
    """One turn of the loop.

    Attributes:
        observation: What the agent was shown before it proposed.
        x: ``[B, d]`` what it proposed.
        info: What the problem made of it.
        state: The problem's state afterwards.
        proposals: What the agent chose x from, if it says so.
        draw: How it drew x, if it is a stochastic one.
    """

    observation: Observation
    x: Tensor
    info: StepInfo
    state: ProblemState
    proposals: Proposals | None
    draw: Draw | None


class Trajectory(NamedTuple):
    """A whole run of T evaluations, batch first, differentiable where the problem is.

    Attributes:
        x: ``[B, T, d]`` the queries, in the order asked.
        value: ``[B, T]`` their noise-free values.
        observation: What was seen before each query: x ``[B, T, d]``, y ``[B, T]``, o ``[B, T]``.
        proposals: What each query was chosen from, where the agent chooses: x ``[B, T, P, d]``, and
            the logarithms of the probabilities ``[B, T, P]``.
        draw: How the queries were drawn, ``[B, T]`` each, where the agent is a stochastic one.
    """

    x: Tensor
    value: Tensor
    observation: Observation
    proposals: Proposals | None = None
    draw: Draw | None = None


def steps(
    agent: Agent,
    problem: Problem,
    start: tuple[ProblemState, Observation],
    generator: torch.Generator,
    *,
    through: Through = "run",
    detach_feedback: bool = False,
    max_query_gradient: float | None = None,
    truncation: int | None = None,
) -> Iterator[Step]:
    """Plays an agent on a problem, one step at a time, until the budget is used.

    Args:
        agent: The optimiser.
        problem: The task.
        start: What ``problem.reset`` gave.
        generator: The agent's randomness.
        through: What gradients pass through, beside the agent's own state: the whole run; only
            the step from a query to its own value; or nothing.
        detach_feedback: Pass no gradient through the values fed back to the agent. Full
            back-propagation adds noise, not skill, past some fifty steps.
        max_query_gradient: Clip the gradient of every query ``x_t`` to this norm, per row.
        truncation: Pass no gradient across every so many steps (truncated BPTT).

    Yields:
        A ``Step`` for each evaluation, as it is made: an error later on loses none of them.
    """
    state, observation = start
    agent_state = agent.init(len(observation.y), problem.space, problem.budget, generator)
    while state.t < problem.budget:
        if truncation is not None and state.t % truncation == 0:
            state, observation, agent_state = detach((state, observation, agent_state))
        x, agent_state = agent.step(agent_state, observation)
        if through == "nothing":
            x = x.detach()
        if max_query_gradient is not None and x.requires_grad:
            x.register_hook(_Clip(max_query_gradient))  # type: ignore[no-untyped-call]
        state, following, info = problem.step(state, x)
        if through != "run":
            state, following = detach((state, following))
        proposals = getattr(agent_state, "proposals", None)
        yield Step(observation, x, info, state, proposals, getattr(agent_state, "draw", None))
        if detach_feedback:
            following = following._replace(y=following.y.detach())
        observation = following


def unroll(
    agent: Agent,
    problem: Problem,
    start: tuple[ProblemState, Observation],
    generator: torch.Generator,
    **options: Any,
) -> Trajectory:
    """Plays an agent on a problem to the end; the options are those of ``steps``.

    Example:
        >>> from agents import make_agent
        >>> from bbo_envs import make_problem
        >>> problem = make_problem("BBO-GP-2d-v0", budget=5)
        >>> generator = torch.Generator().manual_seed(0)
        >>> start = problem.reset(3, generator)
        >>> unroll(make_agent("random", problem), problem, start, generator).value.shape
        torch.Size([3, 5])
    """
    run = list(steps(agent, problem, start, generator, **options))
    chosen_from = [s.proposals for s in run if s.proposals is not None]
    draws = [s.draw for s in run if s.draw is not None]
    return Trajectory(
        x=torch.stack([s.x for s in run], 1),
        value=torch.stack([s.info.value for s in run], 1),
        observation=Observation(*_stacked([s.observation for s in run])),
        proposals=Proposals(*_stacked(chosen_from)) if chosen_from else None,
        draw=Draw(*_stacked(draws)) if draws else None,
    )


def _stacked(parts: Sequence[tuple[Tensor, ...]]) -> list[Tensor]:
    return [torch.stack(tensors, 1) for tensors in zip(*parts, strict=True)]


def detach(state: Any) -> Any:
    """Cuts a state (nested tuples of tensors) off the graph that computed it."""
    return map_tensors(Tensor.detach, state)


class _Clip:
    """Gradient hook: scales each row of a gradient down to a largest norm."""

    def __init__(self, largest: float) -> None:
        self.largest = largest

    def __call__(self, gradient: Tensor) -> Tensor:
        norm = gradient.norm(dim=-1, keepdim=True)
        clipped: Tensor = gradient * (self.largest / norm.clamp_min(self.largest))
        return clipped
