"""The errors of the package: each names the value, what was expected, and the remedy."""

import difflib
import importlib.util
from collections.abc import Iterable

from gymnasium.error import ResetNeeded

# Longer lists of names are cut down to the nearest.
_SHOWN = 50
_CLOSE = 5


class QueryError(ValueError):
    """A query point is not a finite point of the unit cube of the right shape."""


class ObjectiveError(RuntimeError):
    """An objective raised, or returned something that is not a finite number."""


class BudgetExhaustedError(ResetNeeded):
    """A step was asked for after the last evaluation of the budget."""


class StoreError(RuntimeError):
    """A folder does not hold results that this version reads."""


class WorkerLostError(RuntimeError):
    """A process that worked for this one was killed."""


class UnknownNameError(LookupError):
    """A name (of a task, an agent, a preset, ...) that nothing is registered under."""

    def __init__(self, kind: str, name: object, known: Iterable[str]) -> None:
        known = sorted(known)
        close = difflib.get_close_matches(str(name), known, n=_CLOSE, cutoff=0.5)
        hint = f"Did you mean {close[0]!r}? " if close else ""
        shown = known if len(known) <= _SHOWN else [*(close or known[:_CLOSE]), "…"]
        count = "" if shown is known else f" ({len(known)} in all)"
        super().__init__(f"Unknown {kind} {name!r}. {hint}Known: {', '.join(shown)}{count}.")


class MissingExtraError(ImportError):
    """A feature needs packages that the light install leaves out."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs more packages: pip install 'bbo-envs[{extra}]'")


def require_extra(feature: str, extra: str, *modules: str) -> None:
    """Checks that modules can be imported, without importing them.

    Raises:
        MissingExtraError: If one cannot; it names the extra that brings them.
    """
    if any(importlib.util.find_spec(module) is None for module in modules):
        raise MissingExtraError(feature, extra)
