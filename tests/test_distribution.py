"""Mixtures of tasks: what is drawn, how often, and what is refused."""

from collections import Counter

import pytest
import torch

from bbo_envs import UnknownNameError, make_problem
from bbo_envs.families import gp_length_scale
from training.distribution import Mixture

VARIOUS = {
    "dim": [1, 2, 6],
    "length_scale_factor": {"low": 0.5, "high": 2.0},
    "kernel": ["rbf", "rbf", "matern52"],
    "noise": [0, 0.1],
    "workers": [1, 5],
    "transforms": [[], ["warp_values"], [{"name": "translate", "largest": 0.2}]],
}


def draws(mixture, count=3000):
    generator = torch.Generator().manual_seed(0)
    return [mixture.draw(generator) for _ in range(count)]


def test_choices_are_drawn_as_often_as_they_stand_in_the_list():
    """By 4 standard errors for each of 12 choices: 1 of 1,300 correct programs fails."""
    drawn = draws(Mixture("BBO-GP-v0", {}, VARIOUS))
    for name in VARIOUS.keys() - {"length_scale_factor"}:
        counts = Counter(str(setting.arguments[name]) for setting in drawn)
        expected = Counter(map(str, VARIOUS[name]))
        assert counts.keys() == expected.keys()
        for choice, times in expected.items():
            share = times / len(VARIOUS[name])
            error = (share * (1 - share) / len(drawn)) ** 0.5
            assert abs(counts[choice] / len(drawn) - share) < 4 * error


def test_length_scales_are_log_uniform_about_that_of_the_dimension():
    """log2 of the factor is uniform on [-1, 1]: its mean and variance, by 4 standard errors."""
    factors = torch.tensor(
        [
            setting.arguments["length_scale"] / gp_length_scale(setting.arguments["dim"])
            for setting in draws(Mixture("BBO-GP-v0", {}, VARIOUS))
        ]
    ).log2()
    assert factors.abs().max() <= 1
    assert factors.mean().abs() < 4 * (1 / 3 / len(factors)) ** 0.5
    assert (factors.square().mean() - 1 / 3).abs() < 4 * (4 / 45 / len(factors)) ** 0.5


def test_a_length_scale_that_is_given_is_multiplied():
    mixture = Mixture("BBO-GP-2d-v0", {"length_scale": 3.0}, {"length_scale_factor": [2.0]})
    assert draws(mixture, 1)[0].arguments == {"length_scale": 6.0}


def test_every_setting_makes_a_problem():
    for task, arguments in draws(Mixture("BBO-GP-v0", {"sampler": "fourier"}, VARIOUS), 50):
        assert make_problem(task, budget=3, **arguments).functions.dim == arguments["dim"]


def test_a_draw_does_not_depend_on_the_order_of_the_keys():
    turned = dict(reversed(VARIOUS.items()))
    left, right = (draws(Mixture("BBO-GP-v0", {}, mixture), 20) for mixture in (VARIOUS, turned))
    assert left == right


def test_of_several_tasks_each_gets_the_arguments_that_it_has():
    tasks = ["BBO-GP-v0", "BBO-Ackley-v0"]
    mixture = Mixture(
        "BBO-GP-2d-v0",
        {"sampler": "fourier"},
        {"task": tasks, "dim": [2, 3], "rescaled": [True], "length_scale_factor": [1.5]},
    )
    own = {"BBO-GP-v0": {"dim", "sampler", "length_scale"}, "BBO-Ackley-v0": {"dim", "rescaled"}}
    drawn = draws(mixture, 40)
    assert {setting.task for setting in drawn} == set(tasks)
    assert all(setting.arguments.keys() == own[setting.task] for setting in drawn)


def test_settings_hold_every_choice_and_both_ends():
    mixture = {"kernel": ["rbf", "matern52"], "noise": {"low": 0.1, "high": 1.0}}
    settings = Mixture("BBO-GP-2d-v0", {}, mixture).settings()
    assert {setting.arguments["noise"] for setting in settings} == {0.1, 1.0}
    assert {setting.arguments["kernel"] for setting in settings} == {"rbf", "matern52"}


@pytest.mark.parametrize(
    ("mixture", "error", "message"),
    [
        ({"kernal": ["rbf"]}, UnknownNameError, "argument of BBO-GP-2d-v0 'kernal'. Did you mean"),
        ({"dim": [2, 3]}, UnknownNameError, "argument of BBO-GP-2d-v0 'dim'"),
        ({"task": ["BBO-GP-5d-v0"]}, UnknownNameError, "task 'BBO-GP-5d-v0'. Did you mean"),
        ({"noise": []}, ValueError, "mixture: noise must be a list of choices"),
        ({"noise": 0.1}, ValueError, "mixture: noise must be a list of choices"),
        ({"noise": {"low": 0.2, "high": 0.1}}, ValueError, "0 < a <= b, got {'low': 0.2"),
        ({"noise": {"low": 0.0, "high": 0.1}}, ValueError, "0 < a <= b"),
        ({"noise": {"low": "a", "high": 0.1}}, ValueError, "low of noise must be a finite number"),
        ({"noise": {"low": 0.1}}, ValueError, "mixture: noise must be"),
        ({"budget": [10, 20]}, ValueError, "without budget, dtype and device"),
        (
            {"length_scale": [1.0], "length_scale_factor": [1.0]},
            ValueError,
            "draws both length_scale and length_scale_factor; leave one",
        ),
        ([1], ValueError, "mixture must be an object"),
    ],
)
def test_mistakes_in_a_mixture(mixture, error, message):
    with pytest.raises(error, match=message):
        Mixture("BBO-GP-2d-v0", {}, mixture)


def test_length_scales_of_functions_that_have_none():
    with pytest.raises(UnknownNameError, match="argument of BBO-Branin-2d-v0"):
        Mixture("BBO-Branin-2d-v0", {}, {"length_scale_factor": [1.0]})
