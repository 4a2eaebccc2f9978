"""Distributions over objectives, and the Gaussian process behind some of them."""

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
from bbo_envs.functions.synthetic import (
    Branin,
    GoldsteinPrice,
    Hartmann3,
    Hartmann6,
    Synthetic,
)
from bbo_envs.functions.transformed import Transformed, perturbed

__all__ = [
    "RBF",
    "Branin",
    "ExactGP",
    "FourierGP",
    "GoldsteinPrice",
    "Hartmann3",
    "Hartmann6",
    "Matern52",
    "Objective",
    "Synthetic",
    "Transformed",
    "condition",
    "expected_improvement",
    "make_kernel",
    "perturbed",
    "posterior",
    "predict",
    "prior",
]
