"""Uses an installed wheel, without extras, from outside the repository. Run by .ci/run."""

import importlib
import subprocess
import sys
from pathlib import Path

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

# A function of one's own: the networks that need no extra, the one recommended, and a program.
space = {"lr": (1e-5, 1e-1, "log"), "layers": (1, 8), "opt": ["adam", "sgd"]}
for name in ("auto", "universal", "posterior-guided"):
    result = agents.minimize(
        lambda x: abs(x["layers"] - 3) + x["lr"], space, 12, workers=2, agent=name, progress=False
    )
    assert len(result.history) == 12
assert agents.recommend(space, 50, 4).agent in agents.trained_names()
Path("space.json").write_text('{"lr": [1e-5, 0.1, "log"], "layers": [1, 8]}')
Path("program.py").write_text("import sys; print(float(sys.argv[1]) + int(sys.argv[2]))")
shown = subprocess.run(
    [
        sys.executable,
        "-m",
        "evaluation.cli",
        "minimize",
        "--space=space.json",
        "--command=python3 program.py {lr} {layers}",
        "--budget=6",
    ],
    capture_output=True,
    text=True,
    check=True,
)
assert "The best of 6" in shown.stdout, shown
for library in ("optuna", "sklearn", "ray"):
    message = ""
    try:
        importlib.import_module(f"agents.integrations.{library}")
    except bbo_envs.MissingExtraError as error:
        message = str(error)
    assert f"pip install 'bbo-envs[{library}]'" in message, message

# Heavy packages are left out, and missing ones give one line.
assert not {"botorch", "optuna", "cma", "pandas", "matplotlib"} & set(sys.modules)
shown = subprocess.run(
    [sys.executable, "-m", "evaluation.cli", "benchmark"], capture_output=True, text=True
)
assert shown.returncode == 2, shown
assert "pip install 'bbo-envs[all]'" in shown.stderr, shown
