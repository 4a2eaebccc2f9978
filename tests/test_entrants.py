"""Who takes part: names, files, objects; versions that change when the optimiser does."""

import hashlib
import importlib.metadata
import shutil
from importlib import resources

import gymnasium
import pytest
import torch

from agents import WeightsError, card, export_sb3, from_sb3, load, make_agent
from agents.base import Agent
from bbo_envs import UnknownNameError, make_problem
from bbo_envs.suites import TaskSpec
from evaluation.entrants import enter
from evaluation.plan import plan
from evaluation.run import Unit, play

SOURCE = """
import torch

class Centre:
    def init(self, batch, space, budget, generator):
        return torch.full((batch, *space.shape), 0.5)

    def step(self, state, observation):
        return state, state

class OfProblem(Centre):
    def __init__(self, problem):
        self.dim = problem.functions.dim

def factory(problem):
    return OfProblem(problem)

ready = Centre()
number = 3

def nothing(problem):
    return None
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(SOURCE)
    return path


@pytest.fixture
def problem():
    return make_problem("BBO-GP-2d-v0")


def test_classical_optimisers_have_the_version_of_their_library():
    versions = {entrant.name: entrant.version for entrant in enter(["tpe", "cmaes", "random"])}
    assert versions["tpe"] == f"optuna {importlib.metadata.version('optuna')}"
    assert versions["cmaes"] == f"cma {importlib.metadata.version('cma')}"
    assert versions["random"] == f"torch {importlib.metadata.version('torch')}"


def test_networks_have_the_hash_of_their_weights():
    (entrant,) = enter(["universal"])
    assert entrant.version == f"sha256 {card('universal')['sha256'][:12]}"
    # A name without the dimension stands for all, and changes with any of them.
    folder = resources.files("agents") / "weights"
    names = [f"lstm-oi-{dim}d.safetensors" for dim in (1, 2, 3, 5, 6, 9)]
    together = hashlib.sha256(b"".join((folder / name).read_bytes() for name in names))
    assert enter(["lstm-oi"])[0].version == f"sha256 {together.hexdigest()[:12]}"


@pytest.mark.parametrize("attribute", ["Centre", "OfProblem", "factory", "ready"])
def test_attributes_of_files_make_agents(file, problem, attribute):
    (entrant,) = enter([f"{file}:{attribute}"])
    assert entrant.name == attribute
    assert isinstance(entrant.make(problem), Agent)
    before = entrant.version
    assert before == f"sha256 {hashlib.sha256(SOURCE.encode()).hexdigest()[:12]}"
    file.write_text(SOURCE + "# changed\n")
    assert enter([f"{file}:{attribute}"])[0].version != before


def test_attributes_of_modules_make_agents(problem):
    (entrant,) = enter(["agents.baselines.sampling:random_search"])
    assert type(entrant.make(problem)) is type(make_agent("random", problem))


def test_weights_by_path_are_the_network(tmp_path, problem):
    folder = resources.files("agents") / "weights"
    for suffix in (".safetensors", ".json"):
        shutil.copy(str(folder / f"lstm-oi-2d{suffix}"), tmp_path / f"mine{suffix}")
    (entrant,) = enter([str(tmp_path / "mine.safetensors")])
    assert entrant.name == "mine"
    assert entrant.version == enter(["lstm-oi-2d"])[0].version
    assert entrant.make(problem).dim == 2


def test_models_of_stable_baselines_take_part_by_path(tmp_path):
    """A zip by ``model.save`` and an export play what the model plays."""
    from stable_baselines3 import PPO

    from training.sb3_env import SB3VecEnv

    environment = SB3VecEnv(gymnasium.make_vec("BBO-GP-2d-v0", num_envs=2, budget=5))
    model = PPO("MlpPolicy", environment, seed=0, n_steps=8, device="cpu")
    model.save(tmp_path / "zipped.zip")
    export_sb3(model, tmp_path / "exported.safetensors")
    entrants = enter([str(tmp_path / "zipped.zip"), str(tmp_path / "exported.safetensors")])
    assert [entrant.name for entrant in entrants] == ["zipped", "exported"]
    task = TaskSpec("BBO-GP-2d-v0", {"sampler": "fourier"})
    runs = [
        [row["x"] for row in play([Unit(entrant, task, 0, 5)])]
        for entrant in (*entrants, *enter({"live": from_sb3(model)}))
    ]
    assert runs[0] == runs[1] == runs[2]
    (left_out,) = plan(entrants[:1], [TaskSpec("BBO-GP-3d-v0")], budget=5, seeds=range(1)).left_out
    assert "proposes in 2 dimensions, not in 3" in left_out["reason"]


def test_objects_take_part_and_change_their_version_with_their_weights(problem):
    network = load("lstm-oi-2d")
    (before,) = enter([network])
    assert before.name == "LSTMAgent"
    assert before.make(problem) is network
    with torch.no_grad():
        next(network.parameters()).add_(1.0)
    assert enter([network])[0].version != before.version
    named = enter({"a": network, "b": "random"})
    assert [entrant.name for entrant in named] == ["a", "b"]


@pytest.mark.parametrize(
    ("reference", "error", "message"),
    [
        ("randon", UnknownNameError, "Unknown agent 'randon'. Did you mean 'random'"),
        ("lstm-oi-7d", UnknownNameError, "Did you mean 'lstm-oi-"),
        ("nowhere.py:Agent", ValueError, "there is no file 'nowhere.py'"),
        ("nowhere.safetensors", WeightsError, "there is no file 'nowhere.safetensors'"),
        ("nowhere.zip", ValueError, "there is no file 'nowhere.zip'"),
        ("no_such_module:Agent", ValueError, "no_such_module cannot be imported"),
    ],
)
def test_mistakes_are_named(reference, error, message):
    with pytest.raises(error, match=message):
        enter([reference])


def test_attributes_that_are_no_agents_are_named(file, problem):
    (entrant,) = enter([f"{file}:Centr"])
    with pytest.raises(UnknownNameError, match="Did you mean 'Centre'"):
        entrant.make(problem)
    for attribute in ("number", "nothing"):
        (entrant,) = enter([f"{file}:{attribute}"])
        with pytest.raises(ValueError, match=r"gives \w+, where an agent with init"):
            entrant.make(problem)


def test_a_file_that_breaks_is_named(file, problem):
    file.write_text("def (:")
    (entrant,) = enter([f"{file}:Centre"])
    with pytest.raises(ValueError, match=r"own.py cannot be imported \(SyntaxError"):
        entrant.make(problem)


def test_two_of_one_name_are_refused(file):
    with pytest.raises(ValueError, match="two optimisers are called 'random'; give them names"):
        enter(["random", "tpe", "random"])
