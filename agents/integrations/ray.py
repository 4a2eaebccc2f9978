"""Trained networks as a search algorithm of Ray Tune; Ray as an executor of evaluations."""

import json
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.asktell import AskTell
from agents.told import number_of
from bbo_envs import Categorical, Float, Integer, Ordinal
from bbo_envs.checks import positive_integer
from bbo_envs.errors import MissingExtraError
from bbo_envs.space import Parameter

try:
    import ray
    from ray.tune.search import Searcher, sample
    from ray.tune.search.variant_generator import parse_spec_vars
    from ray.tune.utils.util import unflatten_dict
except ImportError:
    raise MissingExtraError("agents.integrations.ray", "ray") from None

if TYPE_CHECKING:
    from agents.spaces import Spacelike


class BBOSearch(Searcher):  # type: ignore[misc]  # of no type here
    """Proposes the configurations of Ray Tune's trials.

    Trials that are still running are known to the network. Those that end with an error, or without
    a result, count as failed evaluations. ``Tuner.restore`` goes on with what was known.

    Args:
        space: As for ``AskTell``; what is not searched over is left to the trainable itself, or to
            ``param_space``. Without it, ``param_space`` is searched over. A name such as
            ``"net/layers"`` is a path: its value is ``config["net"]["layers"]``.
        metric: The name of what a trial reports. Ray hands on that of its ``TuneConfig`` together
            with ``param_space`` only: beside a space of one's own, both must be named here.
        mode: ``"min"`` or ``"max"``; likewise.
        budget: How many trials there will be.
        agent: The name of an optimiser, as for ``agents.make_agent``.
        seed: Of everything random.
        workers: How many trials run at a time, which some classical optimisers are told.

    Raises:
        ValueError: If an argument is malformed.

    Example:
        >>> search = BBOSearch({"lr": (1e-5, 1e-1, "log")}, metric="loss", mode="min", budget=10)
        >>> 1e-5 <= search.suggest("first")["lr"] <= 1e-1
        True
    """

    def __init__(
        self,
        space: "Spacelike | None" = None,
        metric: str | None = None,
        mode: str | None = None,
        budget: int = 100,
        agent: str = "universal",
        seed: int = 0,
        workers: int = 1,
    ) -> None:
        super().__init__(metric=metric, mode=mode)
        if mode not in (None, "min", "max"):
            raise ValueError(f"mode must be 'min' or 'max', got {mode!r}")
        # Under the names that Ray's own searches have.
        self._metric, self._mode = metric, mode
        self._budget = positive_integer("budget", budget)
        self._agent, self._seed, self._workers = agent, seed, workers
        self._own_space = space is not None
        self._optimizer: AskTell | None = None
        self._out: dict[str, dict[str, Any]] = {}
        if space is not None:
            self._begin(space)

    def _begin(self, space: "Spacelike") -> None:
        self._optimizer = AskTell(space, self._budget, self._agent, self._seed, self._workers)
        # Ray saves a search now and then: what cannot be is refused at once.
        json.dumps(self._optimizer.state_dict())
        names = self._optimizer.space.names
        for name in names:
            if any(other.startswith(f"{name}/") for other in names):
                raise ValueError(
                    f"parameter {name!r} would have to be a number and a dict, since others have "
                    f"names that begin with {name + '/'!r}; rename it"
                )

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        """Takes the metric, its direction and the space from Ray's configuration.

        Raises:
            ValueError: If there are two spaces, or a parameter is of a kind that no ``Space`` has.
        """
        found = space_of_ray(config)
        if found and self._own_space:
            raise ValueError(
                "BBOSearch has a space of its own, and param_space has another, of "
                f"{sorted(found)}; keep one"
            )
        self._metric = self._metric or metric
        self._mode = self._mode or mode
        if found and self._optimizer is None:
            self._begin(found)
        return True

    def suggest(self, trial_id: str) -> dict[str, Any]:
        """The configuration of a trial that begins.

        Raises:
            ValueError: If the space, the metric or its direction is not known.
        """
        if self._optimizer is None:
            raise ValueError(
                "there is nothing to search over; give BBOSearch a space, or the Tuner a "
                "param_space with tune.uniform() and the like"
            )
        if self._metric is None or self._mode is None:
            raise ValueError(
                f"metric and mode must be known, got {self._metric!r} and {self._mode!r}; name "
                "them in BBOSearch(space, metric, mode)"
            )
        self._out[trial_id] = self._optimizer.ask()
        nested: dict[str, Any] = unflatten_dict(self._out[trial_id])
        return nested

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Takes in what a trial came to.

        Raises:
            ValueError: If it ended well, and does not report the metric.
        """
        if trial_id not in self._out:
            return
        assert self._optimizer is not None  # it has proposed that trial
        if not error and result and self._metric not in result:
            raise ValueError(
                f"a trial must report {self._metric!r}, got {sorted(result)}; report it, or name "
                "another metric"
            )
        reported = None if error or not result else result[str(self._metric)]
        if reported is None:
            self._optimizer.tell(self._out.pop(trial_id), failed=True)
            return
        y = number_of(repr(self._metric), reported, "report None where there is none")
        self._optimizer.tell(self._out.pop(trial_id), -y if self._mode == "max" else y)

    def get_state(self) -> dict[str, Any]:
        """All that makes the same search again, as JSON holds it."""
        return {
            "optimizer": self._optimizer and self._optimizer.state_dict(),
            "out": self._out,
            "metric": self._metric,
            "mode": self._mode,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on from what ``get_state`` gave."""
        known = state["optimizer"]
        self._optimizer = known and AskTell.from_state_dict(known)
        self._out = dict(state["out"])
        self._metric, self._mode = state["metric"], state["mode"]

    def save(self, checkpoint_path: str) -> None:
        """Writes what ``get_state`` gives, as JSON."""
        Path(checkpoint_path).write_text(json.dumps(self.get_state()))

    def restore(self, checkpoint_path: str) -> None:
        """Reads what ``save`` wrote."""
        self.set_state(json.loads(Path(checkpoint_path).read_text()))


def space_of_ray(config: dict[str, Any]) -> dict[str, Parameter]:
    """The parameters of a ``param_space``; nested ones are named by their path, as ``"a/b"``.

    What is constant there is none of them.

    Raises:
        ValueError: If one is of a kind that no ``Space`` has, such as a grid or a normal one.

    Example:
        >>> from ray import tune
        >>> space_of_ray({"net": {"layers": tune.randint(1, 9), "width": 32}})
        {'net/layers': Integer(low=1, high=8, log=False)}
    """
    _, domains, grids = parse_spec_vars(config)
    if grids:
        names = ["/".join(map(str, path)) for path, _ in grids]
        raise ValueError(f"BBOSearch searches over no grid, got {names}; use tune.choice")
    for path, _ in domains:
        if not all(isinstance(key, str) and "/" not in key for key in path):
            raise ValueError(
                f"parameters must be in dicts, under names without '/', got the path {path}; move "
                "it, or rename it"
            )
    return {"/".join(path): _parameter("/".join(path), domain) for path, domain in domains}


def _parameter(name: str, domain: sample.Domain) -> Parameter:
    sampler, step = domain.get_sampler(), None
    if isinstance(sampler, sample.Quantized):
        sampler, step = sampler.sampler, sampler.q
    log = isinstance(sampler, sample.LogUniform)
    if isinstance(domain, sample.Categorical):
        return Categorical(domain.categories)
    if log or isinstance(sampler, sample.Uniform):
        if isinstance(domain, sample.Float):
            if step is None:
                return Float(domain.lower, domain.upper, log)
            if not log:
                first, last = round(domain.lower / step), round(domain.upper / step)
                return Ordinal([float(step * n) for n in range(first, last + 1)])
        if isinstance(domain, sample.Integer):
            # Ranges are without their upper end, unless they are of the multiples of a step.
            if step in (None, 1):
                return Integer(domain.lower, domain.upper - 1, log)
            if not log:
                return Ordinal(range(-(-domain.lower // step) * step, domain.upper + 1, step))
    raise ValueError(
        f"parameter {name!r} is a {type(domain).__name__} with a sampler that BBOSearch does not "
        "have; use tune.uniform, loguniform, quniform, randint, lograndint, qrandint or choice"
    )


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
