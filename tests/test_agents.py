"""Optimisers: proposals, adapters against the libraries themselves, features, invariance."""

import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import optuna
import pytest
import torch
from rollouts import play, seed_of_library

import bbo_envs
from agents import CLASSICAL, LSTMAgent, make_agent
from agents.features import empty_history, update, value_features
from agents.recurrent import clamp_to_cube
from bbo_envs import Objective, Observation, Problem, UnknownNameError, make_problem


def lstm(dim, seed=0, **sizes):
    return LSTMAgent(dim, generator=torch.Generator().manual_seed(seed), **sizes)


def agents_for(problem):
    for name in CLASSICAL:
        if name != "gp-bayesian":  # takes seconds per proposal: its turn is in test_rivals.py
            yield name, make_agent(name, problem)
    yield "lstm", lstm(problem.functions.dim, hidden=16, layers=2)


@pytest.mark.parametrize("workers", [1, 3])
def test_every_agent_proposes_distinct_points_of_the_cube(workers):
    problem = make_problem("BBO-GP-2d-v0", sampler="fourier", budget=8, workers=workers)
    for name, agent in agents_for(problem):
        run = play(agent, problem, batch=2)
        assert run.x.shape == (2, 8, 2), name
        assert ((run.x >= 0) & (run.x <= 1)).all(), name
        for row in run.x:
            assert len(row.unique(dim=0)) == 8, name


def test_every_agent_repeats_itself_with_the_same_seed_and_not_with_another():
    problem = make_problem("BBO-GP-2d-v0", sampler="fourier", budget=8)
    for name, agent in agents_for(problem):
        first, again, other = (play(agent, problem, seed=seed).x for seed in (1, 1, 2))
        assert torch.equal(first, again), name
        assert not torch.equal(first, other), name


def test_agents_leave_the_global_generators_alone():
    problem = make_problem("BBO-GP-2d-v0", sampler="fourier", budget=14)
    for name, agent in agents_for(problem):
        torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
        play(agent, problem)
        assert torch.equal(torch_before, torch.get_rng_state()), name
        assert (numpy_before == np.random.get_state()[1]).all(), name  # noqa: NPY002


@pytest.mark.parametrize(
    ("name", "sampler", "budget"),
    [
        ("tpe", optuna.samplers.TPESampler, 25),
        ("tpe-univariate", partial(optuna.samplers.TPESampler, multivariate=False), 25),
        ("gp-optuna", optuna.samplers.GPSampler, 13),
    ],
)
def test_optunas_samplers_are_the_librarys_own_loop(name, sampler, budget):
    """The same queries as Optuna's own loop with the same seed."""
    problem = make_problem("BBO-Branin-2d-v0", budget=budget)
    run = play(make_agent(name, problem), problem)

    def objective(trial):
        x = [trial.suggest_float(f"x{i}", 0.0, 1.0) for i in range(2)]
        return problem.functions.evaluate((), torch.tensor([x], dtype=torch.float64))[0].item()

    study = optuna.create_study(sampler=sampler(seed=seed_of_library(problem)))
    study.optimize(objective, n_trials=budget)
    expected = [[trial.params["x0"], trial.params["x1"]] for trial in study.trials]
    np.testing.assert_allclose(run.x[0].numpy(), expected)


def test_hyperopt_is_the_librarys_own_loop():
    """The same queries as ``fmin`` with the same seed."""
    import hyperopt

    problem = make_problem("BBO-Branin-2d-v0", budget=30)
    run = play(make_agent("tpe-hyperopt", problem), problem)
    expected = []

    def objective(point):
        expected.append([point["x0"], point["x1"]])
        x = torch.tensor(expected[-1:], dtype=torch.float64)
        return problem.functions.evaluate((), x)[0].item()

    hyperopt.fmin(
        objective,
        {name: hyperopt.hp.uniform(name, 0.0, 1.0) for name in ("x0", "x1")},
        hyperopt.tpe.suggest,
        max_evals=30,
        rstate=np.random.default_rng(seed_of_library(problem)),
        show_progressbar=False,
    )
    np.testing.assert_allclose(run.x[0].numpy(), expected)


@pytest.mark.filterwarnings("ignore")
def test_ngopt_is_the_librarys_own_loop():
    """The same queries as nevergrad's ``minimize`` with the same seed."""
    import nevergrad

    problem = make_problem("BBO-Branin-2d-v0", budget=30)
    run = play(make_agent("ngopt", problem), problem)
    expected = []

    def objective(x):
        expected.append(x)
        return problem.functions.evaluate((), torch.tensor(x).unsqueeze(0))[0].item()

    space = nevergrad.p.Array(shape=(2,), lower=0.0, upper=1.0)
    space.random_state = np.random.RandomState(seed_of_library(problem))
    nevergrad.optimizers.NGOpt(space, budget=30).minimize(objective)
    np.testing.assert_allclose(run.x[0].numpy(), expected)


def test_cmaes_is_the_librarys_own_loop():
    import cma

    problem = make_problem("BBO-Branin-2d-v0", budget=30)
    run = play(make_agent("cmaes", problem), problem)
    random = np.random.default_rng(seed_of_library(problem))
    options = {
        "bounds": [0, 1],
        "verbose": -9,
        "seed": np.nan,
        "randn": lambda *shape: random.standard_normal(shape),
    }
    strategy, expected = cma.CMAEvolutionStrategy([0.5, 0.5], 0.25, options), []
    while len(expected) < 30:
        xs = strategy.ask()
        expected += list(xs)
        ys, _ = problem.functions.evaluate((), torch.tensor(np.array(xs)))
        strategy.tell(xs, ys.tolist())
    np.testing.assert_allclose(run.x[0].numpy(), expected[:30])


def test_smac_is_the_librarys_own_loop():
    """The same queries as SMAC's own ``optimize`` with the same seed."""
    from ConfigSpace import ConfigurationSpace, Float
    from smac import HyperparameterOptimizationFacade, Scenario

    problem = make_problem("BBO-Branin-2d-v0", budget=16)
    run = play(make_agent("smac", problem), problem)
    seed = seed_of_library(problem)
    space, expected = ConfigurationSpace(seed=seed), []
    space.add([Float("x0", (0.0, 1.0)), Float("x1", (0.0, 1.0))])

    def objective(config, seed=0):
        expected.append([config["x0"], config["x1"]])
        x = torch.tensor(expected[-1:], dtype=torch.float64)
        return problem.functions.evaluate((), x)[0].item()

    with tempfile.TemporaryDirectory() as folder:
        scenario = Scenario(
            space, deterministic=True, n_trials=16, seed=seed, output_directory=Path(folder)
        )
        HyperparameterOptimizationFacade(
            scenario, objective, logging_level=False, overwrite=True
        ).optimize()
    np.testing.assert_allclose(run.x[0].numpy(), expected)


@pytest.mark.parametrize("name", ["tpe", "cmaes", "gp-ei"])
def test_classical_agents_beat_random_search(name):
    """On 8 perturbed Branins, by median; random search reaches 1.5 after 40 evaluations."""
    problem = make_problem("BBO-Branin-2d-v0", perturb=True, budget=40)
    batch = 2 if name == "gp-ei" else 8
    run = play(make_agent(name, problem), problem, batch)
    floor = play(make_agent("random", problem), problem, 64)
    assert run.value.amin(1).median() < floor.value.amin(1).median()


def test_unknown_and_unsuitable_agents():
    problem = make_problem("BBO-Branin-2d-v0")
    with pytest.raises(UnknownNameError, match="Did you mean 'cmaes'"):
        make_agent("cmaess", problem)
    with pytest.raises(ValueError, match="drawn from a GP.*use 'gp-ei'"):
        make_agent("gp-ei-known", problem)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("shift", [-3.0, 0.0, 5.0])
def test_queries_do_not_change_under_affine_maps_of_y(scale, shift):
    """The objective is a * f + b; b is a multiple of a, which float64 can hold beside it."""

    def objective(x):
        return float(np.sin(7 * x).sum() + x[0] * x[1])

    agent = lstm(2, hidden=32).double()
    plain = play(agent, Problem(Objective(objective, 2), budget=30))
    moved = Problem(Objective(lambda x: scale * (objective(x) + shift), 2), budget=30)
    torch.testing.assert_close(play(agent, moved).x, plain.x, rtol=0, atol=1e-6)


def test_a_constant_objective_is_no_problem():
    run = play(lstm(3, hidden=8), Problem(Objective(lambda x: 4.2, 3), budget=20))
    assert run.x.isfinite().all()


def test_statistics_and_features_against_numpy():
    rng = np.random.default_rng(0)
    ys, xs = rng.normal(1e3, 1e-3, 9), rng.random((9, 2))
    history = empty_history(1, 2, 20, torch.float64, torch.device("cpu"))
    nothing = Observation(torch.zeros(1, 2), torch.zeros(1), torch.zeros(1))
    history = update(history, nothing)
    assert value_features(history, nothing)[0, :4].tolist() == [0.0] * 4
    for t in range(9):
        x, y = torch.tensor(xs[t : t + 1]), torch.tensor(ys[t : t + 1])
        observation = Observation(x, y, torch.ones(1))
        history = update(history, observation)
        seen = ys[: t + 1]
        deviation = seen.std() if t else 1.0
        expected = [
            (y.item() - seen.mean()) / deviation,
            (seen.min() - seen.mean()) / deviation,
            (y.item() - seen.min()) / deviation,
            1.0,
            (20 - t - 1) / 20,
        ]
        features = value_features(history, observation)[0]
        np.testing.assert_allclose(features[:5].numpy(), expected, rtol=1e-6, atol=1e-6)
        assert history.best_x[0].tolist() == xs[seen.argmin()].tolist()


def test_the_networks_state_starts_at_zero():
    state = lstm(2, hidden=4, layers=2).init(3, Problem(Objective(sum, 2)).space, 10, None)
    assert state.hidden.shape == (2, 3, 4)
    assert not state.hidden.any()
    assert not state.cell.any()


def test_a_network_for_another_dimension_says_so():
    with pytest.raises(ValueError, match=r"proposes in 6 dimensions, the task has shape \(2,\)"):
        play(lstm(6), make_problem("BBO-Branin-2d-v0"))


def test_clamping_blocks_gradients_only_outward():
    x = torch.tensor([-0.1, -0.1, 0.5, 1.1, 1.1], requires_grad=True)
    weight = torch.tensor([1.0, -1.0, 1.0, 1.0, -1.0])  # descending moves against its sign
    y = clamp_to_cube(x)
    assert y.tolist() == [0.0, 0.0, 0.5, 1.0, 1.0]
    (y * weight).sum().backward()
    assert x.grad.tolist() == [0.0, -1.0, 1.0, 1.0, 0.0]


@pytest.mark.parametrize("name", ["tpe", "cmaes", "gp-ei", "gp-ei-known"])
def test_a_missing_library_gives_one_line_with_the_remedy(name, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda module: None)
    with pytest.raises(bbo_envs.MissingExtraError) as error:
        make_agent(name, make_problem("BBO-GP-2d-v0"))
    assert str(error.value) == (
        f"agent '{name}' needs more packages: pip install 'bbo-envs[baselines]'"
    )


def test_cmaes_says_that_it_needs_two_dimensions():
    with pytest.raises(ValueError, match="'cmaes' needs two dimensions or more"):
        make_agent("cmaes", make_problem("BBO-GP-1d-v0"))


def test_a_trained_network_is_not_made_for_another_dimension():
    with pytest.raises(ValueError, match="'lstm-oi-6d' proposes in 6 dimensions, not in 2"):
        make_agent("lstm-oi-6d", make_problem("BBO-Branin-2d-v0"))
    with pytest.raises(ValueError, match="no 'lstm-oi' network for d = 4, only lstm-oi-1d"):
        make_agent("lstm-oi", make_problem("BBO-Ackley-v0", dim=4))
