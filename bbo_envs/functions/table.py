"""Exhaustive tables: objectives evaluated on every cell of a grid, looked up in batches."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from bbo_envs.errors import UnknownNameError
from bbo_envs.functions.base import Functions
from bbo_envs.functions.streams import Stream, streams, uniform
from bbo_envs.space import Space


class TableState(NamedTuple):
    """State of ``Table``.

    Attributes:
        table: ``[B]`` int64: which of the tables each row is about.
        stream: Where the repetition of each evaluation is drawn from.
    """

    table: Tensor
    stream: Stream


class Table(Functions):
    """One or several exhaustive tables over the same space of discrete parameters, minimised.

    Each function is one of the tables, drawn uniformly. A point of the cube is the cell it falls
    in: the objective is piecewise constant and passes no gradients.

    Args:
        space: The discrete parameters; its bins are the cells.
        values: ``[tables, cells, repetitions]``, cells in row-major order of the parameters, such
            as an error under several training seeds. NaN is refused.
        repetition: ``"mean"`` (over the repetitions: deterministic) or ``"random"`` (each
            evaluation draws one, as noise; the optimum is that of the means).
        dtype: Of all tensors.
        device: Of all tensors.

    Raises:
        ValueError: If a parameter is continuous, or the values do not fit the space.

    Example:
        >>> from bbo_envs.space import Categorical, Ordinal
        >>> space = Space({"depth": Ordinal((1, 2, 3)), "kernel": Categorical(("rbf", "linear"))})
        >>> table = Table(space, torch.arange(6.0).view(1, 6, 1))
        >>> state = table.sample(2, torch.Generator().manual_seed(0))
        >>> table.evaluate(state, torch.tensor([[0.0, 0.9], [0.9, 0.1]]))[0].tolist()
        [1.0, 4.0]
    """

    differentiable = False

    def __init__(
        self,
        space: Space,
        values: Tensor,
        repetition: str = "mean",
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> None:
        self.space = space
        self.dim = space.dim
        self.dtype = dtype
        self.device = torch.device(device)
        levels = (space.indices(torch.ones(space.dim)) + 1).tolist()
        if values.dim() != 3 or values.shape[1] != math.prod(levels):
            raise ValueError(
                f"values must have shape [tables, {math.prod(levels)} cells, repetitions] for a "
                f"space with {levels} levels, got {tuple(values.shape)}"
            )
        if not values.isfinite().all():
            raise ValueError("a table must be finite; drop or replace its failed cells")
        if repetition not in ("mean", "random"):
            raise UnknownNameError("repetition", repetition, ["mean", "random"])
        values = values.double()
        means = values.mean(2)
        self._best = means.min(1).values.to(self.device, dtype)
        # Medians: a few diverged runs may be huge.
        self.prior_mean = means.median(1).values.mean().item()
        chosen = means.unsqueeze(2) if repetition == "mean" else values
        self._tables, self._cells, self._repetitions = chosen.shape
        self._values = chosen.reshape(-1).to(self.device, dtype)
        strides = [math.prod(levels[i + 1 :]) for i in range(len(levels))]
        self._strides = torch.tensor(strides, device=self.device)

    def sample(self, batch: int, generator: torch.Generator) -> TableState:
        table = torch.randint(
            self._tables, (batch,), generator=generator, device=generator.device
        ).to(self.device)
        return TableState(table, streams(batch, generator, self.device))

    def value(self, state: TableState, x: Tensor) -> tuple[Tensor, TableState]:
        cell = (self.space.indices(x) * self._strides).sum(-1)
        place = (state.table * self._cells + cell) * self._repetitions
        if self._repetitions > 1:
            draw, stream = uniform(state.stream, 1, torch.float64)
            place = place + (draw.squeeze(1) * self._repetitions).long()
            state = state._replace(stream=stream)
        return self._values[place], state

    def optimum(self, state: TableState) -> Tensor:
        return self._best[state.table]

    def native(self, state: TableState, x: Tensor) -> Tensor:
        """The levels; the index of a level that is not a number."""
        return self.space.native(x)
