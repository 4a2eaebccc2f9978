"""The tree-structured Parzen estimator (Bergstra et al. 2011), by Optuna."""

from bbo_envs.errors import MissingExtraError

from agents.baselines.adapter import PerFunction, Point, take_nearest


class _TPE:
    def __init__(self, dim: int, budget: int, seed: int) -> None:
        import optuna

        self.space = {f"x{i}": optuna.distributions.FloatDistribution(0.0, 1.0) for i in range(dim)}
        verbosity = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
        optuna.logging.set_verbosity(verbosity)
        self.pending: list[tuple[Point, object]] = []

    def ask(self) -> Point:
        import numpy as np

        trial = self.study.ask(self.space)
        point = np.array([trial.params[name] for name in self.space])
        self.pending.append((point, trial))
        return point

    def tell(self, x: Point, y: float) -> None:
        self.study.tell(take_nearest(self.pending, x), y)  # type: ignore[arg-type]


def tpe() -> PerFunction:
    """Optuna's default sampler in its default configuration.

    Raises:
        MissingExtraError: If Optuna is not installed.
    """
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("agent 'tpe'", "baselines") from error
    return PerFunction(_TPE)
