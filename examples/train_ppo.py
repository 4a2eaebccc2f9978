"""PPO on tables of hyper-parameters, by plain Stable-Baselines3 code, then on others.

`bbo train-rl --algo ppo --task BBO-HPO-MLP-5d-v0` does the same, with validations, checkpoints and
a card.
"""

import gymnasium
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecMonitor, VecNormalize

import bbo_envs
from agents import from_sb3
from evaluation.benchmark import benchmark
from training.sb3_env import SB3VecEnv

TASK, BUDGET, STEPS = "BBO-HPO-MLP-5d-v0", 20, 60_000
TAUGHT = ["australian", "blood_transfusion", "car", "credit_g", "kc1", "segment"]

if __name__ == "__main__":
    envs = SB3VecEnv(gymnasium.make_vec(TASK, num_envs=64, budget=BUDGET, dataset=TAUGHT))
    # Observations are normalised already, each by its own episode; rewards are not.
    envs = VecNormalize(VecMonitor(envs), norm_obs=False)
    model = PPO(
        "MlpPolicy",
        envs,
        n_steps=BUDGET,
        batch_size=320,
        learning_rate=1e-3,
        # Actions are steps from the incumbent: of a tenth of the cube at first.
        policy_kwargs={"log_std_init": -1.5},
        seed=0,
    )
    model.learn(STEPS, progress_bar=True)
    model.save("ppo-mlp.zip")

    benchmark(
        # Draws from the policy: its mean would be asked again and again.
        {"ppo": from_sb3("ppo-mlp.zip", deterministic=False), "random": "random"},
        [
            bbo_envs.TaskSpec(TASK, {"dataset": "phoneme"}),
            bbo_envs.TaskSpec(TASK, {"dataset": "vehicle"}),
        ],
        budget=BUDGET,
        seeds=100,
        batch=50,
        folder="results/ppo",
    )
