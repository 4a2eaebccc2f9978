"""Trained networks in place of scikit-learn's ``GridSearchCV`` and ``RandomizedSearchCV``."""

import warnings
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from agents.asktell import AskTell
from bbo_envs.checks import positive_integer
from bbo_envs.errors import MissingExtraError
from bbo_envs.seeds import AGENT_SEED

try:
    from sklearn.model_selection._search import BaseSearchCV
    from sklearn.utils import check_random_state
except ImportError:
    raise MissingExtraError("agents.integrations.sklearn", "sklearn") from None

if TYPE_CHECKING:
    from agents.spaces import Spacelike


class BBOSearchCV(BaseSearchCV):  # type: ignore[misc]  # of no type here
    """Finds the hyper-parameters of an estimator by a trained network, with cross-validation.

    It has the methods and attributes of scikit-learn's own searches: ``fit``, ``best_params_``,
    ``best_score_``, ``best_estimator_``, ``cv_results_``, and ``predict`` and others where the
    estimator has them. Where all fits of a lot fail, of one setting if ``n_points`` is 1, a warning
    says so, ``cv_results_`` is without them, and the search keeps away from there.

    Args:
        estimator: What is to be tuned.
        param_space: Its parameters, as for ``AskTell``: such as ``{"C": (1e-3, 1e3, "log")}``.
        n_iter: How many settings are tried.
        n_points: How many are proposed at a time. With ``n_jobs``, as many times the folds are
            fitted side by side; the network is told of the values of one lot before the next.
        agent: The name of an optimiser, as for ``agents.make_agent``.
        scoring: As for ``GridSearchCV``, like all that follow. Of several metrics, ``refit`` names
            the one to be maximised.
        n_jobs: Fits side by side.
        refit: Whether the best setting is fitted to all data; or, which it must be where there are
            several metrics, the name of the one to be maximised.
        cv: The folds.
        verbose: How much is printed.
        pre_dispatch: Fits that are prepared ahead.
        random_state: Of the network's randomness.
        error_score: The score of a fit that fails; the network is shown it, or NaN as a failure.
        return_train_score: Whether ``cv_results_`` has scores on the training data too.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> from sklearn.svm import SVC
        >>> space = {"C": (1e-3, 1e3, "log"), "gamma": (1e-4, 1e1, "log")}
        >>> search = BBOSearchCV(SVC(), space, n_iter=15, random_state=0)
        >>> bool(search.fit(*load_iris(return_X_y=True)).best_score_ > 0.95)
        True
    """

    def __init__(
        self,
        estimator: Any,
        param_space: "Spacelike",
        *,
        n_iter: int = 50,
        n_points: int = 1,
        agent: str = "universal",
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: Any = True,
        cv: Any = None,
        verbose: int = 0,
        pre_dispatch: Any = "2*n_jobs",
        random_state: Any = None,
        error_score: Any = np.nan,
        return_train_score: bool = False,
    ) -> None:
        self.param_space = param_space
        self.n_iter = n_iter
        self.n_points = n_points
        self.agent = agent
        self.random_state = random_state
        super().__init__(
            estimator=estimator,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            error_score=error_score,
            return_train_score=return_train_score,
        )

    def _run_search(self, evaluate_candidates: Callable[..., Mapping[str, Any]]) -> None:
        """What scikit-learn calls to have settings proposed."""
        seed = int(check_random_state(self.random_state).randint(AGENT_SEED))
        left = positive_integer("n_iter", self.n_iter)
        positive_integer("n_points", self.n_points)
        if isinstance(self.scoring, list | tuple | set | dict):
            self._check_refit(self.scoring)
        optimizer = AskTell(self.param_space, left, self.agent, seed, self.n_points)
        known = False
        while left:
            settings = optimizer.ask(min(self.n_points, left))
            left -= len(settings)
            try:
                results = evaluate_candidates(settings)
                scores = results[self._metric(results)][-len(settings) :]
                known = True
            except ValueError as error:
                # The library's words for a lot without any success, which ends its own searches.
                if " fits failed" not in str(error) or not (left or known):
                    raise
                warnings.warn(f"all fits of {settings} failed: {error}", stacklevel=2)
                scores = np.full(len(settings), self.error_score)
            for setting, score in zip(settings, scores, strict=True):
                optimizer.tell(setting, -float(score))

    def _metric(self, results: Mapping[str, Any]) -> str:
        """The column of what is to be maximised."""
        if "mean_test_score" in results:
            return "mean_test_score"
        known = [n.removeprefix("mean_test_") for n in results if n.startswith("mean_test_")]
        self._check_refit(known)
        return f"mean_test_{self.refit}"

    def _check_refit(self, metrics: Collection[str]) -> None:
        if self.refit not in metrics:
            raise ValueError(
                f"with several metrics, refit must name the one to be maximised, one of "
                f"{', '.join(metrics)}; got {self.refit!r}"
            )
