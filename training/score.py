"""How good a trained network is, on functions that no training run has seen."""

import copy
import math
import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from gymnasium.spaces import Box
from rich.console import Console
from rich.progress import Progress
from scipy import stats
from torch import Tensor

from agents.base import Agent
from bbo_envs.core import Observation
from bbo_envs.problem import Problem, ProblemState
from bbo_envs.registration import make_problem
from bbo_envs.seeds import agent_generator, function_generator, validation_generator
from training.rollout import unroll

MILESTONES = (10, 25, 50, 100)
# Networks are scored with as many parallel workers too, as Chen et al. 2017 have.
WORKERS = 5

_SAMPLER_ARGUMENTS = ("sampler", "features")

_ROWS = 1000
_ROWS_OF_SETS = 250


# Makes the generator of the function with a number.
Stream = Callable[[int], torch.Generator]


def held_out(
    problem: Problem, seeds: Iterable[int], stream: Stream = function_generator
) -> tuple[ProblemState, Observation]:
    """Resets a problem to the functions with these numbers, one per row.

    Args:
        problem: The task.
        seeds: The numbers.
        stream: Whose numbers they are: those of the evaluation functions.

    Example:
        >>> from bbo_envs import make_problem
        >>> state, observation = held_out(make_problem("BBO-GP-2d-v0"), range(3))
        >>> observation.y.shape
        torch.Size([3])
    """
    return problem.reset_rows([stream(seed) for seed in seeds])


def milestones(budget: int) -> list[int]:
    """After how many evaluations a run is judged: the milestones before its end, and the end.

    Example:
        >>> milestones(40)
        [10, 25, 40]
    """
    return [t for t in MILESTONES if t < budget] + [budget]


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


def score(
    agent: Agent,
    problem: Problem,
    functions: int = 1000,
    played: Callable[[], object] = lambda: None,
) -> dict[str, Any]:
    """Plays an agent on held-out functions.

    Args:
        agent: The optimiser.
        problem: The task.
        functions: The number of functions.
        played: Called after each of its runs on all functions, one more than ``milestones``.

    Returns:
        ``best_at``: for each milestone up to the budget, and the budget itself, the mean of the
        best noise-free value and the half width of its 95 % interval; ``best_at_own_budget``: the
        same for runs of just that budget, which the agent is told; ``boundary``: the share of
        coordinates on the boundary of the cube; ``spread``: the mean standard deviation of a
        query's coordinates over functions, zero for a network that has collapsed to fixed queries;
        ``best_at_shuffled``: the means when every function is shown another one's values, which
        must be worse.
    """

    def play(agent: Agent, problem: Problem) -> _Run:
        run = _play(agent, problem, functions)
        played()
        return run

    run, shuffled = play(agent, problem), play(_Shuffled(agent), problem)
    marks = milestones(problem.budget)
    shorter = {t: play(agent, _with_budget(problem, t)) for t in marks[:-1]}
    return {
        "functions": functions,
        "best_at": {str(t): _best(run, t) for t in marks},
        "best_at_own_budget": {str(t): _best(shorter.get(t, run), t) for t in marks},
        "boundary": ((run.x <= 0.0) | (run.x >= 1.0)).double().mean().item(),
        "spread": run.x[:, 1:].std(0).mean().item(),
        "best_at_shuffled": {str(t): _best(shuffled, t)["mean"] for t in marks},
    }


def exact(arguments: dict[str, Any]) -> dict[str, Any]:
    """A task's arguments for scores: GP samples are exact there, whatever was trained on.

    Example:
        >>> exact({"kernel": "rbf", "sampler": "fourier", "features": 64})
        {'kernel': 'rbf'}
    """
    return {k: v for k, v in arguments.items() if k not in _SAMPLER_ARGUMENTS}


def own_tasks(task: str, arguments: dict[str, Any], budget: int = 100) -> list[dict[str, Any]]:
    """The first tasks of a card: what a network was trained on, alone and with parallel workers.

    Example:
        >>> [entry["arguments"] for entry in own_tasks("BBO-GP-v0", {"dim": 4, "features": 64})]
        [{'dim': 4}, {'dim': 4, 'workers': 5}]
    """
    own: dict[str, Any] = {"task": task, "arguments": exact(arguments), "budget": budget}
    return [own, own | {"arguments": own["arguments"] | {"workers": WORKERS}}]


def scores(agent: Agent, tasks: list[dict[str, Any]], functions: int) -> dict[str, Any]:
    """What a card says of how good a network is; shows its progress on a terminal.

    Args:
        agent: The network.
        tasks: ``{"task": id, "arguments": {...}, "budget": T}``, its own task first.
        functions: The number of functions of each.

    Returns:
        ``score``, on the first task, and ``scores``, on the others: the task with what ``score``
        returns. ``ms_per_proposal``: see ``milliseconds``, on the first.
    """
    found = []
    total = sum(len(milestones(entry["budget"])) + 1 for entry in tasks)
    # Standard output may be JSON.
    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task("scoring", total=total)
        for entry in tasks:
            problem = make_problem(entry["task"], budget=entry["budget"], **entry["arguments"])
            facts = score(agent, problem, functions, lambda: progress.advance(bar))
            found.append({**entry, **facts})
    first = make_problem(tasks[0]["task"], budget=tasks[0]["budget"], **tasks[0]["arguments"])
    return {
        "score": found[0],
        "scores": found[1:],
        "ms_per_proposal": milliseconds(agent, first),
    }


def milliseconds(agent: Agent, problem: Problem) -> float:
    """How long a proposal takes, in milliseconds: the median over a run on one function."""
    timed = _Timed(agent)
    with torch.no_grad():
        unroll(timed, problem, held_out(problem, [0]), agent_generator(0))
    return 1e3 * statistics.median(timed.seconds)


def validate(agent: Agent, tasks: list[dict[str, Any]], functions: int) -> float:
    """How good a network is, to choose by: the mean over tasks of the mean best of a whole run.

    The functions are those of validation: no training run has seen them, nor does a score.

    Args:
        agent: The network.
        tasks: As for ``scores``.
        functions: The number of functions of each.
    """
    best = []
    for entry in tasks:
        problem = make_problem(entry["task"], budget=entry["budget"], **entry["arguments"])
        run = _play(agent, problem, functions, validation_generator)
        best.append(_best(run, problem.budget)["mean"])
    return sum(best) / len(best)


class _Run(NamedTuple):
    """What scores are made of: queries ``[B, T, d]`` and their values ``[B, T]``."""

    x: Tensor
    value: Tensor


def _play(
    agent: Agent, problem: Problem, functions: int, stream: Stream = function_generator
) -> _Run:
    """Plays some functions at a time, with a stream of the agent's randomness for each lot."""
    # A network for any number of dimensions keeps every evaluation of every function: at once,
    # all of them need gigabytes. The others always take the first thousand at once, since what an
    # agent draws for a function depends on how many there are.
    rows = _ROWS_OF_SETS if getattr(agent, "dim", 0) is None else _ROWS
    runs = []
    with torch.no_grad():
        for lot, first in enumerate(range(0, functions, rows)):
            start = held_out(problem, range(first, min(first + rows, functions)), stream)
            runs.append(unroll(agent, problem, start, agent_generator(lot)))
    return _Run(torch.cat([run.x for run in runs]), torch.cat([run.value for run in runs]))


def _best(run: _Run, t: int) -> dict[str, float]:
    """The mean of the best of the first t evaluations, with its interval."""
    best = run.value[:, :t].amin(1)
    deviation = best.std().item() if len(best) > 1 else math.nan
    return {"mean": best.mean().item(), "ci95": float(half_width(deviation, len(best)))}


def _with_budget(problem: Problem, budget: int) -> Problem:
    """The same functions, of which fewer evaluations may be asked."""
    shorter = copy.copy(problem)
    shorter.budget = budget
    return shorter


class _Timed:
    """Notes how long each proposal takes."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.seconds: list[float] = []

    def init(self, batch: int, space: Box, budget: int, generator: torch.Generator) -> Any:
        return self.agent.init(batch, space, budget, generator)

    def step(self, state: Any, observation: Observation) -> tuple[Tensor, Any]:
        started = time.perf_counter()
        found = self.agent.step(state, observation)
        self.seconds.append(time.perf_counter() - started)
        return found


class _Shuffled:
    """Shows every row the values of its neighbour."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.dim = getattr(agent, "dim", 0)

    def init(self, batch: int, space: Box, budget: int, generator: torch.Generator) -> Any:
        return self.agent.init(batch, space, budget, generator)

    def step(self, state: Any, observation: Observation) -> tuple[Tensor, Any]:
        return self.agent.step(state, observation._replace(y=observation.y.roll(1)))
