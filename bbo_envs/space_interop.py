"""Spaces to and from plain data, ConfigSpace and Optuna; both are imported only when asked for."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from bbo_envs.errors import UnknownNameError, require_extra
from bbo_envs.space import Space
from bbo_envs.space_parameters import Categorical, Float, Integer, Ordinal, Parameter, named

if TYPE_CHECKING:
    from ConfigSpace import ConfigurationSpace
    from ConfigSpace.hyperparameters import Hyperparameter
    from optuna.distributions import BaseDistribution

_KINDS = {kind.__name__: kind for kind in (Float, Integer, Categorical, Ordinal)}
_PLAIN = (str, int, float, type(None))
_DECIMALS = 13  # to which ConfigSpace rounds the ends of floats
_MOST_LEVELS = 10_000


def to_json(space: Space) -> dict[str, Any]:
    """A space as data for ``json.dumps``.

    The parameters are a list, so that sorting keys does not permute the coordinates.

    Raises:
        ValueError: If a choice or level is not text, a number, a bool or None.

    Example:
        >>> to_json(Space({"layers": (1, 8)}))["parameters"]
        [{'name': 'layers', 'kind': 'Integer', 'low': 1, 'high': 8, 'log': False}]
    """
    return {"parameters": [_record(name, p) for name, p in space.parameters.items()]}


def from_json(data: Mapping[str, Any]) -> Space:
    """The space that ``to_json`` gave the data of.

    Raises:
        ValueError: If the data is not of that form.
        UnknownNameError: If a parameter is of an unknown kind.

    Example:
        >>> from_json(to_json(Space({"layers": (1, 8)})))
        Space({'layers': Integer(low=1, high=8, log=False)})
    """
    try:
        return Space({record["name"]: _from_record(record) for record in data["parameters"]})
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"a space's data must be what Space.to_json gives, got {data!r} ({error!r})"
        ) from error


def to_configspace(space: Space) -> "ConfigurationSpace":
    """The space as a ConfigSpace, which sorts the parameters by name.

    A Categorical of one choice becomes a Constant.

    Raises:
        ValueError: If an end of a Float is lost in the 13 decimals that ConfigSpace keeps.
        MissingExtraError: If ConfigSpace is not installed.

    Example:
        >>> to_configspace(Space({"layers": (1, 8)}))["layers"].upper
        8
    """
    require_extra("ConfigSpace export", "spaces", "ConfigSpace")
    from ConfigSpace import ConfigurationSpace

    result = ConfigurationSpace()
    result.add([_hyperparameter(name, p) for name, p in space.parameters.items()])
    return result


def from_configspace(configspace: "ConfigurationSpace") -> Space:
    """The space of a ConfigSpace: coordinates in its order, which is that of the names.

    A Constant becomes a Categorical of one choice. Defaults and meta data are left behind.

    Raises:
        ValueError: If a hyper-parameter is neither uniform, nor categorical without weights, nor
            ordinal, nor constant; or there are conditions or forbidden clauses.
        MissingExtraError: If ConfigSpace is not installed.

    Example:
        >>> from ConfigSpace import ConfigurationSpace
        >>> from_configspace(ConfigurationSpace({"layers": (1, 8)}))
        Space({'layers': Integer(low=1, high=8, log=False)})
    """
    require_extra("ConfigSpace import", "spaces", "ConfigSpace")
    for condition in configspace.conditions:
        raise ValueError(
            f"hyper-parameter {condition.child.name!r} is conditional ({condition}), which a Space "
            "cannot express; make a space for each branch, or remove the condition"
        )
    for clause in configspace.forbidden_clauses:
        raise ValueError(
            f"a Space cannot forbid values ({clause}); remove the clause, and return a large value "
            "where it holds"
        )
    return Space({name: named(name, _from_hyperparameter, h) for name, h in configspace.items()})


def to_optuna(space: Space) -> "dict[str, BaseDistribution]":
    """The space as Optuna's distributions.

    An Ordinal becomes a range with a step where its levels are numbers that rise evenly (to 12
    digits), else a categorical distribution of them.

    Raises:
        MissingExtraError: If Optuna is not installed.

    Example:
        >>> to_optuna(Space({"width": Ordinal([16, 32, 48])}))
        {'width': IntDistribution(high=48, log=False, low=16, step=16)}
    """
    require_extra("Optuna export", "baselines", "optuna")
    return {name: _distribution(p) for name, p in space.parameters.items()}


def from_optuna(distributions: "Mapping[str, BaseDistribution]") -> Space:
    """The space of Optuna's distributions.

    Ranges with a step (other than 1 for integers), or of one value, become an Ordinal.

    Raises:
        ValueError: If a distribution is not a float, integer or categorical one.
        MissingExtraError: If Optuna is not installed.

    Example:
        >>> from optuna.distributions import IntDistribution
        >>> from_optuna({"width": IntDistribution(16, 48, step=16)})
        Space({'width': Ordinal(levels=(16, 32, 48))})
    """
    require_extra("Optuna import", "baselines", "optuna")
    return Space(
        {name: named(name, _from_distribution, name, d) for name, d in distributions.items()}
    )


def _record(name: str, parameter: Parameter) -> dict[str, Any]:
    head = {"name": name, "kind": type(parameter).__name__}
    if isinstance(parameter, Float | Integer):
        return head | asdict(parameter)
    assert isinstance(parameter, Categorical | Ordinal)
    ((field, values),) = asdict(parameter).items()
    for value in values:
        if not isinstance(value, _PLAIN):
            raise ValueError(
                f"the {field} of {name!r} must be text, numbers, bools or None for JSON, got "
                f"{value!r}; give it a name, and look it up"
            )
    return {**head, field: list(values)}


def _from_record(record: Mapping[str, Any]) -> Parameter:
    fields = dict(record)
    name, kind = fields.pop("name"), fields.pop("kind")
    if kind not in _KINDS:
        raise UnknownNameError(f"kind of parameter {name!r}", kind, _KINDS)
    return named(name, _KINDS[kind], **fields)


def _hyperparameter(name: str, parameter: Parameter) -> "Hyperparameter[Any, Any]":
    import ConfigSpace

    if isinstance(parameter, Float):
        ends = parameter.low, parameter.high
        for end in ends:
            if not math.isclose(round(end, _DECIMALS), end, rel_tol=1e-3):
                raise ValueError(
                    f"{name!r} has the end {end}, of which the {_DECIMALS} decimals that "
                    "ConfigSpace keeps leave less than 3 digits; give it in other units"
                )
        return ConfigSpace.UniformFloatHyperparameter(name, *ends, log=parameter.log)
    if isinstance(parameter, Integer):
        return ConfigSpace.UniformIntegerHyperparameter(
            name, parameter.low, parameter.high, log=parameter.log
        )
    if isinstance(parameter, Ordinal):
        return ConfigSpace.OrdinalHyperparameter(name, parameter.levels)
    assert isinstance(parameter, Categorical)
    if len(parameter.choices) == 1:
        return ConfigSpace.Constant(name, parameter.choices[0])
    return ConfigSpace.CategoricalHyperparameter(name, parameter.choices)


def _from_hyperparameter(given: "Hyperparameter[Any, Any]") -> Parameter:
    import ConfigSpace

    if isinstance(given, ConfigSpace.UniformFloatHyperparameter):
        return Float(given.lower, given.upper, given.log)
    if isinstance(given, ConfigSpace.UniformIntegerHyperparameter):
        return Integer(given.lower, given.upper, given.log)
    if isinstance(given, ConfigSpace.OrdinalHyperparameter):
        return Ordinal(given.sequence)
    if isinstance(given, ConfigSpace.Constant):
        return Categorical([given.value])
    if isinstance(given, ConfigSpace.CategoricalHyperparameter) and given.weights is None:
        return Categorical(given.choices)
    raise ValueError(
        f"hyper-parameter {given.name!r} is {given}, which a Space cannot express; make it a "
        "uniform float or integer, an ordinal, a constant, or a categorical without weights"
    )


def _distribution(parameter: Parameter) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(parameter, Float):
        return FloatDistribution(parameter.low, parameter.high, parameter.log)
    if isinstance(parameter, Integer):
        return IntDistribution(parameter.low, parameter.high, parameter.log)
    if isinstance(parameter, Categorical):
        return CategoricalDistribution(parameter.choices)
    assert isinstance(parameter, Ordinal)
    levels = parameter.levels
    step = _step(levels) if parameter.numeric else None
    if step is None:
        return CategoricalDistribution(levels)
    if all(isinstance(level, int) for level in levels):
        return IntDistribution(levels[0], levels[-1], step=int(step))
    return FloatDistribution(levels[0], levels[-1], step=float(step))


def _from_distribution(name: str, given: "BaseDistribution") -> Parameter:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(given, CategoricalDistribution):
        return Categorical(given.choices)
    if not isinstance(given, FloatDistribution | IntDistribution):
        raise ValueError(
            f"the distribution of {name!r} is {given}, which a Space cannot express; make it a "
            "FloatDistribution, IntDistribution or CategoricalDistribution"
        )
    if isinstance(given, IntDistribution):
        if given.step == 1 and not given.single():
            return Integer(given.low, given.high, given.log)
        count = (given.high - given.low) // given.step + 1
        if count > _MOST_LEVELS:
            raise ValueError(
                f"{count} steps are more levels than the {_MOST_LEVELS} that an Ordinal may have; "
                "give a larger step, or a step of 1"
            )
        return Ordinal(range(given.low, given.high + 1, given.step))
    if given.single():
        return Ordinal([given.low])
    if given.step is None:
        return Float(given.low, given.high, given.log)
    low, high, step = (Decimal(str(number)) for number in (given.low, given.high, given.step))
    return Ordinal([float(low + i * step) for i in range(int((high - low) / step) + 1)])


def _step(levels: Sequence[float]) -> Decimal | None:
    """By how much the levels rise, in decimals as Optuna counts; None if not evenly."""
    exact = [Decimal(f"{level:.12g}") for level in levels]
    steps = {b - a for a, b in pairwise(exact)}
    step = steps.pop() if steps else Decimal(1)
    return None if steps or step <= 0 else step
