"""GP-EI on a batch of functions: each row as BoTorch alone, and as if there were no others."""

import numpy as np
import pytest
import torch
from botorch.acquisition import LogExpectedImprovement
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from botorch.optim import optimize_acqf
from botorch.utils.sampling import manual_seed
from gpytorch.mlls import ExactMarginalLogLikelihood
from torch.quasirandom import SobolEngine

from agents import make_agent
from agents.baselines.gp_ei import GPEI, Run
from agents.baselines.gp_side_by_side import Marginal, fit
from bbo_envs import Observation, make_problem
from bbo_envs.functions.gp import expected_improvement, posterior, predict
from bbo_envs.functions.kernels import RBF, Matern52
from training.rollout import unroll

AGENTS = [GPEI(), GPEI(RBF(0.3)), GPEI(Matern52(0.4), noise=0.1)]


def nothing(rows, dim):
    return Observation(torch.zeros(rows, dim), torch.zeros(rows), torch.zeros(rows))


def runs(generator, counts, dim=3):
    """Functions that have so many values each, about a minimum as in the middle of a run."""
    made = []
    for seed, count in enumerate(counts):
        x = torch.rand(count, dim, dtype=torch.float64, generator=generator)
        x[count // 2 :] = 0.6 + 0.2 * (x[count // 2 :] - 0.5)
        y = (seed + 1) * ((x - 0.6).square().sum(1) + 0.1 * torch.sin(9 * x[:, 0] + seed))
        made.append(Run(seed, SobolEngine(dim), 1, list(x.numpy()), y.tolist()))
    return made


def data(run):
    return torch.tensor(np.array(run.x)), -torch.tensor(run.y, dtype=torch.float64).unsqueeze(1)


def log_posterior_density(model):
    """Of the hyper-parameters, by BoTorch."""
    mll = ExactMarginalLogLikelihood(model.likelihood, model).train()
    with torch.no_grad():
        density = mll(model(*model.train_inputs), model.train_targets)
    mll.eval()
    return density


def fitted_by_botorch(run):
    model = SingleTaskGP(*data(run))
    fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
    return model


def test_with_the_kernel_known_it_maximises_ei():
    """Its next query on a 1-d function has the EI of the best point of a dense grid."""
    problem = make_problem("BBO-GP-1d-v0", sampler="fourier", budget=6)
    generator = torch.Generator().manual_seed(0)
    run = unroll(
        make_agent("gp-ei-known", problem), problem, problem.reset(3, generator), generator
    )
    kernel = problem.functions.kernel
    grid = torch.linspace(0, 1, 4001, dtype=torch.float64).unsqueeze(1)
    for x, value in zip(run.x, run.value, strict=True):
        for t in range(2, 6):
            gp = posterior(kernel, x[None, :t], value[None, :t], 1e-6)
            best = value[:t].min()
            on_grid, proposed = predict(kernel, gp, grid), predict(kernel, gp, x[t : t + 1])
            found = expected_improvement(proposed.mean, proposed.variance, best)
            assert found >= 0.99 * expected_improvement(on_grid.mean, on_grid.variance, best).max()


@pytest.mark.parametrize("agent", AGENTS, ids=["fitted", "rbf", "matern"])
def test_the_log_ei_attained_is_that_of_optimize_acqf(agent, generator):
    """On every function, where both begin from the same draws."""
    states = runs(generator, [9, 9, 9])
    queries, _ = agent.step(states, nothing(3, 3))
    cube = torch.tensor([[0.0] * 3, [1.0] * 3], dtype=torch.float64)
    for run, query in zip(runs(generator.manual_seed(0), [9, 9, 9]), queries, strict=True):
        model = fitted_by_botorch(run) if agent.kernel is None else agent._model([run])
        y = model.train_targets
        if agent.kernel is None:  # in the units of the values, which the model standardises
            y = y * model.outcome_transform.stdvs + model.outcome_transform.means
        log_ei = LogExpectedImprovement(model, y.max())
        seed = run.seed + 9
        with manual_seed(seed):
            _, best = optimize_acqf(
                log_ei, cube, q=1, num_restarts=10, raw_samples=512, options={"seed": seed}
            )
        assert log_ei(query.unsqueeze(0)) >= best - 1e-3


@pytest.mark.parametrize("count", [2, 20])
def test_each_function_is_fitted_as_by_botorch_alone(count, generator):
    states = runs(generator, [count] * 3)
    x, y = (torch.stack(parts) for parts in zip(*map(data, states), strict=True))
    model = SingleTaskGP(x, y)
    fit(model)
    alone = [log_posterior_density(fitted_by_botorch(run)) for run in states]
    # Rounding decides at which step along a flat ridge the tolerance ends a fit, here as there.
    assert (log_posterior_density(model) >= torch.stack(alone) - 1e-2).all()


def test_the_fast_posterior_is_botorchs(generator):
    states = runs(generator, [12, 12])
    at = torch.rand(7, 2, 1, 3, dtype=torch.float64, generator=generator)
    for agent in AGENTS:
        model = agent._model(states)
        fast, expected = Marginal(model).posterior(at), model.posterior(at)
        mean, deviation = 0.0, 1.0
        if agent.kernel is None:  # the default model standardises its values
            mean, deviation = model.outcome_transform.means, model.outcome_transform.stdvs
        torch.testing.assert_close(
            fast.mean * deviation + mean, expected.mean, rtol=1e-6, atol=1e-6
        )
        torch.testing.assert_close(
            fast.variance * deviation**2, expected.variance, rtol=1e-4, atol=1e-7
        )


@pytest.mark.parametrize("agent", AGENTS[:2], ids=["fitted", "known"])
def test_a_row_is_proposed_as_if_there_were_no_others(agent, generator):
    """Whatever the others have: as many values, fewer, or queries that are still out."""
    counts = [6, 6, 5, 6]

    def make():
        states = runs(generator.manual_seed(0), counts)
        states[3].pending.append((np.full(3, 0.6), None))
        return states

    together, _ = agent.step(make(), nothing(4, 3))
    for row, state in enumerate(make()):
        alone, _ = agent.step([state], nothing(1, 3))
        torch.testing.assert_close(alone[0], together[row], rtol=0, atol=1e-4)


@pytest.mark.parametrize("agent", AGENTS[:2], ids=["fitted", "known"])
def test_a_batch_repeats_itself_and_leaves_the_global_generator_alone(agent, generator):
    before = torch.get_rng_state()
    first, again = (
        agent.step(runs(generator.manual_seed(0), [8, 8]), nothing(2, 3))[0] for _ in range(2)
    )
    assert torch.equal(first, again)
    assert torch.equal(before, torch.get_rng_state())


def test_queries_that_are_out_are_not_asked_again(generator):
    """Row 0 hears nothing and row 1 a value; each keeps what it is still waiting for."""
    agent = GPEI(RBF(0.3))
    first, states = agent.step(runs(generator, [8, 8], dim=2), nothing(2, 2))
    told = Observation(first, torch.tensor([0.0, -1.0]), torch.tensor([0.0, 1.0]))
    second, states = agent.step(states, told)
    assert [len(run.x) for run in states] == [8, 9]
    assert [len(run.pending) for run in states] == [2, 1]
    assert (second[0] - first[0]).norm() > 0.05
    np.testing.assert_array_equal(states[1].x[-1], first[1].numpy())
    # Values may come back in another order than they were asked in.
    told = Observation(second, torch.tensor([0.5, 0.5]), torch.ones(2))
    _, states = agent.step(states, told)
    np.testing.assert_array_equal(states[0].pending[0][0], first[0].numpy())
