from bbo_envs.core import Observation
from bbo_envs.registration import make_problem
