"""Warps of the values, for functions that are not like samples of a Gaussian process.

Many objectives span orders of magnitude: far from the minimum their values are huge, and a Gaussian
process sees little but these. The logarithm of the distance to the lowest value is often more like
a sample of one. Snelson, Rasmussen & Ghahramani 2003, "Warped Gaussian Processes", weigh a warp by
the likelihood of the warped values times the slopes of the warp, equation 6; here a small grid of
warps takes the place of their gradient ascent.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

# A warp takes the excess e of a value over the lowest, in units of the median excess, to
# log(1 + e / c); infinity stands for no warp. The smaller c, the less likely beforehand: some
# values always lie close to the lowest, where the slope is 1 / c.
WARPS = ((math.inf, 1.0), (1.0, 0.3), (0.1, 0.1), (0.01, 0.03))


class Warped(NamedTuple):
    """Values under each of W warps.

    Attributes:
        y: ``[B, W, t]`` of mean zero and deviation one; zero where none came back.
        log_weight: ``[B, W]`` the logarithms of the warp's prior weight and of the slopes of y.
    """

    y: Tensor
    log_weight: Tensor


def warp(y: Tensor, seen: Tensor) -> Warped:
    """Warps values, O(t log t); the same comes of a * y + b, with a > 0.

    Args:
        y: ``[B, t]`` raw values.
        seen: ``[B, t]`` 1 where one came back.

    Example:
        >>> y = torch.tensor([[0.0, 1.0, 10.0, 100.0, 1000.0]])
        >>> for row in warp(y, torch.ones_like(y)).y[0]:
        ...     print(*(f"{value:.1f}" for value in row))
        -0.6 -0.6 -0.5 -0.3 2.0
        -0.9 -0.8 -0.5 0.5 1.7
        -1.1 -0.9 -0.2 0.7 1.6
        -1.4 -0.7 -0.0 0.7 1.4
    """
    there = (seen > 0).unsqueeze(1)
    excess = _excess(y, seen > 0).unsqueeze(1)
    c, weight = y.new_tensor(WARPS).T.unsqueeze(-1).unbind(0)
    plain = c.isinf()
    warped = torch.where(plain, excess, (excess / c).log1p())
    log_slope = torch.where(plain, 0.0, -(excess + c).log())
    count = there.sum(-1, keepdim=True).clamp_min(1)
    warped = torch.where(there, warped - (warped * there).sum(-1, keepdim=True) / count, 0.0)
    deviation = (warped.square().sum(-1, keepdim=True) / count).sqrt()
    deviation = torch.where(deviation > 0, deviation, 1.0)
    log_slope = (there * (log_slope - deviation.log())).sum(-1)
    return Warped(warped / deviation, log_slope + weight.squeeze(-1).log())


def _excess(y: Tensor, there: Tensor) -> Tensor:
    """By how much each value ``[B, t]`` exceeds the lowest, in units of the median excess."""
    if not y.shape[1]:
        return y
    ordered = y.masked_fill(~there, torch.inf).sort(-1).values
    excess = torch.where(there, y - ordered[:, :1], 0.0)
    count = there.sum(-1, keepdim=True)
    unit = ordered.gather(1, count // 2) - ordered[:, :1]
    # Where half of the values are the lowest, the mean tells more; where all are, nothing does.
    unit = torch.where(unit > 0, unit, excess.sum(-1, keepdim=True) / count)
    # A value that stands for a penalty may exceed the others by more than can be squared.
    most = torch.finfo(y.dtype).max ** 0.25
    return (excess / torch.where(unit > 0, unit, 1.0)).clamp_max(most)
