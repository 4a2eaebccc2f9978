"""The VecEnv around vector environments: rows, restarts, seeds, the library's own wrappers."""

import gymnasium
import numpy as np
import pytest
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from sb3_models import BUDGET, TASK, sb3_envs
from stable_baselines3.common.vec_env import VecMonitor, VecNormalize

from bbo_envs.seeds import FUNCTION_SEED
from training.sb3_env import SB3VecEnv


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
    asked, step = [], envs.envs.step
    envs.envs.step = lambda queries: asked.append(queries) or step(queries)
    seen = [[env.reset(seed=7 + row)[0]] for row, env in enumerate(scalars)]
    random = np.random.default_rng(0)
    for _ in range(3 * budget):
        assert envs.observation_space.contains(shown[0])
        np.testing.assert_allclose(shown, [as_seen(row, budget) for row in seen], atol=1e-5)
        actions = random.uniform(-1, 1, (count, 2)).astype(np.float32)
        shown, rewards, dones, infos = envs.step(actions)
        assert rewards.dtype == np.float32
        for row, env in enumerate(scalars):
            moved = np.clip(as_seen(seen[row], budget)[2:4] + actions[row], -1, 1)
            np.testing.assert_allclose(2 * asked[-1][row] - 1, moved, atol=1e-6)
            observation, reward, done, _, info = env.step(asked[-1][row])
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
