"""Stable-Baselines3: what it trains on against the scalar environments, what it learnt as agents.

The library's own ``predict`` and ``load`` say what a model proposes.
"""

import io
import json
import pickle
import sys
import zipfile

import cloudpickle
import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from sb3_contrib import RecurrentPPO
from scipy.stats import ks_2samp
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.common.vec_env import VecMonitor, VecNormalize

import agents
from agents import Agent, WeightsError, export_sb3, from_sb3
from bbo_envs import MissingExtraError, Objective, Observation, Problem, make_problem
from bbo_envs.core import stack
from bbo_envs.env import BlackBoxVectorEnv
from bbo_envs.seeds import FUNCTION_SEED, evaluation_seeds, function_generator
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
        return A2C("MlpPolicy", envs, **ON_POLICY | {"learning_rate": 3e-3})
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


@pytest.fixture(scope="module")
def models():
    return {kind: model_of(kind).learn(128) for kind in KINDS}


@pytest.fixture(scope="module", params=KINDS)
def model(request, models):
    return models[request.param]


@pytest.fixture
def saved(models, tmp_path):
    models["ppo"].save(tmp_path / "model.zip")
    return tmp_path / "model.zip"


def play(agent, problem, seeds=range(3)):
    start = problem.reset_rows([function_generator(seed) for seed in seeds])
    return unroll(agent, problem, start, torch.Generator().manual_seed(0)).x


def as_seen(seen, budget):
    """What a policy is to be shown, from the plain list of observations so far."""
    back = [(x, float(y)) for x, y, o in seen if o]
    values = np.array([y for _, y in back])
    x, y, o = seen[-1]
    best_x, best = min(back, key=lambda pair: pair[1]) if back else (np.full(2, 0.5), 0.0)
    mean, scale = (values.mean(), values.std()) if back else (0.0, 1.0)
    scale = scale or 1.0
    left = budget - len(seen) + 1
    scores = [(y - mean) / scale if o else 0.0, (best - mean) / scale if back else 0.0]
    clock = [left / budget, np.log(1 + len(seen)) / 5, np.log(1 + left) / 5]
    places = [2 * (x if o else best_x) - 1, 2 * best_x - 1]
    return np.concatenate([*places, scores, [scores[0] - scores[1], o], clock])


@pytest.mark.parametrize("workers", [1, 3])
def test_rows_are_the_scalar_environment_through_autoreset(workers):
    budget, count = 4, 2
    envs = SB3VecEnv(gymnasium.make_vec(TASK, num_envs=count, budget=budget, workers=workers))
    scalars = [gymnasium.make(TASK, budget=budget, workers=workers) for _ in range(count)]
    envs.seed(7)
    shown = envs.reset()
    seen = [[env.reset(seed=7 + row)[0]] for row, env in enumerate(scalars)]
    random = np.random.default_rng(0)
    for _ in range(3 * budget):
        assert envs.observation_space.contains(shown[0])
        np.testing.assert_allclose(shown, [as_seen(row, budget) for row in seen], atol=1e-5)
        actions = random.uniform(-1, 1, (count, 2)).astype(np.float32)
        shown, rewards, dones, infos = envs.step(actions)
        assert rewards.dtype == np.float32
        for row, env in enumerate(scalars):
            observation, reward, done, _, info = env.step((actions[row] + 1) / 2)
            seen[row].append(observation)
            assert rewards[row] == pytest.approx(reward, abs=1e-6)
            assert dones[row] == done
            told = {k: infos[row][k] for k in info}
            np.testing.assert_equal(told, info)
            assert infos[row]["TimeLimit.truncated"] is False
            if done:
                last = infos[row]["terminal_observation"]
                np.testing.assert_allclose(last, as_seen(seen[row], budget), atol=1e-5)
                first, first_info = env.reset()
                seen[row] = [first]
                np.testing.assert_equal(envs.reset_infos[row], first_info)
            else:
                assert "terminal_observation" not in infos[row]


def test_the_librarys_own_wrappers_go_around_it():
    plain, envs = sb3_envs(), VecNormalize(VecMonitor(sb3_envs()), norm_obs=False)
    actions = np.random.default_rng(0).uniform(-1, 1, (BUDGET, 4, 2)).astype(np.float32)
    returns = np.zeros(4)
    for each in (plain, envs):
        each.seed(3)
        each.reset()
        for action in actions:
            _, reward, _, infos = each.step(action)
            if each is plain:
                returns += reward
    assert [info["episode"]["r"] for info in infos] == pytest.approx(returns, abs=1e-5)
    assert [info["episode"]["l"] for info in infos] == [BUDGET] * 4


def test_rows_are_one_batch():
    envs = sb3_envs(render_mode="rgb_array")
    assert envs.get_attr("num_envs", [0, 2]) == [4, 4]
    assert envs.env_is_wrapped(gymnasium.Wrapper) == [False] * 4
    assert not envs.has_attr("no_such_attribute")
    with pytest.raises(NotImplementedError, match="one batch"):
        envs.set_attr("budget", 3)
    with pytest.raises(NotImplementedError, match="one batch"):
        envs.env_method("reset")
    envs.reset()
    envs.step(np.zeros((4, 2), np.float32))
    assert envs.render().shape == (2 * 480, 2 * 480, 3)


def test_training_never_seeds_itself_among_the_functions_under_evaluation():
    """The library's own draws are below 2**32; 20 of them would all be small once in 2**20."""
    envs = sb3_envs()
    for _ in range(20):
        assert all(seed is None or seed < FUNCTION_SEED for seed in envs.seed())


@pytest.mark.parametrize("wrong", ["wrapped", "scalars", "another"])
def test_other_environments_are_refused(wrong):
    envs = {
        "wrapped": lambda: RecordEpisodeStatistics(gymnasium.make_vec(TASK, num_envs=2)),
        "scalars": lambda: gymnasium.make_vec(TASK, num_envs=2, vectorization_mode="sync"),
        "another": lambda: gymnasium.make_vec("Pendulum-v1", num_envs=2),
    }[wrong]()
    with pytest.raises(TypeError, match="without wrappers"):
        SB3VecEnv(envs)


def test_queries_are_the_actions_of_predict(model):
    """Bit for bit where both see an environment; closely where the agent sees exact values."""
    agent, seeds = from_sb3(model), evaluation_seeds(4)
    envs = sb3_envs()
    envs.seed(seeds[0])
    shown, memory, start = envs.reset(), None, np.ones(4, bool)
    expected = []
    for _ in range(BUDGET):
        actions, memory = model.predict(shown, memory, start, deterministic=True)
        expected.append((actions + 1) / 2)
        shown, _, start, _ = envs.step(actions)
    expected = np.stack(expected, 1)

    envs = gymnasium.make_vec(TASK, num_envs=4, budget=BUDGET)
    observation, _ = envs.reset(seed=seeds[0])
    state = agent.init(4, envs.single_action_space, BUDGET, torch.Generator())
    found = []
    for _ in range(BUDGET):
        x, state = agent.step(state, Observation(*map(torch.as_tensor, observation)))
        found.append(x.numpy())
        observation, *_ = envs.step(found[-1])
    assert np.array_equal(np.stack(found, 1), expected)
    assert expected.std(1).max() > 0.01  # it is no fixed point that is repeated

    exact = play(agent, make_problem(TASK, budget=BUDGET), range(4))
    np.testing.assert_allclose(exact.numpy(), expected, atol=1e-4)


def test_what_is_learnt_is_played():
    """On one function with its minimum at (0.8, 0.3); an untrained policy keeps to the centre."""
    function = Objective(lambda x: (x[0] - 0.8) ** 2 + (x[1] - 0.3) ** 2, 2)
    problem = Problem(function, budget=4, reward="negative_value")
    envs = SB3VecEnv(BlackBoxVectorEnv(32, problem))
    model = PPO("MlpPolicy", envs, batch_size=128, gamma=0.0, **ON_POLICY | {"learning_rate": 0.01})
    minimum = torch.tensor([0.8, 0.3])
    assert (play(from_sb3(model), problem, [0]) - minimum).norm(dim=-1).min() > 0.3
    model.learn(5000)
    assert (play(from_sb3(model), problem, [0]) - minimum).norm(dim=-1).max() < 0.1


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


def test_observations_normalised_outside_are_refused():
    envs = VecNormalize(sb3_envs())
    with pytest.raises(ValueError, match="norm_obs=False"):
        from_sb3(A2C("MlpPolicy", envs, device="cpu"))
    envs = VecNormalize(sb3_envs(), norm_obs=False)
    assert from_sb3(A2C("MlpPolicy", envs, device="cpu")).dim == 2


def test_another_number_of_dimensions_is_refused(model):
    with pytest.raises(ValueError, match=r"in 2 dimensions, the task has shape \(3,\)"):
        from_sb3(model).init(1, Box(0.0, 1.0, (3,)), BUDGET, torch.Generator())


def test_exports_have_their_suffix(models, tmp_path):
    with pytest.raises(ValueError, match=r"must end in \.safetensors, got .*model\.zip"):
        export_sb3(models["ppo"], tmp_path / "model.zip")


@pytest.mark.parametrize("workers", [1, 3])
def test_queries_do_not_change_under_affine_changes_of_y(model, workers):
    def value(x):
        return (x[0] - 0.3) ** 2 + np.sin(5 * x[1])

    queries = [
        play(from_sb3(model), Problem(Objective(f, 2), BUDGET, workers=workers), [0])
        for f in (value, lambda x: 300 * value(x) + 7000, lambda x: -value(x))
    ]
    torch.testing.assert_close(queries[0], queries[1], atol=1e-4, rtol=0)
    assert (queries[0] - queries[2]).abs().max() > 1e-3  # values do matter


def test_rows_are_played_as_if_alone(model):
    agent, problem = from_sb3(model), make_problem(TASK, budget=BUDGET, workers=2)
    alone = torch.cat([play(agent, problem, [seed]) for seed in range(3)])
    torch.testing.assert_close(play(agent, problem), alone, atol=1e-5, rtol=0)


def test_states_of_rows_can_be_joined_halfway(model):
    agent, problem = from_sb3(model), make_problem(TASK, budget=BUDGET)
    rows, x = [], []
    for seed in range(3):
        state, observation = problem.reset(1, function_generator(seed))
        agent_state = agent.init(1, problem.space, BUDGET, torch.Generator())
        for _ in range(4):
            query, agent_state = agent.step(agent_state, observation)
            state, observation, _ = problem.step(state, query)
        rows.append((observation, agent_state))
        x.append(agent.step(agent_state, observation)[0])
    joined = stack(rows)
    together, _ = agent.step(joined[1], joined[0])
    torch.testing.assert_close(together, torch.cat(x), atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "td3"])
def test_random_actions_are_distributed_as_the_librarys(kind, models):
    """Two-sample Kolmogorov-Smirnov tests of 12 coordinates in all, one in 1e4 false each."""
    model, count = models[kind], 40_000
    agent = from_sb3(model, deterministic=False)
    envs = sb3_envs()
    envs.seed(0)
    shown = envs.reset()[:1].repeat(count, 0)
    torch.manual_seed(0)
    if kind.endswith("sde"):
        model.policy.reset_noise(count)  # a matrix of noise for each row
    actions, _ = model.predict(shown, None, np.ones(count, bool), deterministic=False)
    state = agent.init(count, Box(0.0, 1.0, (2,)), BUDGET, torch.Generator().manual_seed(0))
    x, _ = agent.step(state, Observation(torch.zeros(count, 2), *torch.zeros(2, count)))
    assert ((x >= 0) & (x <= 1)).all()
    for found, expected in zip(x.T.numpy(), (actions.T + 1) / 2, strict=True):
        assert ks_2samp(found, expected).pvalue > 1e-4
        assert len(np.unique(found)) > count / 2  # the bounds of the cube cut few of them


def test_random_actions_are_the_generators(model):
    problem, agent = make_problem(TASK, budget=3), from_sb3(model, deterministic=False)
    before = torch.get_rng_state()
    first, again, other = (
        unroll(agent, problem, problem.reset(2, function_generator(0)), generator).x
        for generator in (torch.Generator().manual_seed(seed) for seed in (0, 0, 1))
    )
    assert torch.equal(first, again)
    assert torch.equal(first, other) == isinstance(model, TD3)
    assert torch.equal(torch.get_rng_state(), before)


def test_without_the_library_one_line_tells_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "sb3_contrib", None)
    with pytest.raises(MissingExtraError, match=r"from_sb3 needs .*bbo-envs\[rl\]"):
        _ = agents.from_sb3
    with pytest.raises(AttributeError, match="no attribute 'from_sb4'"):
        _ = agents.from_sb4
