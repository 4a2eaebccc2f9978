"""Trained networks as a sampler of Optuna."""

import os
import secrets
import threading
import warnings
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from agents.asktell import AskTell
from agents.choice import AUTOMATIC
from agents.make import check_name
from bbo_envs import Space
from bbo_envs.checks import positive_integer
from bbo_envs.errors import MissingExtraError

try:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler, RandomSampler
    from optuna.search_space import IntersectionSearchSpace
    from optuna.study import Study, StudyDirection
    from optuna.trial import FrozenTrial, TrialState
except ImportError:
    raise MissingExtraError("agents.integrations.optuna", "optuna") from None

_ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


class BBOSampler(BaseSampler):  # type: ignore[misc]  # of no type here
    """Proposes the parameters of Optuna's trials by a trained network, or any other ``agent``.

    It proposes the parameters that all trials have; the first trial, which shows what these are,
    and those parameters that only some trials have are drawn at random, the latter with a warning.
    Trials that are still running are known to the network (``n_jobs``, or several processes on one
    storage), and so are those that others have made or that were added to the study. Trials that
    were pruned or have failed count as failed evaluations. Pruners are left to do as they do.

    Args:
        budget: How many trials the study will have, those that it has already included; networks
            are told what is left.
        agent: The name of an optimiser, as for ``agents.make_agent``, or ``"auto"``.
        seed: Of everything random; None for another one each time.
        space: What Optuna calls a search space, where it is known before the first trial.
        workers: How many trials run at a time, which some classical optimisers are told.

    Raises:
        ValueError: If a number is not positive.
        UnknownNameError: If no optimiser has this name.

    Example:
        >>> import optuna
        >>> optuna.logging.set_verbosity(optuna.logging.WARNING)
        >>> study = optuna.create_study(sampler=BBOSampler(budget=30))
        >>> study.optimize(lambda trial: abs(trial.suggest_float("x", -5, 5) - 2), n_trials=30)
        >>> abs(study.best_params["x"] - 2) < 0.5
        True
    """

    def __init__(
        self,
        budget: int = 100,
        agent: str | os.PathLike[str] = "universal",
        seed: int | None = 0,
        space: dict[str, BaseDistribution] | None = None,
        workers: int = 1,
    ) -> None:
        self.budget = positive_integer("budget", budget)
        self.agent = os.fspath(agent)
        if self.agent != AUTOMATIC:
            check_name(self.agent)
        self.seed = secrets.randbits(32) if seed is None else seed
        self.workers = positive_integer("workers", workers)
        self._given = space
        self._independent = RandomSampler(seed=seed)
        self._lock = threading.Lock()
        self._follow(None)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """The parameters that all trials so far have, without those of a single value.

        None where the trial was enqueued with parameters of its own.
        """
        if "fixed_params" in trial.system_attrs:
            return {}
        with self._lock:
            if self._study != (study._storage, study._study_id):
                self._follow(study)
            space = self._given or self._intersection.calculate(study)
            found = {n: d for n, d in space.items() if not d.single() and _searchable(d)}
            begun = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
            if self._given or begun:
                self._proposed[trial.number] = set(found)
        return found

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The network's next point.

        Raises:
            ValueError: If the study has several objectives.
        """
        if len(study.directions) > 1:
            raise ValueError(
                f"BBOSampler takes studies of one objective, got {len(study.directions)}; use a "
                "sampler of Optuna's own, such as NSGAIISampler"
            )
        with self._lock:
            if not search_space:
                return {}
            if search_space != self._search_space:
                # Processes that share a study begin with different trials.
                self._forget(search_space, self.seed + trial.number)
            assert self._optimizer is not None  # since there is a search space
            self._catch_up(study)
            self._expect_others(study, trial)
            values = self._optimizer.ask()
            self._asked[trial.number] = values
            return values

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """A random value; with a warning, once, where it might have been the network's."""
        left_out = param_name not in self._proposed.get(trial.number, {param_name})
        if left_out and not param_distribution.single() and param_name not in self._warned:
            self._warned.add(param_name)
            warnings.warn(
                f"{param_name!r} is drawn at random: not all trials have it, or not in one range, "
                "or it has too many values, and BBOSampler proposes what all trials have. Suggest "
                "it in every trial, from the same and fewer values, to search over it",
                stacklevel=2,
            )
        return self._independent.sample_independent(study, trial, param_name, param_distribution)

    def reseed_rng(self) -> None:
        """Called by Optuna in each of its own processes."""
        self._independent.reseed_rng()

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """What came of a trial is seen before the next one."""
        self._proposed.pop(trial.number, None)

    def __getstate__(self) -> dict[str, Any]:
        """Optuna copies samplers to other processes; there they begin by what the study holds."""
        state = dict(self.__dict__)
        for name in ("_lock", "_study", "_intersection", "_optimizer", "_asked", "_told", "_begun"):
            del state[name]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()
        self._follow(None)

    def _follow(self, study: Study | None) -> None:
        """Begins anew, in another study, which may have the name of the last one."""
        self._study = None if study is None else (study._storage, study._study_id)
        self._intersection = IntersectionSearchSpace()
        self._proposed: dict[int, set[str]] = {}
        self._warned: set[str] = set()
        self._forget({})

    def _forget(self, search_space: dict[str, BaseDistribution], seed: int = 0) -> None:
        """Begins anew, on another search space."""
        self._search_space = search_space
        self._told: set[int] = set()
        # After how many steps of the optimiser somebody began to take a trial in.
        self._begun: dict[int, int] = {}
        self._asked: dict[int, dict[str, Any]] = {}
        self._optimizer: AskTell | None = None
        if search_space:
            self._optimizer = AskTell(search_space, self.budget, self.agent, seed, self.workers)

    def _expect_others(self, study: Study, own: FrozenTrial) -> None:
        """Tells of the points that others are evaluating, such as other processes."""
        assert self._optimizer is not None
        if not self._optimizer.takes_any:
            return
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if trial.number == own.number or trial.number in self._asked:
                continue
            values = {n: trial.params[n] for n in self._optimizer.space.names if n in trial.params}
            with suppress(ValueError):  # it has not all the parameters yet, or others' ranges
                self._optimizer.expect(values)
                self._asked[trial.number] = values

    def _catch_up(self, study: Study) -> None:
        """Tells of all trials that have ended since the last time, whoever made them."""
        assert self._optimizer is not None
        sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
        space: Space = self._optimizer.space
        ended = study.get_trials(deepcopy=False, states=_ENDED)
        # The one that was being taken in when somebody stopped the study comes first.
        for trial in sorted(ended, key=lambda trial: trial.number not in self._begun):
            if trial.number in self._told:
                continue
            values = {name: trial.params.get(name) for name in space.names}
            asked = self._asked.get(trial.number)
            failed = trial.state != TrialState.COMPLETE
            y = None if failed else sign * trial.value
            tell = partial(self._optimizer.tell, values, y, failed=failed)
            takes = self._optimizer.takes_any and _has(space, values)
            if asked is None:  # made by others, out of the budget that is the study's
                steps = [partial(self._optimizer.expect, values), tell] if takes else []
            elif asked == values:
                steps = [tell]
            else:  # it was suggested from another range, and Optuna has drawn one there
                steps = [partial(self._optimizer.tell, asked, failed=True), *[tell] * takes]
            begun = self._begun.setdefault(trial.number, self._optimizer.noted)
            for step in steps[self._optimizer.noted - begun :]:
                step()
            self._told.add(trial.number)
            self._asked.pop(trial.number, None)
            del self._begun[trial.number]


def _has(space: Space, values: dict[str, Any]) -> bool:
    """Whether a trial has all of the parameters, in their ranges."""
    try:
        space.encode(values)
    except ValueError:
        return False
    return True


def _searchable(distribution: BaseDistribution) -> bool:
    """Whether it is one that ``Space`` has, which has neither very many steps nor equal choices."""
    try:
        Space.from_optuna({"parameter": distribution})
    except ValueError:
        return False
    return True
