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
from bbo_envs.registration import make_problem, register_all
from bbo_envs.space import Categorical, Float, Integer, Ordinal, Space
from bbo_envs.suites import TaskSpec, suite
from bbo_envs.tasks import TASKS

__all__ = [
    "TASKS",
    "BlackBoxEnv",
    "BlackBoxVectorEnv",
    "BudgetExhaustedError",
    "Categorical",
    "Float",
    "FunctionDistribution",
    "Integer",
    "MissingExtraError",
    "Objective",
    "ObjectiveError",
    "Observation",
    "Ordinal",
    "Problem",
    "ProblemState",
    "QueryError",
    "Space",
    "StepInfo",
    "TaskSpec",
    "UnknownNameError",
    "make_problem",
    "suite",
]

register_all()
