"""``bbo paper``: the experiments of Chen et al. 2017 with our networks, and where these lose.

Figures 3 to 7 and table 1 of "Learning to Learn without Gradient Descent by Gradient Descent". All
optimisers meet the same functions; networks are played on more of them, since that costs little.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from rich.console import Console

from bbo_envs.suites import FOURIER, TaskSpec
from evaluation.benchmark import carry_out
from evaluation.entrants import enter
from evaluation.plan import Plan, plan

BUDGET = 100
DIMS = (1, 3, 6, 9)
FLAT = ("lstm-oi", "dnc-oi")
ANY_DIMENSION = ("universal", "posterior-guided")
NETWORKS = (*FLAT, *ANY_DIMENSION)
LOSSES = ("lstm-sum", "lstm-ei", "dnc-sum", "dnc-ei")
FAST = ("random", "cmaes", "tpe")
GP = ("gp-ei", "gp-ei-known")
# The one that took the place of Spearmint, and SMAC: seconds per proposal.
SLOW = ("smac", "gp-bayesian")
MORE = ("sobol", "tpe-univariate", "tpe-hyperopt", "ngopt", "gp-optuna", "les")

SAMPLES = tuple(TaskSpec(f"BBO-GP-{dim}d-v0", FOURIER) for dim in DIMS)
SYNTHETIC = tuple(
    TaskSpec(f"BBO-{name}-v0", {"perturb": True})
    for name in ("Branin-2d", "GoldsteinPrice-2d", "Hartmann-3d", "Hartmann-6d")
)
REPELLERS = TaskSpec("BBO-Repellers-6d-v0")
TABLES = tuple(TaskSpec(f"BBO-HPO-{name}-v0") for name in ("SVM-3d", "LDA-3d", "LogReg-4d"))
RESNET = TaskSpec("BBO-HPO-ResNet-6d-v0")
RESNET_PARALLEL = TaskSpec("BBO-HPO-ResNet-6d-v0", {"workers": 5})
# Past the horizon of training, in more dimensions than were trained on, and off distribution.
LONGER, LONGER_BUDGET = TaskSpec("BBO-GP-6d-v0", FOURIER), 200
LIMITS = (
    TaskSpec("BBO-GP-v0", {**FOURIER, "dim": 20}),
    TaskSpec("BBO-Rosenbrock-10d-v0", {"transforms": ["flip", "permute", "translate"]}),
    TaskSpec("BBO-Ackley-20d-v0", {"transforms": ["flip", "permute", "translate"]}),
    TaskSpec("BBO-BBOB-f15-10d-v0", {"instance": list(range(1, 31))}),
)


@dataclass(frozen=True)
class Size:
    """How many functions of each task are played.

    Attributes:
        networks: By networks, on samples of a GP.
        rivals: By rivals there, and by all elsewhere.
        fitted: By GP-EI elsewhere.
        slow: By SMAC, and by GP-EI beside parallel workers.
        slowest: By the fully Bayesian GP.
        more: Whether rivals take part that the paper does not have.
    """

    networks: int
    rivals: int
    fitted: int
    slow: int
    slowest: int
    more: bool


HOUR = Size(networks=1000, rivals=30, fitted=15, slow=4, slowest=1, more=False)
FULL = Size(networks=10_000, rivals=100, fitted=100, slow=100, slowest=10, more=True)

# So many functions side by side: fast, but times per proposal are those of the first functions.
_BATCH = 50
_GP_BATCH = 15
_TIMED = 3


def experiments(size: Size) -> Plan:
    """All that there is to play.

    Example:
        >>> len(experiments(Size(2, 1, 1, 1, 1, False)).units) > 100
        True
    """
    more = MORE if size.more else ()
    whole = _side_by_side(NETWORKS, SAMPLES, size.networks, _BATCH)
    whole += _side_by_side(LOSSES, SAMPLES[2:3], size.networks, _BATCH)
    whole += _alone((*FAST, *more), SAMPLES, size.rivals)
    whole += _side_by_side(GP, SAMPLES, size.rivals, _GP_BATCH)
    elsewhere = (*SYNTHETIC, REPELLERS, *TABLES, RESNET, RESNET_PARALLEL)
    whole += _side_by_side(NETWORKS, elsewhere, size.rivals, _BATCH)
    whole += _alone((*FAST, *more), elsewhere, size.rivals)
    whole += _side_by_side(("gp-ei",), elsewhere[:-1], size.fitted, _GP_BATCH)
    whole += _alone(("gp-ei",), elsewhere[-1:], size.slow)
    whole += _alone(("smac",), (*SAMPLES, *elsewhere), size.slow)
    # Most of ten minutes for a hundred proposals.
    whole += _alone(("gp-bayesian",), SYNTHETIC if size.more else SYNTHETIC[:1], size.slowest)
    whole += _side_by_side(NETWORKS, (LONGER,), size.rivals, _BATCH, LONGER_BUDGET)
    whole += _alone(FAST, (LONGER,), size.rivals, LONGER_BUDGET)
    whole += _side_by_side(ANY_DIMENSION, LIMITS, size.rivals, _BATCH)
    whole += _alone(FAST, LIMITS, size.rivals)
    whole += _side_by_side(("gp-ei",), (LONGER,), size.fitted, _GP_BATCH, LONGER_BUDGET)
    # Alone, a function of 20 dimensions would take it four minutes.
    seeds = range(size.fitted)
    whole += plan(enter(("gp-ei",)), LIMITS, budget=BUDGET, seeds=seeds, batch=_GP_BATCH)
    return whole


def comparable(evaluations: pd.DataFrame) -> pd.DataFrame:
    """The rows on functions that random search has played too, not only the networks.

    Means over other functions would differ by these, not by the optimisers.
    """
    setting = ["task", "arguments", "budget"]
    random = evaluations[evaluations["agent"] == "random"]
    return evaluations.merge(random[[*setting, "seed"]].drop_duplicates())


def paper(
    folder: Path = Path("results/paper"),
    *,
    full: bool = False,
    jobs: int | None = None,
    ray: bool = False,
    console: Console | None = None,
) -> pd.DataFrame:
    """Plays all experiments that the folder does not hold yet.

    Args:
        folder: Where the results are kept.
        full: As many functions as Chen et al. had, and more rivals: days.
        jobs: Processes; defaults to the number of cores.
        ray: Spread over a Ray cluster instead; see ``benchmark``.
        console: Where to print; defaults to standard output.

    Returns:
        The evaluations.
    """
    return carry_out(
        experiments(FULL if full else HOUR),
        folder,
        jobs=jobs,
        ray=ray,
        console=console or Console(),
    )


def _alone(
    agents: tuple[str, ...], tasks: tuple[TaskSpec, ...], seeds: int, budget: int | None = None
) -> Plan:
    return plan(enter(agents), tasks, budget=budget or BUDGET, seeds=range(seeds))


def _side_by_side(
    agents: tuple[str, ...],
    tasks: tuple[TaskSpec, ...],
    seeds: int,
    batch: int,
    budget: int | None = None,
) -> Plan:
    """Some functions alone, which tells how long proposals take, and the others together."""
    entrants, timed = enter(agents), min(_TIMED, seeds)
    budget = budget or BUDGET
    first = plan(entrants, tasks, budget=budget, seeds=range(timed))
    rest = plan(entrants, tasks, budget=budget, seeds=range(timed, seeds), batch=batch)
    return first + rest
