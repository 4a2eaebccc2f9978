"""Losses against direct computation, and BPTT's gradient against finite differences."""

import itertools
import math

import pytest
import torch
from scipy import stats

from agents.acquisition import Proposals
from agents.recurrent import LSTMAgent
from bbo_envs import Observation, UnknownNameError, make_problem
from bbo_envs.functions.kernels import RBF
from training.losses import (
    confidence_bound_loss,
    discounted_regret,
    expected_improvement_loss,
    make_loss,
    observed_improvement,
    summed,
)
from training.rollout import Trajectory, steps, unroll


def run_of(values):
    value = torch.tensor(values, dtype=torch.float64, requires_grad=True)
    return Trajectory(torch.zeros(*value.shape, 1), value, Observation(None, None, None))


def direct_oi(values, reference):
    """Chen et al. 2017, section 2.1, as written, with m_0 = reference."""
    best, total = reference, 0.0
    for value in values:
        total += min(value - best, 0.0)
        best = min(best, value)
    return total


@pytest.mark.parametrize("stop_gradient", [False, True])
@pytest.mark.parametrize("reference", [0.0, 1.5])
def test_oi_against_a_direct_computation(stop_gradient, reference):
    for values in itertools.permutations([1.0, -0.5, -2.0, 0.25]):
        loss = observed_improvement(run_of([values]), reference, stop_gradient)
        assert loss.item() == pytest.approx(direct_oi(values, reference))


def test_oi_telescopes_in_value_and_in_gradient():
    run = run_of([[1.0, -0.5, 0.3, -2.0, -1.0]])
    loss = observed_improvement(run, 0.0, stop_gradient=False)
    assert loss.item() == pytest.approx(-2.0)
    loss.sum().backward()
    assert run.value.grad.tolist() == [[0.0, 0.0, 0.0, 1.0, 0.0]]


def test_stop_gradient_oi_credits_every_improving_step():
    run = run_of([[1.0, -0.5, 0.3, -2.0, -1.0]])
    observed_improvement(run, 0.0, stop_gradient=True).sum().backward()
    assert run.value.grad.tolist() == [[0.0, 1.0, 0.0, 1.0, 0.0]]


def test_a_bad_first_query_earns_nothing():
    bad, good = run_of([[5.0, -1.0]]), run_of([[-1.0, -1.0]])
    for stop_gradient in (False, True):
        losses = [observed_improvement(run, 0.0, stop_gradient).item() for run in (bad, good)]
        assert losses[0] == losses[1]


def test_sum():
    assert summed(run_of([[1.0, -2.0], [0.5, 0.5]])).tolist() == [-1.0, 1.0]


def three_queries():
    """A run of three queries, and the posterior before each by a dense solve: (mean, sd, best)."""
    kernel, noise = RBF(0.3), 0.1
    x = torch.tensor([[[0.2], [0.5], [0.6]]], dtype=torch.float64)
    y = torch.tensor([[0.4, -0.7, 0.1]], dtype=torch.float64)
    zero, one = torch.zeros(1, 1).double(), torch.ones(1, 2).double()
    seen = Observation(
        torch.cat([zero.unsqueeze(-1), x[:, :2]], 1),
        torch.cat([zero, y[:, :2]], 1),
        torch.cat([zero, one], 1),
    )
    before = [(0.0, 1.0, 0.0)]
    for t in (1, 2):
        gram = kernel(x[0, :t], x[0, :t]) + noise**2 * torch.eye(t).double()
        cross = kernel(x[0, t : t + 1], x[0, :t])
        mean = (cross @ torch.linalg.solve(gram, y[0, :t])).item()
        variance = 1.0 - (cross @ torch.linalg.solve(gram, cross.T)).item()
        before.append((mean, math.sqrt(variance), min([0.0, *y[0, :t].tolist()])))
    return Trajectory(x, y, seen), kernel, noise, before


def test_ei_loss_against_a_direct_computation():
    """EI by its textbook formula, on three queries."""
    run, kernel, noise, before = three_queries()
    expected = 0.0
    for mean, deviation, best in before:
        z = (best - mean) / deviation
        expected += (best - mean) * stats.norm.cdf(z) + deviation * stats.norm.pdf(z)
    loss = expected_improvement_loss(run, kernel, noise)
    assert loss.item() == pytest.approx(-expected, rel=1e-9)


def choices_of(run, kernel, noise):
    """The three queries, each chosen from itself and two others; and EI of each by itself."""
    generator = torch.Generator().manual_seed(5)
    others = torch.rand(1, 3, 2, run.x.shape[-1], dtype=torch.float64, generator=generator)
    points = torch.cat([run.x.unsqueeze(2), others], 2)
    logits = torch.randn(1, 3, 3, dtype=torch.float64, generator=generator, requires_grad=True)
    improvement = torch.stack(
        [
            torch.stack(
                [
                    -expected_improvement_loss(with_query(run, t, points[:, t, p]), kernel, noise)
                    + expected_improvement_loss(with_query(run, t, far(run)), kernel, noise)
                    for p in range(3)
                ],
                -1,
            )
            for t in range(3)
        ],
        1,
    )
    return Proposals(points, logits.log_softmax(-1)), logits, improvement


def with_query(run, t, x):
    """The run with another query at step t, of which nothing else knows."""
    return run._replace(x=torch.cat([run.x[:, :t], x.unsqueeze(1), run.x[:, t + 1 :]], 1))


def far(run):
    return torch.full_like(run.x[:, 0], 0.1)


def test_ei_is_averaged_over_the_choice_among_proposals():
    """Against EI of every proposal queried for sure; up to a constant, that of ``far``."""
    run, kernel, noise, _ = three_queries()
    proposals, logits, improvement = choices_of(run, kernel, noise)
    weights = logits.softmax(-1)
    everywhere = run._replace(x=far(run).unsqueeze(1).expand_as(run.x))
    constant = -expected_improvement_loss(everywhere, kernel, noise)
    expected = -((weights * improvement).sum() + constant)
    found = expected_improvement_loss(run._replace(proposals=proposals), kernel, noise)
    assert found.item() == pytest.approx(expected.item(), rel=1e-9)
    gradients = [torch.autograd.grad(loss.sum(), logits)[0] for loss in (found, expected)]
    assert gradients[0].abs().max() > 1e-3
    torch.testing.assert_close(*gradients)


def test_balanced_ei_divides_each_step_by_the_root_of_its_mean():
    problem = make_problem("BBO-GP-2d-v0", budget=6, sampler="fourier")
    start = problem.reset(8, torch.Generator().manual_seed(0))
    agent = LSTMAgent(2, hidden=8, generator=torch.Generator().manual_seed(0)).double()
    run = unroll(agent, problem, start, torch.Generator().manual_seed(0))
    run = run._replace(x=run.x.detach().requires_grad_())
    kernel = problem.functions.kernel
    balanced = expected_improvement_loss(run, kernel, 0.0, balanced=True)
    plain = expected_improvement_loss(run, kernel, 0.0)
    (gradient,) = torch.autograd.grad(balanced.mean(), run.x, retain_graph=True)
    (reference,) = torch.autograd.grad(plain.mean(), run.x)
    for t in range(1, 6):  # at first EI is the same everywhere
        step = expected_improvement_loss(first(run, t), kernel, 0.0)
        step = step - expected_improvement_loss(first(run, t + 1), kernel, 0.0)
        torch.testing.assert_close(gradient[:, t], reference[:, t] / (step.mean() + 1e-5).sqrt())


def first(run, number):
    """The first queries of a run."""
    return Trajectory(
        run.x[:, :number],
        run.value[:, :number],
        Observation(*(p[:, :number] for p in run.observation)),
    )


@pytest.mark.parametrize("kappa", [0.0, 2.0])
def test_ucb_loss_against_a_direct_computation(kappa):
    run, kernel, noise, before = three_queries()
    expected = sum(mean - kappa * deviation for mean, deviation, _ in before)
    loss = confidence_bound_loss(run, kernel, noise, kappa)
    assert loss.item() == pytest.approx(expected, rel=1e-9)


def test_ucb_loss_is_finite_where_the_posterior_is_certain():
    """The same query twice, without noise: the deviation is zero but for the jitter."""
    problem = make_problem("BBO-GP-1d-v0", budget=4)
    run = unroll(Fixed(), problem, problem.reset(2, torch.Generator()), torch.Generator())
    x = run.x.clone().requires_grad_()
    loss = make_loss("ucb", problem.functions)(run._replace(x=x)).sum()
    (gradient,) = torch.autograd.grad(loss, x)
    assert loss.isfinite()
    assert gradient.isfinite().all()


class Fixed:
    """Asks for the centre of the cube, always."""

    def init(self, batch, space, budget, generator):
        return torch.full((batch, *space.shape), 0.5, dtype=torch.float64)

    def step(self, state, observation):
        return state, state


def test_regret_against_a_direct_computation():
    values, discount, optimum = [1.0, -0.5, 0.3, -2.0], 0.9, -2.5
    weights = [discount ** (4 - t) for t in (1, 2, 3, 4)]
    best = [1.0, -0.5, -0.5, -2.0]
    expected = sum(w * (b - optimum) for w, b in zip(weights, best, strict=True))
    expected *= 4 / sum(weights)
    run = run_of([values])
    loss = discounted_regret(run, torch.tensor([optimum]), discount)
    assert loss.item() == pytest.approx(expected)
    loss.sum().backward()
    total = sum(weights) / 4
    direct = [weights[0] / total, (weights[1] + weights[2]) / total, 0.0, weights[3] / total]
    assert run.value.grad[0].tolist() == pytest.approx(direct)


def test_the_optimum_changes_regret_but_not_its_gradient():
    problem = make_problem("BBO-Branin-2d-v0", perturb=True, rescaled=True, budget=3)
    start = problem.reset(4, torch.Generator().manual_seed(0))
    optimum = problem.functions.optimum(start[0].function)
    run = run_of([[1.0, -0.5, -0.7]] * 4)
    losses = [make_loss("regret", problem.functions, 0.0, f)(run) for f in (optimum, None)]
    torch.testing.assert_close(
        losses[0] + 3 * optimum, losses[1] + 3 * problem.functions.prior_mean
    )
    left, right = (torch.autograd.grad(loss.sum(), run.value)[0] for loss in losses)
    assert torch.equal(left, right)


def test_ei_loss_knows_what_has_not_come_back():
    """With three workers, the first three queries are all made under the prior."""
    problem = make_problem("BBO-GP-2d-v0", budget=3, workers=3)
    agent = LSTMAgent(2, 4, generator=torch.Generator().manual_seed(0)).double()
    generator = torch.Generator().manual_seed(0)
    run = unroll(agent, problem, problem.reset(5, generator), generator)
    loss = make_loss("ei", problem.functions)(run)
    prior_ei = 1.0 / math.sqrt(2.0 * math.pi)
    torch.testing.assert_close(loss, torch.full_like(loss, -3 * prior_ei))


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("name", ["sum", "oi-telescoped", "ei", "ucb", "regret"])
@pytest.mark.parametrize("sampler", ["exact", "fourier"])
def test_gradient_of_bptt_equals_a_finite_difference(sampler, name, workers):
    """Central differences in float64 along random directions of the weights.

    The stop-gradient form of OI is left out, and so are queries on the boundary: what is computed
    there is by design no derivative. Small weights of the head keep queries inside.
    """
    problem = make_problem("BBO-GP-2d-v0", sampler=sampler, budget=6, workers=workers)
    agent = LSTMAgent(2, 5, generator=torch.Generator().manual_seed(1)).double()
    with torch.no_grad():
        agent.head.weight *= 0.1
        agent.head.bias *= 0.1
    loss_of = make_loss(name, problem.functions)

    def loss():
        generator = torch.Generator().manual_seed(3)
        start = problem.reset(4, generator)
        run = unroll(agent, problem, start, generator)
        assert ((run.x > 0) & (run.x < 1)).all()
        return loss_of(run).mean()

    parameters = list(agent.parameters())
    gradient = torch.autograd.grad(loss(), parameters)
    directions = torch.Generator().manual_seed(2)
    for _ in range(3):
        step = [torch.randn(p.shape, generator=directions).double() for p in parameters]
        expected = sum((g * s).sum().item() for g, s in zip(gradient, step, strict=True))
        values = []
        for size in (1e-6, -2e-6, 1e-6):  # forward, back, and home again
            with torch.no_grad():
                for p, s in zip(parameters, step, strict=True):
                    p += size * s
                values.append(loss().item())
        assert (values[0] - values[1]) / 2e-6 == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_per_query_clipping_bounds_each_gradient():
    problem = make_problem("BBO-GP-2d-v0", sampler="fourier", length_scale=0.01, budget=3)
    agent = LSTMAgent(2, 4, generator=torch.Generator().manual_seed(0)).double()
    norms = {}
    for largest in (None, 1e-3):
        generator = torch.Generator().manual_seed(0)
        start = problem.reset(8, generator)
        run = unroll(agent, problem, start, generator, max_query_gradient=largest)
        agent.zero_grad()
        run.value.sum().backward()
        norms[largest] = torch.cat([p.grad.flatten() for p in agent.parameters()]).norm()
    assert norms[1e-3] < 1e-2 < norms[None]


def test_truncation_cuts_the_graph():
    """The last of four values depends on the first query, unless a cut lies between them."""
    problem = make_problem("BBO-GP-1d-v0", sampler="fourier", budget=4)
    agent = LSTMAgent(1, 3, generator=torch.Generator().manual_seed(0)).double()
    for truncation, connected in ((None, True), (4, True), (3, False), (1, False)):
        generator = torch.Generator().manual_seed(0)
        start = problem.reset(2, generator)
        run = list(steps(agent, problem, start, generator, truncation=truncation))
        last = run[-1].info.value.sum()
        (gradient,) = torch.autograd.grad(last, run[0].x, allow_unused=True)
        assert (gradient is not None) == connected


def test_unknown_and_unsuitable_losses():
    functions = make_problem("BBO-Branin-2d-v0").functions
    with pytest.raises(UnknownNameError, match="Did you mean 'oi'"):
        make_loss("oii", functions)
    for name in ("ei", "ucb"):
        with pytest.raises(ValueError, match=f"'{name}' needs the posterior of the generating GP"):
            make_loss(name, functions)
