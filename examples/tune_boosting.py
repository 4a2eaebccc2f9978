"""Tunes gradient boosting on real data as scikit-learn's searches do, four settings at a time."""

from sklearn.datasets import load_diabetes
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.model_selection import train_test_split

from agents.integrations.sklearn import BBOSearchCV

space = {
    "learning_rate": (1e-3, 1.0, "log"),
    "n_estimators": (20, 100),
    "max_depth": (1, 4),
    "subsample": (0.3, 1.0),
    "loss": ["squared_error", "huber"],
}
train, test, train_y, test_y = train_test_split(
    *load_diabetes(return_X_y=True), test_size=0.3, random_state=0
)
plain = GradientBoostingRegressor(random_state=0)
search = BBOSearchCV(plain, space, n_iter=30, n_points=4, n_jobs=4, cv=3, random_state=0)
search.fit(train, train_y)

print(f"cross-validated R^2 after  30 evaluations: {search.best_score_:.3f}, with")
print(search.best_params_)
print(f"on data held out: {search.score(test, test_y):.3f}")
print(f"with the default settings: {plain.fit(train, train_y).score(test, test_y):.3f}")
