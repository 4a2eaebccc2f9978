"""Queries that have been asked and have not come back: what parallel workers are busy with."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from bbo_envs.core import Observation


class Pending(NamedTuple):
    """Queries that are out.

    Attributes:
        x: ``[B, n, d]``.
        there: ``[B, n]`` 1 where there is one.
    """

    x: Tensor
    there: Tensor


def none_pending(points: Tensor) -> Pending:
    """Nothing is out; shape, dtype and device are those of points ``[B, d]``."""
    return Pending(
        points.new_zeros(len(points), 0, points.shape[1]), points.new_zeros(len(points), 0)
    )


def returned(pending: Pending, observation: Observation) -> Pending:
    """Strikes out the query nearest to the point that came back, in each row where one did.

    Example:
        >>> pending = ask(none_pending(torch.zeros(1, 1)), torch.tensor([[0.2]]))
        >>> pending = ask(pending, torch.tensor([[1.0]]))
        >>> back = Observation(torch.tensor([[0.9]]), torch.zeros(1), torch.ones(1))
        >>> returned(pending, back).x.flatten().tolist()
        [0.20000000298023224]
    """
    x, there = pending
    if not x.shape[1]:
        return pending
    if x.shape[1] == 1 and bool((observation.o > 0).all()):
        return none_pending(x[:, 0])  # what follows comes to the same, but takes its time
    distance = (x - observation.x.to(x).unsqueeze(1)).square().sum(-1)
    distance = distance.masked_fill(there == 0, torch.inf)
    nearest = nn.functional.one_hot(distance.argmin(1), x.shape[1])
    there = there * (1.0 - nearest * (observation.o > 0).unsqueeze(1))
    kept = (there > 0).any(0)
    return Pending(x[:, kept], there[:, kept])


def ask(pending: Pending, x: Tensor) -> Pending:
    """Adds a query ``[B, d]`` to those that are out."""
    return Pending(
        torch.cat([pending.x, x.unsqueeze(1)], 1),
        torch.cat([pending.there, torch.ones_like(x[:, :1])], 1),
    )


def instead(pending: Pending, x: Tensor | None) -> Pending:
    """Puts a query ``[B, d]``, or none, in the place of the last that was added.

    Example:
        >>> pending = ask(none_pending(torch.zeros(1, 1)), torch.tensor([[0.2]]))
        >>> instead(pending, torch.tensor([[0.7]])).x.item(), instead(pending, None).x.numel()
        (0.699999988079071, 0)
    """
    before = Pending(pending.x[:, :-1], pending.there[:, :-1])
    return before if x is None else ask(before, x)
