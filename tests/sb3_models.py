"""Small models of stable-baselines3, shared by the tests that play and that read them."""

import gymnasium
import pytest
import torch
from sb3_contrib import RecurrentPPO
from stable_baselines3 import A2C, PPO, SAC, TD3

from bbo_envs.seeds import function_generator
from training.rollout import unroll
from training.sb3_env import SB3VecEnv

TASK, BUDGET = "BBO-GP-2d-v0", 10
ON_POLICY = {"n_steps": 16, "learning_rate": 0.03, "seed": 0, "device": "cpu"}
OFF_POLICY = {
    "learning_starts": 16, "batch_size": 16, "learning_rate": 0.01, "seed": 0, "device": "cpu"
}  # fmt: skip
NETS = {"pi": [8, 6], "vf": [5]}


def sb3_envs(**arguments):
    return SB3VecEnv(gymnasium.make_vec(TASK, num_envs=4, budget=BUDGET, **arguments))


def model_of(kind):
    """Each algorithm, with arguments of its policy that the class does not have by default."""
    envs = sb3_envs()
    if kind == "ppo":
        relu = {"activation_fn": torch.nn.ReLU, "net_arch": NETS}
        return PPO("MlpPolicy", envs, batch_size=32, policy_kwargs=relu, **ON_POLICY)
    if kind == "ppo-sde":
        sde = {"squash_output": True, "full_std": False}
        return PPO("MlpPolicy", envs, batch_size=32, use_sde=True, policy_kwargs=sde, **ON_POLICY)
    if kind == "a2c":
        return A2C("MlpPolicy", envs, **ON_POLICY | {"learning_rate": 1e-3})
    if kind == "recurrent":
        lstm = {"lstm_hidden_size": 7, "n_lstm_layers": 2, "enable_critic_lstm": False}
        return RecurrentPPO(
            "MlpLstmPolicy", envs, policy_kwargs=lstm | {"net_arch": NETS}, **ON_POLICY
        )
    arch = {"policy_kwargs": {"net_arch": [16, 8]}}
    if kind == "td3":
        return TD3("MlpPolicy", envs, **arch, **OFF_POLICY)
    return SAC("MlpPolicy", envs, use_sde=kind == "sac-sde", **arch, **OFF_POLICY)


KINDS = ["ppo", "ppo-sde", "a2c", "recurrent", "sac", "sac-sde", "td3"]


def play(agent, problem, seeds=range(3)):
    start = problem.reset_rows([function_generator(seed) for seed in seeds])
    return unroll(agent, problem, start, torch.Generator().manual_seed(0)).x


@pytest.fixture(scope="session")
def models():
    return {kind: model_of(kind).learn(128) for kind in KINDS}


@pytest.fixture(scope="session", params=KINDS)
def model(request, models):
    return models[request.param]


@pytest.fixture
def saved(models, tmp_path):
    models["ppo"].save(tmp_path / "model.zip")
    return tmp_path / "model.zip"
