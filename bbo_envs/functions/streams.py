"""Counter-based random numbers: a state of tensors, so that evaluations stay pure and batched."""

from typing import NamedTuple

import torch
from torch import Tensor

# SplitMix64 (Steele, Lea & Flood 2014), its constants as signed integers.
_GOLDEN, _FIRST, _SECOND = -0x61C8864680B583EB, -0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15


class Stream(NamedTuple):
    """A stream of random numbers for each row.

    Attributes:
        key: ``[B]`` int64; what makes rows differ.
        counter: ``[B]`` int64; how many numbers have been drawn.
    """

    key: Tensor
    counter: Tensor


def streams(batch: int, generator: torch.Generator, device: torch.device) -> Stream:
    """Draws a stream for each row."""
    key = torch.randint(
        -(2**63), 2**63 - 1, (batch,), generator=generator, device=generator.device
    ).to(device)
    return Stream(key, torch.zeros_like(key))


def uniform(stream: Stream, number: int, dtype: torch.dtype) -> tuple[Tensor, Stream]:
    """Draws ``number`` values in (0, 1) for each row, and returns the stream that follows.

    Example:
        >>> stream = streams(3, torch.Generator().manual_seed(0), torch.device("cpu"))
        >>> values, stream = uniform(stream, 2, torch.float64)
        >>> values.shape, stream.counter.tolist()
        (torch.Size([3, 2]), [2, 2, 2])
    """
    counts = stream.counter.unsqueeze(1) + torch.arange(1, number + 1, device=stream.key.device)
    bits = stream.key.unsqueeze(1) + counts * _GOLDEN
    bits = (bits ^ _shift(bits, 30)) * _FIRST
    bits = (bits ^ _shift(bits, 27)) * _SECOND
    bits = bits ^ _shift(bits, 31)
    values = (_shift(bits, 11).double() + 0.5) * 2.0**-53
    return inside_unit(values.to(dtype)), Stream(stream.key, stream.counter + number)


def normal(stream: Stream, number: int, dtype: torch.dtype) -> tuple[Tensor, Stream]:
    """Draws ``number`` standard normal values ``[B, number]`` by inversion."""
    values, stream = uniform(stream, number, torch.float64)
    return torch.special.ndtri(values).to(dtype), stream


def inside_unit(values: Tensor) -> Tensor:
    """Takes values that were rounded up to 1 to the number below it, where ndtri is finite."""
    return values.clamp_max(1.0 - torch.finfo(values.dtype).eps / 2.0)


def _shift(bits: Tensor, places: int) -> Tensor:
    """Shifts right and fills with zeros, where torch's own shift keeps the sign."""
    return (bits >> places) & ((1 << (64 - places)) - 1)
