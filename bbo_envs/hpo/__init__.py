"""Tables of hyper-parameter optimisation: our own, and adapters for those that others published."""

import torch

from bbo_envs.errors import UnknownNameError
from bbo_envs.functions.table import Table
from bbo_envs.hpo.store import load_table
from bbo_envs.space import Ordinal, Space


def shipped_table(
    name: str,
    metric: str | None = None,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> Table:
    """One of the exhaustive tables that ship; ``bbo_envs/hpo/data/NAME.json`` is its card.

    Args:
        name: ``"svm"``, ``"lda"``, ``"logreg"`` or ``"resnet"``.
        metric: A metric of its card; the card's objective by default.
        dtype: Of all tensors.
        device: Of all tensors.

    Raises:
        UnknownNameError: If there is no such table or metric.

    Example:
        >>> table = shipped_table("svm")
        >>> table.space.names
        ('C', 'alpha', 'epsilon')
    """
    values, card = load_table(name)
    metric = card["objective"] if metric is None else metric
    if metric not in card["metrics"]:
        raise UnknownNameError(f"metric of the table {name}", metric, card["metrics"])
    space = Space({name: Ordinal(tuple(levels)) for name, levels in card["search_space"].items()})
    cells = values[..., card["metrics"].index(metric)].reshape(1, -1, 1)
    return Table(space, cells, dtype=dtype, device=device)
