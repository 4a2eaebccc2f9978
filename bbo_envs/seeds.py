"""Who may draw from which seeds, so that nothing is tested on what it was trained on.

PyTorch's CPU generator keeps the low 32 bits of a seed. They are shared out as follows:

- training, below 2**30;
- optimisers under evaluation, for their own randomness, from 2**30;
- functions by which to choose among networks, which are neither trained nor evaluated on, from
  2**30 + 2**29;
- functions under evaluation, from 2**31: the seeds of every suite.

An environment keeps to the same rule. ``env.reset(seed=2**31 + k)`` draws the evaluation function
numbered k, the one that ``function_generator(k)`` draws, and the resets without a seed that follow
go on among those of evaluation. An environment that was given a lower seed, or none, draws from
those of training.

Where a family has numbered instances, these are split too: BBOB's 1 to 1000 are for evaluation, its
1001 to 2000 for training. A published function without random changes, or a single table, has one
instance only: there, seeds stand for repetitions of the optimiser. Train on perturbed forms, or on
other data sets.
"""

import numpy as np
import torch

AGENT_SEED = 2**30
VALIDATION_SEED = 2**30 + 2**29
FUNCTION_SEED = 2**31


def evaluation_seeds(count: int, start: int = 0) -> range:
    """The seeds of ``count`` functions under evaluation, from the one numbered ``start``.

    Example:
        >>> evaluation_seeds(3)
        range(2147483648, 2147483651)
    """
    return range(FUNCTION_SEED + start, FUNCTION_SEED + start + count)


def function_generator(number: int) -> torch.Generator:
    """The generator of the evaluation function with this number."""
    return torch.Generator().manual_seed(FUNCTION_SEED + number)


def validation_generator(number: int) -> torch.Generator:
    """The generator of the validation function with this number."""
    return torch.Generator().manual_seed(VALIDATION_SEED + number)


def agent_generator(number: int) -> torch.Generator:
    """An optimiser's own randomness under evaluation, on the function with this number."""
    return torch.Generator().manual_seed(AGENT_SEED + number)


class EnvironmentSeeds:
    """The generators of an environment's functions, reset by reset.

    Args:
        random: The environment's own source of randomness, for resets without a seed.
        seed: What the environment was seeded with; None if it was not.

    Example:
        >>> seeds = EnvironmentSeeds(np.random.default_rng(0), FUNCTION_SEED + 5)
        >>> seeds.next().initial_seed() == function_generator(5).initial_seed()
        True
    """

    def __init__(self, random: np.random.Generator, seed: int | None) -> None:
        self._random = random
        self._evaluation = seed is not None and seed >= FUNCTION_SEED
        self._first = seed % FUNCTION_SEED if seed is not None and self._evaluation else None

    def next(self) -> torch.Generator:
        """The generator of the next function."""
        if self._first is not None:
            number, self._first = self._first, None
            return function_generator(number)
        if self._evaluation:
            return function_generator(int(self._random.integers(FUNCTION_SEED)))
        return torch.Generator().manual_seed(int(self._random.integers(AGENT_SEED)))
