"""The numbers that make an instance of a BBOB function, as the suite has drawn them since 2009.

An instance is a function number, a dimension and an instance number: they seed the generator of the
2009 code, from which follow the place of the optimum, its value, the rotations and, for Gallagher's
functions, the peaks. The generator is the minimal standard one of Park & Miller 1988 with the
shuffle of Bays & Durham 1976. Sources: Hansen, Finck, Ros & Auger 2009, "Real-Parameter Black-Box
Optimization Benchmarking 2009: Noiseless Functions Definitions", and Hansen, Auger, Ros, Mersmann,
Tušar & Brockhoff 2021, "COCO: a platform for comparing continuous optimizers in a black-box
setting", whose code is the reference.
"""

import itertools
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bbo_envs.checks import integer_between

Array = NDArray[np.float64]

TRAINING_INSTANCES = range(1001, 2001)
"""What ``instance=None`` draws from; 1 to 1000 are kept for tests and benchmarks."""

MULTIPLIER, MODULUS = 16807, 2**31 - 1
LAST_INSTANCE = 100_000
"""The seeds of later instances would exceed the generator's modulus."""

SEEDED_AS = {4: 3, 18: 17}
"""Functions that take the seeds of another one: they share its optimum and its rotations."""

USES_R = frozenset({6, 7, 10, 11, 12, 13, 14, 15, 16, 17, 18, 23, 24})
USES_Q = frozenset({6, 7, 9, 13, 15, 16, 17, 18, 19, 21, 22, 23, 24})
PEAKS = {21: 101, 22: 21}


class BBOBState(NamedTuple):
    """The instance of each of B rows; parts that a function does without are empty.

    Attributes:
        instance: ``[B]`` its number.
        x_opt: ``[B, d]`` where the minimum is, in [-5, 5]^d.
        f_opt: ``[B]`` the minimum.
        r: ``[B, d, d]`` the rotation seeded apart from ``x_opt``.
        q: ``[B, d, d]`` the rotation with the seed of ``x_opt``.
        peaks: ``[B, p, d]`` Gallagher's peaks, rotated; the first is the global one.
        scales: ``[B, p, d]`` the diagonals of their quadratic forms.
    """

    instance: Tensor
    x_opt: Tensor
    f_opt: Tensor
    r: Tensor
    q: Tensor
    peaks: Tensor
    scales: Tensor


def instance_numbers(instance: int | Sequence[int] | None) -> Sequence[int]:
    """The instances that an argument ``instance`` names, as a sequence.

    Raises:
        ValueError: If there is none, or one is not a number of an instance.

    Example:
        >>> instance_numbers(3), instance_numbers([1, 2]), instance_numbers(None)
        ((3,), (1, 2), range(1001, 2001))
    """
    if instance is None:
        return TRAINING_INSTANCES
    several = isinstance(instance, Sequence) and not isinstance(instance, str)
    numbers = tuple(instance) if isinstance(instance, Sequence) and several else (instance,)
    if not numbers:
        raise ValueError(f"instance must name at least one instance, got {instance!r}")
    return tuple(integer_between("instance", number, 1, LAST_INSTANCE) for number in numbers)


def draw_instances(numbers: Sequence[int], batch: int, generator: torch.Generator) -> list[int]:
    """One instance per row, uniformly; a single one takes no random number."""
    if len(numbers) == 1:
        return [numbers[0]] * batch
    draws = torch.randint(len(numbers), (batch,), generator=generator, device=generator.device)
    return [numbers[index] for index in draws.tolist()]


@lru_cache(maxsize=64)
def _powers(count: int) -> NDArray[np.int64]:
    """The first powers of the multiplier, modulo the modulus."""
    factors = itertools.repeat(MULTIPLIER, count)
    return np.array(list(itertools.accumulate(factors, lambda a, b: a * b % MODULUS)))


def uniforms(count: int, seed: int) -> Array:
    """The 2009 code's uniform numbers in (0, 1).

    Example:
        >>> uniforms(2, seed=10001).round(6).tolist()
        [0.531634, 0.355405]
    """
    states = (seed * _powers(40 + count) % MODULUS).tolist()
    table = states[39:7:-1]  # the last 32 of the 40 states that warm up, the last one first
    chosen = table[0]
    numbers = []
    for state in states[40:]:
        slot = chosen // 67108865
        chosen = table[slot]
        table[slot] = state
        numbers.append(chosen)
    return np.maximum(np.array(numbers) / MODULUS, 1e-99)


def gaussians(count: int, seed: int) -> Array:
    """The 2009 code's standard normal numbers, by the transform of Box & Muller."""
    uniform = uniforms(2 * count, seed)
    normal = np.sqrt(-2.0 * np.log(uniform[:count])) * np.cos(2.0 * math.pi * uniform[count:])
    return np.where(normal == 0.0, 1e-99, normal)


def rotation(dim: int, seed: int) -> Array:
    """A random orthogonal matrix: normal numbers, orthonormalised column by column."""
    columns = gaussians(dim * dim, seed).reshape(dim, dim)
    for i in range(dim):
        columns[i] /= np.sqrt(columns[i] @ columns[i])
        columns[i + 1 :] -= np.outer(columns[i + 1 :] @ columns[i], columns[i])
    return columns.T


def minimum_value(function: int, instance: int) -> float:
    """f_opt: a ratio of two normal numbers, to two decimals and within [-1000, 1000].

    Example:
        >>> minimum_value(1, instance=1)
        79.48
    """
    seed = SEEDED_AS.get(function, function) + 10000 * instance
    ratio = gaussians(1, seed)[0] / gaussians(1, seed + 1)[0]
    return float(min(1000.0, max(-1000.0, math.floor(1e4 * ratio + 0.5) / 100.0)))


def ordinary_minimiser(dim: int, seed: int) -> Array:
    """x_opt of most functions: uniform in [-4, 4]^d, to 8e-4, and never zero."""
    place = 8.0 * np.floor(1e4 * uniforms(dim, seed)) / 1e4 - 4.0
    return np.where(place == 0.0, -1e-5, place)


def rosenbrock_factor(dim: int) -> float:
    """By how much f8, f9 and f19 stretch space: max(1, sqrt(d) / 8)."""
    return max(1.0, math.sqrt(dim) / 8.0)


def _minimiser(function: int, dim: int, seed: int, q: Array) -> Array:
    if function == 4:  # so in the 2009 code, though not in its description
        place = ordinary_minimiser(dim, seed)
        place[::2] = np.abs(place[::2])
        return place
    if function == 5:
        return np.where(ordinary_minimiser(dim, seed) < 0.0, -5.0, 5.0)
    if function == 8:
        return 0.75 * ordinary_minimiser(dim, seed)
    if function in (9, 19):
        return np.asarray(q.sum(0) / (2.0 * rosenbrock_factor(dim)))
    if function == 12:
        return ordinary_minimiser(dim, seed + 1_000_000)
    if function == 20:
        return np.where(uniforms(dim, seed) < 0.5, -0.5, 0.5) * 4.2096874637
    if function in PEAKS:
        return np.asarray(_peak_places(function, dim, seed)[0])
    if function == 24:
        return np.where(gaussians(dim, seed) < 0.0, -1.25, 1.25)
    return ordinary_minimiser(dim, seed)


def _peak_places(function: int, dim: int, seed: int) -> Array:
    """Gallagher's peaks ``[p, d]`` before the rotation; the global one is kept in [-4, 4]^d."""
    places = uniforms(PEAKS[function] * dim, seed).reshape(PEAKS[function], dim)
    places = 10.0 * places - 5.0 if function == 21 else 9.8 * places - 4.9
    places[0] *= 0.8
    return np.asarray(places)


def _peak_scales(function: int, dim: int, seed: int) -> Array:
    """The diagonals ``[p, d]`` of Gallagher's quadratic forms, their entries in random order."""
    count = PEAKS[function]
    levels = np.argsort(uniforms(count - 1, seed)) / (count - 2)
    conditions = np.concatenate([[math.sqrt(1e3) if function == 21 else 1e3], 1e3**levels])
    orders = np.stack([np.argsort(uniforms(dim, seed + 1000 * i)) for i in range(count)])
    return np.asarray(conditions[:, None] ** (orders / (dim - 1) - 0.5))


def instance_state(
    function: int, dim: int, instance: int, dtype: torch.dtype, device: torch.device
) -> BBOBState:
    """The state of one row: instance ``instance`` of function ``function``."""
    seed = SEEDED_AS.get(function, function) + 10000 * instance
    r = rotation(dim, seed + 1_000_000) if function in USES_R else np.empty((0, 0))
    q = rotation(dim, seed) if function in USES_Q else np.empty((0, 0))
    peaks = scales = np.empty((0, 0))
    if function in PEAKS:
        peaks = _peak_places(function, dim, seed) @ q.T
        scales = _peak_scales(function, dim, seed)
    place = _minimiser(function, dim, seed, q)
    value = np.array(minimum_value(function, instance))
    parts = [
        torch.tensor(part, dtype=dtype, device=device).unsqueeze(0)
        for part in (place, value, r, q, peaks, scales)
    ]
    return BBOBState(torch.tensor([instance], device=device), *parts)
