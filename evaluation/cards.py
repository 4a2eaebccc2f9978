"""The trained networks that ship, as a table from their cards."""

from typing import Any

from rich.box import SIMPLE
from rich.table import Table

from agents import Recommendation, card, trained_names
from evaluation.markdown import table, with_interval
from training.score import MILESTONES

_HEADINGS = ("network", "trained on", "by", "iterations", *(f"@{t}" for t in MILESTONES))
_CHECKS = ("boundary", "spread", "shuffled @50")


def markdown() -> str:
    """A row for each network: what it was trained on, its score, and the checks for collapse.

    Example:
        >>> markdown().splitlines()[0].startswith("| network | trained on |")
        True
    """
    headings = [*_HEADINGS, *_CHECKS]
    rows = [_row(name, card(name)) for name in sorted(trained_names(), key=_order)]
    return table(headings, rows, "lll" + "r" * (len(headings) - 3))


def others() -> str:
    """A row for each further task on a card: workers, other dimensions, data sets held out."""
    headings = ("network", "on", "evaluations", *(f"@{t}" for t in MILESTONES), "at the end")
    rows = []
    for name in trained_names():
        for score in card(name).get("scores", []):
            found = score["best_at_own_budget"]
            budget = score["budget"]
            cells = [_mean(found.get(str(t))) for t in MILESTONES]
            on = _differs(score["arguments"])
            rows.append((f"`{name}`", on, str(budget), *cells, _mean(found[str(budget)])))
    return table(headings, rows, "ll" + "r" * (len(headings) - 2))


def candidates(found: Recommendation) -> Table:
    """The networks that a recommendation chose from, for the terminal; the chosen one is marked."""
    shown = Table(box=SIMPLE)
    for heading in ("network", "best", "ms/proposal"):
        shown.add_column(heading, justify="left" if heading == "network" else "right")
    for candidate in found.candidates:
        best = with_interval(candidate.best, candidate.half_width)
        style = "bold" if candidate.name == found.agent else ""
        shown.add_row(candidate.name, best, f"{candidate.milliseconds:.2g}", style=style)
    return shown


def _row(name: str, facts: dict[str, Any]) -> list[str]:
    config, score = facts["training"]["config"], facts["score"]
    found = score["best_at_own_budget"]
    return [
        f"`{name}`",
        _trained_on(config),
        _trained_by(config),
        f"{_iterations(config):,}",
        *(_mean(found[str(t)]) for t in MILESTONES),
        f"{score['boundary']:.1%}",
        f"{score['spread']:.2f}",
        f"{score['best_at_shuffled']['50']:.2f}",
    ]


def _differs(arguments: dict[str, Any]) -> str:
    """What tells a further task from others."""
    parts = [f"d = {arguments['dim']}"] if "dim" in arguments else []
    if isinstance(arguments.get("dataset"), str):
        parts.append(arguments["dataset"])
    if "workers" in arguments:
        parts.append(f"{arguments['workers']} workers")
    return ", ".join(parts)


def _trained_on(config: dict[str, Any]) -> str:
    alone = [config["task_arguments"]["dim"]] if "dim" in config["task_arguments"] else []
    dims = config.get("mixture", {}).get("dim", alone)
    if dims:
        return "GP samples, d = " + ", ".join(str(d) for d in dict.fromkeys(dims))
    return str(config["task"])


def _trained_by(config: dict[str, Any]) -> str:
    """The loss, and what makes a gradient of it; or the algorithm of Stable-Baselines3."""
    if "algo" in config:
        return str(config["algo"])
    # The first cards are of before there was another estimator.
    by_score = config.get("estimator", "pathwise") != "pathwise"
    return f"{config['loss']}, REINFORCE" if by_score else str(config["loss"])


def _iterations(config: dict[str, Any]) -> int:
    """Steps of Adam; with Stable-Baselines3, rollouts, each of which it makes several of."""
    if "algo" in config:
        rollouts: int = config["steps"] // (config["envs"] * config["budget"])
        return rollouts
    iterations: int = config["iterations"]
    return iterations


def _mean(figure: dict[str, float] | None) -> str:
    return with_interval(figure["mean"], figure["ci95"]) if figure else ""


def _order(name: str) -> tuple[bool, str, str]:
    """By number of dimensions, then by name; those for any number come last."""
    _, _, dim = name.rpartition("-")
    fixed = dim.endswith("d") and dim[:-1].isdigit()
    return (not fixed, dim if fixed else "", name)
