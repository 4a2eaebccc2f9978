"""A search for hyper-parameters, kept in a folder: it goes on where it was stopped."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from bbo_envs.checks import positive_integer
from bbo_envs.errors import UnknownNameError, require_extra
from training.configs import TrainConfig
from training.distribution import check_choices, ends
from training.score import validate
from training.trainer import Trainer

STUDY = "study.db"
BEST = "best.json"

DEFAULT_SPACE: dict[str, Any] = {
    "learning_rate": {"low": 3e-4, "high": 1e-2},
    "network_arguments.hidden": [64, 128, 256],
    "truncation": [10, 20, 50],
    "max_query_gradient": {"low": 0.1, "high": 10.0},
}

# How often a trial is judged, the last time at its end; how many trials run to their end before
# others are cut short, and how often each is judged before.
_JUDGED, _FIRST_TRIALS, _FIRST_JUDGED = 5, 4, 1

_INNER = "network_arguments."

Report = Callable[[dict[str, Any]], None]


class Search:
    """A study of Optuna over training configurations.

    The tree-structured Parzen estimator (Bergstra et al. 2011) proposes; a trial that is worse than
    the median of the others at the same point of its training is cut short. What counts is
    ``training.score.validate``, on the task of the base configuration at its horizon and on its
    ``score_tasks``. A trial that fails is kept with its error; one whose process was killed is
    tried again.

    Args:
        base: The configuration that the trials change.
        folder: Where the study lives; one process works on it at a time.
        space: For each field of the configuration, or ``"network_arguments.NAME"``, its choices:
            ``[...]``, or ``{"low": a, "high": b}`` for a number on a logarithmic scale.
        functions: The number of validation functions of each task.
        device: Where to compute.
        seed: Of the proposals.

    Raises:
        MissingExtraError: If Optuna is not installed.
        UnknownNameError: If there is no such field.
        ValueError: If choices are malformed or cannot be trained, or the folder holds another
            search.
    """

    def __init__(
        self,
        base: TrainConfig,
        folder: Path,
        space: Mapping[str, Any],
        *,
        functions: int = 128,
        device: str = "cpu",
        seed: int = 0,
    ) -> None:
        require_extra("bbo search", "train", "optuna")
        # Imported here, so that the other commands run without the extra.
        import optuna

        self.base, self.space, self.folder, self.device = base, dict(space), folder, device
        self.functions = positive_integer("functions", functions)
        self._check_space()
        folder.mkdir(parents=True, exist_ok=True)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        # SQLite, as a process that is killed while it writes leaves no half of anything.
        self.study = optuna.create_study(
            storage=f"sqlite:///{folder / STUDY}",
            study_name="search",
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(_FIRST_TRIALS, _FIRST_JUDGED),
        )
        self._check_same()
        # Not the same seed again, so that a search which goes on proposes something else.
        self.study.sampler = optuna.samplers.TPESampler(seed=seed + len(self.study.trials))

    def run(self, trials: int, report: Report | None = None) -> dict[str, Any]:
        """Trains until so many trials have come to an end, good or bad.

        Args:
            trials: How many, those of earlier runs included.
            report: Called with ``trial``, ``iteration`` and ``iterations`` after every iteration,
                and with ``trial``, ``state``, ``value`` and ``parameters`` after every trial.

        Returns:
            The best: ``trial``, ``value``, ``parameters`` and ``config``, as ``best.json`` holds
            them.

        Raises:
            ValueError: If all trials failed.
        """
        from optuna import TrialPruned
        from optuna.trial import TrialState

        positive_integer("trials", trials)
        for killed in self.study.get_trials(states=(TrialState.RUNNING,)):
            self.study.enqueue_trial(killed.params)
            self.study.tell(killed.number, state=TrialState.FAIL)
        while len(self.ended()) < trials:
            trial = self.study.ask()
            try:
                value = self._train(trial, report)
            except TrialPruned:
                self.study.tell(trial, state=TrialState.PRUNED)
            except Exception as error:  # Whatever one trial does must not end the others.
                trial.set_user_attr("error", f"{type(error).__name__}: {error}")
                self.study.tell(trial, state=TrialState.FAIL)
            else:
                self.study.tell(trial, value)
            if report:
                report(next(facts for facts in self.ended() if facts["trial"] == trial.number))
        return self._best()

    def ended(self) -> list[dict[str, Any]]:
        """The trials that came to an end: trial, state, value, parameters, error (or None)."""
        from optuna.trial import TrialState

        return [
            {
                "trial": trial.number,
                "state": trial.state.name.lower(),
                "value": trial.value,
                "parameters": self._decoded(trial.params),
                "error": trial.user_attrs.get("error"),
            }
            for trial in self.study.get_trials()
            if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
            or "error" in trial.user_attrs
        ]

    def _train(self, trial: Any, report: Report | None) -> float:
        """Trains one configuration; returns its value."""
        from optuna import TrialPruned

        config = changed(self.base, self._decoded(self._suggested(trial)))
        trainer = Trainer(config, self.device)
        for judged in range(1, _JUDGED + 1):
            while trainer.iteration < config.iterations * judged // _JUDGED:
                trainer.step()
                where = {"iteration": trainer.iteration, "iterations": config.iterations}
                if report:
                    report({"trial": trial.number, **where})
            value = validate(trainer.agent, self._tasks(), self.functions)
            if not math.isfinite(value):
                raise ValueError(f"the validation score is {value}")
            trial.report(value, judged)
            if judged < _JUDGED and trial.should_prune():
                raise TrialPruned
        return value

    def _suggested(self, trial: Any) -> dict[str, Any]:
        """The trial's parameters; Optuna keeps a choice as text, since it may be any JSON."""
        return {
            name: trial.suggest_float(name, choices["low"], choices["high"], log=True)
            if isinstance(choices, Mapping)
            else trial.suggest_categorical(name, [json.dumps(choice) for choice in choices])
            for name, choices in self.space.items()
        }

    def _decoded(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        return {k: json.loads(v) if isinstance(v, str) else v for k, v in parameters.items()}

    def _tasks(self) -> list[dict[str, Any]]:
        base = self.base
        place = {} if self.device == "cpu" else {"device": self.device}
        own: dict[str, Any] = {"task": base.task, "arguments": base.task_arguments}
        default: dict[str, Any] = {"arguments": {}, "budget": base.horizon}
        tasks = [default | entry for entry in (own, *base.score_tasks)]
        return [task | {"arguments": task["arguments"] | place} for task in tasks]

    def _best(self) -> dict[str, Any]:
        ended = self.ended()
        complete = [trial for trial in ended if trial["state"] == "complete"]
        if not complete:
            raise ValueError(
                f"no trial of the search in {self.folder} came to a good end; the last: "
                f"{ended[-1]['error']}; change the space, and name another folder"
            )
        best = min(complete, key=lambda trial: trial["value"])
        config = changed(self.base, best["parameters"])
        found = {k: best[k] for k in ("trial", "value", "parameters")} | {"config": asdict(config)}
        (self.folder / BEST).write_text(json.dumps(found, indent=2) + "\n")
        return found

    def _check_space(self) -> None:
        known = {field.name for field in fields(TrainConfig)} - {"network_arguments"}
        for name, choices in self.space.items():
            if name not in known and not name.startswith(_INNER):
                raise UnknownNameError("field of the configuration", name, known)
            check_choices("space", name, choices)
        if not self.space:
            raise ValueError("space must name at least one field of the configuration, got none")
        values = {name: ends(choices) for name, choices in self.space.items()}
        for i in range(max(map(len, values.values()))):
            Trainer(changed(self.base, {k: v[i % len(v)] for k, v in values.items()}), self.device)

    def _check_same(self) -> None:
        mine = {"base": asdict(self.base), "space": self.space, "functions": self.functions}
        mine = json.loads(json.dumps(mine))
        theirs = self.study.user_attrs.get("search", mine)
        if theirs != mine:
            raise ValueError(
                f"the folder {self.folder} holds a search over another configuration or space; go "
                "on with its arguments, or name another folder"
            )
        self.study.set_user_attr("search", mine)


def changed(base: TrainConfig, parameters: Mapping[str, Any]) -> TrainConfig:
    """The configuration with the parameters of a trial.

    Example:
        >>> changed(TrainConfig(), {"batch": 64, "network_arguments.hidden": 32}).network_arguments
        {'hidden': 32}
    """
    own = {name: value for name, value in parameters.items() if not name.startswith(_INNER)}
    inner = {k.removeprefix(_INNER): v for k, v in parameters.items() if k.startswith(_INNER)}
    return replace(base, **own, network_arguments=base.network_arguments | inner)
