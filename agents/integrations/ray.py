"""Trained networks as a search algorithm of Ray Tune; Ray as an executor of evaluations."""

import json
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.asktell import AskTell
from agents.spaces import as_space
from bbo_envs.checks import positive_integer
from bbo_envs.errors import MissingExtraError

try:
    import ray
    from ray.tune.search import Searcher
except ImportError:
    raise MissingExtraError("agents.integrations.ray", "ray") from None

if TYPE_CHECKING:
    from agents.spaces import Spacelike


class BBOSearch(Searcher):  # type: ignore[misc]  # of no type here
    """Proposes the configurations of Ray Tune's trials.

    Trials that are still running are known to the network. Those that end with an error count as
    failed evaluations. ``Tuner.restore`` goes on with what was known.

    Args:
        space: As for ``AskTell``; what is not searched over is left to the trainable itself.
        metric: The name of what a trial reports; that of the ``TuneConfig`` if there is none here.
        mode: ``"min"`` or ``"max"``; likewise.
        budget: How many trials there will be.
        agent: The name of an optimiser, as for ``agents.make_agent``.
        seed: Of everything random.

    Raises:
        ValueError: If an argument is malformed.

    Example:
        >>> search = BBOSearch({"lr": (1e-5, 1e-1, "log")}, metric="loss", mode="min", budget=10)
        >>> 1e-5 <= search.suggest("first")["lr"] <= 1e-1
        True
    """

    def __init__(
        self,
        space: "Spacelike",
        metric: str | None = None,
        mode: str | None = None,
        budget: int = 100,
        agent: str = "universal",
        seed: int = 0,
    ) -> None:
        super().__init__(metric=metric, mode=mode)
        # Under the names that Ray's own searches have.
        self._metric, self._mode = metric, mode
        positive_integer("budget", budget)
        if mode not in (None, "min", "max"):
            raise ValueError(f"mode must be 'min' or 'max', got {mode!r}")
        self._optimizer = AskTell(as_space(space), budget, agent, seed)
        # Ray saves a search now and then: what cannot be is refused at once.
        json.dumps(self._optimizer.state_dict())
        self._out: dict[str, dict[str, Any]] = {}

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        """Takes the metric and its direction from Ray's configuration."""
        if config:
            raise ValueError(
                f"BBOSearch has its own space, param_space must be empty, got {sorted(config)}; "
                "name them in BBOSearch(space)"
            )
        self._metric = self._metric or metric
        self._mode = self._mode or mode
        return True

    def suggest(self, trial_id: str) -> dict[str, Any]:
        """The configuration of a trial that begins."""
        self._out[trial_id] = self._optimizer.ask()
        return dict(self._out[trial_id])

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Takes in what a trial came to."""
        asked = self._out.pop(trial_id, None)
        if asked is None:
            return
        y = None if error or not result else result.get(str(self._metric))
        sign = -1.0 if self._mode == "max" else 1.0
        self._optimizer.tell(asked, None if y is None else sign * y, failed=y is None)

    def get_state(self) -> dict[str, Any]:
        """All that makes the same search again, as JSON holds it."""
        return {"optimizer": self._optimizer.state_dict(), "out": self._out}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on from what ``get_state`` gave."""
        self._optimizer = AskTell.from_state_dict(state["optimizer"])
        self._out = dict(state["out"])

    def save(self, checkpoint_path: str) -> None:
        """Writes what ``get_state`` gives, as JSON."""
        Path(checkpoint_path).write_text(json.dumps(self.get_state()))

    def restore(self, checkpoint_path: str) -> None:
        """Reads what ``save`` wrote."""
        self.set_state(json.loads(Path(checkpoint_path).read_text()))


class RayExecutor(Executor):
    """Evaluates on a Ray cluster, where ``minimize`` takes an executor; Ray itself brings none.

    Args:
        options: Those of ``ray.remote``, such as ``num_gpus=1``.

    Example:
        >>> RayExecutor(num_cpus=2).options
        {'num_cpus': 2}
    """

    def __init__(self, **options: Any) -> None:
        self.options = options
        self._task: Any = None

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Starts a task; the future is its."""
        if self._task is None:  # of a running Ray
            task = ray.remote(_called)
            self._task = task.options(**self.options) if self.options else task
        found: Future[Any] = self._task.remote(fn, args, kwargs).future()
        return found


def _called(fn: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """Ray takes functions written in Python, but no others that can be called."""
    return fn(*args, **kwargs)
