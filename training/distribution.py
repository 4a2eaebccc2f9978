"""What a micro-batch of training is drawn from: a task, with arguments that may be mixtures."""

import inspect
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from bbo_envs.checks import number_between
from bbo_envs.errors import UnknownNameError
from bbo_envs.problem import Problem
from bbo_envs.registration import make_problem
from bbo_envs.tasks import TASKS

# Training sets these itself.
RESERVED = {"budget", "dtype", "device"}

_TASK = "task"
_FACTOR = "length_scale_factor"
_FORM = 'a list of choices, or {"low": a, "high": b} with 0 < a <= b'
_OF_EVERY_TASK = {"transforms", *inspect.signature(Problem).parameters} - {"functions", "budget"}


class Drawn(NamedTuple):
    """The setting of one micro-batch.

    Attributes:
        task: The id of the task.
        arguments: Those of ``make_problem``.
    """

    task: str
    arguments: dict[str, Any]


class Mixture:
    """A distribution over tasks and their arguments.

    Args:
        task: The task where the mixture names none.
        arguments: The arguments that are the same in every draw.
        mixture: What is drawn anew: for each argument the choices, ``[...]`` (uniform, so that one
            which stands twice is twice as likely), or ``{"low": a, "high": b}`` (log-uniform). The
            argument ``"task"`` chooses among ids, and ``"length_scale_factor"`` multiplies the
            length scale that the task has otherwise. With several tasks, an argument goes to those
            that have it.

    Raises:
        UnknownNameError: If there is no such task, or none of the tasks has an argument.
        ValueError: If an argument is one that training sets itself, or what is drawn is malformed.

    Example:
        >>> mixture = Mixture("BBO-GP-v0", {"kernel": "rbf"}, {"dim": [2, 3]})
        >>> mixture.draw(torch.Generator().manual_seed(0))
        Drawn(task='BBO-GP-v0', arguments={'kernel': 'rbf', 'dim': 3})
    """

    def __init__(self, task: str, arguments: Mapping[str, Any], mixture: Mapping[str, Any]) -> None:
        for name, given in (("task_arguments", arguments), ("mixture", mixture)):
            if not isinstance(given, Mapping) or RESERVED & given.keys():
                raise ValueError(
                    f"{name} must be an object without budget, dtype and device, which training "
                    f"sets itself; got {given!r}"
                )
        for name, choices in mixture.items():
            check_choices("mixture", name, choices)
        self.mixture = dict(mixture)
        self.arguments = dict(arguments)
        self.tasks = self.mixture.pop(_TASK, [task])
        for entry in self.tasks:
            if entry not in TASKS:
                raise UnknownNameError("task", entry, TASKS)
        self._check_names()

    def draw(self, generator: torch.Generator) -> Drawn:
        """Draws a setting; what is drawn does not depend on the order of the mixture's keys."""
        task = _draw(self.tasks, generator)
        drawn = {name: _draw(self.mixture[name], generator) for name in sorted(self.mixture)}
        return self._setting(task, drawn)

    def settings(self) -> list[Drawn]:
        """Every choice at least once, and both ends of every range: what has to be possible.

        Example:
            >>> mixture = Mixture("BBO-GP-v0", {}, {"dim": [2, 3]})
            >>> [drawn.arguments for drawn in mixture.settings()]
            [{'dim': 2}, {'dim': 3}]
        """
        extremes = {name: ends(choices) for name, choices in self.mixture.items()}
        longest = max([1, *map(len, extremes.values())])
        return [
            self._setting(
                task, {name: values[i % len(values)] for name, values in extremes.items()}
            )
            for task in self.tasks
            for i in range(longest)
        ]

    def _setting(self, task: str, drawn: dict[str, Any]) -> Drawn:
        factor = drawn.pop(_FACTOR, None)
        known = _arguments_of(task)
        arguments = {k: v for k, v in (self.arguments | drawn).items() if k in known}
        if factor is not None and "length_scale" in known:
            arguments["length_scale"] = factor * _length_scale(task, arguments)
        return Drawn(task, arguments)

    def _check_names(self) -> None:
        known = set().union(*map(_arguments_of, self.tasks)) - RESERVED
        kind = f"argument of {' or '.join(self.tasks)}"
        for name in [*self.arguments, *self.mixture]:
            if name == _FACTOR and name in self.mixture and "length_scale" in known:
                if "length_scale" in self.mixture:
                    raise ValueError(
                        f"mixture draws both length_scale and {_FACTOR}; leave one out"
                    )
            elif name not in known:
                raise UnknownNameError(kind, name, known)


def check_choices(where: str, name: str, choices: Any) -> None:
    """Checks that choices are ``[...]`` or ``{"low": a, "high": b}``.

    Args:
        where: What they are part of, for the message.
        name: What is chosen.
        choices: The choices.

    Raises:
        ValueError: If there is none, or the range is empty or not positive.

    Example:
        >>> check_choices("mixture", "noise", {"low": 0.01, "high": 1.0})
    """
    if isinstance(choices, Mapping) and choices.keys() == {"low", "high"}:
        low = number_between(f"{where}: low of {name}", choices["low"], 0.0)
        high = number_between(f"{where}: high of {name}", choices["high"], 0.0)
        if 0.0 < low <= high:
            return
    elif isinstance(choices, list | tuple) and choices:
        return
    raise ValueError(f"{where}: {name} must be {_FORM}, got {choices!r}")


def ends(choices: Any) -> list[Any]:
    """All of a list of choices; both ends of a range.

    Example:
        >>> ends({"low": 0.01, "high": 1.0})
        [0.01, 1.0]
    """
    return [choices["low"], choices["high"]] if isinstance(choices, Mapping) else list(choices)


def _arguments_of(task: str) -> set[str]:
    return TASKS[task].arguments() | _OF_EVERY_TASK


def _length_scale(task: str, arguments: Mapping[str, Any]) -> float:
    """The length scale of a task of GP samples, given, or its own for the number of dimensions."""
    plain = {k: v for k, v in arguments.items() if k != "transforms"}
    functions: Any = make_problem(task, budget=1, **plain).functions
    scale: float = functions.kernel.length_scale
    return scale


def _draw(choices: Any, generator: torch.Generator) -> Any:
    if isinstance(choices, Mapping):
        share = torch.rand((), generator=generator, dtype=torch.float64).item()
        low, high = math.log(choices["low"]), math.log(choices["high"])
        return math.exp(low + share * (high - low))
    return choices[int(torch.randint(len(choices), (), generator=generator))]
