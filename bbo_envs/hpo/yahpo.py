"""YAHPO Gym: neural surrogates of hyper-parameter optimisation, evaluated by onnxruntime."""

from collections.abc import Iterable, Mapping, Sequence
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bbo_envs.errors import UnknownNameError, require_extra
from bbo_envs.functions.base import sobol_points
from bbo_envs.hpo.datasets import DatasetState, OneOfDatasets, chosen, read_object
from bbo_envs.space import Categorical, Float, Integer, Parameter, Space

_SOURCE = "get https://github.com/slds-lmu/yahpo_data, release v1.0 or v1.0.1"
_INACTIVE = "#na#"


class _Scenario(NamedTuple):
    """What YAHPO Gym says of a scenario in its code, since yahpo_data does not.

    Attributes:
        continuous: The columns of the model's second input.
        categorical: The columns of its first.
        targets: The columns of its output.
        instance: The categorical parameter that is the data set; None where there is one only.
        fidelity: The parameters that trade cost for precision.
    """

    continuous: tuple[str, ...]
    categorical: tuple[str, ...]
    targets: tuple[str, ...]
    instance: str | None
    fidelity: tuple[str, ...]


class _Learner(NamedTuple):
    """The continuous and the categorical parameters of a learner."""

    continuous: tuple[str, ...]
    categorical: tuple[str, ...] = ()


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _prefixed(learners: Mapping[str, _Learner]) -> _Learner:
    """The parameters of all learners, each after the name of its learner."""
    continuous = [f"{name}.{p}" for name, about in learners.items() for p in about.continuous]
    categorical = [f"{name}.{p}" for name, about in learners.items() for p in about.categorical]
    return _Learner(tuple(continuous), tuple(categorical))


def _rbv2(learner: _Learner, *choice: str) -> _Scenario:
    """A scenario of rbv2; that of all learners has a parameter for the choice among them."""
    return _Scenario(
        (*learner.continuous, "trainsize", "repl"),
        ("task_id", *choice, *learner.categorical, "num.impute.selected.cpo"),
        _words("acc bac auc brier f1 logloss timetrain timepredict memory"),
        "task_id",
        ("trainsize", "repl"),
    )


def _iaml(learner: _Learner, *choice: str) -> _Scenario:
    """A scenario of iaml; that of all learners has a parameter for the choice among them."""
    return _Scenario(
        (*learner.continuous, "trainsize"),
        ("task_id", *choice, *learner.categorical),
        _words("mmce f1 auc logloss ramtrain rammodel rampredict timetrain timepredict mec ias nf"),
        "task_id",
        ("trainsize",),
    )


_MAXIMISED = _words("acc auc bac f1 val_accuracy val_balanced_accuracy test_balanced_accuracy")
_TREE = _Learner(_words("cp maxdepth minbucket minsplit"))
_ELASTIC_NET = _Learner(_words("alpha s"))
_BOOSTING = _Learner(
    _words(
        "nrounds eta gamma lambda alpha subsample max_depth min_child_weight colsample_bytree "
        "colsample_bylevel rate_drop skip_drop"
    ),
    ("booster",),
)
# Both in the order in which the learners stand in the columns of the scenario of all of them.
_RBV2 = {
    "svm": _Learner(_words("cost gamma tolerance degree"), ("kernel",)),
    "glmnet": _ELASTIC_NET,
    "rpart": _TREE,
    "ranger": _Learner(
        _words("num.trees sample.fraction mtry.power min.node.size num.random.splits"),
        _words("respect.unordered.factors splitrule"),
    ),
    "aknn": _Learner(_words("k M ef ef_construction"), ("distance",)),
    "xgboost": _BOOSTING,
}
_IAML = {
    "ranger": _Learner(
        _words("num.trees sample.fraction mtry.ratio min.node.size num.random.splits"),
        _words("replace respect.unordered.factors splitrule"),
    ),
    "rpart": _TREE,
    "glmnet": _ELASTIC_NET,
    "xgboost": _BOOSTING,
}
_SCENARIOS = {
    "lcbench": _Scenario(
        _words(
            "epoch batch_size learning_rate momentum weight_decay num_layers max_units max_dropout"
        ),
        ("OpenML_task_id",),
        _words(
            "time val_accuracy val_cross_entropy val_balanced_accuracy test_cross_entropy "
            "test_balanced_accuracy"
        ),
        "OpenML_task_id",
        ("epoch",),
    ),
    "nb301": _Scenario(
        ("epoch",),
        tuple(
            f"NetworkSelectorDatasetInfo_COLON_darts_COLON_{part}_{cell}_{i}"
            for part, places in (("edge", range(14)), ("inputs_node", range(3, 6)))
            for cell in ("normal", "reduce")
            for i in places
        ),
        ("val_accuracy", "runtime"),
        None,
        ("epoch",),
    ),
    **{f"rbv2_{name}": _rbv2(learner) for name, learner in _RBV2.items()},
    "rbv2_super": _rbv2(_prefixed(_RBV2), "learner_id"),
    **{f"iaml_{name}": _iaml(learner) for name, learner in _IAML.items()},
    "iaml_super": _iaml(_prefixed(_IAML), "learner"),
}


class _Condition(NamedTuple):
    """A coordinate counts only if its parent counts and has one of certain choices."""

    child: int
    parent: int
    choices: Tensor


class YAHPO(OneOfDatasets):
    """A surrogate of YAHPO Gym (Pfisterer et al. 2022), read from a folder of yahpo_data.

    The scenarios are those of its version 1: ``lcbench`` (targets time, val_accuracy,
    val_cross_entropy, val_balanced_accuracy, test_cross_entropy, test_balanced_accuracy), ``nb301``
    (val_accuracy, runtime), ``rbv2_`` + svm, glmnet, rpart, ranger, aknn, xgboost or super (acc,
    bac, auc, brier, f1, logloss, timetrain, timepredict, memory), and ``iaml_`` + ranger, rpart,
    glmnet, xgboost or super (mmce, f1, auc, logloss, ramtrain, rammodel, rampredict, timetrain,
    timepredict, mec, ias, nf). Each has its own folder with ``model.onnx``, ``encoding.json`` and
    ``config_space.json``.

    Values are in the target's own units; those of lcbench's and nb301's accuracies are percent. A
    target that is to be maximised is negated: acc, auc, bac, f1 and all accuracies. (YAHPO Gym
    lists rbv2's f1 as one to be minimised, and that of iaml as one to be maximised.)

    What the model is given is as in ``yahpo_gym.BenchmarkSet``: raw values, no logarithms; choices
    by ``encoding.json``; and a parameter whose condition does not hold as 0, or as the choice
    "#na#". The order of the columns is that of its ``yahpo_gym.benchmarks``. The search space is
    ``config_space.json`` without the instance, the fidelity parameters and constants. Integers and
    choices make the objective piecewise constant; no gradients are passed, and the minima are not
    known.

    Written after the code of YAHPO Gym and JSON files of yahpo_data. That a model takes and gives
    just these columns is *inferred*: none of its models was at hand. Their number is checked.

    Args:
        folder: Of yahpo_data.
        scenario: Such as ``"lcbench"``.
        instance: A data set of the scenario by its OpenML id, or several: each function then is
            one of them, drawn uniformly. ``"CIFAR10"`` for nb301.
        target: What is optimised.
        fidelity: Values for some of the fidelity parameters (epoch; trainsize and repl); the others
            are at their maximum.
        dtype: Of all tensors.
        device: Of all tensors; the model itself is evaluated on the CPU, in one thread.

    Attributes:
        space: What the coordinates of a query are; ``space.decode`` names its values.

    Raises:
        MissingExtraError: If onnxruntime is not installed.
        UnknownNameError: If there is no such scenario, instance, target or fidelity parameter.
        FileNotFoundError: If a file is not in the folder.
        ValueError: If a fidelity is out of its range, or a file does not fit the scenario.

    Example:
        >>> table = YAHPO("yahpo_data", "lcbench", "3945", "val_accuracy")  # doctest: +SKIP
        >>> state = table.sample(8, torch.Generator().manual_seed(0))  # doctest: +SKIP
        >>> y, state = table.evaluate(state, torch.rand(8, table.dim))  # doctest: +SKIP
    """

    def __init__(
        self,
        folder: Path | str,
        scenario: str,
        instance: str | Sequence[str],
        target: str,
        fidelity: Mapping[str, float] | None = None,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> None:
        require_extra("YAHPO Gym", "hpo", "onnxruntime")
        if scenario not in _SCENARIOS:
            raise UnknownNameError("scenario of YAHPO Gym", scenario, _SCENARIOS)
        about = _SCENARIOS[scenario]
        if target not in about.targets:
            raise UnknownNameError(f"target of {scenario}", target, about.targets)
        files = Path(folder) / scenario
        space_file, encoding_file = files / "config_space.json", files / "encoding.json"
        config = read_object(space_file, _SOURCE)
        parameters, constants = _parameters(space_file, config)
        _check_inputs(space_file, about, parameters, constants)
        for name in about.fidelity:
            constants[name] = parameters[name].axis.high
        for name, value in (fidelity or {}).items():
            if name not in about.fidelity:
                raise UnknownNameError(f"fidelity parameter of {scenario}", name, about.fidelity)
            parameters[name].locate(f"fidelity {name}", value)  # checks its range
            constants[name] = value
        tasks = parameters[about.instance] if about.instance else Categorical(("CIFAR10",))
        assert isinstance(tasks, Categorical)
        instances = chosen(f"instance of {scenario}", instance, tasks.choices)
        super().__init__(len(instances), dtype, device)

        # Every input is a constant, the instance, or a coordinate of the query.
        inputs = [*about.categorical, *about.continuous]
        self._split = len(about.categorical)
        self.space = Space(
            {
                name: parameter
                for name, parameter in parameters.items()
                if name in inputs and name not in constants and name != about.instance
            }
        )
        self.dim = self.space.dim
        encoding = _Encoding(encoding_file)
        self._templates = torch.zeros(len(instances), len(inputs), dtype=torch.float64)
        for place, name in enumerate(inputs):
            if name == about.instance:
                self._templates[:, place] = encoding.codes(name, instances)
            elif name in constants:
                constant = constants[name]
                coded = place < self._split
                self._templates[:, place] = (
                    encoding.codes(name, [constant]) if coded else float(constant)
                )
        self._places = [inputs.index(name) for name in self.space.names]
        self._codes = {
            column: encoding.codes(name, parameter.choices)
            for column, (name, parameter) in enumerate(self.space.parameters.items())
            if isinstance(parameter, Categorical)
        }
        self._conditions = _conditions(space_file, config, self.space)
        self._inactive = torch.zeros(self.dim, dtype=torch.float64)
        for column in {condition.child for condition in self._conditions} & set(self._codes):
            self._inactive[column] = encoding.codes(self.space.names[column], [_INACTIVE])

        self._column = about.targets.index(target)
        self._sign = -1.0 if target in _MAXIMISED else 1.0
        self._session = _session(files / "model.onnx")
        points = sobol_points(self.dim)
        spread = torch.arange(len(points)) * len(instances) // len(points)
        try:
            outputs = self._outputs(spread, points)
        except Exception as error:  # onnxruntime's own have no other base
            raise ValueError(
                f"{files / 'model.onnx'} does not take the {self._split} categorical and "
                f"{len(about.continuous)} continuous inputs of {scenario} ({error}); {_SOURCE}"
            ) from error
        if outputs.shape != (len(points), len(about.targets)):
            raise ValueError(
                f"{files / 'model.onnx'} must give the {len(about.targets)} targets of {scenario}, "
                f"got the shape {list(outputs.shape)} for {len(points)} points; {_SOURCE}"
            )
        self.prior_mean = self._sign * outputs[:, self._column].mean().item()

    def value(self, state: DatasetState, x: Tensor) -> tuple[Tensor, DatasetState]:
        outputs = self._outputs(state.dataset.cpu(), x.detach().cpu())
        return (self._sign * outputs[:, self._column]).to(self.device, self.dtype), state

    def native(self, state: DatasetState, x: Tensor) -> Tensor:
        """The values, choices by their index; those of parameters that do not count as well."""
        return self.space.native(x)

    def _outputs(self, dataset: Tensor, x: Tensor) -> Tensor:
        """All targets ``[B, targets]`` as the model gives them."""
        native = self.space.native(x.double())
        active = torch.ones_like(native, dtype=torch.bool)
        for child, parent, choices in self._conditions:
            active[:, child] &= active[:, parent] & torch.isin(native[:, parent], choices)
        for column, codes in self._codes.items():
            native[:, column] = codes[native[:, column].long()]
        rows = self._templates[dataset]
        rows[:, self._places] = torch.where(active, native, self._inactive)
        x_cat, x_cont = rows[:, : self._split].int(), rows[:, self._split :].float()
        names = [model_input.name for model_input in self._session.get_inputs()]
        feed = dict(zip(names, (x_cat.numpy(), x_cont.numpy()), strict=True))
        first = self._session.get_outputs()[0].name
        return torch.from_numpy(self._session.run([first], feed)[0]).double()


class _Encoding:
    """The codes of choices, from ``encoding.json``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._codes = read_object(path, _SOURCE)

    def codes(self, name: str, choices: Iterable[Any]) -> Tensor:
        """The codes of some choices of a parameter."""
        known = self._codes.get(name, {})
        for choice in choices:
            if choice not in known:
                raise ValueError(
                    f"{self._path} has no code for {name} = {choice!r}, which config_space.json "
                    f"beside it allows; {_SOURCE}"
                )
        return torch.tensor([known[choice] for choice in choices], dtype=torch.float64)


def _parameters(
    path: Path, config: Mapping[str, Any]
) -> tuple[dict[str, Parameter], dict[str, Any]]:
    """The parameters of a ``config_space.json``, and its constants."""
    parameters: dict[str, Parameter] = {}
    constants: dict[str, Any] = {}
    try:
        for entry in config["hyperparameters"]:
            name, kind = entry["name"], entry["type"]
            if kind == "uniform_float":
                parameters[name] = Float(entry["lower"], entry["upper"], entry["log"])
            elif kind == "uniform_int":
                parameters[name] = Integer(entry["lower"], entry["upper"], entry["log"])
            elif kind == "categorical":
                parameters[name] = Categorical(entry["choices"])
            elif kind == "constant":
                constants[name] = entry["value"]
            else:
                raise ValueError(
                    f"{name!r} is of type {kind!r}, expected uniform_float, uniform_int, "
                    "categorical or constant"
                )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a space of YAHPO Gym: {error}; {_SOURCE}") from error
    return parameters, constants


def _check_inputs(
    path: Path,
    about: _Scenario,
    parameters: Mapping[str, Parameter],
    constants: Mapping[str, Any],
) -> None:
    """Checks that a space has the inputs of its scenario."""
    for name in (*about.categorical, *about.continuous):
        fixed_here = name == about.instance or name in about.fidelity
        if name in constants and not fixed_here:
            continue
        categorical = name in about.categorical
        if name not in parameters or isinstance(parameters[name], Categorical) != categorical:
            raise ValueError(
                f"{path} must have a {'categorical' if categorical else 'numeric'} parameter "
                f"{name!r}, got {parameters.get(name)}; {_SOURCE}"
            )


def _conditions(path: Path, config: Mapping[str, Any], space: Space) -> list[_Condition]:
    """The conditions of a ``config_space.json``, a parent's own before those on its children."""
    conditions: list[_Condition] = []
    try:
        for entry in config.get("conditions", ()):
            for clause in entry["conditions"] if entry["type"] == "AND" else [entry]:
                if clause["type"] not in ("EQ", "IN"):
                    raise ValueError(f"expected AND, EQ or IN, got {clause['type']!r}")
                choices = clause["values"] if clause["type"] == "IN" else [clause["value"]]
                child, parent = (space.names.index(clause[end]) for end in ("child", "parent"))
                parameter = space.parameters[clause["parent"]]
                places = [parameter.locate(clause["parent"], choice) for choice in choices]
                conditions.append(
                    _Condition(child, parent, torch.tensor(places, dtype=torch.float64))
                )
        if config.get("forbiddens"):
            raise ValueError("forbidden combinations are not supported")
        parents: dict[int, set[int]] = {}
        for condition in conditions:
            parents.setdefault(condition.child, set()).add(condition.parent)
        order = list(TopologicalSorter(parents).static_order())
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"the conditions of {path} are not those of YAHPO Gym: {error}; {_SOURCE}"
        ) from error
    return sorted(conditions, key=lambda condition: order.index(condition.child))


def _session(path: Path) -> Any:
    """Opens a model in one thread of the CPU, where it is deterministic."""
    import onnxruntime

    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; {_SOURCE}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own have no other base
        raise ValueError(
            f"{path} is not a model that onnxruntime reads ({error}); {_SOURCE}"
        ) from error
