"""Uses an installed wheel, without extras, from outside the repository. Run by .ci/run."""

import subprocess
import sys

import gymnasium
import torch

import agents
import bbo_envs
import evaluation
import training

for package in (agents, bbo_envs, evaluation, training):
    assert "site-packages" in str(package.__file__), package.__file__

env = gymnasium.make("BBO-GP-6d-v0", budget=20)
agent = agents.load("lstm-oi-6d")
observation, info = env.reset(seed=0)
state = agent.init(1, env.unwrapped.problem.space, 20, torch.Generator().manual_seed(0))
done = False
while not done:
    batch = bbo_envs.Observation(*(torch.as_tensor(part).unsqueeze(0) for part in observation))
    query, state = agent.step(state, batch)
    observation, reward, done, _, info = env.step(query[0].numpy())
assert info["t"] == 20

# The tables that ship are there; those of an extra give one line.
table = gymnasium.make("BBO-HPO-ResNet-6d-v0", render_mode="ansi", budget=3)
table.reset(seed=0)
table.step(table.action_space.sample())
assert "1 evaluations, best 0." in table.render()
for task in bbo_envs.suite("paper"):
    gymnasium.make(task.id, **task.arguments)
message = ""
try:
    gymnasium.make("BBO-HPO-MLP-5d-v0")
except bbo_envs.MissingExtraError as error:
    message = str(error)
assert "pip install 'bbo-envs[hpo]'" in message, message

# Heavy packages are left out, and missing ones give one line.
assert not {"botorch", "optuna", "cma", "pandas", "matplotlib"} & set(sys.modules)
shown = subprocess.run(
    [sys.executable, "-m", "evaluation.cli", "benchmark"], capture_output=True, text=True
)
assert shown.returncode == 2, shown
assert "pip install 'bbo-envs[all]'" in shown.stderr, shown
