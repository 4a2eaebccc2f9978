"""Pictures of episodes: what they show is checked on pixels, text and figures' own data."""

import gymnasium
import numpy as np
import pytest
import torch
from catalogue import FEW
from gymnasium.error import ResetNeeded

from bbo_envs import BlackBoxEnv, MissingExtraError, Objective, Problem
from bbo_envs.rendering import Scene, figure


def played(task, mode, steps=12, seed=0, **arguments):
    env = gymnasium.make(task, render_mode=mode, **arguments)
    env.reset(seed=seed)
    env.action_space.seed(seed)
    for _ in range(steps):
        env.step(env.action_space.sample())
    return env


def scene_of(env):
    unwrapped = env.unwrapped
    return unwrapped._episode.scene(unwrapped.problem.functions, unwrapped._state.function, row=0)


@pytest.mark.parametrize("task", FEW)
def test_images_of_every_family(task):
    env = gymnasium.make(task, render_mode="rgb_array", budget=5)
    env.reset(seed=0)
    empty = env.render()
    env.step(env.action_space.sample())
    image = env.render()
    assert image.shape == (480, 480, 3)
    assert image.dtype == np.uint8
    assert (image != empty).any()
    assert np.array_equal(image, env.render())


def test_a_2d_image_shows_landscape_queries_and_incumbent():
    env = played("BBO-Branin-2d-v0", "rgb_array")
    scene = scene_of(env)
    (axes,) = figure(scene).axes
    shown = axes.collections[-1].get_offsets()
    assert np.allclose(shown, scene.x)
    order = axes.collections[-1].get_array()
    assert list(order) == list(range(12))
    star = axes.lines[-1]
    assert np.allclose(star.get_xydata()[0], scene.x[scene.y.argmin()])
    assert "12 evaluations" in axes.get_title()
    # The landscape is the function itself: Branin's values at the same points.
    points = np.random.default_rng(0).random((50, 2))
    u, v = -5.0 + 15.0 * points[:, 0], 15.0 * points[:, 1]
    valley = v - 5.1 / (4 * np.pi**2) * u**2 + 5 / np.pi * u - 6
    branin = valley**2 + 10 * (1 - 1 / (8 * np.pi)) * np.cos(u) + 10
    np.testing.assert_allclose(scene.surface(points), branin)


def test_an_exact_gp_shows_its_mean_which_passes_through_what_was_seen():
    env = played("BBO-GP-1d-v0", "rgb_array", steps=8)
    scene = scene_of(env)
    np.testing.assert_allclose(scene.surface(scene.x), scene.y, atol=1e-5)
    far = played("BBO-GP-1d-v0", "rgb_array", steps=0).unwrapped
    empty = Scene(far.problem.functions, far._state.function, np.zeros((0, 1)), np.zeros(0))
    assert not empty.surface(np.linspace(0, 1, 9)[:, None]).any()


def test_drawing_changes_nothing():
    """Also not the noise that is still to come, nor an exact GP's draws."""
    arguments = {"noise": 0.1, "transforms": [{"name": "noise", "deviation": 0.1}]}
    drawn, plain = (played("BBO-GP-2d-v0", mode, 3, **arguments) for mode in ("ansi", None))
    drawn.render()
    query = np.array([0.2, 0.9], dtype=np.float32)
    assert drawn.step(query)[0].y == plain.step(query)[0].y


def test_repellers_show_the_map_the_repellers_and_the_trajectory():
    env = played("BBO-Repellers-6d-v0", "rgb_array")
    scene = scene_of(env)
    (axes,) = figure(scene).axes
    best = torch.from_numpy(scene.x[[scene.y.argmin()]])
    path = scene.functions.trace(scene.state, best)[0].numpy()
    assert np.allclose(axes.lines[0].get_xydata(), path)
    placed = scene.functions.native(scene.state, best).reshape(-1, 3)[:, 1:].numpy()
    assert np.allclose(axes.collections[-1].get_offsets(), placed)
    # Rewards at the centres of map A, and none far away.
    heights = scene.functions.reward(
        torch.tensor([[0.0, -2.0], [-3.0, -3.0], [7.0, -9.0]]).double()
    )
    assert heights[:2].min() > 0.99
    assert heights[2] < 1e-9


def test_parallel_coordinates_beyond_two_dimensions():
    scene = scene_of(played("BBO-GP-6d-v0", "rgb_array"))
    (axes,) = figure(scene).axes
    assert len(axes.lines) == 12 + 1
    assert np.allclose(axes.lines[-1].get_ydata(), scene.x[scene.y.argmin()])


def plain(text):
    import re

    return re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()


def test_text_of_two_dimensions_has_the_marks_at_their_places():
    env = gymnasium.make("BBO-Branin-2d-v0", render_mode="ansi")
    env.reset(seed=0)
    env.step(np.array([0.01, 0.99], dtype=np.float32))  # top left: high
    env.step(np.array([0.5428, 0.1517], dtype=np.float32))  # near a minimum
    lines = plain(env.render())
    assert "2 evaluations, best 0.39" in lines[0]
    body = lines[1:21]
    assert body[0][0] == "8"
    assert body[int((1 - 0.1517) * 20)][int(0.5428 * 64)] == "★"
    # Dark is low: around the minimum, and not in the high corner at the lower left.
    assert body[int((1 - 0.1517) * 20)][int(0.5428 * 64) + 1] == "@"
    assert body[-1][0] == " "


def test_text_of_more_dimensions_has_a_line_for_each():
    env = played("BBO-GP-6d-v0", "ansi", steps=1)
    lines = plain(env.render())[1:7]
    x = env.unwrapped._episode.asked[0][0]
    for coordinate, line in enumerate(lines):
        assert line.startswith(f"  x{coordinate + 1} |")
        assert line.index("★") - 6 == int(x[coordinate] * 64)


def test_rows_of_the_vector_env_and_a_new_episode():
    envs = gymnasium.make_vec("BBO-Branin-2d-v0", num_envs=2, budget=3, render_mode="ansi")
    envs.reset(seed=0)
    envs.action_space.seed(0)
    for t in (1, 2):
        envs.step(envs.action_space.sample())
        pictures = envs.render()
        assert len(pictures) == 2
        assert pictures[0] != pictures[1]
        assert all(plain(picture)[0].startswith(f"{t} evaluations") for picture in pictures)
    envs.step(envs.action_space.sample())  # the last: the next episode has begun
    assert plain(envs.render()[0])[0] == "0 evaluations"


def test_queries_that_are_still_out_are_not_shown():
    env = played("BBO-Branin-2d-v0", "ansi", steps=4, workers=3)
    assert plain(env.render())[0].startswith("2 evaluations")


def test_the_last_picture_has_what_the_other_workers_return():
    env = gymnasium.make("BBO-Branin-2d-v0", render_mode="ansi", budget=12, workers=5)
    env.reset(seed=0)
    env.action_space.seed(0)
    for _ in range(12):
        *_, info = env.step(env.action_space.sample())
    assert plain(env.render())[0] == f"12 evaluations, best {info['best_y']:.4g}"


def test_the_trajectory_shown_is_the_one_that_happened():
    """With process noise, of the incumbent's own evaluation; flipped axes keep the map."""
    arguments = {"process_noise": 0.2, "transforms": ["flip"]}
    env = played("BBO-Repellers-6d-v0", "rgb_array", **arguments)
    scene = scene_of(env)
    repellers = scene.functions.functions
    reward = repellers.reward(torch.from_numpy(scene.trace[:-1]))
    value = -(reward * repellers.discount ** torch.arange(50)).sum().item()
    assert value == pytest.approx(scene.y.min())
    (axes,) = figure(scene).axes
    assert np.allclose(axes.lines[0].get_xydata(), scene.trace)


def test_an_objective_of_ones_own_is_not_evaluated_for_a_picture():
    calls = []
    problem = Problem(Objective(lambda x: calls.append(1) or float(x.sum()), dim=2), budget=5)
    env = BlackBoxEnv(problem, render_mode="rgb_array")
    env.reset(seed=0)
    env.step(np.array([0.5, 0.5]))
    env.render()
    assert len(calls) == 1


def test_errors(monkeypatch):
    env = gymnasium.make("BBO-Branin-2d-v0", render_mode="ansi").unwrapped
    with pytest.raises(ResetNeeded, match="before render"):
        env.render()
    problem = env.problem
    with pytest.raises(ValueError, match="render_mode must be None or one of .* got 'human'"):
        BlackBoxEnv(problem, render_mode="human")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'bbo-envs\[plot\]'"):
        BlackBoxEnv(problem, render_mode="rgb_array")
