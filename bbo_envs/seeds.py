"""Who may draw from which seeds, so that nothing is tested on what it was trained on.

PyTorch's CPU generator keeps the low 32 bits of a seed. They are shared out as follows:

- training, below 2**30;
- optimisers under evaluation, for their own randomness, from 2**30;
- functions under evaluation, from 2**31: the seeds of every suite.

Where a family has numbered instances, these are split too: BBOB's 1 to 1000 are for evaluation, its
1001 to 2000 for training. A published function without random changes, or a single table, has one
instance only: train on its perturbed forms, or on other data sets.
"""

import torch

AGENT_SEED = 2**30
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


def agent_generator(number: int) -> torch.Generator:
    """An optimiser's own randomness under evaluation, on the function with this number."""
    return torch.Generator().manual_seed(AGENT_SEED + number)
