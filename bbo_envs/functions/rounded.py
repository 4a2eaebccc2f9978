"""Functions that are piecewise constant where a search space is discrete."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from bbo_envs.functions.transforms import Draw, Transform
from bbo_envs.space import Float, Space


class Rounded(Transform):
    """Queries moved to the centre of their bin, so that f is constant there (Chen et al. 2017).

    It draws nothing. Points that a transform before it moved out of the cube are clipped. The
    minimum becomes unknown: it is that over the centres.

    Args:
        space: The search space, or its JSON form; its discrete coordinates are rounded.
        straight_through: Pass gradients as if nothing were rounded; otherwise those of rounded
            coordinates are zero.

    Example:
        >>> import torch
        >>> from bbo_envs.functions import Branin, Transformed
        >>> function = Transformed(Branin(), [Rounded(Space({"a": (1, 4), "b": (0.0, 1.0)}))])
        >>> state = function.sample(2, torch.Generator())
        >>> function.evaluate(state, torch.tensor([[0.26, 0.5], [0.49, 0.5]]))[0].unique().numel()
        1
    """

    keeps_minimum = False

    def __init__(self, space: Space | Mapping[str, Any], straight_through: bool = False) -> None:
        self.space = space if isinstance(space, Space) else Space.from_json(space)
        self.straight_through = straight_through
        continuous = any(isinstance(p, Float) for p in self.space.parameters.values())
        self.passes_gradients = straight_through or continuous

    def draw(self, draw: Draw) -> tuple[()]:
        """Checks the dimension.

        Raises:
            ValueError: If the space has another number of coordinates than the function.
        """
        if draw.dim != self.space.dim:
            raise ValueError(
                f"the functions have {draw.dim} coordinates, but {self.space} has "
                f"{self.space.dim}; give a space with one parameter for each"
            )
        return ()

    def forward(self, drawn: tuple[()], x: Tensor) -> Tensor:
        return self.space.snap(x.clamp(0.0, 1.0), self.straight_through)
