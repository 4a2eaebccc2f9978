"""Ask for points and tell what became of them: an optimiser in the hands of a user's own loop."""

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self, cast, overload

import torch
from gymnasium.spaces import Box
from torch import Tensor

from agents.base import Agent
from agents.choice import automatic
from agents.exclusive import Lock, one_at_a_time
from agents.make import CLASSICAL, make_agent, trained_name
from agents.networks import Network
from agents.restarts import restarted
from agents.saved import FORMAT, SavedOptimizerError, read_state, write_state
from agents.spaces import as_space
from agents.told import as_asked, finite, is_same
from bbo_envs import Objective, Problem, Space
from bbo_envs.checks import integer_between, positive_integer
from bbo_envs.core import Observation

if TYPE_CHECKING:
    from agents.spaces import Spacelike

# What networks are shown, which square it, is no larger.
_LARGEST = 1e150


class Evaluation(NamedTuple):
    """What is known of one evaluation.

    Attributes:
        x: The values, by name.
        y: What came back; NaN where the evaluation failed.
        failed: Whether it failed.
    """

    x: dict[str, Any]
    y: float
    failed: bool


class _Asked(NamedTuple):
    """A query ``[1, d]`` that was asked for, and the values that it stands for."""

    query: Tensor
    values: dict[str, Any]


class AskTell:
    """Proposes points of a space one after the other, to be minimised by whoever asks.

    It shows a network what the network saw in training: an ``ask`` with nothing told since the last
    one stands for another worker that is free (o = 0), every ``tell`` is shown before the next
    query. Told in the order asked, its queries are those of ``training.rollout.unroll`` to the bit.
    Values may have any scale: y and a * y + b with a > 0 lead to the same queries, as long as they
    can be squared.

    A failed evaluation is shown as the worst value until then, so that the search keeps away from
    it; one that fails before any has succeeded is kept back until one has.

    Points that nobody asked for may be told at any time, such as earlier results. The budget is for
    what is evaluated from now on: a network's clock stands still meanwhile, which leads to better
    points than to have it run (docs/minimize.md).

    Where the budget is beyond the horizon that a network was trained for, it begins anew on the way
    (``agents.restarts``). Several threads may ask and tell.

    Args:
        space: A ``Space``; or a mapping such as ``{"lr": (1e-5, 1e-1, "log"), "layers": (1, 8),
            "opt": ["adam", "sgd"]}``; or what ConfigSpace or Optuna call one.
        budget: How many evaluations there will be. Networks are told what is left of it: early they
            explore, in the end they refine. Asking for more is fine.
        agent: The name of an optimiser, or its path, as for ``agents.make_agent``; ``"auto"``, for
            the one that ``agents.recommend`` names; or one itself.
        seed: Of everything random.
        workers: How many points will be out at a time. Networks see that for themselves, but some
            classical optimisers are told, and ``"auto"`` depends on it.
        journal: Called with everything that is asked and told, as ``state_dict`` holds it, at once.
            Where it raises, that has not taken place: it must not have kept it then.

    Raises:
        ValueError: If the space is malformed, or the agent cannot be used on it.
        UnknownNameError: If no optimiser has this name.
        MissingExtraError: If its library is not installed.

    Example:
        >>> optimizer = AskTell({"lr": (1e-5, 1e-1, "log"), "layers": (1, 8)}, budget=20, seed=0)
        >>> for _ in range(20):
        ...     x = optimizer.ask()
        ...     optimizer.tell(x, (x["layers"] - 3) ** 2 + abs(x["lr"] - 1e-3))
        >>> optimizer.best.x["layers"]
        3
    """

    def __init__(
        self,
        space: "Spacelike",
        budget: int = 100,
        agent: str | os.PathLike[str] | Agent = "universal",
        seed: int = 0,
        workers: int = 1,
        journal: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self.space = as_space(space)
        self.budget = positive_integer("budget", budget)
        self.workers = positive_integer("workers", workers)
        self.agent: str | Agent = os.fspath(agent) if isinstance(agent, os.PathLike) else agent
        self.agent = automatic(self.agent, self.space, self.budget, self.workers)
        self.seed = integer_between("seed", seed, 0, 2**64 - 1)
        self.history: list[Evaluation] = []
        self._events: list[dict[str, Any]] = []
        self._journal = journal
        self._lock = Lock()
        self._begin()

    @one_at_a_time
    def _begin(self) -> None:
        # Asked and not told; told and not shown; failed and without any value to stand for it;
        # proposed and not asked.
        self._pending: list[_Asked] = []
        self._untold: list[Observation] = []
        self._failed: list[Tensor] = []
        self._spare: list[Tensor] = []
        # Whether what was undone is still in the state, which is that of a classical optimiser.
        self._spoilt = False
        self._optimizer = _made(self.agent, self.space, self.budget, self.workers)
        self._generator = torch.Generator().manual_seed(self.seed)
        cube = Box(0.0, 1.0, (self.space.dim,))
        self._state = self._optimizer.init(1, cube, self.budget, self._generator)

    @property
    def pending(self) -> list[dict[str, Any]]:
        """The points that have been asked for and not told, the oldest first."""
        return [dict(asked.values) for asked in self._pending]

    @property
    def noted(self) -> int:
        """How many asks, expectations and tells have taken place."""
        return len(self._events)

    @property
    def takes_any(self) -> bool:
        """Whether points that were not asked for may be told: networks are shown them."""
        return hasattr(self._optimizer, "asked") and hasattr(self._optimizer, "announced")

    @property
    def best(self) -> Evaluation:
        """The evaluation with the lowest value.

        Raises:
            ValueError: If none has succeeded yet.
        """
        known = [evaluation for evaluation in self.history if not evaluation.failed]
        if not known:
            raise ValueError(
                f"none of the {len(self.history)} evaluations told so far has succeeded; tell one"
            )
        return min(known, key=lambda evaluation: evaluation.y)

    @overload
    def ask(self, n: None = None) -> dict[str, Any]: ...

    @overload
    def ask(self, n: int) -> list[dict[str, Any]]: ...

    def ask(self, n: int | None = None) -> dict[str, Any] | list[dict[str, Any]]:
        """The next point to evaluate, or a list of n points for as many workers.

        Points that are still out are known to the network, so that it proposes others beside them.
        Where anything raises on the way to n points, those that were there by then are ``pending``.

        Raises:
            ValueError: If n is not positive.
        """
        if n is None:
            return self._ask()
        return [self._ask() for _ in range(positive_integer("n", n))]

    @one_at_a_time
    def expect(self, x: Mapping[str, Any]) -> None:
        """Adds a point to those that are out, as if ``ask`` had returned it.

        Somebody else, with whom the budget is shared, evaluates it, and its value follows.

        Raises:
            ValueError: If the point is not of the space, or the agent cannot be told of such.
        """
        asked = self._located(x)
        self._check_takes(x)
        with _AllOrNothing(self) as whole:
            self._propose()
            self._correct(asked.query)
            self._pending.append(asked)
            whole.note({"ask": asked.query[0].tolist()})

    @one_at_a_time
    def tell(self, x: Mapping[str, Any], y: float | None = None, *, failed: bool = False) -> None:
        """Takes in what an evaluation came to; in any order, asked for or not.

        Args:
            x: The point, as ``ask`` gave it, or any other of the space.
            y: Its value. NaN and infinite ones count as failed.
            failed: The evaluation came to nothing.

        Raises:
            ValueError: If there is no value though it has not failed, y is not a number, the point
                is not of the space, or it was not asked for and the agent cannot be told of such.
                Whatever was told before is kept.
        """
        value = None if failed else finite(y)
        number, taken = self._found(x)
        if number is None:
            self._check_takes(x)
        with _AllOrNothing(self) as whole:
            self._take_out(number, taken)
            self._take_in(taken, value)
            whole.note({"tell": taken.query[0].tolist(), "y": value})

    @one_at_a_time
    def _ask(self) -> dict[str, Any]:
        if self._spoilt:
            self._make_again()
        with _AllOrNothing(self) as whole:
            query = self._propose()
            self._pending.append(_Asked(query, self.space.decode(query[0])))
            whole.note({"ask": query[0].tolist()})
        return dict(self._pending[-1].values)

    def _make_again(self) -> None:
        """Makes a classical optimiser again, whose objects know more than has taken place."""
        again = type(self)(self.space, self.budget, self.agent, self.seed, self.workers)
        for event in self._events:
            again._replay(event)
        self._optimizer, self._generator = again._optimizer, again._generator
        self._state, self._spare = again._state, again._spare
        self._untold, self._spoilt = again._untold, False

    def _propose(self) -> Tensor:
        """Shows what has been told, and returns the query that follows, ``[1, d]``."""
        if not self._untold and self._spare:
            return self._spare.pop()
        *earlier, last = self._untold or [_nothing(self.space.dim)]
        for observation in earlier:
            self._drop(self._stepped(observation))
        self._untold = []
        return self._stepped(last)

    def _stepped(self, observation: Observation) -> Tensor:
        # Steps of networks change nothing in a state, those of others may.
        self._spoilt = not self.takes_any
        x, self._state = self._optimizer.step(self._state, observation)
        return x

    def _drop(self, x: Tensor) -> None:
        """Makes nothing of a query, with which each observation is answered.

        A network is told that none was made; the library of a classical optimiser waits for the
        value of this one from now on.
        """
        if self.takes_any:
            self._correct(None)
        else:
            self._spare.append(x)

    def _correct(self, x: Tensor | None) -> None:
        """Makes a network believe that another query was asked than the one proposed, or none."""
        if x is not None:
            x = self._as_network_takes(x)
        self._state = self._optimizer.asked(self._state, x)  # type: ignore[attr-defined]

    def _found(self, x: Mapping[str, Any]) -> "tuple[int | None, _Asked]":
        """The query that a point stands for, and its place among the pending ones, if any."""
        for number, asked in enumerate(self._pending):
            if as_asked(x, asked.values):
                return number, asked
        other = self._located(x)
        # Several are the same where they are closer than floats are rounded: then the nearest.
        same = [
            (float((asked.query - other.query).abs().max()), number)
            for number, asked in enumerate(self._pending)
            if is_same(self.space, other.values, asked.values)
        ]
        if not same:
            return None, other
        _, number = min(same)
        return number, self._pending[number]

    def _located(self, x: Mapping[str, Any]) -> "_Asked":
        if not isinstance(x, Mapping):
            raise ValueError(f"a point must be a mapping from names to values, got {x!r}")
        point = torch.from_numpy(self.space.encode(x))
        return _Asked(point.unsqueeze(0), self.space.decode(point))

    def _check_takes(self, x: Mapping[str, Any]) -> None:
        if not self.takes_any:
            raise ValueError(
                f"{dict(x)!r} was not asked for, and {self.agent!r} cannot be told of such points; "
                "tell what ask() returned, or use a network such as 'universal'"
            )

    def _take_out(self, number: int | None, taken: "_Asked") -> None:
        """Takes a query out of the pending ones, or lets the network know of another."""
        if number is None:
            self._announce(taken.query)
        else:
            del self._pending[number]

    def _announce(self, point: Tensor) -> None:
        """Lets a network know of a point ``[1, d]`` that it has not asked for."""
        if self._untold or not (self.history or self._pending):
            # One after the other, from the empty observation on, as in training.
            self._drop(self._propose())
        network: Any = self._optimizer
        self._state = network.announced(self._state, self._as_network_takes(point))

    def _as_network_takes(self, point: Tensor) -> Tensor:
        network: Any = self._optimizer
        return point.to(next(network.parameters()).dtype)

    def _take_in(self, taken: "_Asked", value: float | None) -> None:
        worst = max((e.y for e in self.history if not e.failed), default=None)
        y = math.nan if value is None else value
        self.history.append(Evaluation(taken.values, y, value is None))
        point = taken.query
        if value is None and worst is None:
            self._failed.append(point)
            return
        shown = worst if value is None else value
        assert shown is not None
        shown = min(max(shown, -_LARGEST), _LARGEST)
        self._untold.append(_observation(point, shown))
        self._untold += [_observation(failed, shown) for failed in self._failed]
        self._failed = []

    @one_at_a_time
    def state_dict(self) -> dict[str, Any]:
        """All that makes the same optimiser again, as JSON holds it: what was asked and told.

        Raises:
            ValueError: If the agent is an object and not a name, or a choice is of a kind that JSON
                does not have.
        """
        if not isinstance(self.agent, str):
            raise ValueError(
                f"an optimiser with the agent {self.agent!r} cannot be saved, only one with a name "
                "can; write the network by agents.pretrained.save, and pass its path"
            )
        return {
            "format": FORMAT,
            "space": self.space.to_json(),
            "budget": self.budget,
            "agent": self.agent,
            "seed": self.seed,
            "workers": self.workers,
            "journal": [dict(event) for event in self._events],
        }

    @classmethod
    def from_state_dict(
        cls, state: Mapping[str, Any], journal: Callable[[dict[str, Any]], None] | None = None
    ) -> Self:
        """The optimiser that gave the state: it asks the same next points.

        It is asked and told the same once more. Should it answer differently, as after an update of
        PyTorch, it goes on from what it answered then.

        Args:
            state: What ``state_dict`` gave.
            journal: Called with what is asked and told from now on.

        Raises:
            SavedOptimizerError: If the state is damaged, or of another version.
        """
        try:
            if state["format"] != FORMAT:
                raise SavedOptimizerError(
                    f"a saved optimiser must have format {FORMAT}, got {state['format']!r}; load "
                    "it with the version of bbo-envs that saved it"
                )
            space = Space.from_json(state["space"])
            # The first version did not know of workers.
            workers = state.get("workers", 1)
            optimizer = cls(space, state["budget"], state["agent"], state["seed"], workers)
            for event in state["journal"]:
                optimizer._replay(event)
            optimizer._journal = journal
        except (LookupError, AttributeError, TypeError, ValueError, RuntimeError) as error:
            if isinstance(error, SavedOptimizerError):
                raise
            raise SavedOptimizerError(
                f"the saved optimiser is damaged ({type(error).__name__}: {error}); use a copy, or "
                "tell a new one what is known"
            ) from error
        return optimizer

    @one_at_a_time
    def save(self, path: str | Path) -> None:
        """Writes the optimiser to a JSON file, in one piece or not at all."""
        write_state(Path(path), self.state_dict())

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Reads an optimiser that ``save`` wrote.

        Raises:
            SavedOptimizerError: If the file is missing, damaged, or of another version.

        Example:
            >>> import tempfile
            >>> optimizer = AskTell({"x": (0.0, 1.0)}, budget=5, seed=1)
            >>> optimizer.tell(optimizer.ask(), 1.0)
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     optimizer.save(f"{folder}/optimizer.json")
            ...     again = AskTell.load(f"{folder}/optimizer.json")
            >>> again.ask() == optimizer.ask()
            True
        """
        return cls.from_state_dict(read_state(Path(path)))

    @one_at_a_time
    def _replay(self, event: Mapping[str, Any]) -> None:
        self._events.append(dict(event))
        told = "tell" in event
        query = torch.tensor([event["tell" if told else "ask"]], dtype=torch.float64)
        other = _Asked(query, self.space.decode(query[0]))
        if told:
            pending = enumerate(self._pending)
            same = (n for n, asked in pending if torch.equal(asked.query.double(), query))
            number = next(same, None)
            taken = other if number is None else self._pending[number]
            self._take_out(number, taken)
            self._take_in(taken, None if event["y"] is None else finite(event["y"]))
            return
        if not torch.equal(self._propose().double(), query):
            if not self.takes_any:
                raise ValueError(
                    f"{self.agent!r} does not ask again what it has asked, since its library draws "
                    "from generators of its own; begin anew, or use another agent"
                )
            self._correct(query)
        self._spoilt = False  # since that step took place
        self._pending.append(other)


class _AllOrNothing:
    """What is done in it takes place once it is noted; if anything raises before, nothing does.

    It is no generator: one that is interrupted on its way out would undo all that when it is
    collected, with all that has followed.
    """

    def __init__(self, optimizer: AskTell) -> None:
        self.optimizer, self.noted, self.spoilt = optimizer, False, optimizer._spoilt
        self.state, self.generator = optimizer._state, optimizer._generator.get_state()
        self.pending, self.untold = list(optimizer._pending), list(optimizer._untold)
        self.failed, self.spare = list(optimizer._failed), list(optimizer._spare)
        self.told, self.events = len(optimizer.history), len(optimizer._events)

    def __enter__(self) -> Self:
        return self

    def note(self, event: dict[str, Any]) -> None:
        """Tells the journal what has been done."""
        self.optimizer._events.append(event)
        if self.optimizer._journal is not None:
            self.optimizer._journal(event)
        self.noted, self.optimizer._spoilt = True, self.spoilt

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None or self.noted:
            return
        optimizer = self.optimizer
        optimizer._state = self.state
        optimizer._generator.set_state(self.generator)
        optimizer._pending, optimizer._untold = self.pending, self.untold
        optimizer._failed, optimizer._spare = self.failed, self.spare
        del optimizer.history[self.told :]
        del optimizer._events[self.events :]


def _made(agent: str | Agent, space: Space, budget: int, workers: int) -> Agent:
    if not isinstance(agent, str):
        if not (hasattr(agent, "init") and hasattr(agent, "step")):
            raise ValueError(
                f"agent must be the name of an optimiser, the path of one, or an agents.Agent, got "
                f"{agent!r}; agents.trained_names() and agents.CLASSICAL have the names"
            )
        return agent
    problem = Problem(Objective(_never_called, space=space), budget, workers)
    made = make_agent(agent, problem)
    if agent in CLASSICAL:
        return made
    return restarted(cast("Network", made), trained_name(agent, space.dim))


def _never_called(values: dict[str, Any]) -> float:
    raise NotImplementedError("whoever asks evaluates")


def _nothing(dim: int) -> Observation:
    zero = torch.zeros(1, dtype=torch.float64)
    return Observation(torch.zeros(1, dim, dtype=torch.float64), zero, zero)


def _observation(point: Tensor, value: float) -> Observation:
    y = torch.tensor([value], dtype=torch.float64)
    return Observation(point.double(), y, torch.ones_like(y))
