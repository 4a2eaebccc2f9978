"""Trains a small LSTM for a minute by BPTT and compares it with random search."""

from dataclasses import replace

import torch

from agents import make_agent
from bbo_envs import make_problem
from training.configs import PRESETS
from training.score import score
from training.trainer import Trainer

torch.set_num_threads(1)
config = replace(
    PRESETS["lstm-oi-2d"], network_arguments={"hidden": 32}, iterations=400, batch=64, horizon=25
)
trainer = Trainer(config)
while trainer.iteration < config.iterations:
    facts = trainer.step()
    if trainer.iteration % 50 == 0:
        print(f"iteration {trainer.iteration}: horizon {facts['horizon']}, best {facts['best']}")

problem = make_problem("BBO-GP-2d-v0", budget=25)
for name, agent in (("trained", trainer.agent), ("random", make_agent("random", problem))):
    best = score(agent, problem, functions=500)["best_at"]["25"]
    print(f"{name}: best of 25 evaluations {best['mean']:.3f} ± {best['ci95']:.3f}")
