"""Densities, entropies and draws of truncated normal distributions, against SciPy."""

import numpy as np
import pytest
import torch
from scipy import stats

from agents import load
from agents.dnc import DNCAgent
from agents.policy import Policy, entropy, log_density, sample
from agents.posterior_guided import PosteriorGuidedAgent
from agents.pretrained import save
from agents.recurrent import LSTMAgent
from agents.stochastic import SCALES, StochasticAgent
from agents.universal import UniversalAgent
from bbo_envs import Observation, make_problem
from training.rollout import steps

# Narrow and wide, in the middle, near the boundary, and on it.
LOCATIONS = torch.tensor([[0.5, 0.3], [0.999, 1.0], [0.0, 1e-4], [0.2, 0.9]], dtype=torch.float64)
SCALE = torch.tensor([[0.001], [0.05], [0.3], [2.0]], dtype=torch.float64)


def around(location, scale):
    weight = location.new_zeros(len(location), 1)
    return Policy(location.unsqueeze(1), weight, location, scale)


def truncated(location, scale):
    return stats.truncnorm(-location / scale, (1 - location) / scale, location, scale)


def mixture(rows=5, points=3, dim=2):
    generator = torch.Generator().manual_seed(0)
    location = torch.rand(rows, points, dim, dtype=torch.float64, generator=generator)
    logit = torch.randn(rows, points, dtype=torch.float64, generator=generator)
    scale = 0.05 + torch.rand(rows, 1, dtype=torch.float64, generator=generator)
    return Policy(location, logit.log_softmax(-1), location[:, 0], scale)


def test_draws_densities_and_entropies_against_scipy():
    uniform = torch.tensor([1e-9, 0.01, 0.5, 0.9, 1 - 1e-9], dtype=torch.float64)
    policy, reference = around(LOCATIONS, SCALE), truncated(LOCATIONS.numpy(), SCALE.numpy())
    for share in uniform:
        x = sample(policy, share.expand_as(LOCATIONS))
        expected = reference.ppf(share.item())
        np.testing.assert_allclose(x.numpy(), expected, rtol=1e-6, atol=1e-9)
        density = reference.logpdf(x.numpy()).sum(-1)
        np.testing.assert_allclose(log_density(policy, x).numpy(), density, rtol=1e-7, atol=1e-7)
    expected = reference.entropy().sum(-1)
    np.testing.assert_allclose(entropy(policy).numpy(), expected, rtol=1e-7, atol=1e-7)


def test_the_choice_is_part_of_the_density_and_of_the_entropy():
    policy = mixture()
    x = torch.rand(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    parts = truncated(policy.location.numpy(), policy.scale.unsqueeze(1).numpy())
    weight = policy.log_weight.exp().numpy()
    each = parts.pdf(x.unsqueeze(1).numpy()).prod(-1)
    expected = np.log((weight * each).sum(-1))
    np.testing.assert_allclose(log_density(policy, x).numpy(), expected, rtol=1e-9)
    together = stats.entropy(weight, axis=-1) + (weight * parts.entropy().sum(-1)).sum(-1)
    np.testing.assert_allclose(entropy(policy).numpy(), together, rtol=1e-9)


def test_gradients_against_finite_differences():
    policy = mixture(rows=3)
    x = torch.rand(3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    inputs = [policy.location, policy.log_weight, policy.chosen, policy.scale]
    inputs = [part.clone().requires_grad_() for part in inputs]
    for function in (log_density, lambda policy, _: entropy(policy), sample):
        assert torch.autograd.gradcheck(
            lambda *parts, function=function: function(Policy(*parts), x), inputs
        )


def networks():
    generator = torch.Generator().manual_seed(0)
    return [
        LSTMAgent(2, hidden=4, generator=generator),
        DNCAgent(2, hidden=4, slots=3, word=3, reads=1, generator=generator),
        UniversalAgent(hidden=4, heads=2, proposals=3, generator=generator),
        PosteriorGuidedAgent(hidden=4, heads=2, candidates=8, alone=1, generator=generator),
    ]


@pytest.mark.parametrize("network", networks(), ids=lambda network: network.kind)
def test_every_network_has_a_stochastic_form(network, tmp_path):
    """It plays with parallel workers, tells the density of what it asked, and is saved."""
    agent = StochasticAgent(network, 0.1, torch.Generator().manual_seed(1))
    problem = make_problem("BBO-Branin-2d-v0", budget=6, workers=2)

    def queries(agent):
        start = problem.reset(3, torch.Generator().manual_seed(2))
        return list(steps(agent, problem, start, torch.Generator().manual_seed(3)))

    run = queries(agent)
    assert all(step.draw.log_density.isfinite().all() for step in run)
    assert len({step.x.tolist()[0][0] for step in run}) == 6
    state = agent.init(3, problem.space, 6, torch.Generator().manual_seed(3))
    policy, _ = agent.distribution(state, run[0].observation)
    assert torch.allclose(policy.scale, torch.tensor(0.1).double())
    assert torch.equal(run[0].draw.log_density, log_density(policy, run[0].x.double()))
    save(tmp_path / "agent.safetensors", agent, {})
    again = load(tmp_path / "agent.safetensors")
    assert again.architecture == agent.architecture
    assert all(torch.equal(one.x, other.x) for one, other in zip(run, queries(again), strict=True))


def test_networks_that_remember_queries_are_told_what_was_asked():
    *_, universal, guided = networks()
    nothing = Observation(torch.zeros(3, 2), *torch.zeros(2, 3))
    space = make_problem("BBO-Branin-2d-v0").space
    for network in (universal, guided):
        agent = StochasticAgent(network, 0.5)
        state = agent.init(3, space, 6, torch.Generator().manual_seed(3))
        for t in range(2):
            x, state = agent.step(state, nothing)
            proposer = getattr(state.network, "proposer", state.network)
            assert torch.equal(proposer.queries[:, t], x)
    assert torch.equal(state.network.pending.x[:, 1], x)


@pytest.mark.parametrize("scale", [0.0, 3.0, float("nan")])
def test_scales_out_of_range_are_refused(scale):
    with pytest.raises(ValueError, match=r"scale must be a finite number in \[0.001, 2\]"):
        StochasticAgent(LSTMAgent(1, hidden=2), scale)
    assert SCALES == (0.001, 2.0)
