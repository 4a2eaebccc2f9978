"""Rivals on JAX: adapters against the libraries themselves; GP-EI over hyper-parameter samples."""

import random
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import pytest
import torch
from botorch.acquisition import LogExpectedImprovement, qLogExpectedImprovement
from botorch.fit import fit_fully_bayesian_model_nuts
from botorch.models.transforms import Standardize
from botorch.optim import optimize_acqf
from botorch.utils.sampling import manual_seed
from evosax.algorithms import LearnedES
from rollouts import play, seed_of_library
from scipy.stats import norm
from torch.distributions import MultivariateNormal
from torch.quasirandom import SobolEngine

from agents import make_agent
from agents.baselines import gp_bayesian
from agents.baselines.gp_ei import Run
from bbo_envs import Objective, Observation, Problem, make_problem

# Hyper-parameters that a sampler might give for functions of two parameters.
SAMPLES = {
    "mean": torch.tensor([0.1, -0.2, 0.3]),
    "noise": torch.tensor([1e-3, 2e-3, 5e-4]),
    "lengthscale": torch.tensor([[0.7, 1.1], [0.3, 0.5], [0.4, 2.0]]),
    "c0": torch.tensor([[1.5, 0.6], [1.0, 1.2], [0.7, 0.8]]),
    "c1": torch.tensor([[0.8, 1.3], [1.4, 1.0], [1.1, 0.6]]),
}
SAMPLES = {name: sample.double() for name, sample in SAMPLES.items()}


def evaluate(problem, points):
    return problem.functions.evaluate((), torch.as_tensor(np.array(points)))[0].numpy()


def bowl(x):
    return float((x[0] - 0.3) ** 2 + (x[1] - 0.6) ** 2)


def global_generators():
    legacy = np.random.get_state()  # noqa: NPY002
    return torch.get_rng_state().tolist(), legacy[1].tolist(), legacy[2], random.getstate()


def data(count):
    x = torch.rand(count, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = torch.sin(5 * x[:, :1]) + x[:, 1:].square()
    return x, (y - y.mean()) / y.std()


def nothing(dim):
    return Observation(torch.zeros(1, dim), torch.zeros(1), torch.zeros(1))


def kumaraswamy_matern(x1, x2, c0, c1, length_scale):
    """The covariance in NumPy; c1 is the inner exponent, as in BoTorch's ``Warp``."""
    warped = [(1 - (1 - x**c1) ** c0) / length_scale for x in (x1, x2)]
    r = np.sqrt(5) * np.linalg.norm(warped[0][:, None] - warped[1][None], axis=-1)
    return (1 + r + r**2 / 3) * np.exp(-r)


def test_the_sampled_density_is_that_of_the_model_that_predicts():
    """Which it is not in BoTorch 0.18.1: see ``gp_bayesian._Density``."""
    x, y = data(8)
    with jax.enable_x64(True):
        model = gp_bayesian._Model(x, y, use_input_warping=True)
        parameters = {name: jnp.array(sample[0].numpy()) for name, sample in SAMPLES.items()}
        with numpyro.handlers.seed(rng_seed=0), numpyro.handlers.substitute(data=parameters):
            site = numpyro.handlers.trace(model.pyro_model.sample).get_trace()["Y"]
        sampled = float(site["fn"].log_prob(site["value"]))
    noise = SAMPLES["noise"] + 1e-4  # BoTorch's least noise, which it adds as it samples
    model.load_mcmc_samples(SAMPLES | {"noise": noise})
    model.eval()
    covariance = model.covar_module(model.transform_inputs(x)).to_dense()[0]
    covariance += model.likelihood.noise[0] * torch.eye(8)
    predicts = MultivariateNormal(model.mean_module.constant[0].expand(8), covariance)
    assert sampled == pytest.approx(predicts.log_prob(y[:, 0]).item(), abs=1e-4)


@pytest.fixture
def without_sampling(monkeypatch):
    """The rest of a proposal, where NUTS would give ``SAMPLES``."""

    def load(model, **options):
        model.train()
        model.load_mcmc_samples(SAMPLES)
        model.eval()

    monkeypatch.setattr(gp_bayesian, "fit_fully_bayesian_model_nuts", load)


def test_it_proposes_the_maximum_of_ei_averaged_over_samples(without_sampling):
    """Against EI in NumPy on a grid, each sample with a GP of its own."""
    x, y = (part.numpy() for part in data(8))
    agent = gp_bayesian.GPBayesian()
    run = Run(0, SobolEngine(2), 1, list(x), y[:, 0].tolist())
    with torch.no_grad():
        queries, _ = agent.step([run], nothing(2))
    axis = np.linspace(0, 1, 101)
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    average = 0
    for mean, noise, *kernel in zip(
        *(SAMPLES[name].numpy() for name in ("mean", "noise", "c0", "c1", "lengthscale")),
        strict=True,
    ):
        at = np.concatenate([queries.numpy(), grid])
        covariance = kumaraswamy_matern(x, x, *kernel) + noise * np.eye(8)
        cross = np.linalg.solve(covariance, kumaraswamy_matern(x, at, *kernel))
        # The model predicts -y, which it standardises; y already is so.
        predicted = mean + cross.T @ (-y[:, 0] - mean)
        variance = 1 - (cross * kumaraswamy_matern(x, at, *kernel)).sum(0)
        deviation = np.sqrt(variance.clip(1e-12))
        z = (predicted + y.min()) / deviation
        average += deviation * (z * norm.cdf(z) + norm.pdf(z)) / 3
    assert average[0] >= 0.999 * average[1:].max()


def test_parallel_workers_are_given_distinct_points_of_the_cube(without_sampling):
    problem = Problem(Objective(bowl, 2), budget=9, workers=3)
    before = global_generators()
    run = play(make_agent("gp-bayesian", problem), problem, batch=2)
    assert global_generators() == before
    assert ((run.x >= 0) & (run.x <= 1)).all()
    for row in run.x:
        assert torch.cdist(row, row).add(torch.eye(9)).min() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 3])
def test_gp_bayesian_is_the_librarys_own_loop(workers):
    """The same queries as BoTorch's functions with the same seed, after a Sobol design of 5."""
    problem = make_problem("BBO-Branin-2d-v0", budget=7, workers=workers)
    run = play(make_agent("gp-bayesian", problem), problem)
    seed = seed_of_library(problem)
    expected = SobolEngine(2, scramble=True, seed=seed).draw(5, dtype=torch.float64)
    np.testing.assert_allclose(run.x[0, :5].numpy(), expected)
    cube = torch.tensor([[0.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    for t in (5, 6):
        told = run.observation.o[0, : t + 1].bool()
        x = run.observation.x[0, : t + 1][told].double()
        y = -run.observation.y[0, : t + 1][told].double().unsqueeze(1)
        with jax.enable_x64(True):
            model = gp_bayesian._Model(
                x, y, outcome_transform=Standardize(1), use_input_warping=True
            )
            fit_fully_bayesian_model_nuts(model, disable_progbar=True, seed=seed + t)
        out = [point for point in run.x[0, :t] if not (point == x).all(1).any()]
        if out:
            acquisition = qLogExpectedImprovement(model, y.max(), X_pending=torch.stack(out))
        else:
            acquisition = LogExpectedImprovement(model, y.max())
        with manual_seed(seed + t):
            best, _ = optimize_acqf(acquisition, cube, q=1, num_restarts=10, raw_samples=512)
        np.testing.assert_allclose(run.x[0, t].numpy(), best[0], atol=1e-6)


@pytest.mark.slow
def test_gp_bayesian_repeats_itself_with_the_same_seed_and_not_with_another():
    problem = Problem(Objective(bowl, 2), budget=6)
    agent = make_agent("gp-bayesian", problem)
    before = global_generators()
    first, again, other = (play(agent, problem, seed=seed).x for seed in (1, 1, 2))
    assert global_generators() == before
    assert torch.equal(first, again)
    assert not torch.equal(first[0, 5], other[0, 5])


@pytest.mark.slow
def test_gp_bayesian_finds_the_minimum():
    """In 3 queries after 12 of a design; 15 at random are as good with probability 0.05 a run."""
    design = [SobolEngine(2, scramble=True, seed=seed).draw(12).double() for seed in range(2)]
    state = [Run(0, None, 12, list(x.numpy()), [bowl(point) for point in x]) for x in design]
    agent, found = gp_bayesian.GPBayesian(), [min(run.y) for run in state]
    observation = Observation(torch.zeros(2, 2), torch.zeros(2), torch.zeros(2))
    for _ in range(3):
        x, state = agent.step(state, observation)
        y = torch.tensor([bowl(point) for point in x])
        observation = Observation(x, y, torch.ones(2))
        found = np.minimum(found, y.numpy())
    # 15 points miss the disc of squared radius r with probability (1 - pi r) ** 15.
    assert (found < (1 - 0.95 ** (1 / 15)) / np.pi).all()


def own_generations(problem, count):
    """The loop of evosax's README, with the settings of ``agents.baselines.les``."""
    strategy = LearnedES(population_size=8, solution=jnp.zeros(2))
    parameters = strategy.default_params.replace(std_init=0.15)
    key, start = jax.random.split(jax.random.PRNGKey(seed_of_library(problem)))
    state = strategy.init(start, jnp.array([0.5, 0.5]), parameters)
    for _ in range(count):
        key, ask = jax.random.split(key)
        population, state = strategy.ask(ask, state, parameters)
        population = jnp.clip(population, 0.0, 1.0)
        yield from np.asarray(population, dtype=np.float64)
        key, tell = jax.random.split(key)
        fitness = jnp.asarray(evaluate(problem, population))
        state, _ = strategy.tell(tell, population, fitness, state, parameters)


def test_les_is_the_librarys_own_loop():
    problem = make_problem("BBO-Branin-2d-v0", budget=32)
    run = play(make_agent("les", problem), problem)
    expected = list(own_generations(problem, 4))
    assert np.logical_or(np.array(expected) == 0, np.array(expected) == 1).any()  # some clipped
    np.testing.assert_allclose(run.x[0].numpy(), expected, atol=1e-6)


def test_les_takes_the_values_of_a_generation_in_any_order():
    """Its next generation is the same but for rounding, as the network is told a set."""
    problem = Problem(Objective(bowl, 2))
    following = []
    for order in (range(8), (3, 7, 0, 5, 1, 6, 2, 4)):
        optimizer = make_agent("les", problem).make(2, 100, 0)
        points = [optimizer.ask() for _ in range(8)]
        for index in order:
            optimizer.tell(points[index], bowl(points[index]))
        following.append([optimizer.ask() for _ in range(8)])
    np.testing.assert_allclose(*following, atol=1e-5)
    assert not np.allclose(following[0], points, atol=1e-2)


def test_les_draws_more_points_while_a_generation_is_out():
    """From the distribution that it has: as many of them as workers are free."""
    problem = Problem(Objective(bowl, 2))
    optimizer = make_agent("les", problem).make(2, 100, 0)
    points = [optimizer.ask() for _ in range(800)]
    assert len(np.unique(points, axis=0)) == 800
    # Five standard errors of the mean, and of the deviation, of 800 normal numbers.
    np.testing.assert_allclose(np.mean(points, 0), 0.5, atol=5 * 0.15 / 800**0.5)
    np.testing.assert_allclose(np.std(points, 0), 0.15, atol=5 * 0.15 / 1600**0.5)
    for point in points[3:11]:
        optimizer.tell(point, bowl(point))
    assert int(optimizer.state.generation_counter) == 1


def test_les_beats_random_search():
    """On a bowl; best of 64 by the median of 16 runs."""
    problem = Problem(Objective(bowl, 2), budget=64)
    before = global_generators()
    run = play(make_agent("les", problem), problem, batch=16)
    assert global_generators() == before
    floor = play(make_agent("random", problem), problem, batch=64)
    assert run.value.amin(1).median() < 0.5 * floor.value.amin(1).median()


def test_importing_jax_prints_nothing_and_leaves_torchs_threads_alone():
    code = (
        "import torch; torch.set_num_threads(3); before = torch.get_rng_state();"
        "from agents import make_agent; from bbo_envs import make_problem;"
        "problem = make_problem('BBO-GP-2d-v0');"
        "[make_agent(name, problem) for name in ('les', 'gp-bayesian')];"
        "assert torch.get_num_threads() == 3;"
        "assert torch.equal(before, torch.get_rng_state())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
