"""What a network is taught about candidates, against scikit-learn's GP and SciPy's normal."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF

from agents.pfn import Belief, PFNAgent
from bbo_envs import make_problem
from bbo_envs.functions.gp import predict_along
from bbo_envs.functions.kernels import RBF as OwnRBF
from training.acquisition import (
    CANDIDATES,
    LESSONS,
    acquisition_loss,
    ask_posterior,
    lessons,
    search,
)
from training.configs import PRESETS
from training.trainer import Trainer

SMALL = dataclasses.replace(
    PRESETS["pfn"],
    network_arguments={"width": 16, "heads": 2, "layers": 2},
    mixture={},
    task_arguments={"dim": 1, "sampler": "fourier", "features": 64},
    first_horizon=8,
    horizon=12,
    iterations=120,
    batch=64,
    micro_batches=1,
    warm_up=10,
    learning_rate=5e-3,
)


def small(seed=0):
    return PFNAgent(width=8, heads=2, layers=1, generator=torch.Generator().manual_seed(seed))


def histories(budget=15, batch=4, seed=0, **arguments):
    problem = make_problem("BBO-GP-2d-v0", budget=budget, sampler="fourier", **arguments)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        return problem, list(search(small(), problem, problem.reset(batch, generator), generator))


def searched(**arguments):
    """What is known before the last query."""
    problem, found = histories(**arguments)
    return problem, found[-1]


def lesson(task="BBO-GP-2d-v0", budget=12, batch=5):
    problem = make_problem(task, budget=budget, sampler="fourier")
    generator = torch.Generator().manual_seed(0)
    return lessons(small(), problem, problem.reset(batch, generator), generator)[-1]


def test_searches_look_near_and_far():
    _, (memory, _) = searched(budget=60, batch=64)
    x, best = memory.evaluations.x, memory.history.best_x
    assert x.shape == (64, 59, 2)
    assert ((x >= 0) & (x <= 1)).all()
    near = ((x - best.unsqueeze(1)).norm(dim=-1) < 0.1).float().mean(1)
    assert near.min() < 0.2 < 0.5 < near.max()


def test_a_history_holds_what_came_back_before_a_query():
    _, found = histories(budget=9, workers=3)
    for t, (memory, value) in enumerate(found):
        back = max(0, t - 2)
        assert memory.evaluations.x.shape[1] == value.shape[1] == back
        assert (memory.pending.there.sum(1) == t - back).all()
    for before, after in zip(found, found[1:], strict=False):
        assert torch.equal(after.value[:, : before.value.shape[1]], before.value)


def test_the_network_guides_most_searches(monkeypatch):
    """To one corner, if that is all it likes: three quarters of 400, within five deviations."""
    agent = small()
    monkeypatch.setattr(
        agent, "weigh", lambda seen, x: Belief(-x.square().sum(-1), x[..., 0], x[..., 0])
    )
    problem = make_problem("BBO-GP-6d-v0", budget=20, sampler="fourier")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        *_, last = search(agent, problem, problem.reset(400, generator), generator)
    cornered = last.memory.evaluations.x[:, 8:].norm(dim=-1).median(1).values < 0.9
    assert abs(cornered.double().mean() - 0.75) < 5 * 0.022


def test_values_are_shown_through_monotone_warps():
    _, (memory, value) = searched(batch=200)
    shown = memory.evaluations.y
    assert torch.equal(shown.argsort(1), value.argsort(1))
    changed = (shown != value).any(1)
    assert 0.25 - 5 * 0.031 < changed.double().mean() < 0.25 + 5 * 0.031
    torch.testing.assert_close(shown[~changed], value[~changed])


@pytest.mark.parametrize(("noise", "workers"), [(0.0, 1), (0.2, 1), (0.0, 4), (0.2, 4)])
def test_lessons_against_scikit_learn(noise, workers):
    """Pending queries are conditioned on at their posterior means, which changes no mean."""
    problem, history = searched(noise=noise, workers=workers)
    candidates = torch.rand(4, 9, 2, generator=torch.Generator().manual_seed(1))
    found = ask_posterior(history, candidates, problem.functions.kernel, noise)
    kernel = RBF(problem.functions.kernel.length_scale, length_scale_bounds="fixed")
    for row in range(4):
        x, value = history.memory.evaluations.x[row].double().numpy(), history.value[row].numpy()
        out = history.memory.pending.x[row][history.memory.pending.there[row] > 0].double().numpy()
        assert len(out) == workers - 1

        def gp(x, y):
            return GaussianProcessRegressor(kernel, alpha=max(noise**2, 1e-6), optimizer=None).fit(
                x, y
            )

        first = gp(x, value)
        everywhere = np.concatenate([x, out])
        means = first.predict(everywhere)
        second = gp(everywhere, np.concatenate([value, means[len(x) :]]))
        mean, deviation = second.predict(candidates[row].double().numpy(), return_std=True)
        best = means.min()
        z = (best - mean) / deviation
        improvement = (best - mean) * stats.norm.cdf(z) + deviation * stats.norm.pdf(z)
        np.testing.assert_allclose(found.improvement[row], improvement, rtol=2e-3, atol=1e-5)
        unit = value.std()
        np.testing.assert_allclose(found.mean[row], (mean - value.mean()) / unit, atol=2e-4)
        np.testing.assert_allclose(found.deviation[row], deviation / unit, rtol=2e-3, atol=1e-4)


def test_before_anything_came_back_the_prior_speaks():
    problem, history = searched(budget=1)
    found = ask_posterior(history, torch.rand(4, 3, 2), problem.functions.kernel, 0.0)
    assert not found.mean.any()
    assert (found.deviation == 1.0).all()
    torch.testing.assert_close(found.improvement, torch.full((4, 3), stats.norm.pdf(0.0)))


def test_a_quarter_of_the_candidates_lies_around_the_best_of_the_others():
    found = lesson("BBO-GP-6d-v0", budget=30, batch=32)
    assert found.candidates.shape == (32, CANDIDATES, 6)
    last = CANDIDATES - CANDIDATES // 4
    best = found.improvement[:, :last].argmax(1)
    best = found.candidates[torch.arange(32), best].unsqueeze(1)
    distance = (found.candidates - best).norm(dim=-1)
    assert distance[:, last:].median() < 0.5 * distance[:, :last].median()


def test_lessons_are_given_on_the_way_and_at_the_end():
    problem = make_problem("BBO-GP-2d-v0", budget=40, sampler="fourier")
    generator = torch.Generator().manual_seed(0)
    found = lessons(small(), problem, problem.reset(2, generator), generator)
    lengths = [given.memory.evaluations.x.shape[1] for given in found]
    assert 1 < len(lengths) <= LESSONS
    assert lengths == sorted(set(lengths))
    assert lengths[-1] == 39


def test_the_last_steps_of_a_run_alone_are_predicted_as_with_the_others(generator):
    x = torch.rand(2, 8, 3, dtype=torch.float64, generator=generator)
    y = torch.randn(2, 8, dtype=torch.float64, generator=generator)
    queries = torch.rand(2, 8, 5, 3, dtype=torch.float64, generator=generator)
    run = (x, y, torch.ones_like(y))
    whole = predict_along(OwnRBF(0.3), run, queries, 1e-6)
    for last, part in zip(
        predict_along(OwnRBF(0.3), run, queries[:, 5:], 1e-6), whole, strict=True
    ):
        torch.testing.assert_close(last, part[:, 5:])


# --- the loss ---


def test_the_loss_of_one_who_knows_is_zero():
    given = lesson()
    right = Belief(1e9 * given.improvement, given.mean, given.deviation.clamp_min(1e-3).log())
    loss = acquisition_loss(lambda memory, candidates: right, given)
    torch.testing.assert_close(loss, torch.zeros(5), atol=1e-4, rtol=0)
    wrong = acquisition_loss(lambda *_: right._replace(logit=-right.logit), given)
    assert (wrong > 0.5).all()


def test_the_mismatch_is_the_divergence_of_two_normals():
    given = lesson(batch=2)
    given = given._replace(mean=torch.full((2, 64), 0.3), deviation=torch.full((2, 64), 0.8))
    said = Belief(1e9 * given.improvement, torch.full((2, 64), -0.1), torch.full((2, 64), 0.2))
    expected = torch.distributions.kl_divergence(
        torch.distributions.Normal(0.3, 0.8),
        torch.distributions.Normal(-0.1, torch.tensor(0.2).exp()),
    )
    loss = acquisition_loss(lambda *_: said, given)
    torch.testing.assert_close(loss, (0.3 * expected).expand(2), atol=1e-5, rtol=1e-4)


def test_training_teaches_to_choose():
    """The share of the best improvement that is foregone, and the mismatch, halve in 120 steps."""
    trainer = Trainer(SMALL)
    losses = [trainer.step()["loss"] for _ in range(SMALL.iterations)]
    assert np.mean(losses[-20:]) < 0.6 * np.mean(losses[:20])


@pytest.mark.parametrize("change", [{"network": "lstm", "network_arguments": {}}, {"loss": "ei"}])
def test_network_and_loss_go_together(change):
    with pytest.raises(ValueError, match="go together"):
        Trainer(dataclasses.replace(SMALL, task="BBO-GP-1d-v0", task_arguments={}, **change))


def test_functions_without_a_posterior_are_refused():
    with pytest.raises(ValueError, match="needs the posterior of the generating GP"):
        Trainer(dataclasses.replace(SMALL, task="BBO-Branin-2d-v0", task_arguments={}))


def test_every_parameter_is_taught():
    trainer = Trainer(SMALL)
    trainer.gradient()
    assert isinstance(trainer.agent, PFNAgent)
    for name, parameter in trainer.agent.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name
