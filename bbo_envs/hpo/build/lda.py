"""Online variational Bayes for latent Dirichlet allocation, on Reuters news.

Hoffman, Blei & Bach 2010, "Online learning for latent Dirichlet allocation": kappa and tau are the
decay and the delay of the step size (tau + t)^-kappa, s is the number of documents in a mini-batch.
"""

import numpy as np
from lda.datasets import load_reuters
from numpy.typing import NDArray
from sklearn.decomposition import LatentDirichletAllocation

from bbo_envs.hpo.build.recipe import Recipe

LEVELS = {
    "kappa": (0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
    "tau": (1.0, 4.0, 16.0, 64.0, 256.0, 1024.0),
    "s": (1, 4, 16, 64, 256, 1024, 4096, 16384),
}
_TOPICS, _TRAINED, _STREAM = 20, 295, 4096


def split_words(counts: NDArray[np.int64], generator: np.random.Generator) -> NDArray[np.int64]:
    """A random half of each document's words, without replacement: counts of the same shape."""
    return np.stack(
        [generator.multivariate_hypergeometric(row, int(row.sum()) // 2) for row in counts]
    )


def run(unit: tuple[int, ...]) -> NDArray[np.float64]:
    """Trains one cell and returns its perplexity on held-out halves of held-out documents."""
    kappa, tau, s = RECIPE.values(unit)
    generator = np.random.default_rng(0)
    documents = load_reuters().astype(np.int64)
    order = generator.permutation(len(documents))
    train, held_out = documents[order[:_TRAINED]], documents[order[_TRAINED:]]
    seen = split_words(held_out, generator)
    stream = train[generator.integers(len(train), size=_STREAM)]
    model = LatentDirichletAllocation(
        _TOPICS,
        learning_decay=kappa,
        learning_offset=tau,
        total_samples=len(train),
        random_state=0,
    )
    for start in range(0, _STREAM, s):
        model.partial_fit(stream[start : start + s])
    topics = model.components_ / model.components_.sum(1, keepdims=True)
    scored = held_out - seen
    likelihood = (scored * np.log(model.transform(seen) @ topics)).sum()
    return np.array([np.exp(-likelihood / scored.sum())])


RECIPE = Recipe(
    name="lda",
    levels=LEVELS,
    metrics=("perplexity",),
    leading=3,
    run=run,
    about=(
        "scikit-learn's online LatentDirichletAllocation, 20 topics, on the 395 Reuters documents "
        "of the package lda: 295 to train, as a stream of 4,096 drawn with replacement, in "
        "mini-batches of s (so 4,096 and 16,384 are alike). Perplexity by document completion: "
        "half of the words of each of 100 held-out documents infer its topics, the other half is "
        "scored. All draws by NumPy's generator with seed 0"
    ),
    source="HPOlib, lda_on_grid (Eggensperger et al. 2013; after Snoek et al. 2012)",
    packages=("scikit-learn", "lda", "numpy"),
)
