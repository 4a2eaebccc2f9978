"""The networks that ship: they load, they have not collapsed, damage is noticed."""

import json
import shutil

import pytest
import torch

from agents import LSTMAgent, WeightsError, card, load, make_agent, pretrained, trained_names
from bbo_envs import UnknownNameError, make_problem
from bbo_envs.seeds import FUNCTION_SEED, agent_generator
from training.rollout import unroll
from training.score import held_out, score

# 128 functions keep the fast tests fast; the card's own number is checked by `make test-slow`.
FUNCTIONS = 128


@pytest.fixture(scope="module")
def scores():
    return {
        name: score(load(name), make_problem(card(name)["score"]["task"]), FUNCTIONS)
        for name in trained_names()
    }


def test_the_networks_of_the_issue_ship():
    assert {"lstm-oi-6d", "lstm-oi-2d"} <= set(trained_names())


@pytest.mark.parametrize("name", trained_names())
def test_cards_tell_where_a_network_comes_from(name):
    facts = card(name)
    assert facts["architecture"]["dim"] == load(name).dim
    assert facts["training"]["command"].startswith("bbo train --preset " + name)
    assert len(facts["training"]["commit"]) == 40
    assert {"seed", "config"} <= set(facts["training"])
    assert {"10", "25", "50", "100"} == set(facts["score"]["best_at"])
    assert facts["score"]["functions"] >= 1000


@pytest.mark.parametrize("name", trained_names())
def test_scores_agree_with_the_cards(name, scores):
    """128 functions against the card's 1,000, at 5 standard errors of the difference."""
    for t, on_card in card(name)["score"]["best_at"].items():
        found = scores[name]["best_at"][t]
        tolerance = 5 / 1.96 * (found["ci95"] ** 2 + on_card["ci95"] ** 2) ** 0.5
        assert abs(found["mean"] - on_card["mean"]) < tolerance


@pytest.mark.slow
@pytest.mark.parametrize("name", trained_names())
def test_scores_on_the_cards_can_be_recomputed(name):
    facts = card(name)["score"]
    found = score(load(name), make_problem(facts["task"]), facts["functions"])
    for t, on_card in facts["best_at"].items():
        assert found["best_at"][t]["mean"] == pytest.approx(on_card["mean"], abs=0.01)


@pytest.mark.parametrize("name", trained_names())
def test_no_network_has_collapsed(name, scores):
    """Queries differ between functions, and another function's values make them clearly worse."""
    assert scores[name]["spread"] > 0.05
    assert scores[name]["boundary"] < 0.5
    own = scores[name]["best_at"]["50"]
    assert scores[name]["best_at_shuffled"]["50"] > own["mean"] + 3 * own["ci95"]


def test_the_collapse_detector_detects_collapse():
    class Fixed:
        def init(self, batch, space, budget, generator):
            return torch.rand(budget, space.shape[0], generator=generator, dtype=torch.float64), 0

        def step(self, state, observation):
            points, t = state
            return points[t].expand(len(observation.y), -1), (points, t + 1)

    facts = score(Fixed(), make_problem("BBO-GP-2d-v0", sampler="fourier"), 64)
    assert facts["spread"] < 1e-12
    best, shuffled = facts["best_at"]["50"], facts["best_at_shuffled"]["50"]
    assert shuffled == pytest.approx(best["mean"], abs=1e-12)


def test_a_network_depends_on_the_values_it_is_shown():
    problem = make_problem("BBO-GP-6d-v0", sampler="fourier", budget=20)
    queries = []
    for seed in (0, 1):
        start = held_out(problem, range(seed, seed + 1))
        agent_generator = torch.Generator().manual_seed(0)
        queries.append(unroll(load("lstm-oi-6d"), problem, start, agent_generator).x[0])
    assert torch.equal(queries[0][0], queries[1][0])  # nothing seen yet
    assert not torch.allclose(queries[0][5:], queries[1][5:], atol=1e-3)


@pytest.mark.slow
def test_the_6d_network_is_clearly_better_than_tpe():
    """At 10, 25 and 50 evaluations on 512 held-out functions, paired, by 2 standard errors.

    A network that is no better passes at one of the three with probability 2.3 %.
    """
    problem = make_problem("BBO-GP-6d-v0", sampler="fourier", features=1024)
    best = {}
    for name in ("lstm-oi", "tpe"):
        agent = make_agent(name, problem)
        run = unroll(agent, problem, held_out(problem, range(512)), agent_generator(0))
        best[name] = run.value.cummin(1).values
    for t in (10, 25, 50):
        gain = best["tpe"][:, t - 1] - best["lstm-oi"][:, t - 1]
        assert gain.mean() > 2 * gain.std() / len(gain) ** 0.5


@pytest.fixture
def copied(tmp_path):
    path = tmp_path / "net.safetensors"
    pretrained.save(path, LSTMAgent(2, 4, generator=torch.Generator().manual_seed(0)), {})
    return path


def test_saved_networks_load_as_they_were(copied):
    agent = load(copied)
    expected = LSTMAgent(2, 4, generator=torch.Generator().manual_seed(0)).state_dict()
    assert all(torch.equal(expected[k], v) for k, v in agent.state_dict().items())
    assert not any(p.requires_grad for p in agent.parameters())
    assert load(str(copied)).dim == 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data[:20],
        lambda data: b"",
        lambda data: data[:200] + bytes([data[200] ^ 1]) + data[201:],
    ],
)
def test_damaged_weights_are_refused(copied, damage):
    copied.write_bytes(damage(copied.read_bytes()))
    with pytest.raises(WeightsError, match=r"net.safetensors are damaged: .* reinstall"):
        load(copied)


def test_weights_that_do_not_fit_their_card_are_refused(copied):
    path = copied.with_suffix(".json")
    facts = json.loads(path.read_text())
    facts["architecture"]["hidden"] = 5
    path.write_text(json.dumps(facts))
    with pytest.raises(WeightsError, match="do not fit their card"):
        load(copied)


@pytest.mark.parametrize("text", [None, "{", "[]"])
def test_a_missing_or_damaged_card_is_refused(copied, text):
    path = copied.with_suffix(".json")
    path.unlink()
    if text is not None:
        path.write_text(text)
    with pytest.raises(WeightsError, match=r"card .*net.json cannot be read"):
        load(copied)


def test_missing_weights_are_refused(copied):
    copied.unlink()
    with pytest.raises(WeightsError, match="cannot be read"):
        load(copied)


def test_unknown_networks_suggest_the_nearest():
    with pytest.raises(UnknownNameError, match="Did you mean 'lstm-oi-6d'"):
        load("lstm-oi-7d")


def test_nothing_but_safetensors_is_read(copied, tmp_path):
    """A pickle under the right name, with a card that vouches for it, is not unpickled."""
    import hashlib
    import pickle

    marker = tmp_path / "executed"

    class Trap:
        def __reduce__(self):
            return (marker.write_text, ("!",))

    copied.write_bytes(pickle.dumps(Trap()))
    path = copied.with_suffix(".json")
    facts = json.loads(path.read_text())
    facts["sha256"] = hashlib.sha256(copied.read_bytes()).hexdigest()
    path.write_text(json.dumps(facts))
    with pytest.raises(WeightsError, match="do not fit"):
        load(copied)
    assert not marker.exists()


def test_shipped_files_are_copies_of_nothing_secret(tmp_path):
    """A copied network works from anywhere: nothing but its card is looked up."""
    source = pretrained._path("lstm-oi-2d")
    for suffix in (".safetensors", ".json"):
        shutil.copy(source.with_suffix(suffix), tmp_path / f"mine{suffix}")
    assert load(tmp_path / "mine.safetensors").dim == 2


def test_no_two_uses_share_a_stream_of_random_numbers():
    """PyTorch keeps the low 32 bits of a seed: held-out functions, agents and training differ."""

    def draws(generator):
        return tuple(torch.rand(4, generator=generator).tolist())

    functions = {draws(torch.Generator().manual_seed(FUNCTION_SEED + s)) for s in range(100)}
    agents = {draws(agent_generator(s)) for s in range(100)}
    training = {draws(torch.Generator().manual_seed(s)) for s in range(100)}
    assert len(functions | agents | training) == 300
