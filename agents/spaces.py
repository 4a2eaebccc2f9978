"""All that users write a space as."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from bbo_envs import Space

if TYPE_CHECKING:
    from ConfigSpace import ConfigurationSpace
    from optuna.distributions import BaseDistribution

    Spacelike: TypeAlias = (
        Space | Mapping[str, Any] | ConfigurationSpace | Mapping[str, BaseDistribution]
    )


def as_space(space: "Spacelike") -> Space:
    """A space as this package has it, from all that users write one as.

    Raises:
        ValueError: If it is malformed, or nothing of the kind.

    Example:
        >>> as_space({"layers": (1, 8)})
        Space({'layers': Integer(low=1, high=8, log=False)})
    """
    if isinstance(space, Space):
        return space
    # Told by their modules, so that neither library is imported.
    if any(kind.__module__.startswith("ConfigSpace") for kind in type(space).__mro__):
        return Space.from_configspace(cast("ConfigurationSpace", space))
    if isinstance(space, Mapping):
        if any(type(value).__module__ == "optuna.distributions" for value in space.values()):
            return Space.from_optuna(space)
        return Space(space)
    raise ValueError(
        f"a space must be a bbo_envs.Space, a mapping from names to ranges or choices, or what "
        f"ConfigSpace or Optuna call one; got {space!r}"
    )
