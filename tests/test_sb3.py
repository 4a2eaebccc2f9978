"""Stable-Baselines3: what it trains on against the scalar environments, what it learnt as agents.

The library's own ``predict`` and ``load`` say what a model proposes.
"""

import sys

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from sb3_models import BUDGET, KINDS, ON_POLICY, TASK, play, sb3_envs
from scipy.stats import ks_2samp
from stable_baselines3 import A2C, PPO, TD3
from stable_baselines3.common.vec_env import VecNormalize

import agents
from agents import AskTell, from_sb3, minimize
from bbo_envs import MissingExtraError, Objective, Observation, Problem, make_problem
from bbo_envs.core import stack
from bbo_envs.env import BlackBoxVectorEnv
from bbo_envs.seeds import evaluation_seeds, function_generator
from training.rollout import unroll
from training.sb3_env import SB3VecEnv


def test_queries_are_the_actions_of_predict(model):
    """To rounding where both see an environment; closely where the agent sees exact values."""
    agent, seeds = from_sb3(model), evaluation_seeds(4)
    envs = sb3_envs()
    envs.seed(seeds[0])
    shown, memory, start = envs.reset(), None, np.ones(4, bool)
    expected, step = [], envs.envs.step
    envs.envs.step = lambda queries: expected.append(queries) or step(queries)
    for _ in range(BUDGET):
        actions, memory = model.predict(shown, memory, start, deterministic=True)
        moved = np.clip(shown[:, 2:4] + actions, -1, 1)  # from the incumbent
        shown, _, start, _ = envs.step(actions)
        np.testing.assert_allclose(2 * expected[-1] - 1, moved, atol=1e-6)
    expected = np.stack(expected, 1)

    envs = gymnasium.make_vec(TASK, num_envs=4, budget=BUDGET)
    observation, _ = envs.reset(seed=seeds[0])
    state = agent.init(4, envs.single_action_space, BUDGET, torch.Generator())
    found = []
    for _ in range(BUDGET):
        x, state = agent.step(state, Observation(*map(torch.as_tensor, observation)))
        found.append(x.numpy())
        observation, *_ = envs.step(found[-1])
    np.testing.assert_allclose(np.stack(found, 1), expected, atol=1e-5)
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


def test_observations_normalised_outside_are_refused():
    envs = VecNormalize(sb3_envs())
    with pytest.raises(ValueError, match="norm_obs=False"):
        from_sb3(A2C("MlpPolicy", envs, device="cpu"))
    envs = VecNormalize(sb3_envs(), norm_obs=False)
    assert from_sb3(A2C("MlpPolicy", envs, device="cpu")).dim == 2


def test_another_number_of_dimensions_is_refused(model):
    with pytest.raises(ValueError, match=r"in 2 dimensions, the task has shape \(3,\)"):
        from_sb3(model).init(1, Box(0.0, 1.0, (3,)), BUDGET, torch.Generator())


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


def test_models_minimise_functions_of_ones_own(model):
    def value(x):
        return (x["a"] - 3.0) ** 2 + x["n"]

    space = {"a": (0.0, 10.0), "n": (1, 8)}
    result = minimize(value, space, BUDGET, agent=from_sb3(model), progress=False)
    assert result.y == value(result.x) == min(trial.y for trial in result.history)
    optimizer = AskTell(space, BUDGET, from_sb3(model))
    optimizer.tell({"a": 1.0, "n": 2}, 6.0)  # nobody asked for it
    assert optimizer.ask().keys() == space.keys()


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
