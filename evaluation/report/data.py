"""What a report shows of stored evaluations: its settings, and the curves of each."""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bbo_envs.suites import TaskSpec
from evaluation.drawing import Curve, curves_of
from evaluation.figures import describe
from evaluation.metrics import curves
from evaluation.workers import best_by_time

_KEY = ["task", "arguments", "budget"]

_TIMES = 100


@dataclass(frozen=True)
class Setting:
    """A task with its arguments and a budget.

    Attributes:
        task: Gymnasium id.
        arguments: JSON, as it is stored.
        budget: Evaluations of a run.
        title: In words, different for every setting of a report.
        slug: The same for addresses and names of files.
    """

    task: str
    arguments: str
    budget: int
    title: str
    slug: str

    @property
    def key(self) -> tuple[str, str, int]:
        """What the rows of this setting have in common."""
        return self.task, self.arguments, self.budget

    @property
    def facts(self) -> str:
        """The arguments and the budget in words."""
        pairs = [f"{name} = {_plain(value)}" for name, value in self._arguments.items()]
        return ", ".join([*pairs, f"{self.budget} evaluations"])

    @property
    def parallel(self) -> bool:
        """Whether several workers evaluate at a time."""
        return "workers" in self._arguments

    @property
    def _arguments(self) -> dict[str, Any]:
        return dict(json.loads(self.arguments))

    def rows(self, evaluations: pd.DataFrame) -> pd.DataFrame:
        """The rows of this setting."""
        own = [evaluations[name] == value for name, value in zip(_KEY, self.key, strict=True)]
        return evaluations[own[0] & own[1] & own[2]]


def settings(evaluations: pd.DataFrame) -> list[Setting]:
    """The settings of a frame, in the order in which they come.

    Example:
        >>> task = {"task": "BBO-Branin-2d-v0", "arguments": "{}"}
        >>> [setting.title for setting in settings(pd.DataFrame(task | {"budget": [25, 50]}))]
        ['BBO-Branin-2d-v0, budget = 25', 'BBO-Branin-2d-v0, budget = 50']
    """
    keys = list(evaluations[_KEY].drop_duplicates().itertuples(index=False, name=None))
    titles = _titles(keys)
    slugs = _slugs(titles)
    return [
        Setting(task, arguments, int(budget), title, slug)
        for (task, arguments, budget), title, slug in zip(keys, titles, slugs, strict=True)
    ]


def with_versions(evaluations: pd.DataFrame) -> pd.DataFrame:
    """An agent of several versions becomes as many agents, by names that tell the version."""
    versions = evaluations.groupby("agent")["version"].transform("nunique")
    labels = evaluations["agent"] + " (" + evaluations["version"].fillna("?") + ")"
    return evaluations.assign(agent=evaluations["agent"].where(versions < 2, labels))


def task_curves(evaluations: pd.DataFrame, agents: Sequence[str]) -> tuple[list[Curve], bool]:
    """The curves of a setting, and whether they are of the regret, where the minimum is known."""
    with_regret = bool(evaluations["regret"].notna().any())
    return curves_of(curves(evaluations, "regret" if with_regret else "best"), agents), with_regret


def time_curves(evaluations: pd.DataFrame, agents: Sequence[str]) -> list[Curve]:
    """The best value against simulated time, from when every run has one to the last ends."""
    times = np.linspace(0.0, float(evaluations["finished"].max()), _TIMES + 1)[1:]
    frame = best_by_time(evaluations, times)
    return curves_of(frame.rename(columns={"time": "t"}), agents)


def _titles(keys: Sequence[tuple[str, str, int]]) -> list[str]:
    """A title for each setting; those that share one tell in what they differ."""
    titles = [_described(task, arguments) for task, arguments, _ in keys]
    facts: list[Mapping[str, Any]] = [json.loads(key[1]) | {"budget": key[2]} for key in keys]
    full = []
    for title, own in zip(titles, facts, strict=True):
        others = [fact for other, fact in zip(titles, facts, strict=True) if other == title]
        apart = [
            f"{name} = {_plain(value)}"
            for name, value in own.items()
            if any(other.get(name) != value for other in others)
        ]
        full.append(", ".join([title, *apart]))
    return full


def _described(task: str, arguments: str) -> str:
    try:
        return describe(TaskSpec(task, json.loads(arguments)))
    except Exception:  # Results may be read where a task's data, library or plugin is not.
        return f"{task} {arguments}" if arguments != "{}" else task


def _slugs(titles: Sequence[str]) -> list[str]:
    plain = [re.sub(r"[^A-Za-z0-9.]+", "-", title).strip("-.") or "task" for title in titles]
    count = Counter(slug.lower() for slug in plain)
    # Some file systems take no notice of case.
    return [
        f"{slug}-{number}" if count[slug.lower()] > 1 else slug
        for number, slug in enumerate(plain, start=1)
    ]


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
