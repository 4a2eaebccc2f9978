"""Black-box optimisation as a Gymnasium suite: the agent is the optimiser.

Importing this package registers every task id with Gymnasium.
"""

from bbo_envs.core import FunctionDistribution, Observation
from bbo_envs.env import BlackBoxEnv, BlackBoxVectorEnv
from bbo_envs.errors import (
    BudgetExhaustedError,
    MissingExtraError,
    ObjectiveError,
    QueryError,
    UnknownNameError,
)
from bbo_envs.functions.objective import Objective
from bbo_envs.problem import Problem, ProblemState, StepInfo
from bbo_envs.registration import TASKS, make_problem, register_all

__all__ = [
    "TASKS",
    "BlackBoxEnv",
    "BlackBoxVectorEnv",
    "BudgetExhaustedError",
    "FunctionDistribution",
    "MissingExtraError",
    "Objective",
    "ObjectiveError",
    "Observation",
    "Problem",
    "ProblemState",
    "QueryError",
    "StepInfo",
    "UnknownNameError",
    "make_problem",
]

register_all()
