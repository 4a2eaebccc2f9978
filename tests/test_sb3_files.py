"""Models of stable-baselines3 from files: zips and exports, what is refused, nothing unpickled."""

import io
import json
import pickle
import zipfile

import cloudpickle
import pytest
import torch
from sb3_models import BUDGET, ON_POLICY, TASK, play, sb3_envs
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import FlattenExtractor

from agents import Agent, WeightsError, export_sb3, from_sb3
from bbo_envs import make_problem


def test_a_zip_and_an_export_propose_the_same_bit_for_bit(model, tmp_path):
    problem = make_problem(TASK, budget=BUDGET)
    model.save(tmp_path / "model.zip")
    export_sb3(model, tmp_path / "new" / "model.safetensors")
    before = torch.get_rng_state()
    read = [tmp_path / "model.zip", str(tmp_path / "model"), tmp_path / "new/model.safetensors"]
    for deterministic in (True, False):
        expected = play(from_sb3(model, deterministic=deterministic), problem)
        for path in read:
            agent = from_sb3(path, deterministic=deterministic)
            assert isinstance(agent, Agent)
            assert torch.equal(play(agent, problem), expected), path
    assert torch.equal(torch.get_rng_state(), before)
    export_sb3(model, tmp_path / "drawn.safetensors", deterministic=False)
    assert torch.equal(play(from_sb3(tmp_path / "drawn.safetensors"), problem), expected)


def test_nothing_is_unpickled(model, tmp_path, monkeypatch):
    path = tmp_path / "model.zip"
    model.save(path)

    def refuse(*arguments, **named):
        raise AssertionError("something is unpickled")

    load = torch.load
    for module, name in [(pickle, "Unpickler"), (pickle, "load"), (pickle, "loads")]:
        monkeypatch.setattr(module, name, refuse)
    monkeypatch.setattr(cloudpickle, "loads", refuse)
    monkeypatch.setattr(cloudpickle, "load", refuse)
    monkeypatch.setattr(
        torch, "load", lambda *a, **k: load(*a, **k) if k["weights_only"] is True else refuse()
    )
    assert from_sb3(path).dim == 2
    with pytest.raises(AssertionError, match="is unpickled"):  # the library's own way
        type(model).load(path, device="cpu")


def rewritten(path, **parts):
    """The zip with other contents of some of its members; None leaves a member out."""
    with zipfile.ZipFile(path) as archive:
        old = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in (old | parts).items():
            if data is not None:
                archive.writestr(name, data)


class Malice:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_code_in_a_zip_is_not_run(saved, tmp_path):
    evil = io.BytesIO()
    torch.save({"weight": Malice(tmp_path / "ran")}, evil)
    rewritten(saved, **{"policy.pth": evil.getvalue()})
    with pytest.raises(
        WeightsError, match=r"model\.zip cannot be read.*more than tensors.*save it"
    ):
        from_sb3(saved)
    assert not (tmp_path / "ran").exists()


def flip(path, needle):
    data = bytearray(path.read_bytes())
    data[data.index(needle) + len(needle) // 2] ^= 0xFF
    path.write_bytes(data)


@pytest.mark.parametrize("damage", ["cut", "flipped", "text", "missing", "no data", "other net"])
def test_damaged_zips_give_one_clear_error(saved, damage, models):
    weights = models["ppo"].policy.action_net.weight.detach().numpy().tobytes()
    {
        "cut": lambda: saved.write_bytes(saved.read_bytes()[:1000]),
        "flipped": lambda: flip(saved, weights),
        "text": lambda: saved.write_text("no zip"),
        "missing": saved.unlink,
        "no data": lambda: rewritten(saved, data=None),
        "other net": lambda: rewritten(saved, data=told_other(saved)),
    }[damage]()
    with pytest.raises(WeightsError, match=r"model\.zip cannot be read"):
        from_sb3(saved)


def told_other(path):
    facts = json.loads(zipfile.ZipFile(path).read("data"))
    facts["policy_kwargs"]["net_arch"] = [3]
    return json.dumps(facts)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("flipped", "its SHA-256 is"),
        ("no card", "the card .* cannot be read"),
        ("no weights", "cannot be read .*No such file"),
        ("foreign", "cannot be read .*kind 'lstm'; use agents.load"),
        ("code", "cannot be read .*no activation 'Parameter'"),
    ],
)
def test_damaged_exports_give_one_clear_error(models, damage, told, tmp_path):
    path = tmp_path / "model.safetensors"
    export_sb3(models["ppo"], path)
    card = path.with_suffix(".json")
    weights = models["ppo"].policy.action_net.weight.detach().numpy().tobytes()
    {
        "flipped": lambda: flip(path, weights),
        "no card": card.unlink,
        "no weights": path.unlink,
        "foreign": lambda: card.write_text(
            json.dumps(json.loads(card.read_text()) | {"architecture": {"kind": "lstm"}})
        ),
        "code": lambda: card.write_text(card.read_text().replace("ReLU", "Parameter")),
    }[damage]()
    with pytest.raises(WeightsError, match=told):
        from_sb3(path)


class OwnPolicy(ActorCriticPolicy):
    pass


class OwnExtractor(FlattenExtractor):
    """With dropout, which is for training only."""

    def __init__(self, space):
        super().__init__(space)
        self.flatten = torch.nn.Sequential(self.flatten, torch.nn.Dropout(0.5))


@pytest.mark.parametrize("own", ["policy", "extractor"])
def test_parts_of_ones_own_are_played_from_a_model_but_not_from_a_file(own, tmp_path):
    policy = OwnPolicy if own == "policy" else "MlpPolicy"
    arguments = {"features_extractor_class": OwnExtractor} if own == "extractor" else {}
    model = PPO(policy, sb3_envs(), batch_size=32, policy_kwargs=arguments, **ON_POLICY)
    model.save(tmp_path / "model.zip")
    with pytest.raises(WeightsError, match=r"(Own|of test_sb3).* pass the model"):
        from_sb3(tmp_path / "model.zip")
    with pytest.raises(WeightsError, match="this model was made with"):
        export_sb3(model, tmp_path / "model.safetensors")
    problem = make_problem(TASK, budget=3)
    expected = play(from_sb3(model), problem)
    loaded = PPO.load(tmp_path / "model.zip", device="cpu")
    for each in (loaded, model):
        assert torch.equal(play(from_sb3(each), problem), expected)


def test_models_of_other_tasks_are_refused(tmp_path, saved):
    pendulum = PPO("MlpPolicy", "Pendulum-v1", batch_size=16, **ON_POLICY)
    with pytest.raises(ValueError, match=r"trained on Box.*train it on training.sb3_env"):
        from_sb3(pendulum)
    pendulum.save(tmp_path / "pendulum.zip")
    with pytest.raises(WeightsError, match=r"observation_space is not Box.*SB3VecEnv"):
        from_sb3(tmp_path / "pendulum.zip")
    facts = json.loads(zipfile.ZipFile(saved).read("data"))
    facts["action_space"]["low"] = "[0. 0.]"
    rewritten(saved, data=json.dumps(facts))
    with pytest.raises(WeightsError, match=r"action_space is not Box"):
        from_sb3(saved)
    with pytest.raises(TypeError, match="DQNPolicy cannot be played"):
        from_sb3(DQN("MlpPolicy", "CartPole-v1", device="cpu", buffer_size=10))
    cart = A2C("MlpPolicy", "CartPole-v1", device="cpu")
    with pytest.raises(ValueError, match="train it on training.sb3_env"):
        from_sb3(cart)


def test_exports_have_their_suffix(models, tmp_path):
    with pytest.raises(ValueError, match=r"must end in \.safetensors, got .*model\.zip"):
        export_sb3(models["ppo"], tmp_path / "model.zip")
