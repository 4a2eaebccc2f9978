"""The Gymnasium side: checks on every id, determinism, scalar against vector, bad input."""

import gymnasium
import numpy as np
import pytest
import torch
from catalogue import FEW
from gymnasium.error import NameNotFound, ResetNeeded
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import FlattenObservation

from bbo_envs import TASKS, BlackBoxEnv, Objective, Observation, Problem, QueryError

PERTURBABLE = [
    task
    for task, entry in TASKS.items()
    if entry.family == "synthetic" and entry.fixed["function"].extends
]
VARIANTS = [{}, {"workers": 3}, {"noise": 0.1, "budget": 7}]


def same(left, right):
    """Exact equality of whatever reset and step return."""
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[k], right[k]) for k in left)
    if isinstance(left, tuple):
        return len(left) == len(right) and all(map(same, left, right))
    return np.array_equal(left, right)


@pytest.mark.filterwarnings("ignore:.*Box observation space m.*imum value is")
@pytest.mark.parametrize("task", TASKS)
def test_gymnasiums_own_checks(task, arguments_of):
    """Those of render() too: on the vector side and for more modes they are in test_rendering."""
    check_env(gymnasium.make(task, budget=5, render_mode="ansi", **arguments_of(task)).unwrapped)


@pytest.mark.filterwarnings("ignore:.*Box observation space m.*imum value is")
@pytest.mark.parametrize("arguments", VARIANTS, ids=str)
@pytest.mark.parametrize("task", FEW)
def test_gymnasiums_own_checks_of_variants(task, arguments):
    check_env(gymnasium.make(task, **arguments).unwrapped, skip_render_check=True)


@pytest.mark.parametrize("arguments", [{}, {"perturb": True, "rescaled": True}], ids=str)
@pytest.mark.parametrize("task", PERTURBABLE)
def test_variants_of_synthetic_tasks(task, arguments):
    env = gymnasium.make(task, **arguments, reward="negative_regret", budget=3)
    first, _ = env.reset(seed=0)
    assert isinstance(first, Observation)
    _, reward, terminated, truncated, _ = env.step(env.action_space.sample())
    assert reward < 0
    assert not terminated
    assert not truncated


def test_importing_the_package_registers_the_ids():
    expected = {f"BBO-GP-{d}d-v0" for d in (1, 2, 3, 6, 9)}
    expected |= {f"BBO-BBOB-f{f}-{d}d-v0" for f in range(1, 25) for d in (2, 3, 5, 10, 20, 40)}
    expected |= {"BBO-Branin-2d-v0", "BBO-Hartmann-6d-v0", "BBO-Ackley-10d-v0"}
    expected |= {"BBO-Repellers-6d-v0", "BBO-HPO-SVM-3d-v0", "BBO-HPO-LDA-3d-v0"}
    expected |= {"BBO-HPO-LogReg-4d-v0", "BBO-HPO-ResNet-6d-v0"}
    assert expected <= set(TASKS) <= set(gymnasium.registry)
    assert gymnasium.make("BBO-GP-v0", dim=4).action_space.shape == (4,)


@pytest.mark.parametrize("task", FEW)
def test_specs_survive_json(task):
    env = gymnasium.make(task, budget=5, transforms=["flip"], dtype="float64")
    again = gymnasium.make(gymnasium.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    assert again.unwrapped.problem.budget == 5


@pytest.mark.parametrize("arguments", VARIANTS, ids=str)
@pytest.mark.parametrize("task", FEW)
def test_two_copies_with_one_seed_agree_exactly(task, arguments):
    copies = [gymnasium.make(task, **{"budget": 6, **arguments}) for _ in range(2)]
    budget = copies[0].unwrapped.problem.budget
    copies[0].action_space.seed(1)
    actions = [copies[0].action_space.sample() for _ in range(budget)]
    for seed in (5, None, None):  # a seeded reset, then unseeded ones
        assert same(*(env.reset(seed=seed) for env in copies))
        for action in actions:
            left, right = (env.step(action) for env in copies)
            assert same(left, right)
            assert left[0] in copies[0].observation_space


def test_unseeded_resets_draw_new_functions():
    env = gymnasium.make("BBO-GP-2d-v0")
    query = np.array([0.5, 0.5], dtype=np.float32)
    values = set()
    env.reset(seed=0)
    for _ in range(5):
        values.add(float(env.step(query)[0].y))
        env.reset()
    assert len(values) == 5


@pytest.mark.parametrize(
    ("task", "arguments"),
    [
        ("BBO-GP-3d-v0", {}),
        ("BBO-GP-3d-v0", {"sampler": "fourier", "noise": 0.3}),
        ("BBO-GP-3d-v0", {"workers": 3}),
        ("BBO-Branin-2d-v0", {"perturb": True, "workers": 2}),
        ("BBO-Ackley-3d-v0", {"transforms": ["rotate", "warp_values", "noise"]}),
        ("BBO-BBOB-v0", {"function": 21, "dim": 3, "instance": [1, 2, 3]}),
        ("BBO-BBOBNoisy-v0", {"function": 107}),
        ("BBO-Repellers-6d-v0", {"process_noise": 0.02}),
        ("BBO-HPO-MLP-5d-v0", {"repetition": "random", "dataset": ["car", "kc1"]}),
    ],
)
def test_a_row_of_the_vector_env_is_the_scalar_env(task, arguments):
    """N = 4 rows, staggered seeds, through two autoresets, against Gymnasium's own vectorisation.

    Values pass through batched linear algebra, whose last bits depend on the batch's size.
    """
    budget, n = 5, 4
    native = gymnasium.make_vec(task, num_envs=n, budget=budget, **arguments)
    reference = SyncVectorEnv(
        [lambda: gymnasium.make(task, budget=budget, **arguments)] * n,
        autoreset_mode=AutoresetMode.SAME_STEP,
    )
    assert native.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
    assert native.observation_space == reference.observation_space
    assert native.action_space == reference.action_space

    def close(left, right):
        if isinstance(left, dict):
            assert left.keys() == right.keys()
            for key in left:
                close(left[key], right[key])
        elif isinstance(left, tuple) or left.dtype.kind == "O":
            for a, b in zip(left, right, strict=True):
                close(a, b)
        else:
            assert left.shape == right.shape
            assert left.dtype == right.dtype
            np.testing.assert_allclose(left, right, rtol=1e-6, atol=1e-6)

    close(native.reset(seed=11), reference.reset(seed=11))
    reference.action_space.seed(0)
    for t in range(2 * budget + 2):
        actions = reference.action_space.sample()
        left, right = native.step(actions), reference.step(actions)
        close(left, right)
        assert left[2].all() == ((t + 1) % budget == 0)
    close(native.reset(), reference.reset())
    close(native.reset(seed=[3, 1, None, 2]), reference.reset(seed=[3, 1, None, 2]))


def test_the_last_evaluation_terminates():
    env = gymnasium.make("BBO-Branin-2d-v0", budget=2)
    env.reset(seed=0)
    ends = [env.step(env.action_space.sample())[2:4] for _ in range(2)]
    assert ends == [(False, False), (True, False)]
    with pytest.raises(ResetNeeded, match="all 2 evaluations"):
        env.step(env.action_space.sample())


def test_step_before_reset():
    for env in (
        gymnasium.make("BBO-Branin-2d-v0").unwrapped,
        gymnasium.make_vec("BBO-Branin-2d-v0", num_envs=2),
    ):
        with pytest.raises(ResetNeeded, match="reset"):
            env.step(env.action_space.sample())


def test_info_tells_the_incumbent_and_native_units():
    env = gymnasium.make("BBO-Branin-2d-v0", budget=30)
    _, info = env.reset(seed=0)
    assert info == {"t": 0, "clock": 0.0}
    ys = []
    for t in range(30):
        action = env.action_space.sample()
        observation, _, _, _, info = env.step(action)
        ys.append(float(observation.y))
        low, high = np.array([-5.0, 0.0]), np.array([10.0, 15.0])
        np.testing.assert_allclose(info["x_native"], low + action * (high - low), rtol=1e-5)
        assert info["t"] == t + 1
        assert info["best_y"] == pytest.approx(min(ys), rel=1e-6)
        assert 0.5 * (t + 1) <= info["clock"] <= 1.5 * (t + 1)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ([0.5, 1.01], "not in the unit cube"),
        ([0.5, -0.01], "not in the unit cube"),
        ([np.nan, 0.5], "nan.*not in the unit cube"),
        ([np.inf, 0.5], "not in the unit cube"),
        ([0.5], r"must have shape \(2,\), got \(1,\)"),
        ([[0.5, 0.5]], r"must have shape \(2,\), got \(1, 2\)"),
        (0.5, r"must have shape \(2,\), got \(\)"),
        (["a", "b"], "must be an array of numbers"),
        (None, "must"),
    ],
)
def test_bad_actions_are_refused_and_lose_nothing(action, message):
    env = gymnasium.make("BBO-Branin-2d-v0").unwrapped
    env.reset(seed=0)
    *_, before = env.step(np.array([0.2, 0.2]))
    with pytest.raises(QueryError, match=message):
        env.step(action)
    *_, after = env.step(np.array([0.9, 0.9]))
    assert after["t"] == 2
    assert after["best_y"] <= before["best_y"]


def test_one_bad_row_of_many_is_named():
    envs = gymnasium.make_vec("BBO-Branin-2d-v0", num_envs=3)
    envs.reset(seed=0)
    with pytest.raises(QueryError, match=r"\(row 2\)"):
        envs.step(np.array([[0.1, 0.1], [0.2, 0.2], [0.3, 3.0]]))


def test_a_failing_objective_leaves_the_episode_as_it_was():
    def objective(x):
        if x[0] > 0.5:
            raise RuntimeError("no convergence")
        return float(x[0])

    env = BlackBoxEnv(Problem(Objective(objective, dim=1), budget=3))
    env.reset(seed=0)
    env.step(np.array([0.25]))
    with pytest.raises(RuntimeError, match="no convergence"):
        env.step(np.array([0.75]))
    *_, info = env.step(np.array([0.375]))
    assert (info["t"], info["best_y"]) == (2, 0.25)


def test_unknown_ids_suggest_the_nearest():
    with pytest.raises(NameNotFound, match="Did you mean: `BBO-Branin-2d`"):
        gymnasium.make("BBO-Brannin-2d-v0")


def test_bad_numbers_of_envs_and_seeds():
    with pytest.raises(ValueError, match="num_envs must be an integer of at least 1"):
        gymnasium.make_vec("BBO-Branin-2d-v0", num_envs=0)
    envs = gymnasium.make_vec("BBO-Branin-2d-v0", num_envs=3)
    with pytest.raises(ValueError, match="a list of 3"):
        envs.reset(seed=[1, 2])


@pytest.mark.parametrize("task", TASKS)
def test_stable_baselines3_takes_the_flattened_env(task, arguments_of):
    from stable_baselines3.common.env_checker import check_env as sb3_check

    env = FlattenObservation(gymnasium.make(task, budget=5, **arguments_of(task)))
    assert env.observation_space.shape == (env.action_space.shape[0] + 2,)
    with pytest.warns(UserWarning, match="symmetric and normalized"):
        sb3_check(env)


def test_environments_leave_torchs_global_generator_alone():
    before = torch.get_rng_state()
    env = gymnasium.make("BBO-GP-2d-v0")
    env.reset(seed=0)
    env.step(env.action_space.sample())
    assert torch.equal(before, torch.get_rng_state())


def test_numpy_seeds_and_a_bad_list_that_changes_nothing():
    envs, twin = (gymnasium.make_vec("BBO-GP-2d-v0", num_envs=2, budget=3) for _ in range(2))
    for env, seed in ((envs, np.int64(3)), (twin, [np.int64(3), np.int64(4)])):
        env.reset(seed=seed)
    with pytest.raises(gymnasium.error.Error):
        envs.reset(seed=[5, -1])
    query = np.full((2, 2), 0.5)
    for env in (envs, twin):
        env.reset()
    assert same(envs.step(query), twin.step(query))


def test_render_mode_may_be_given_as_none():
    assert gymnasium.make("BBO-GP-2d-v0", render_mode=None).render_mode is None
    assert gymnasium.make_vec("BBO-GP-2d-v0", num_envs=2, render_mode=None).num_envs == 2


def test_info_is_the_callers_to_change():
    env = gymnasium.make("BBO-Branin-2d-v0")
    env.reset(seed=0)
    *_, info = env.step(np.array([0.5, 0.5]))
    before = info["best_x"].copy()
    info["best_x"] *= 0
    *_, info = env.step(np.array([1.0, 1.0]))  # far worse
    assert info["best_x"].tolist() == before.tolist()


def test_values_beyond_float32_stay_in_the_observation_space():
    env = BlackBoxEnv(Problem(Objective(lambda x: 1e300, dim=1), budget=2))
    env.reset(seed=0)
    observation, *_, info = env.step(np.array([0.5]))
    assert observation in env.observation_space
    assert np.isfinite(observation.y)
    assert info["best_y"] == 1e300
