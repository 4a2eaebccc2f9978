"""The catalogue: every task id, what builds it, and what is known of it."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bbo_envs.families import gp_functions, scalable_functions, synthetic_functions
from bbo_envs.functions.base import Functions
from bbo_envs.functions.bbob import BBOB
from bbo_envs.functions.bbob import DIMS as BBOB_DIMS
from bbo_envs.functions.bbob import FUNCTIONS as BBOB_FUNCTIONS
from bbo_envs.functions.bbob_noisy import BBOBNoisy
from bbo_envs.functions.classics import CLASSICS
from bbo_envs.functions.repellers import Repellers
from bbo_envs.functions.synthetic import Branin, GoldsteinPrice, Hartmann3, Hartmann6
from bbo_envs.hpo import shipped_table
from bbo_envs.hpo.hpob import HPOB, HPOBSurrogate
from bbo_envs.hpo.hpolib import hpolib_table
from bbo_envs.hpo.simple import simple_table
from bbo_envs.hpo.yahpo import YAHPO


@dataclass(frozen=True)
class Task:
    """What is behind an id.

    Attributes:
        build: Makes the function distribution.
        family: ``"gp"``, ``"synthetic"``, ``"bbob"``, ``"control"`` or ``"hpo"``.
        differentiable: Whether gradients pass from y to x; None where an argument decides.
        optimum: Whether the minimum is known.
        source: Where the functions come from.
        dim: The number of coordinates; None where an argument decides.
        fixed: Arguments of ``build`` that the id stands for.
        defaults: Arguments of ``build`` that the id gives a value, which a user may change.
        extra: The extra of the package that it needs.
        needs: The arguments without which there is no such task: data that the user has.
    """

    build: Callable[..., Functions]
    family: str
    differentiable: bool | None
    optimum: bool
    source: str
    dim: int | None = None
    fixed: dict[str, Any] = field(default_factory=dict)
    defaults: dict[str, Any] = field(default_factory=dict)
    extra: str | None = None
    needs: tuple[str, ...] = ()

    def arguments(self) -> set[str]:
        """The names of the arguments that a user may give, beside those of ``Problem``."""
        return set(inspect.signature(self.build).parameters) - set(self.fixed) - {"budget"}


_GP_DIMS = (1, 2, 3, 6, 9)
_CLASSIC_DIMS = (2, 3, 5, 6, 10, 20)
_CHEN = "Chen et al. 2017"


def _gp() -> dict[str, Task]:
    about = ("gp", True, False, f"{_CHEN}; Rasmussen & Williams 2006")
    return {
        **{
            f"BBO-GP-{d}d-v0": Task(gp_functions, *about, dim=d, fixed={"dim": d}) for d in _GP_DIMS
        },
        "BBO-GP-v0": Task(gp_functions, *about),
    }


def _synthetic() -> dict[str, Task]:
    published = {
        "Branin-2d": (Branin, 2, "Branin 1972; Picheny et al. 2013"),
        "GoldsteinPrice-2d": (GoldsteinPrice, 2, "Goldstein & Price 1971; Picheny et al. 2013"),
        "Hartmann-3d": (Hartmann3, 3, "Hartman 1973"),
        "Hartmann-6d": (Hartmann6, 6, "Hartman 1973"),
    }
    tasks = {
        f"BBO-{name}-v0": Task(
            synthetic_functions, "synthetic", True, True, source, d, {"function": function}
        )
        for name, (function, d, source) in published.items()
    }
    for name, function in CLASSICS.items():
        about = ("synthetic", True, True, function.source)
        for d in _CLASSIC_DIMS:
            fixed = {"function": function, "dim": d}
            tasks[f"BBO-{name}-{d}d-v0"] = Task(scalable_functions, *about, d, fixed)
        tasks[f"BBO-{name}-v0"] = Task(scalable_functions, *about, fixed={"function": function})
    return tasks


def _bbob() -> dict[str, Task]:
    source = "Hansen et al. 2009 (COCO)"
    tasks = {
        f"BBO-BBOB-f{number}-{d}d-v0": Task(
            BBOB,
            "bbob",
            number != 7,
            True,
            f"{source}: {function.name}",
            d,
            {"function": number, "dim": d},
        )
        for number, function in BBOB_FUNCTIONS.items()
        for d in BBOB_DIMS
    }
    return tasks | {
        "BBO-BBOB-v0": Task(BBOB, "bbob", None, True, source, defaults={"function": 1, "dim": 2}),
        "BBO-BBOBNoisy-v0": Task(
            BBOBNoisy,
            "bbob",
            False,
            True,
            source,
            defaults={"function": 101, "dim": 2},
            extra="bbob",
        ),
    }


def _control() -> dict[str, Task]:
    about = ("control", True, False, f"Hoffman et al. 2009; {_CHEN}")
    return {
        "BBO-Repellers-6d-v0": Task(Repellers, *about, 6, {"repellers": 2}),
        "BBO-Repellers-v0": Task(Repellers, *about),
    }


def _hpo() -> dict[str, Task]:
    own = {
        "SVM-3d": (3, "svm"),
        "LDA-3d": (3, "lda"),
        "LogReg-4d": (4, "logreg"),
        "ResNet-6d": (6, "resnet"),
    }
    tables = {
        "MLP-5d": (5, "mlp", "australian", "HPOBench, Eggensperger et al. 2021"),
        "FCNet-9d": (9, "fcnet", "protein_structure", "Klein & Hutter 2019"),
        "NASBench201-6d": (6, "nasbench201", "cifar10", "Dong & Yang 2020"),
    }
    return {
        **{
            f"BBO-HPO-{name}-v0": Task(
                shipped_table,
                "hpo",
                False,
                True,
                "our own table: bbo_envs/hpo/data",
                d,
                {"name": table},
            )
            for name, (d, table) in own.items()
        },
        **{
            f"BBO-HPO-{name}-v0": Task(
                simple_table,
                "hpo",
                False,
                True,
                source,
                d,
                {"benchmark": benchmark},
                defaults={"dataset": dataset},
                extra="hpo",
            )
            for name, (d, benchmark, dataset, source) in tables.items()
        },
        "BBO-HPO-HPOB-v0": Task(
            HPOB,
            "hpo",
            False,
            True,
            "Pineda Arango et al. 2021, discrete",
            needs=("folder", "search_space_id", "dataset_id"),
        ),
        "BBO-HPO-HPOBSurrogate-v0": Task(
            HPOBSurrogate,
            "hpo",
            False,
            False,
            "Pineda Arango et al. 2021, continuous",
            extra="hpo",
            needs=("folder", "search_space_id", "dataset_id"),
        ),
        "BBO-HPO-YAHPO-v0": Task(
            YAHPO,
            "hpo",
            False,
            False,
            "Pfisterer et al. 2022",
            extra="hpo",
            needs=("folder", "scenario", "instance", "target"),
        ),
        "BBO-HPO-HPOlib-v0": Task(
            hpolib_table,
            "hpo",
            False,
            True,
            "Eggensperger et al. 2013",
            needs=("folder", "name"),
        ),
    }


TASKS: dict[str, Task] = {**_gp(), **_synthetic(), **_bbob(), **_control(), **_hpo()}
