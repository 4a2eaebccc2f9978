"""How long optimisers take for 100 asks and tells in six dimensions, each by its own interface."""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import cma
import numpy as np
import optuna
import torch
from numpy.typing import NDArray

from agents import AskTell, make_agent
from bbo_envs import Objective, Observation, Problem
from evaluation.markdown import table

DIM, EVALUATIONS = 6, 100
NETWORKS = ("lstm-oi-6d", "universal", "posterior-guided")
# The ratios are to this one.
REFERENCE = NETWORKS[0]
HEADINGS = ("optimiser", "100 asks and tells, ms", f"× {REFERENCE}", "one, ms")

# Plays one run: asks, and tells the values of this function.
Play = Callable[[], object]


def bowl(x: NDArray[np.float64]) -> float:
    """What is minimised: it takes no time."""
    return float(((x - 0.3) ** 2).sum())


def asktell(name: str) -> Play:
    """A run of a network, as a user's own loop makes it."""
    names = [f"x{i}" for i in range(DIM)]
    space = dict.fromkeys(names, (0.0, 1.0))

    def play() -> None:
        optimizer = AskTell(space, EVALUATIONS, name)
        for _ in range(EVALUATIONS):
            x = optimizer.ask()
            optimizer.tell(x, bowl(np.array([x[n] for n in names])))

    return play


def by_optuna(make: Callable[[], optuna.samplers.BaseSampler]) -> Play:
    """A run of a sampler of Optuna's by ``Study.ask`` and ``Study.tell``, in memory."""
    space = {f"x{i}": optuna.distributions.FloatDistribution(0.0, 1.0) for i in range(DIM)}

    def play() -> None:
        study = optuna.create_study(sampler=make())
        for _ in range(EVALUATIONS):
            trial = study.ask(space)
            study.tell(trial, bowl(np.array(list(trial.params.values()))))

    return play


def by_cma() -> None:
    """A run of CMA-ES by ``ask`` and ``tell``, a generation at a time."""
    options = {"bounds": [0.0, 1.0], "verbose": -9, "seed": 1}
    strategy, made = cma.CMAEvolutionStrategy([0.5] * DIM, 0.25, options), 0
    while made < EVALUATIONS:
        xs = strategy.ask()
        values = [bowl(x) for x in xs[: EVALUATIONS - made]]
        made += len(values)
        if len(values) == len(xs):
            strategy.tell(xs, values)


def by_botorch() -> None:
    """A run of LogEI on BoTorch's default GP; see ``agents.baselines.gp_ei``."""
    problem = Problem(Objective(bowl, dim=DIM), EVALUATIONS)
    agent = make_agent("gp-ei", problem)
    state = agent.init(1, problem.space, EVALUATIONS, torch.Generator().manual_seed(0))
    zero = torch.zeros(1, dtype=torch.float64)
    observation = Observation(zero.expand(1, DIM), zero, zero)
    for _ in range(EVALUATIONS):
        x, state = agent.step(state, observation)
        y = torch.tensor([bowl(x[0].numpy())], dtype=torch.float64)
        observation = Observation(x.double(), y, torch.ones_like(y))


# What is measured, and how often; BoTorch takes longest by far.
RUNS: dict[str, tuple[Play, int]] = {
    **{name: (asktell(name), 5) for name in NETWORKS},
    "Optuna, TPE": (by_optuna(lambda: optuna.samplers.TPESampler(seed=0)), 5),
    "Optuna, random": (by_optuna(lambda: optuna.samplers.RandomSampler(seed=0)), 5),
    "cma": (by_cma, 5),
    "BoTorch, LogEI": (by_botorch, 1),
}


def measure(progress: Callable[[Any], Any] = iter) -> dict[str, float]:
    """The median seconds of a run of each, on one thread, after one that is not measured."""
    found = {}
    with _one_thread():
        for name in progress(list(RUNS)):
            play, times = RUNS[name]
            if times > 1:
                play()
            found[name] = statistics.median(_seconds(play) for _ in range(times))
    return found


def rows(found: dict[str, float]) -> list[tuple[str, ...]]:
    """A row of text per optimiser, the fastest first."""
    reference = found[REFERENCE]
    return [
        (name, f"{1e3 * s:,.1f}", f"{s / reference:.3g}", f"{1e3 * s / EVALUATIONS:.3g}")
        for name, s in sorted(found.items(), key=lambda item: item[1])
    ]


def markdown(found: dict[str, float]) -> str:
    """The table for the docs."""
    return table(HEADINGS, rows(found), "lrrr")


def _seconds(play: Play) -> float:
    started = time.perf_counter()
    play()
    return time.perf_counter() - started


@contextmanager
def _one_thread() -> Iterator[None]:
    threads, verbosity = torch.get_num_threads(), optuna.logging.get_verbosity()
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        optuna.logging.set_verbosity(verbosity)
