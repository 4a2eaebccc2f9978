"""Changing every part of a state of the networks for any number of dimensions."""

import torch

from bbo_envs.functions.streams import Stream

# At which axis the parts of a state hold the coordinates.
COORDINATES = {
    "hidden": 1, "cell": 1, "code": 1, "flip": 1, "best_x": 1, "x": 2, "queries": 2, "pending": 2
}  # fmt: skip


def walk(change, state, name=""):
    """Applies ``change(name, part)`` to all tensors and streams of a state."""
    if isinstance(state, torch.Tensor | Stream):
        return change(name, state)
    if isinstance(state, tuple):
        parts = [walk(change, *pair) for pair in zip(state, state._fields, strict=True)]
        return type(state)(*parts)
    return state


def permuted(state, order):
    """The state with its coordinates in another order."""

    def change(name, part):
        if name == "coordinate_stream":
            return Stream(*(p.view(-1, len(order))[:, order].flatten() for p in part))
        if name in COORDINATES:
            return part.index_select(COORDINATES[name], order)
        return part

    return walk(change, state)


def row_of(state, row, dim):
    """One row of a state, as a state."""

    def change(name, part):
        if name == "coordinate_stream":
            return Stream(*(p[row * dim : (row + 1) * dim] for p in part))
        if isinstance(part, Stream):
            return Stream(*(p[row : row + 1] for p in part))
        return part[row : row + 1] if len(part) > 1 else part  # the grid has one row for all

    return walk(change, state)
