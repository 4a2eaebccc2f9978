"""HPO-B: stored evaluations of hyper-parameters on OpenML, and surrogates fitted to them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from bbo_envs.errors import UnknownNameError, require_extra
from bbo_envs.functions.base import sobol_points
from bbo_envs.hpo.datasets import DatasetState, OneOfDatasets, chosen, read_object

if TYPE_CHECKING:
    from xgboost import Booster

_SPLITS = {
    "train": "meta-train-dataset.json",
    "train-augmented": "meta-train-dataset-augmented.json",
    "validation": "meta-validation-dataset.json",
    "test": "meta-test-dataset.json",
}
_AT_ONCE = 2**24  # distances, 128 MiB of them
_SOURCE = "see https://github.com/machinelearningnuremberg/HPO-B for the archives to download"


class HPOB(OneOfDatasets):
    """The discrete protocol of HPO-B (Pineda Arango et al. 2021): a table of configurations.

    A query is evaluated at the nearest stored configuration (Euclidean): the objective is constant
    around each of them and passes no gradients. Configurations that are stored more than once
    count once, with their mean.

    HPO-B stores accuracies. As in its own handler they are brought to [0, 1] by the lowest and the
    highest of the data set; the value is 1 minus that, to be minimised. Written after the code of
    that handler; the archives themselves were not at hand.

    Args:
        folder: Where the ``meta-*-dataset.json`` are.
        search_space_id: The search space, such as ``"5970"``.
        dataset_id: A data set of it, or several: each function then is one of them, drawn
            uniformly.
        split: ``"train"``, ``"train-augmented"``, ``"validation"`` or ``"test"``: in which file
            the data sets are.
        dtype: Of all tensors.
        device: Of all tensors.

    Raises:
        UnknownNameError: If there is no such split, search space or data set.
        FileNotFoundError: If the split's file is not in the folder.
        ValueError: If the file is not of HPO-B's format.

    Example:
        >>> import json, tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> entry = {"X": [[0.1, 0.2], [0.9, 0.8], [0.5, 0.5]], "y": [[0.6], [0.8], [0.7]]}
        >>> data = {"5970": {"37": entry}}
        >>> _ = (folder / "meta-test-dataset.json").write_text(json.dumps(data))
        >>> table = HPOB(folder, "5970", "37")
        >>> state = table.sample(1, torch.Generator().manual_seed(0))
        >>> x = torch.tensor([[0.2, 0.2]], dtype=torch.float64)
        >>> table.native(state, x).tolist(), table.evaluate(state, x)[0].item()
        ([[0.1, 0.2]], 1.0)
    """

    def __init__(
        self,
        folder: Path | str,
        search_space_id: str,
        dataset_id: str | Sequence[str],
        split: str = "test",
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> None:
        if split not in _SPLITS:
            raise UnknownNameError("split of HPO-B", split, _SPLITS)
        path = Path(folder) / _SPLITS[split]
        data = read_object(path, _SOURCE)
        if search_space_id not in data:
            raise UnknownNameError(f"search space of {path.name}", search_space_id, data)
        entries = data[search_space_id]
        names = chosen(f"data set of search space {search_space_id}", dataset_id, entries)
        tables = [_table(f"{path}, {search_space_id}, {name}", entries[name]) for name in names]
        self.dim = tables[0][0].shape[1]
        for name, (configurations, _) in zip(names, tables, strict=True):
            if configurations.shape[1] != self.dim:
                raise ValueError(
                    f"{path}: the configurations of {name} have {configurations.shape[1]} "
                    f"coordinates, those of {names[0]} {self.dim}"
                )
        super().__init__(len(tables), dtype, device)
        self.prior_mean = torch.stack([values.mean() for _, values in tables]).mean().item()
        self._best = torch.stack([values.min() for _, values in tables]).to(self.device, dtype)
        self._tables = [
            (configurations.to(self.device, dtype), values.to(self.device, dtype))
            for configurations, values in tables
        ]

    def value(self, state: DatasetState, x: Tensor) -> tuple[Tensor, DatasetState]:
        y = torch.empty(len(x), dtype=self.dtype, device=self.device)
        for dataset in set(state.dataset.tolist()):
            configurations, values = self._tables[dataset]
            rows = state.dataset == dataset
            y[rows] = values[_nearest(x[rows], configurations)]
        return y, state

    def optimum(self, state: DatasetState) -> Tensor:
        return self._best[state.dataset]

    def native(self, state: DatasetState, x: Tensor) -> Tensor:
        """The nearest stored configurations."""
        found = torch.empty(len(x), self.dim, dtype=self.dtype, device=self.device)
        for dataset in set(state.dataset.tolist()):
            configurations, _ = self._tables[dataset]
            rows = state.dataset == dataset
            found[rows] = configurations[_nearest(x[rows], configurations)]
        return found


class HPOBSurrogate(OneOfDatasets):
    """The continuous protocol of HPO-B (Pineda Arango et al. 2021): XGBoost surrogates.

    They are fitted to configurations in [0, 1], and queries reach them as they are. As in HPO-B's
    own handler a prediction is brought to [0, 1] by the ``y_min`` and ``y_max`` of
    ``summary-stats.json``, and clipped to that; the value is 1 minus that, to be minimised.
    Trees are piecewise constant: no gradients. The minima are not known. Written after the code of
    that handler; the archives themselves were not at hand.

    Args:
        folder: Where ``summary-stats.json`` and the ``surrogate-*.json`` are.
        search_space_id: The search space, such as ``"5970"``.
        dataset_id: A data set of it, or several: each function then is one of them, drawn
            uniformly.
        dtype: Of all tensors.
        device: Of all tensors; the trees themselves are evaluated on the CPU.

    Raises:
        MissingExtraError: If XGBoost is not installed.
        UnknownNameError: If there is no such search space or data set.
        FileNotFoundError: If a file is not in the folder.
        ValueError: If a file is not of HPO-B's format.

    Example:
        >>> import json, tempfile, xgboost
        >>> folder = Path(tempfile.mkdtemp())
        >>> data = xgboost.DMatrix([[0.1, 0.2], [0.9, 0.8]], [0.6, 0.8])
        >>> settings = {"min_child_weight": 0, "lambda": 0, "eta": 1}
        >>> model = xgboost.train(settings, data, num_boost_round=1)
        >>> model.save_model(folder / "surrogate-5970-37.json")
        >>> statistics = {"surrogate-5970-37": {"y_min": 0.5, "y_max": 1.0}}
        >>> _ = (folder / "summary-stats.json").write_text(json.dumps(statistics))
        >>> surrogate = HPOBSurrogate(folder, "5970", "37")
        >>> state = surrogate.sample(2, torch.Generator().manual_seed(0))
        >>> y, _ = surrogate.evaluate(state, torch.tensor([[0.1, 0.1], [0.9, 0.9]]))
        >>> [round(value, 5) for value in y.tolist()]  # accuracies of 0.6 and 0.8
        [0.8, 0.4]
    """

    def __init__(
        self,
        folder: Path | str,
        search_space_id: str,
        dataset_id: str | Sequence[str],
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> None:
        require_extra("The surrogates of HPO-B", "hpo", "xgboost")
        path = Path(folder) / "summary-stats.json"
        statistics = read_object(path, _SOURCE)
        known: dict[str, list[str]] = {}
        for model in statistics:
            space, _, dataset = model.removeprefix("surrogate-").partition("-")
            known.setdefault(space, []).append(dataset)
        if search_space_id not in known:
            raise UnknownNameError(f"search space of {path.name}", search_space_id, known)
        names = chosen(
            f"data set of search space {search_space_id}", dataset_id, known[search_space_id]
        )
        models = [f"surrogate-{search_space_id}-{name}" for name in names]
        self._ranges = [_range(path, model, statistics[model]) for model in models]
        self._boosters = [_booster(path.with_name(f"{model}.json")) for model in models]
        self.dim = self._boosters[0].num_features()
        super().__init__(len(models), dtype, device)
        points = sobol_points(self.dim)
        means = [self._predict(dataset, points).mean() for dataset in range(len(models))]
        self.prior_mean = torch.stack(means).mean().item()

    def value(self, state: DatasetState, x: Tensor) -> tuple[Tensor, DatasetState]:
        y = torch.empty(len(x), dtype=self.dtype, device=self.device)
        for dataset in set(state.dataset.tolist()):
            rows = state.dataset == dataset
            y[rows] = self._predict(dataset, x[rows]).to(y)
        return y, state

    def _predict(self, dataset: int, x: Tensor) -> Tensor:
        """The values ``[n]`` of points ``[n, d]`` for one data set."""
        import xgboost

        matrix = xgboost.DMatrix(x.detach().cpu().numpy(), nthread=1)
        accuracy = torch.from_numpy(self._boosters[dataset].predict(matrix)).double()
        low, high = self._ranges[dataset]
        return 1.0 - ((accuracy - low) / (high - low)).clamp(0.0, 1.0)


def _table(where: str, entry: Any) -> tuple[Tensor, Tensor]:
    """The configurations ``[n, d]`` of a data set, and their values ``[n]`` to be minimised."""
    try:
        x = torch.tensor(entry["X"], dtype=torch.float64)
        y = torch.tensor(entry["y"], dtype=torch.float64).reshape(-1)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{where}: X [n, d] and y [n, 1] must be numbers ({error})") from error
    if x.dim() != 2 or len(x) != len(y) or len(y) < 2:
        raise ValueError(
            f"{where}: expected X [n, d] and y [n, 1] with n of at least 2, got X "
            f"{list(x.shape)} and {len(y)} values"
        )
    # Scaled features may leave the cube by a rounding error.
    outside = ~((x >= -1e-9) & (x <= 1.0 + 1e-9)).all(1)
    if outside.any():
        row = int(outside.int().argmax())
        raise ValueError(
            f"{where}: configuration {row}, {x[row].tolist()}, is not in [0, 1]; expected the "
            "scaled configurations that HPO-B distributes"
        )
    low, high = y.min(), y.max()
    if not (low < high and y.isfinite().all()):
        raise ValueError(
            f"{where}: y must be finite and not all the same, since it is scaled by its range; got "
            f"values from {low:g} to {high:g}"
        )
    configurations, group = np.unique(x.clamp(0.0, 1.0).numpy(), axis=0, return_inverse=True)
    mean = np.bincount(group.ravel(), y.numpy()) / np.bincount(group.ravel())
    return torch.from_numpy(configurations), (high - torch.from_numpy(mean)) / (high - low)


def _nearest(x: Tensor, configurations: Tensor) -> Tensor:
    """The index ``[n]`` of the configuration nearest to each point; the first of equally near."""
    at_once = max(1, _AT_ONCE // len(configurations))
    points = x.to(configurations)
    nearest = torch.empty(len(x), dtype=torch.int64, device=x.device)
    for start in range(0, len(x), at_once):
        rows = slice(start, start + at_once)
        distances = torch.cdist(
            points[rows], configurations, compute_mode="donot_use_mm_for_euclid_dist"
        )
        nearest[rows] = distances.argmin(1)
    return nearest


def _range(path: Path, model: str, entry: Any) -> tuple[float, float]:
    """The lowest and the highest accuracy of a data set."""
    try:
        low, high = float(entry["y_min"]), float(entry["y_max"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: {model} must have numbers y_min and y_max") from error
    if not low < high:
        raise ValueError(f"{path}: y_min of {model} must be below y_max, got {low} and {high}")
    return low, high


def _booster(path: Path) -> "Booster":
    """Loads a surrogate from its JSON."""
    import xgboost

    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; {_SOURCE}")
    booster = xgboost.Booster({"nthread": 1})
    try:
        booster.load_model(path)
    except xgboost.core.XGBoostError as error:
        raise ValueError(f"{path} is not a model of XGBoost in JSON; download it again") from error
    return booster
