"""Minimise a function: the loop around ``AskTell`` that most users want."""

import copy
import math
import multiprocessing
import os
import pickle
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from agents.asktell import AskTell
from agents.base import Agent
from agents.told import number_of
from bbo_envs.checks import positive_integer
from bbo_envs.errors import ObjectiveError, UnknownNameError, require_extra

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from agents.spaces import Spacelike


def _processes(workers: int) -> ProcessPoolExecutor:
    # A process that is forked off one in which PyTorch has run threads hangs in its next one.
    known = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in known else "spawn")
    return ProcessPoolExecutor(workers, mp_context=context)


_POOLS: dict[str, Callable[[int], Executor]] = {
    "threads": ThreadPoolExecutor,
    "processes": _processes,
}


class Trial(NamedTuple):
    """One evaluation of a run.

    Attributes:
        x: The values, by name.
        y: What the function returned; NaN where the evaluation failed.
        failed: Whether it returned NaN, something infinite or None, or raised.
        seconds: How long it took.
        error: Why it failed, in a line; empty if it has not.
    """

    x: dict[str, Any]
    y: float
    failed: bool
    seconds: float
    error: str


Callback = Callable[[Trial], bool | None]


@dataclass(frozen=True)
class Result:
    """What a run found.

    Attributes:
        x: The best values, by name, in their own units.
        y: The function's value there.
        history: All evaluations, in the order in which they came back.
        maximised: Whether the best value is the largest.
    """

    x: dict[str, Any]
    y: float
    history: list[Trial] = field(repr=False)
    maximised: bool = False

    def plot(self, path: str | Path | None = None) -> "Figure":
        """Draws every value and the best so far against the evaluations.

        Args:
            path: Where to write the picture, if anywhere; its suffix decides the format.

        Raises:
            MissingExtraError: If Matplotlib is not installed.
        """
        require_extra("Result.plot", "plot", "matplotlib")
        from matplotlib.figure import Figure

        better = max if self.maximised else min
        known = [(n, t.y) for n, t in enumerate(self.history, 1) if not t.failed]
        numbers, values = [n for n, _ in known], [y for _, y in known]
        best = list(accumulate(values, better))
        figure = Figure(figsize=(6.0, 3.8), layout="constrained")
        axis = figure.subplots()
        axis.plot(numbers, values, "o", color="0.6", markersize=4, label="evaluations")
        axis.step(numbers, best, where="post", color="#D55E00", label="best so far")
        for n, trial in enumerate(self.history, 1):
            if trial.failed:
                axis.axvline(n, color="0.8", linestyle=":")
        axis.set_xlabel("evaluations (dotted: failed)")
        axis.set_ylabel("value")
        axis.legend(fontsize="small")
        if path is not None:
            figure.savefig(path, dpi=110)
        return figure


def minimize(
    f: Callable[[dict[str, Any]], float],
    space: "Spacelike",
    budget: int = 100,
    workers: int = 1,
    seed: int = 0,
    agent: str | os.PathLike[str] | Agent = "universal",
    *,
    executor: Literal["threads", "processes"] | Executor = "threads",
    callback: Callback | None = None,
    progress: bool = True,
) -> Result:
    """Finds where a function is small, by a trained network.

    An evaluation has failed where the function returns NaN, something infinite or None, or raises,
    or where its process dies (and with it, in a pool of processes, all that are out): the search
    goes on and keeps away from there, with a warning if it raised. Only an exception of the very
    first evaluation that comes back is raised, since it is likely a mistake; and ``sys.exit`` ends
    the search where nothing else evaluates, with one worker. Where an executor of one's own breaks
    down, what has been found by then is returned.

    Args:
        f: Takes a dict of values by name, and returns a number.
        space: What it is to be searched over, as for ``AskTell``.
        budget: How many evaluations there will be.
        workers: How many at a time. The network knows which points are still out.
        seed: Of the network's randomness. With one worker, a seed gives the same points again.
        agent: The name of an optimiser, as for ``agents.make_agent``; ``"auto"``, for the one that
            ``agents.recommend`` names; or one itself.
        executor: What evaluates if there are several workers: threads; processes, for which ``f``
            must be a function of a module, and a script needs ``if __name__ == "__main__":``; or
            any ``concurrent.futures.Executor``, such as Dask's or
            ``agents.integrations.ray.RayExecutor``, which is used even if there is one worker, and
            is not shut down.
        callback: Called after each evaluation; the search ends where it returns True.
        progress: Show a bar with the best value so far, on standard error.

    Raises:
        ObjectiveError: If no evaluation has succeeded.
        ValueError: If an argument is malformed.

    Example:
        >>> space = {"lr": (1e-5, 1e-1, "log"), "layers": (1, 8), "opt": ["adam", "sgd"]}
        >>> def loss(x):
        ...     return (x["layers"] - 3) ** 2 + abs(x["lr"] - 1e-3) + (x["opt"] == "sgd")
        >>> result = minimize(loss, space, budget=30, progress=False)
        >>> result.x["layers"], result.x["opt"], len(result.history)
        (3, 'adam', 30)
    """
    optimizer = AskTell(space, budget, agent, seed, workers)
    return run(f, optimizer, budget, workers, executor, callback, progress, maximised=False)


def maximize(
    f: Callable[[dict[str, Any]], float],
    space: "Spacelike",
    budget: int = 100,
    workers: int = 1,
    seed: int = 0,
    agent: str | os.PathLike[str] | Agent = "universal",
    *,
    executor: Literal["threads", "processes"] | Executor = "threads",
    callback: Callback | None = None,
    progress: bool = True,
) -> Result:
    """Finds where a function is large; all else is as in ``minimize``.

    Example:
        >>> result = maximize(lambda x: -abs(x["a"] - 3), {"a": (1, 8)}, budget=20, progress=False)
        >>> result.x, result.y
        ({'a': 3}, 0.0)
    """
    optimizer = AskTell(space, budget, agent, seed, workers)
    return run(f, optimizer, budget, workers, executor, callback, progress, maximised=True)


class _Outcome(NamedTuple):
    """What the function returned, if that is a number, or else raised."""

    y: float | None
    seconds: float
    error: BaseException | None = None


# In another thread or process, sys.exit is a failure like others. In this one it may be what was
# made of a signal that ends the program.
_ELSEWHERE = (Exception, SystemExit)


def _evaluate(
    f: Callable[[dict[str, Any]], Any],
    x: dict[str, Any],
    caught: type[BaseException] | tuple[type[BaseException], ...] = _ELSEWHERE,
) -> _Outcome:
    started, y, error = time.perf_counter(), None, None
    try:
        returned = f(x)
        if returned is not None:
            y = number_of("what the function returns", returned, "or None where there is none")
    except caught as raised:  # whatever a user's function may raise
        error = raised
    return _Outcome(y, time.perf_counter() - started, error)


def _evaluate_apart(f: Callable[[dict[str, Any]], Any], x: dict[str, Any]) -> _Outcome:
    """In another process: what is raised must come back in one piece, or the process is lost."""
    outcome = _evaluate(f, x)
    try:
        pickle.dumps(outcome.error)
        copy.deepcopy(outcome.error)  # made again from its arguments, as whoever receives it will
    except Exception:
        said = RuntimeError(f"{type(outcome.error).__name__}: {outcome.error}")
        return outcome._replace(error=said)
    return outcome


def run(
    f: Callable[[dict[str, Any]], float],
    optimizer: AskTell,
    budget: int,
    workers: int,
    executor: str | Executor,
    callback: Callback | None,
    progress: bool,
    *,
    maximised: bool,
    first_raises: bool = True,
) -> Result:
    """Keeps as many points out as there are workers until the budget is used.

    An optimiser that has been restored goes on: what was out is evaluated once more.
    """
    sign = -1.0 if maximised else 1.0
    better = max if maximised else min
    history = trials_of(optimizer, maximised)
    out: dict[Future[_Outcome], dict[str, Any]] = {}
    again, stop = optimizer.pending, False
    positive_integer("workers", workers)
    if executor == "processes" and workers > 1:
        _check_sent(f)
    with ExitStack() as stack, _shown(progress) as bar:
        pool = stack.enter_context(_pool(executor, workers))
        show = bar.add_task("", total=budget, completed=len(history))
        while out or (len(history) < budget and not stop):
            while len(out) < workers and len(history) + len(out) < budget and not stop:
                x = again.pop(0) if again else optimizer.ask()
                try:
                    future = _submitted(pool, f, x)
                except BrokenExecutor:  # one of its processes has died
                    if isinstance(executor, Executor):
                        if all(trial.failed for trial in history):
                            raise
                        warnings.warn(f"{executor!r} is broken; the search has ended", stacklevel=2)
                        stop = True
                        break
                    pool = stack.enter_context(_pool(executor, workers))
                    future = _submitted(pool, f, x)
                out[future] = x
            done, _ = wait(out, return_when=FIRST_COMPLETED)
            for future in sorted(done, key=list(out).index):
                x = out.pop(future)
                trial = _trial(x, _outcome(future), raises=first_raises and not history)
                history.append(trial)
                optimizer.tell(x, sign * trial.y, failed=trial.failed)
                if callback is not None and callback(trial):
                    stop = True
                known = [trial.y for trial in history if not trial.failed]
                best = f"best {better(known):.6g}" if known else ""
                bar.update(show, advance=1, description=best)
    succeeded = [trial for trial in history if not trial.failed]
    if not succeeded:
        last = history[-1].error or "why has not been kept"
        raise ObjectiveError(
            f"none of the {len(history)} evaluations succeeded ({last}); check the function at "
            f"{history[-1].x}"
        )
    found = better(succeeded, key=lambda trial: trial.y)
    return Result(found.x, found.y, history, maximised)


def trials_of(optimizer: AskTell, maximised: bool) -> list[Trial]:
    """What an optimiser has been told, which does not know how long evaluations took."""
    sign = -1.0 if maximised else 1.0
    return [Trial(e.x, sign * e.y, e.failed, math.nan, "") for e in optimizer.history]


def _trial(x: dict[str, Any], outcome: _Outcome, *, raises: bool) -> Trial:
    if outcome.error is not None:
        if raises:
            raise outcome.error
        error = f"{type(outcome.error).__name__}: {outcome.error}"
        warnings.warn(f"the evaluation of {x} failed ({error})", stacklevel=3)
    elif outcome.y is not None and math.isfinite(outcome.y):
        return Trial(x, outcome.y, False, outcome.seconds, "")
    else:
        error = f"it returned {outcome.y}"
    return Trial(x, math.nan, True, outcome.seconds, error)


def _check_sent(f: Callable[..., Any]) -> None:
    """Checks that a function can be sent to other processes."""
    try:
        pickle.dumps(f)
    except Exception as error:  # whatever its parts raise
        raise ValueError(
            f"processes need a function of a module, got {f!r} ({error}); define it there by def, "
            "or use executor='threads'"
        ) from error


@contextmanager
def _pool(executor: str | Executor, workers: int) -> Iterator[Executor | None]:
    """What evaluates; None for this thread itself."""
    if isinstance(executor, str) and executor not in _POOLS:
        raise UnknownNameError("executor", executor, _POOLS)
    if not isinstance(executor, str | Executor):
        raise ValueError(
            "executor must be 'threads', 'processes' or an instance of "
            f"concurrent.futures.Executor, got {executor!r}"
        )
    if isinstance(executor, Executor) or workers == 1:
        yield executor if isinstance(executor, Executor) else None
        return
    pool = _POOLS[executor](workers)
    try:
        yield pool
    except BaseException:  # whoever stops a search does not wait for what is out
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()


def _submitted(
    pool: Executor | None, f: Callable[[dict[str, Any]], Any], x: dict[str, Any]
) -> Future[_Outcome]:
    if pool is not None:
        apart = not isinstance(pool, ThreadPoolExecutor)
        return pool.submit(_evaluate_apart if apart else _evaluate, f, dict(x))
    future: Future[_Outcome] = Future()
    future.set_result(_evaluate(f, dict(x), Exception))
    return future


def _outcome(future: Future[_Outcome]) -> _Outcome:
    """What became of an evaluation, even where the process that it ran in has died."""
    try:
        return future.result()
    except Exception as lost:  # each executor has its own words for it
        return _Outcome(None, math.nan, lost)


def _shown(progress: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn())
    # There is none in a program without a console, and what stands in for it may be less.
    is_terminal = getattr(sys.stdout, "isatty", bool)()
    return Progress(
        *columns,
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        disable=not progress,
        # In a terminal, what the function prints goes above the bar; in a file it stays there.
        redirect_stdout=is_terminal,
    )
