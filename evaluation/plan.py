"""What a benchmark has to play: which optimiser on which functions, and who is left out."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bbo_envs.checks import positive_integer
from bbo_envs.errors import MissingExtraError, UnknownNameError
from bbo_envs.registration import make_problem
from bbo_envs.suites import FOURIER, SUITES, TaskSpec, suite
from bbo_envs.tasks import TASKS
from evaluation.entrants import Entrant
from evaluation.run import Unit

_FORM = 'tasks are a suite, an id, or an id with arguments: BBO-GP-v0:{"dim": 4}'


@dataclass(frozen=True)
class Plan:
    """Lots of units to play side by side, in the order in which to start them.

    Attributes:
        lots: The units of a lot differ in nothing but their seeds.
        left_out: Who does not take part, as ``{"agent", "task", "arguments", "reason"}``.
    """

    lots: list[tuple[Unit, ...]] = field(default_factory=list)
    left_out: list[dict[str, str]] = field(default_factory=list)

    def __add__(self, other: "Plan") -> "Plan":
        """One plan after the other; who is left out by both is told once."""
        left_out = {tuple(entry.items()): entry for entry in self.left_out + other.left_out}
        return Plan(self.lots + other.lots, list(left_out.values()))

    @property
    def units(self) -> list[Unit]:
        """All units."""
        return [unit for lot in self.lots for unit in lot]

    def without(self, done: Iterable[tuple[Any, ...]]) -> "Plan":
        """What remains when the units with these keys are done."""
        done = set(done)
        rest = (tuple(unit for unit in lot if unit.key not in done) for lot in self.lots)
        return Plan([lot for lot in rest if lot], self.left_out)


def plan(
    entrants: Sequence[Entrant],
    tasks: Sequence[TaskSpec],
    *,
    budget: int,
    seeds: range,
    batch: int = 1,
    fewer: Mapping[str, int] | None = None,
) -> Plan:
    """Every entrant on the functions of every task.

    Args:
        entrants: See ``entrants.enter``.
        tasks: See ``named_tasks``.
        budget: Evaluations per function.
        seeds: The numbers of the functions, among those for evaluation.
        batch: Functions to play side by side.
        fewer: For some entrants how many of them, the first ones.

    Raises:
        UnknownNameError: If there is no such task, or no optimiser of a name.
        ValueError: If a number is not positive, or an argument of a task is out of range.
    """
    positive_integer("batch", batch)
    lots: list[tuple[Unit, ...]] = []
    left_out: list[dict[str, str]] = []
    for task in tasks:
        try:
            problem = make_problem(task.id, budget=budget, **task.arguments)
        except MissingExtraError as error:
            left_out += [_left_out(entrant, task, error) for entrant in entrants]
            continue
        for entrant in entrants:
            try:
                entrant.make(problem)
            except (MissingExtraError, ValueError) as error:
                left_out.append(_left_out(entrant, task, error))
                continue
            own = seeds[: (fewer or {}).get(entrant.name)]
            units = tuple(Unit(entrant, task, seed, budget) for seed in own)
            lots += [units[first : first + batch] for first in range(0, len(units), batch)]
    return Plan(lots, left_out)


def named_tasks(names: Sequence[str | TaskSpec], workers: int = 1) -> list[TaskSpec]:
    """Tasks by name.

    Samples of a GP that are named by id are made of Fourier features if no sampler is asked for:
    exact samples depend on where they are asked, and a seed would be another function for each
    optimiser.

    Args:
        names: Suites, ids, ids with arguments, such as ``'BBO-GP-v0:{"dim": 4}'``, or specs.
        workers: Parallel workers, where a task's own arguments do not say how many.

    Raises:
        UnknownNameError: If there is no such suite or task.
        ValueError: If arguments are not a JSON object.

    Example:
        >>> [task.id for task in named_tasks(["BBO-Branin-2d-v0", "paper"])][:2]
        ['BBO-Branin-2d-v0', 'BBO-GP-1d-v0']
    """
    positive_integer("workers", workers)
    tasks: list[TaskSpec] = []
    for name in names:
        if isinstance(name, TaskSpec):
            tasks.append(name)
        elif name in SUITES:
            tasks += suite(name)
        else:
            tasks.append(_task(name))
    # The suite of the paper has a task for one and for five workers already.
    common = {} if workers == 1 else {"workers": workers}
    return list(
        {
            (task.id, task.arguments_json): task
            for task in (replace(t, arguments=common | t.arguments) for t in tasks)
        }.values()
    )


def _task(name: str) -> TaskSpec:
    task, _, text = name.partition(":")
    if task not in TASKS:
        raise UnknownNameError("task or suite", task, [*SUITES, *TASKS])
    try:
        arguments = json.loads(text or "{}")
    except ValueError as error:
        raise ValueError(f"the arguments in {name!r} are not JSON ({error}); {_FORM}") from error
    if not isinstance(arguments, dict):
        raise ValueError(f"the arguments in {name!r} are not a JSON object; {_FORM}")
    if TASKS[task].family == "gp" and "sampler" not in arguments:
        arguments |= FOURIER
    return TaskSpec(task, arguments)


def _left_out(entrant: Entrant, task: TaskSpec, error: Exception) -> dict[str, str]:
    return {
        "agent": entrant.name,
        "task": task.id,
        "arguments": task.arguments_json,
        "reason": str(error),
    }
