"""``bbo score``: the scores of a trained network computed again, beside those on its card."""

from typing import Any

from rich.box import SIMPLE
from rich.table import Table

from agents import WeightsError, card, load
from training.score import scores


def compare(network: str, functions: int) -> list[dict[str, Any]]:
    """Scores a network again on the held-out functions of its card.

    Args:
        network: Its name, or the path of its weights.
        functions: How many functions of each task.

    Returns:
        For each task of the card ``{"card": ..., "now": ...}``, each as ``training.score.score``
        returns it, with the task, its arguments and the budget.

    Raises:
        UnknownNameError: If no shipped network has this name.
        WeightsError: If the file or its card is damaged, or the card names no task.
    """
    facts = card(network)
    on_card = [facts.get("score", {}), *facts.get("scores", [])]
    if not all({"task", "arguments", "budget"} <= entry.keys() for entry in on_card):
        raise WeightsError(f"the card of {network} names no task to score it on")
    tasks = [{k: entry[k] for k in ("task", "arguments", "budget")} for entry in on_card]
    found = scores(load(network), tasks, functions)
    now = [found["score"], *found["scores"]]
    return [{"card": before, "now": after} for before, after in zip(on_card, now, strict=True)]


def table(pair: dict[str, Any]) -> Table:
    """A table of one task of ``compare``: a row for each figure, on the card and now."""
    before, now = pair["card"], pair["now"]
    arguments = "".join(f", {key} = {value}" for key, value in now["arguments"].items())
    title = f"{now['task']}{arguments}: T = {now['budget']}"
    shown = Table(title=title, title_justify="left", box=SIMPLE)
    shown.add_column("mean ± half width of its 95 % interval")
    shown.add_column("card", justify="right")
    shown.add_column("now", justify="right")
    shown.add_row("functions", *(str(score["functions"]) for score in (before, now)))
    for key, label in (
        ("best_at", "best after {}"),
        ("best_at_own_budget", "best after {}, told so"),
        ("best_at_shuffled", "best after {}, shown another's values"),
    ):
        for t in now[key]:
            cells = (_cell(score.get(key, {}).get(t)) for score in (before, now))
            shown.add_row(label.format(t), *cells)
    for key, label in (("boundary", "queries on the boundary"), ("spread", "spread of queries")):
        shown.add_row(label, *(_cell(score.get(key)) for score in (before, now)))
    return shown


def _cell(figure: Any) -> str:
    if figure is None:
        return "–"
    if isinstance(figure, dict):
        return f"{figure['mean']:.3f} ± {figure['ci95']:.3f}"
    return f"{figure:.3f}"
