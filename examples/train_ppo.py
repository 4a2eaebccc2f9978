"""PPO on a table of hyper-parameters, by plain Stable-Baselines3 code; then a comparison.

`bbo train-rl --algo ppo --task BBO-HPO-SVM-3d-v0` does the same, with validations, checkpoints and
a card.
"""

import gymnasium
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecMonitor, VecNormalize

import bbo_envs
from agents import from_sb3
from evaluation.benchmark import benchmark
from training.sb3_env import SB3VecEnv

TASK, BUDGET, STEPS = "BBO-HPO-SVM-3d-v0", 20, 200_000

if __name__ == "__main__":
    envs = SB3VecEnv(gymnasium.make_vec(TASK, num_envs=64, budget=BUDGET))
    # Observations are normalised already, each by its own episode; rewards are not.
    envs = VecNormalize(VecMonitor(envs), norm_obs=False)
    model = PPO("MlpPolicy", envs, n_steps=BUDGET, batch_size=320, learning_rate=1e-3, seed=0)
    model.learn(STEPS, progress_bar=True)
    model.save("ppo-svm.zip")

    benchmark(
        {"ppo": from_sb3("ppo-svm.zip"), "random": "random"},
        [bbo_envs.TaskSpec(TASK)],
        budget=BUDGET,
        seeds=100,
        batch=50,
        folder="results/ppo",
    )
