"""Trainers side by side: what is logged on the way, what the page and the picture show of it."""

import dataclasses
import shutil

import pandas as pd
import pytest
from consoles import printed
from PIL import Image

from bbo_envs import UnknownNameError
from evaluation import docs, trainers
from training import log
from training.rl_configs import RLConfig
from training.score import validate
from training.trainer import Trainer

GRADIENTS = dataclasses.replace(
    trainers.TRAINERS["reinforce"],
    network_arguments={"hidden": 4, "proposals": 1},
    iterations=5,
    batch=4,
    horizon=30,
)
LIBRARY = RLConfig("ppo", trainers.TASK, {"sampler": "fourier"}, 30, steps=600, envs=4)


@pytest.fixture(scope="module")
def small():
    """Two trainers in small, which look at their networks twice or three times."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainers, "TRAINERS", {"reinforce": GRADIENTS, "ppo": LIBRARY})
        patch.setattr(trainers, "_FUNCTIONS", 3)
        patch.setattr(trainers, "_LOOKS", 2)
        yield


@pytest.fixture(scope="module")
def folder(small, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trainers")
    for trainer in trainers.TRAINERS:
        trainers.train_by(trainer, folder, printed())
    return folder


def test_every_look_is_logged_with_what_was_spent_until_then(folder):
    frame = trainers.collect(folder)
    own = frame[frame["trainer"] == "reinforce"]
    assert own["evaluations"].tolist() == [n * 4 * 30 for n in (2, 4, 5)]
    lines = log.read(folder / "reinforce" / "log.jsonl")
    passed = [2, 2, 1]
    seconds = [n * line["seconds_per_iteration"] for n, line in zip(passed, lines, strict=True)]
    assert own["seconds"].tolist() == pytest.approx([sum(seconds[:n]) for n in (1, 2, 3)])
    own = frame[frame["trainer"] == "ppo"]
    assert own["evaluations"].iloc[-1] == 600
    assert own["seconds"].is_monotonic_increasing
    assert (frame["best"] < 0.0).all()  # means of the least of 30 values of a prior of mean zero


def test_networks_are_judged_on_functions_of_validation(folder):
    trainer = Trainer(GRADIENTS)
    trainer.resume(folder / "reinforce" / "checkpoint.safetensors")
    task = {"task": trainers.TASK, "arguments": GRADIENTS.task_arguments, "budget": 30}
    best = validate(trainer.agent, [task], 3)
    assert trainers.collect(folder).query("trainer == 'reinforce'")["best"].iloc[-1] == best


def test_what_is_done_is_not_done_again_and_what_was_stopped_goes_on(folder, small, tmp_path):
    before = trainers.collect(folder)
    for trainer in trainers.TRAINERS:
        trainers.train_by(trainer, folder, printed())
    pd.testing.assert_frame_equal(trainers.collect(folder), before)
    shutil.copytree(folder, tmp_path / "alone")
    shutil.rmtree(tmp_path / "alone" / "ppo")
    assert set(trainers.collect(tmp_path / "alone")["trainer"]) == {"reinforce"}


def test_names_that_nobody_knows_are_refused(small, tmp_path):
    with pytest.raises(UnknownNameError, match="trainer 'pppo'. Did you mean 'ppo'"):
        trainers.train_by("pppo", tmp_path, printed())


FRAME = pd.DataFrame(
    {
        "trainer": ["bptt"] * 3 + ["ppo"] * 2,
        "seconds": [50.0, 110.0, 200.0, 70.0, 140.0],
        "evaluations": [1e6, 2e6, 3e6, 4e6, 5.06e6],
        "best": [-1.0, -2.0, -1.5, -1.2, -1.4],
    }
)


def test_the_table_compares_at_equal_times():
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in _lines(FRAME)]
    assert rows[0] == [
        "trainer", "after 1 min", "after 2 min", "in the end", "minutes", "million evaluations"
    ]  # fmt: skip
    assert rows[2] == ["`bptt`", "-1.00", "-2.00", "-1.50", "3", "3.0"]
    assert rows[3] == ["`ppo`", "", "-1.20", "-1.40", "2", "5.1"]


def _lines(frame):
    return trainers.markdown(frame).splitlines()


def test_the_picture_has_a_line_for_each_trainer(tmp_path, monkeypatch):
    drawn, draw_curve = [], trainers.draw_curve

    def draw(axis, curve, style):
        drawn.append(curve)
        draw_curve(axis, curve, style)

    monkeypatch.setattr(trainers, "draw_curve", draw)
    trainers.draw(FRAME, tmp_path / "trainers.png")
    assert [(curve.agent, curve.x, curve.y) for curve in drawn] == [
        ("bptt", [50 / 60, 110 / 60, 200 / 60], [-1.0, -2.0, -1.5]),
        ("ppo", [70 / 60, 140 / 60], [-1.2, -1.4]),
    ]
    with Image.open(tmp_path / "trainers.png") as picture:
        assert picture.width > 600


def test_the_page_of_training_is_that_of_the_stored_measurements():
    page = docs.TRAINING.read_text()
    assert docs.rendered_training(page) == page
