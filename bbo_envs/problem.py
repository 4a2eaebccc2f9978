"""The one transition of the suite: budget, workers, runtimes, noise, incumbents and rewards.

The environments, training, the benchmark and every later adapter step through ``Problem``; none of
them holds a formula of its own. Everything is batch first, pure, and differentiable where the
function is. Randomness is drawn at reset, so that a step is a function of (state, query) alone.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from bbo_envs.checks import check_queries, number_between, positive_integer
from bbo_envs.core import FunctionDistribution, Observation, stack
from bbo_envs.errors import BudgetExhaustedError, ObjectiveError, QueryError, UnknownNameError

Reward = Literal["improvement", "negative_value", "negative_regret"]


class ProblemState(NamedTuple):
    """Everything a step depends on. B rows, N workers, T evaluations, d coordinates.

    Attributes:
        function: State of the function distribution.
        t: Queries asked so far.
        noise: ``[B, T]`` what is added to the value of each query.
        runtime: ``[B, T]`` how long each evaluation takes.
        busy_until: ``[B, N]`` when each worker returns; infinite where it is free.
        busy_x: ``[B, N, d]`` the query each worker evaluates.
        busy_y: ``[B, N]`` the value it will return.
        busy_f: ``[B, N]`` that value without noise.
        clock: ``[B]`` simulated time; an evaluation takes 1 on average.
        best_x: ``[B, d]`` the incumbent: the returned query with the lowest y.
        best_y: ``[B]`` its value; infinite before the first return.
        best_f: ``[B]`` the lowest noise-free value returned, or the prior mean where it is lower.
    """

    function: Any
    t: int
    noise: Tensor
    runtime: Tensor
    busy_until: Tensor
    busy_x: Tensor
    busy_y: Tensor
    busy_f: Tensor
    clock: Tensor
    best_x: Tensor
    best_y: Tensor
    best_f: Tensor


class StepInfo(NamedTuple):
    """What a step yields beside the observation; optimisers do not see it.

    Attributes:
        value: ``[B]`` the noise-free f at the query just asked.
        reward: ``[B]`` for the evaluations that came back in this step.
        done: Whether this was the last evaluation of the budget.
        late: What came back after the step's own observation: at the end, from the other workers.
    """

    value: Tensor
    reward: Tensor
    done: bool
    late: tuple[Observation, ...] = ()


class _Returned(NamedTuple):
    """One evaluation per row that came back."""

    time: Tensor
    x: Tensor
    y: Tensor
    f: Tensor


class Problem:
    """A task for optimisers: a distribution over functions, a budget, and N parallel workers.

    Workers are as in Chen et al. 2017, section 2.3: each of the first N - 1 queries finds another
    worker still free, so nothing comes back (o = 0); from then on a step waits for the evaluation
    that ends first. The last step waits for all that are still out: they count for its reward and
    for the incumbent.

    Rewards are computed from noise-free values, as the paper's losses are. ``"improvement"`` is
    by how much an evaluation undercuts the best before it, where a first evaluation is measured
    against the distribution's prior mean; ``"negative_value"`` is -f; ``"negative_regret"`` is
    minimum - f.

    Args:
        functions: The distribution over objectives.
        budget: The number of evaluations, T.
        workers: The number of parallel workers, N.
        runtime_spread: Runtimes are Uniform(1 - spread, 1 + spread).
        noise: The standard deviation of Gaussian noise in y.
        reward: ``"improvement"``, ``"negative_value"`` or ``"negative_regret"``.

    Raises:
        ValueError: If an argument is out of range. ``reset`` raises it where regret is asked for
            and the minimum is not known.

    Example:
        >>> import bbo_envs
        >>> problem = bbo_envs.make_problem("BBO-GP-2d-v0", budget=3)
        >>> state, observation = problem.reset(8, torch.Generator().manual_seed(0))
        >>> state, observation, info = problem.step(state, torch.rand(8, 2))
        >>> observation.y.shape, info.done
        (torch.Size([8]), False)
    """

    def __init__(
        self,
        functions: FunctionDistribution,
        budget: int = 100,
        workers: int = 1,
        runtime_spread: float = 0.5,
        noise: float = 0.0,
        reward: Reward = "improvement",
    ) -> None:
        if reward not in get_args(Reward):
            raise UnknownNameError("reward", reward, get_args(Reward))
        self.functions = functions
        self.budget = positive_integer("budget", budget)
        self.workers = positive_integer("workers", workers)
        self.runtime_spread = number_between("runtime_spread", runtime_spread, 0.0, 1.0)
        self.noise = number_between("noise", noise, 0.0)
        self.reward = reward
        self.space = spaces.Box(0.0, 1.0, (functions.dim,), np.float32)

    def reset(self, batch: int, generator: torch.Generator) -> tuple[ProblemState, Observation]:
        """Draws ``batch`` functions and returns the state and the empty first observation."""
        # The function comes first, so that a seed means the same function under every budget.
        function = self.functions.sample(batch, generator)
        draws = torch.empty(batch, self.budget, dtype=torch.float64, device=generator.device)
        noise = draws.normal_(generator=generator).to(self.functions.device, self.functions.dtype)
        runtime = torch.empty_like(draws).uniform_(
            1.0 - self.runtime_spread, 1.0 + self.runtime_spread, generator=generator
        )
        zeros = torch.zeros(
            batch, self.workers, dtype=self.functions.dtype, device=self.functions.device
        )
        infinite = torch.full_like(zeros, torch.inf)
        state = ProblemState(
            function=function,
            t=0,
            noise=self.noise * noise,
            runtime=runtime.to(zeros),
            busy_until=infinite,
            busy_x=zeros.unsqueeze(-1).expand(-1, -1, self.functions.dim),
            busy_y=zeros,
            busy_f=zeros,
            clock=zeros[:, 0],
            best_x=zeros[:, :1].expand(-1, self.functions.dim),
            best_y=infinite[:, 0],
            best_f=torch.full_like(zeros[:, 0], self.functions.prior_mean),
        )
        if self.reward == "negative_regret" and self.functions.optimum(function) is None:
            raise ValueError(
                "reward='negative_regret' needs a known optimum, which "
                f"{type(self.functions).__name__} does not have; use 'improvement' or "
                "'negative_value'"
            )
        return state, self._nothing(state)

    def reset_rows(self, generators: Sequence[torch.Generator]) -> tuple[ProblemState, Observation]:
        """Resets one row per generator: row i is what ``reset(1, generators[i])`` gives."""
        rows = [self.reset(1, generator) for generator in generators]
        return stack([state for state, _ in rows]), stack([first for _, first in rows])

    def step(self, state: ProblemState, x: Tensor) -> tuple[ProblemState, Observation, StepInfo]:
        """Asks for the value of f at x ``[B, d]`` in [0, 1]^d.

        The given state is left as it is: a caller that catches an error still has everything
        recorded up to it, and can ask again.

        Raises:
            BudgetExhaustedError: After the last evaluation of the budget.
            QueryError: If x has another shape, a NaN, or a point outside the unit cube.
            ObjectiveError: If the objective raises, or returns NaN or infinity.
        """
        if state.t >= self.budget:
            raise BudgetExhaustedError(
                f"all {self.budget} evaluations of the budget are used; call reset() to start "
                "again, or make the task with a larger budget"
            )
        self._check_queries(x, batch=state.clock.shape[0])
        f, function = self.functions.evaluate(state.function, x)
        _check_values(f, x)

        # Hand the query to the first free worker.
        free = state.busy_until.isinf().int().argmax(1)
        slot = torch.nn.functional.one_hot(free, self.workers).bool()
        finish = state.clock + state.runtime[:, state.t]
        y = f + state.noise[:, state.t]
        state = state._replace(
            function=function,
            t=state.t + 1,
            busy_until=torch.where(slot, finish.unsqueeze(1), state.busy_until),
            busy_x=torch.where(slot.unsqueeze(-1), x.unsqueeze(1).to(y), state.busy_x),
            busy_y=torch.where(slot, y.unsqueeze(1), state.busy_y),
            busy_f=torch.where(slot, f.unsqueeze(1), state.busy_f),
        )

        done = state.t == self.budget
        observation = self._nothing(state)
        reward = torch.zeros_like(f)
        if state.t >= self.workers:
            state, returned = _wait_for_first(state)
            state, reward = self._settle(state, returned)
            observation = _seen(returned)
        late = []
        if done:
            for _ in range(min(self.workers - 1, self.budget)):
                state, returned = _wait_for_first(state)
                state, more = self._settle(state, returned)
                reward = reward + more
                late.append(_seen(returned))
        return state, observation, StepInfo(f, reward, done, tuple(late))

    def _settle(self, state: ProblemState, returned: _Returned) -> tuple[ProblemState, Tensor]:
        """Updates the incumbent with one evaluation per row, and rewards it."""
        better = returned.y < state.best_y
        best_f = torch.minimum(state.best_f, returned.f)
        if self.reward == "improvement":
            reward = state.best_f - best_f
        elif self.reward == "negative_value":
            reward = -returned.f
        else:
            minimum = self.functions.optimum(state.function)
            assert minimum is not None  # reset() refuses regret where the optimum is not known
            reward = minimum - returned.f
        state = state._replace(
            clock=returned.time,
            best_x=torch.where(better.unsqueeze(-1), returned.x, state.best_x),
            best_y=torch.where(better, returned.y, state.best_y),
            best_f=best_f,
        )
        return state, reward

    def _nothing(self, state: ProblemState) -> Observation:
        zero = torch.zeros_like(state.clock)
        return Observation(torch.zeros_like(state.best_x), zero, zero)

    def _check_queries(self, x: Tensor, batch: int) -> None:
        expected = (batch, self.functions.dim)
        if tuple(x.shape) != expected:
            raise QueryError(
                f"queries must have shape {expected} (batch, dim), got {tuple(x.shape)}"
            )
        check_queries(x, self.functions.dim)


def _check_values(f: Tensor, x: Tensor) -> None:
    finite = f.isfinite()
    if not finite.all():
        row = int((~finite).int().argmax())
        raise ObjectiveError(
            f"the objective returned {f[row].item()} at x = {x[row].tolist()} (row {row}), where "
            "a finite number is expected; return a large finite value for a failed evaluation. "
            "The evaluations before this one are kept"
        )


def _seen(returned: _Returned) -> Observation:
    return Observation(returned.x, returned.y, torch.ones_like(returned.y))


def _wait_for_first(state: ProblemState) -> tuple[ProblemState, _Returned]:
    """Takes from each row the evaluation that ends first; ties go to the first worker."""
    worker = state.busy_until.argmin(1)
    slot = torch.nn.functional.one_hot(worker, state.busy_until.shape[1]).bool()
    pick = worker.unsqueeze(1)
    returned = _Returned(
        time=state.busy_until.gather(1, pick).squeeze(1),
        x=state.busy_x.gather(1, pick.unsqueeze(-1).expand(-1, -1, state.busy_x.shape[-1])).squeeze(
            1
        ),
        y=state.busy_y.gather(1, pick).squeeze(1),
        f=state.busy_f.gather(1, pick).squeeze(1),
    )
    return state._replace(busy_until=state.busy_until.masked_fill(slot, torch.inf)), returned
