"""Tunes a support vector machine on real data, four cross-validations at a time."""

from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from agents import minimize

SPACE = {
    "C": (1e-3, 1e3, "log"),
    "gamma": (1e-5, 1e1, "log"),
    "kernel": ["rbf", "poly", "sigmoid"],
    "degree": (2, 5),
}
TRAIN, TEST, TRAIN_CLASSES, TEST_CLASSES = train_test_split(
    *load_breast_cancer(return_X_y=True), test_size=0.3, random_state=0
)


def model(values):
    return make_pipeline(StandardScaler(), SVC(**values))


def error(values):
    return 1 - cross_val_score(model(values), TRAIN, TRAIN_CLASSES, cv=5).mean()


if __name__ == "__main__":  # processes import this file
    for agent in ("random", "universal"):
        result = minimize(error, SPACE, 40, workers=4, agent=agent, executor="processes")
        fitted = model(result.x).fit(TRAIN, TRAIN_CLASSES)
        print(f"{agent}: after  40 evaluations an error of {result.y:.4f}, with {result.x}")
        print(f"on data held out: {1 - fitted.score(TEST, TEST_CLASSES):.4f}")
    result.plot("svm.png")
