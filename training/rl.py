"""Training by Stable-Baselines3 in a folder: log, validation, checkpoints, and going on.

The algorithms are the library's own; ours are the tasks (``training.sb3_env``), what they are told
by default, and a callback that judges a policy as all optimisers here are judged: by the best value
that it finds on functions that no training run has seen.
"""

import inspect
import json
import os
import shutil
import time
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
from sb3_contrib import RecurrentPPO
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecMonitor, VecNormalize

from agents.pretrained import card
from agents.sb3 import export_sb3, from_sb3
from agents.sb3_files import read_tensors
from bbo_envs.errors import UnknownNameError
from bbo_envs.registration import make_problem
from bbo_envs.seeds import AGENT_SEED
from training import log
from training.bptt import commit_of_run, note_commit
from training.checkpoint import CheckpointError
from training.rl_configs import RLConfig, check_arguments
from training.sb3_env import SB3VecEnv
from training.score import own_tasks, scores, validate

CHECKPOINT = "checkpoint.zip"
BEST = "best.safetensors"
LOG = "log.jsonl"

Report = Callable[[dict[str, Any]], None]


class _Algorithm(NamedTuple):
    """An algorithm of the library.

    Attributes:
        make: Its class.
        policy: The policy's name.
        arguments: What it is told by default, given the configuration.
    """

    make: Any
    policy: str
    arguments: Callable[[RLConfig], dict[str, Any]]


def make_model(config: RLConfig, folder: Path | None = None) -> BaseAlgorithm:
    """The model before training, on its environments.

    Args:
        config: What to train and how.
        folder: Where its TensorBoard log goes, if it is to write one.

    Raises:
        UnknownNameError: If there is no such task, or an argument that it does not take.

    Example:
        >>> model = make_model(RLConfig("ppo", "BBO-GP-2d-v0", budget=10, envs=4))
        >>> model.n_steps, model.env.num_envs
        (10, 4)
    """
    # Mistakes show here, in words of ours.
    make_problem(config.task, budget=config.budget, **config.task_arguments)
    envs = gymnasium.make_vec(
        config.task, num_envs=config.envs, budget=config.budget, **config.task_arguments
    )
    algorithm = _ALGORITHMS[config.algo]
    check_arguments(config.algo, config.arguments, inspect.signature(algorithm.make).parameters)
    arguments = algorithm.arguments(config) | config.arguments
    # Rewards are gains in the units of the functions; only their scale is learned, and only here.
    wrapped = VecNormalize(
        VecMonitor(SB3VecEnv(envs)), norm_obs=False, gamma=arguments.get("gamma", 0.99)
    )
    board = str(folder / "tensorboard") if folder else None
    common = {"seed": config.seed, "device": "cpu", "tensorboard_log": board}
    model: BaseAlgorithm = algorithm.make(algorithm.policy, wrapped, **common | arguments)
    return model


def train_rl(
    config: RLConfig,
    folder: Path,
    *,
    evaluate_every: int = 50_000,
    functions: int = 128,
    report: Report | None = None,
) -> Path:
    """Trains a policy, or goes on with the run that the folder holds.

    The folder gets ``config.json``; ``checkpoint.zip``, which Stable-Baselines3 reads too;
    ``log.jsonl``, a line per validation; ``best.safetensors`` with its card, the policy that was
    best then; and ``tensorboard``. A run that goes on has the weights and the optimiser's state of
    its last checkpoint; its functions are other ones than without the break, and replay buffers
    fill anew.

    Args:
        config: What to train and how.
        folder: Where the run lives.
        evaluate_every: Evaluations between validations; each writes a checkpoint.
        functions: Functions of a validation, none of which are trained on.
        report: Called with every line of the log (steps, seconds without validations, best), and
            with ``steps`` after each rollout.

    Returns:
        The path of the best policy.

    Raises:
        CheckpointError: If the folder holds a run with another configuration, or a damaged one.
    """
    if config.algo not in _ALGORITHMS:
        raise UnknownNameError("algorithm", config.algo, _ALGORITHMS)
    _claim(folder, config)
    model = make_model(config, folder)
    lines = folder / LOG
    done = _resume(model, folder / CHECKPOINT)
    log.forget_after(lines, done, "steps")
    if done:  # other functions than those that the run began with
        model.set_random_seed((config.seed + done) % AGENT_SEED)
    model.learn(
        max(config.steps - done, 0),
        callback=_Watch(config, folder, evaluate_every, functions, report),
        reset_num_timesteps=False,
    )
    return folder / BEST


def export_best(config: RLConfig, path: Path, functions: int, command: str) -> None:
    """Scores the best policy of a run, and writes it with a card that says how good it is.

    Args:
        config: What was trained and how.
        path: Where it goes: in the run's folder, ending in ``.safetensors``.
        functions: Held-out functions for the score.
        command: What trains it once more.
    """
    best = path.parent / BEST
    agent = from_sb3(best)
    training = {
        "command": command,
        "commit": commit_of_run(path.parent),
        "seed": config.seed,
        "config": asdict(config),
        "seconds": log.read(path.parent / LOG)[-1]["seconds"],
    }
    facts = (
        card(best)
        | {"training": training}
        | scores(agent, own_tasks(config.task, config.task_arguments), functions)
    )
    shutil.copy(best, path)
    path.with_suffix(".json").write_text(json.dumps(facts, indent=2) + "\n")


class _Watch(BaseCallback):
    """Validates, logs, keeps the best policy, and writes checkpoints."""

    def __init__(
        self,
        config: RLConfig,
        folder: Path,
        every: int,
        functions: int,
        report: Report | None,
    ) -> None:
        super().__init__()
        self.folder, self.every, self.functions = folder, every, functions
        self.report = report
        self.tasks = [
            {"task": config.task, "arguments": config.task_arguments, "budget": config.budget}
        ]

    def _on_training_start(self) -> None:
        known = log.read(self.folder / LOG)
        self.best = min((line["best"] for line in known), default=float("inf"))
        self.seconds = known[-1]["seconds"] if known else 0.0
        self.last = self.model.num_timesteps
        self.started = time.perf_counter()

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        # What was learned of the last rollout is in the weights by now.
        if self.report:
            self.report({"steps": self.model.num_timesteps})
        if self.model.num_timesteps - self.last >= self.every:
            self._look()

    def _on_training_end(self) -> None:
        if self.model.num_timesteps > self.last:
            self._look()

    def _look(self) -> None:
        self.seconds += time.perf_counter() - self.started
        steps = self.last = self.model.num_timesteps
        # Draws, as the policy was trained to make: one without memory would repeat its mean.
        best = validate(from_sb3(self.model, deterministic=False), self.tasks, self.functions)
        self.logger.record("validation/best", best)
        line = {"steps": steps, "seconds": round(self.seconds, 3), "best": best}
        if best < self.best:
            self.best = best
            export_sb3(self.model, self.folder / BEST, deterministic=False)
        log.append(self.folder / LOG, line)
        partial = self.folder / "partial.zip"
        self.model.save(partial)
        os.replace(partial, self.folder / CHECKPOINT)
        if self.report:
            self.report(line)
        self.started = time.perf_counter()


def _claim(folder: Path, config: RLConfig) -> None:
    """Writes down what a folder trains, or checks that it is the same."""
    path = folder / "config.json"
    mine = json.loads(json.dumps(vars(config)))
    if path.exists():
        theirs = json.loads(path.read_text())
        different = [key for key in mine if theirs.get(key) != mine[key]]
        if different:
            key = different[0]
            raise CheckpointError(
                f"the run in {folder} has {key}={theirs.get(key)!r}, not {mine[key]!r}; resume it "
                "with its own configuration, or name another folder"
            )
        return
    note_commit(folder)
    path.write_text(json.dumps(mine, indent=2) + "\n")


def _resume(model: BaseAlgorithm, path: Path) -> int:
    """Takes a checkpoint's weights and optimisers, without unpickling; says how far it had come."""
    if not path.exists():
        return 0
    try:
        with zipfile.ZipFile(path) as archive:
            steps: int = json.loads(archive.read("data"))["num_timesteps"]
            parts = {
                name.removesuffix(".pth"): read_tensors(archive, name)
                for name in archive.namelist()
                if name.endswith(".pth")
            }
        variables = parts.pop("pytorch_variables", None)
        model.set_parameters(parts, device="cpu")
        for name, value in (variables or {}).items():
            getattr(model, name).data = value.data
    except Exception as error:  # of the readers of zips, JSON and tensors, or of the model
        raise CheckpointError(
            f"the checkpoint {path} cannot be read ({type(error).__name__}: {error}); remove it to "
            "begin anew"
        ) from error
    model.num_timesteps = steps
    return steps


def _falling(config: RLConfig) -> Callable[[float], float]:
    return lambda left: config.learning_rate * left


def _ppo(config: RLConfig) -> dict[str, Any]:
    """A rollout is an episode of each function; an episode's gains count alike, early or late."""
    return {
        "n_steps": config.budget,
        "batch_size": max(config.envs * config.budget // 4, 2),
        "learning_rate": _falling(config),
        "gamma": 0.99,
        "gae_lambda": 0.95,
        "ent_coef": 0.0,
        # Steps of a tenth of the cube at first.
        "policy_kwargs": {"log_std_init": -1.5},
    }


def _recurrent_ppo(config: RLConfig) -> dict[str, Any]:
    arguments = _ppo(config)
    # The 256 units of the library take several times as long.
    arguments["policy_kwargs"] |= {"lstm_hidden_size": 64}
    return arguments


def _sac(config: RLConfig) -> dict[str, Any]:
    return {
        "learning_rate": _falling(config),
        "learning_starts": 10 * config.envs * config.budget,
        "buffer_size": 200_000,
        "batch_size": 256,
        "train_freq": 1,
        "gradient_steps": max(config.envs // 8, 1),
        "gamma": 0.99,
    }


_ALGORITHMS = {
    "ppo": _Algorithm(PPO, "MlpPolicy", _ppo),
    "recurrent-ppo": _Algorithm(RecurrentPPO, "MlpLstmPolicy", _recurrent_ppo),
    "sac": _Algorithm(SAC, "MlpPolicy", _sac),
}
