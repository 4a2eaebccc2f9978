"""The search for hyper-parameters: it judges, it resumes, a trial that fails ends nothing else."""

import json
import shlex
from dataclasses import asdict, replace

import pytest

from bbo_envs import UnknownNameError
from evaluation.cli import main
from training import search as module
from training.configs import PRESETS, TrainConfig
from training.search import BEST, DEFAULT_SPACE, Search, changed
from training.trainer import Trainer

BASE = TrainConfig(
    task="BBO-GP-1d-v0",
    task_arguments={"sampler": "fourier", "features": 8},
    network_arguments={"hidden": 4},
    iterations=5,
    batch=4,
    first_horizon=2,
    horizon=3,
)
SPACE = {
    "learning_rate": {"low": 1e-3, "high": 1e-2},
    "network_arguments.hidden": [4, 6],
    "mixture": [{}, {"noise": [0, 0.1]}],
}


def small(folder, space=SPACE, base=BASE):
    return Search(base, folder, space, functions=8)


class Killed(BaseException):
    """Like the end of a process: nothing is cleaned up."""


def test_a_search_finds_the_best_configuration(monkeypatch, tmp_path):
    """The value is replaced by a known function of the learning rate."""
    monkeypatch.setattr(module, "Trainer", Remembered)
    monkeypatch.setattr(module, "validate", lambda agent, *_: abs(agent.learning_rate - 3e-3))
    seen = []
    best = small(tmp_path).run(6, seen.append)
    ended = [facts for facts in seen if "state" in facts]
    assert [facts["trial"] for facts in ended] == list(range(6))
    complete = {facts["value"] for facts in ended if facts["state"] == "complete"}
    assert best["value"] == min(complete)
    assert best["config"]["learning_rate"] == best["parameters"]["learning_rate"]
    assert abs(best["config"]["learning_rate"] - 3e-3) == best["value"]
    assert json.loads((tmp_path / BEST).read_text()) == best
    assert asdict(TrainConfig(**best["config"])) == best["config"]


class Remembered(Trainer):
    """Puts the learning rate where what judges a network sees it."""

    def __init__(self, config, *arguments):
        super().__init__(config, *arguments)
        self.agent.learning_rate = config.learning_rate


def test_a_search_that_was_killed_goes_on(monkeypatch, tmp_path):
    """The trial that was killed is tried again with the same parameters, and none is lost."""
    whole = small(tmp_path / "whole")
    whole.run(3)

    def killed(facts):
        if facts.get("iteration") == 3 and facts["trial"] == 1:
            raise Killed

    broken = small(tmp_path / "broken")
    with pytest.raises(Killed):
        broken.run(3, killed)
    assert [facts["trial"] for facts in broken.ended()] == [0]
    again = small(tmp_path / "broken")
    again.run(3)
    assert [facts["trial"] for facts in again.ended()] == [0, 2, 3]
    for left, right in zip(whole.ended()[:2], again.ended()[:2], strict=True):
        assert left["parameters"] == right["parameters"]
        assert left["value"] == right["value"]
    third = [search.ended()[2]["parameters"] for search in (whole, again)]
    assert third[0]["learning_rate"] != again.ended()[0]["parameters"]["learning_rate"]
    assert again.run(3)["trial"] in (0, 2, 3)  # nothing is left to do
    assert len(again.ended()) == 3


def test_a_trial_that_fails_ends_nothing_else(monkeypatch, tmp_path):
    class Failing(Trainer):
        def step(self):
            if self.config.network_arguments["hidden"] == 6:
                raise RuntimeError("out of memory")
            return super().step()

    monkeypatch.setattr(module, "Trainer", Failing)
    search = small(tmp_path, {"network_arguments.hidden": [4, 6]})
    best = search.run(8)
    errors = {facts["error"] for facts in search.ended()}
    assert errors == {None, "RuntimeError: out of memory"}
    assert best["config"]["network_arguments"] == {"hidden": 4}
    assert len(search.ended()) == 8


def test_a_search_in_which_all_fails_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "validate", lambda *_: float("nan"))
    with pytest.raises(ValueError, match="no trial .* the validation score is nan; change the sp"):
        small(tmp_path).run(2)


def test_hopeless_trials_are_cut_short(monkeypatch, tmp_path):
    """After four trials, one that is worse than all of them ends before its training does."""
    iterations = []
    values = iter([0.0] * 20 + [1.0] * 20)
    monkeypatch.setattr(module, "validate", lambda *_: next(values))
    search = small(tmp_path)
    search.run(5, iterations.append)
    assert [facts["state"] for facts in search.ended()] == ["complete"] * 4 + ["pruned"]
    last = [facts.get("iteration", 0) for facts in iterations if facts["trial"] == 4]
    assert 0 < max(last) < 5


def test_trials_are_judged_on_the_task_and_on_those_of_the_scores(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(module, "validate", lambda agent, tasks, n: seen.append((tasks, n)) or 0.0)
    base = replace(BASE, score_tasks=[{"task": "BBO-Branin-2d-v0", "budget": 7}])
    small(tmp_path, {"learning_rate": [1e-3]}, base).run(1)
    own = {"task": BASE.task, "arguments": BASE.task_arguments, "budget": BASE.horizon}
    other = {"task": "BBO-Branin-2d-v0", "arguments": {}, "budget": 7}
    assert seen == [([own, other], 8)] * 5


@pytest.mark.parametrize(
    ("space", "error", "message"),
    [
        ({}, ValueError, "space must name at least one field"),
        ({"learning_rat": [1]}, UnknownNameError, "Did you mean 'learning_rate'"),
        ({"learning_rate": {"low": 0, "high": 1}}, ValueError, "space: learning_rate must be"),
        ({"truncation": [10, 0]}, ValueError, "truncation must be an integer of at least 1"),
        ({"truncation": {"low": 1.5, "high": 3}}, ValueError, "truncation must be an integer"),
        ({"network_arguments.width": [1]}, UnknownNameError, "argument of the network lstm"),
        ({"network_arguments": [{}]}, UnknownNameError, "field of the configuration"),
    ],
)
def test_mistakes_in_a_space_show_before_the_search(space, error, message, tmp_path):
    with pytest.raises(error, match=message):
        small(tmp_path / "none", space)
    assert not (tmp_path / "none").exists()


def test_another_search_in_the_same_folder_is_refused(tmp_path):
    small(tmp_path)
    small(tmp_path)
    with pytest.raises(ValueError, match="holds a search over another configuration or space"):
        small(tmp_path, base=replace(BASE, batch=8))


def test_the_default_space_suits_the_presets():
    for config in (PRESETS["lstm-oi-6d"], PRESETS["dnc-oi-6d"], PRESETS["universal"]):
        for i in range(3):
            values = {k: v[i] for k, v in DEFAULT_SPACE.items() if isinstance(v, list)}
            trained = Trainer(changed(config, values))
            assert trained.config.truncation == values["truncation"]
            assert trained.agent.architecture["hidden"] == values["network_arguments.hidden"]


def test_the_command_prints_what_to_train(tmp_path, capsys):
    words = "search --preset lstm-oi-2d --iterations 5 --batch 4 --first-horizon 2 --horizon 3"
    space = ["--space", '{"loss": ["oi", "sum"], "network_arguments.hidden": [4]}']
    words = [*words.split(), *space, "--folder", str(tmp_path), "--validation-functions", "4"]
    main([*words, "--trials", "1"])
    main([*words, "--trials", "2"])
    shown = capsys.readouterr().out
    command = shown.strip().splitlines()[-1]
    assert command.startswith("bbo train --preset lstm-oi-2d")
    assert shlex.split(command)[shlex.split(command).index("--network-arguments") + 1] == (
        '{"hidden": 4}'
    )
    assert "2/2" in shown
    assert json.loads((tmp_path / BEST).read_text())["config"]["iterations"] == 5
