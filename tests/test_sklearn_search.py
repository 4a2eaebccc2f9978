"""The search of hyper-parameters with scikit-learn's interface, by scikit-learn's own checks."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import RandomizedSearchCV, cross_val_score
from sklearn.svm import SVC
from sklearn.utils.estimator_checks import parametrize_with_checks

from agents import AskTell
from agents.integrations.sklearn import BBOSearchCV

X, Y = load_iris(return_X_y=True)
SPACE = {"C": (1e-3, 1e3, "log"), "kernel": ["linear", "rbf"]}


@parametrize_with_checks(
    [BBOSearchCV(LogisticRegression(), {"C": (1e-2, 1e2, "log")}, n_iter=2, cv=2, random_state=0)]
)
def test_it_is_an_estimator_of_scikit_learn(estimator, check):
    check(estimator)


def test_settings_are_those_of_asking_and_telling():
    search = BBOSearchCV(SVC(), SPACE, n_iter=8, random_state=3).fit(X, Y)
    seed = np.random.RandomState(3).randint(2**30)
    optimizer = AskTell(SPACE, 8, seed=int(seed))
    for params, score in zip(
        search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True
    ):
        setting = optimizer.ask()
        assert params == setting
        optimizer.tell(setting, -score)
        assert score == pytest.approx(cross_val_score(SVC(**setting), X, Y).mean())
    best = search.cv_results_["params"][search.best_index_]
    assert search.best_params_ == best
    assert search.best_score_ == search.cv_results_["mean_test_score"].max()
    assert search.best_estimator_.get_params()["C"] == best["C"]
    assert (search.predict(X) == SVC(**best).fit(X, Y).predict(X)).all()


def test_results_have_the_columns_of_the_librarys_own_search():
    search = BBOSearchCV(SVC(), SPACE, n_iter=4, n_points=3, random_state=0).fit(X, Y)
    own = RandomizedSearchCV(
        SVC(), {"C": [1.0, 2.0, 4.0], "kernel": ["linear", "rbf"]}, n_iter=4, random_state=0
    ).fit(X, Y)
    assert search.cv_results_.keys() == own.cv_results_.keys()
    assert len(search.cv_results_["params"]) == 4


def test_the_metric_that_refit_names_is_maximised():
    metrics = ["accuracy", "neg_log_loss"]
    search = BBOSearchCV(
        LogisticRegression(), {"C": (1e-3, 1e3, "log")}, n_iter=12, scoring=metrics,
        refit="neg_log_loss", random_state=0,
    )  # fmt: skip
    assert search.fit(X, Y).best_score_ == search.cv_results_["mean_test_neg_log_loss"].max()
    with pytest.raises(ValueError, match="refit must name .* accuracy, neg_log_loss; got False"):
        clone(search).set_params(refit=False).fit(X, Y)


def test_fits_that_fail_are_failures():
    """Polynomials of degree -1 are refused by scikit-learn."""
    space = {"degree": (-3, 3), "C": (1e-2, 1e2, "log")}
    search = BBOSearchCV(SVC(kernel="poly"), space, n_iter=15, random_state=0)
    with pytest.warns(UserWarning, match=r"all fits of \[.*'degree': -\d"):
        search.fit(X, Y)
    assert 5 < len(search.cv_results_["params"]) < 15
    assert search.best_params_["degree"] >= 0
    hopeless = BBOSearchCV(SVC(kernel="poly"), {"degree": (-3, -1)}, n_iter=3)
    with (
        pytest.warns(UserWarning, match="all fits of"),
        pytest.raises(ValueError, match="fits failed"),
    ):
        hopeless.fit(X, Y)


@pytest.mark.parametrize("change", [{"n_iter": 0}, {"n_points": 0}])
def test_mistakes_are_named(change):
    with pytest.raises(ValueError, match=f"{next(iter(change))} must be"):
        BBOSearchCV(SVC(), SPACE, **change).fit(X, Y)


@pytest.mark.parametrize("refit", [True, False])
def test_of_several_metrics_one_is_named_before_anything_is_fitted(refit):
    search = BBOSearchCV(None, {"C": (0.1, 1.0)}, scoring=["accuracy", "f1"], refit=refit)
    with pytest.raises(ValueError, match="refit must name the one to be maximised"):
        search._run_search(None)
