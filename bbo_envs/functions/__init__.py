"""Distributions over objectives, and the Gaussian process behind some of them."""

from bbo_envs.functions.bbob import BBOB
from bbo_envs.functions.bbob_noisy import BBOBNoisy
from bbo_envs.functions.classics import (
    Ackley,
    DixonPrice,
    Griewank,
    Levy,
    Michalewicz,
    Rastrigin,
    Rosenbrock,
    Schwefel,
    Sphere,
    StyblinskiTang,
    Zakharov,
)
from bbo_envs.functions.gp import (
    ExactGP,
    FourierGP,
    condition,
    expected_improvement,
    posterior,
    predict,
    prior,
)
from bbo_envs.functions.kernels import RBF, Matern52, make_kernel
from bbo_envs.functions.objective import Objective
from bbo_envs.functions.repellers import Repellers
from bbo_envs.functions.rounded import Rounded
from bbo_envs.functions.synthetic import (
    Branin,
    GoldsteinPrice,
    Hartmann3,
    Hartmann6,
    Synthetic,
)
from bbo_envs.functions.table import Table
from bbo_envs.functions.transformed import Transformed, perturbed

__all__ = [
    "BBOB",
    "RBF",
    "Ackley",
    "BBOBNoisy",
    "Branin",
    "DixonPrice",
    "ExactGP",
    "FourierGP",
    "GoldsteinPrice",
    "Griewank",
    "Hartmann3",
    "Hartmann6",
    "Levy",
    "Matern52",
    "Michalewicz",
    "Objective",
    "Rastrigin",
    "Repellers",
    "Rosenbrock",
    "Rounded",
    "Schwefel",
    "Sphere",
    "StyblinskiTang",
    "Synthetic",
    "Table",
    "Transformed",
    "Zakharov",
    "condition",
    "expected_improvement",
    "make_kernel",
    "perturbed",
    "posterior",
    "predict",
    "prior",
]
