"""The transition: schedules by hand, incumbents, rewards, errors."""

import math

import pytest
import torch

import bbo_envs
from bbo_envs import (
    BudgetExhaustedError,
    Objective,
    ObjectiveError,
    Problem,
    QueryError,
    make_problem,
)


def play(problem, xs, seed=0):
    """Steps a problem through queries [T, d] (the same in every row); returns all it yields."""
    state, observation = problem.reset(1, torch.Generator().manual_seed(seed))
    yield state, observation, None
    for x in xs:
        state, observation, info = problem.step(state, x.unsqueeze(0))
        yield state, observation, info


def line(count):
    """An objective on [0, 1] whose values are the queries themselves."""
    xs = torch.linspace(0.9, 0.1, count, dtype=torch.float64).unsqueeze(1)
    return Objective(lambda x: float(x[0]), dim=1), xs


@pytest.mark.parametrize("workers", [1, 3, 5])
def test_flags_are_zero_for_the_first_workers_and_one_afterwards(workers):
    functions, xs = line(8)
    flags = [o.o.item() for _, o, _ in play(Problem(functions, 8, workers=workers), xs)]
    # Before query t the flag is 0 for t = 1..N, as in Chen et al. 2017, section 2.3.
    assert flags == [0.0] * workers + [1.0] * (9 - workers)


@pytest.mark.parametrize("workers", [1, 3, 5])
def test_results_come_back_in_order_of_completion(workers):
    """Against a simulation of the workers by hand, with a heap."""
    import heapq

    functions, xs = line(20)
    problem = Problem(functions, 20, workers=workers, runtime_spread=0.9)
    run = list(play(problem, xs, seed=3))
    runtime = run[0][0].runtime[0].tolist()
    heap, clock = [], 0.0
    for t, (state, observation, _) in enumerate(run[1:]):
        heapq.heappush(heap, (clock + runtime[t], xs[t, 0].item()))
        if len(heap) < workers:
            assert observation.x.item() == observation.y.item() == observation.o.item() == 0.0
            continue
        clock, value = heapq.heappop(heap)
        assert observation.y.item() == observation.x.item() == value
        if t < 19:
            assert state.clock.item() == pytest.approx(clock)
    # The last step waits for all.
    assert run[-1][0].clock.item() == pytest.approx(max([clock, *(end for end, _ in heap)]))


def test_without_spread_results_come_back_in_the_order_asked():
    functions, xs = line(9)
    run = play(Problem(functions, 9, workers=3, runtime_spread=0.0), xs)
    values = [o.y.item() for _, o, _ in run if o.o.item()]
    assert values == xs[:7, 0].tolist()


def test_runtimes_are_uniform_around_one():
    functions, _ = line(1)
    problem = Problem(functions, 2_000, workers=2, runtime_spread=0.3)
    state, _ = problem.reset(5, torch.Generator().manual_seed(0))
    assert state.runtime.min() >= 0.7
    assert state.runtime.max() <= 1.3
    # 10,000 draws of variance 0.03: five standard errors are 0.0087.
    assert abs(state.runtime.mean().item() - 1.0) < 0.0087


@pytest.mark.parametrize("budget", [2, 7])
@pytest.mark.parametrize("workers", [1, 3])
def test_every_evaluation_counts_once(workers, budget):
    functions, xs = line(budget)
    value = list(play(Problem(functions, budget, workers=workers, reward="negative_value"), xs))
    assert sum(i.reward.item() for _, _, i in value[1:]) == pytest.approx(-xs.sum().item())
    assert value[-1][0].best_y.item() == xs.min().item()
    assert [i.done for _, _, i in value[1:]] == [False] * (budget - 1) + [True]


@pytest.mark.parametrize("workers", [1, 4])
def test_improvements_add_up_to_reference_minus_best(workers):
    problem = make_problem("BBO-GP-2d-v0", budget=12, workers=workers)
    state, _ = problem.reset(50, torch.Generator().manual_seed(0))
    total = torch.zeros(50, dtype=torch.float64)
    lowest = torch.zeros(50, dtype=torch.float64)  # the prior mean
    for _ in range(12):
        state, _, info = problem.step(state, torch.rand(50, 2, dtype=torch.float64))
        assert (info.reward >= 0).all()
        total += info.reward
        lowest = torch.minimum(lowest, info.value)
    torch.testing.assert_close(total, -lowest)


def test_negative_regret_is_minimum_minus_value(generator):
    problem = make_problem("BBO-Hartmann-3d-v0", reward="negative_regret")
    state, _ = problem.reset(4, generator)
    _, _, info = problem.step(state, torch.rand(4, 3, dtype=torch.float64))
    torch.testing.assert_close(info.reward, -3.862779787332663 - info.value)


def test_regret_is_refused_where_the_minimum_is_not_known(generator):
    problem = make_problem("BBO-GP-2d-v0", reward="negative_regret")
    with pytest.raises(ValueError, match="needs a known optimum.*use 'improvement'"):
        problem.reset(1, generator)


def test_noise_is_in_the_observation_and_not_in_the_value(generator):
    problem = make_problem("BBO-Branin-2d-v0", noise=3.0, budget=1)
    state, _ = problem.reset(20_000, generator)
    x = torch.full((20_000, 2), 0.5, dtype=torch.float64)
    _, observation, info = problem.step(state, x)
    assert info.value.unique().numel() == 1
    noise = observation.y - info.value
    # Five standard errors of the mean and of the deviation.
    assert abs(noise.mean().item()) < 5 * 3.0 / math.sqrt(20_000)
    assert abs(noise.std().item() - 3.0) < 5 * 3.0 / math.sqrt(40_000)


def test_the_incumbent_is_the_lowest_y_that_came_back(generator):
    problem = make_problem("BBO-GP-3d-v0", budget=10, noise=0.5)
    state, _ = problem.reset(6, generator)
    seen_x, seen_y = [], []
    for _ in range(10):
        state, observation, _ = problem.step(state, torch.rand(6, 3, dtype=torch.float64))
        seen_x.append(observation.x)
        seen_y.append(observation.y)
        ys, xs = torch.stack(seen_y, 1), torch.stack(seen_x, 1)
        assert torch.equal(state.best_y, ys.amin(1))
        assert torch.equal(state.best_x, xs[torch.arange(6), ys.argmin(1)])


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("task", ["BBO-GP-2d-v0", "BBO-Branin-2d-v0"])
def test_gradcheck_through_the_problem(task, workers, generator):
    problem = make_problem(task, budget=4, workers=workers, noise=0.1)
    start, _ = problem.reset(2, generator)

    def outcome(xs):
        state, results = start, []
        for x in xs.unbind(1):
            state, observation, info = problem.step(state, x)
            results += [info.value, info.reward, observation.y]
        return torch.stack(results, 1)

    xs = torch.rand(2, 4, 2, dtype=torch.float64, generator=generator, requires_grad=True)
    assert torch.autograd.gradcheck(outcome, (xs,))


def test_a_seed_means_the_same_function_under_every_budget():
    values = []
    for budget in (10, 50):
        problem = make_problem("BBO-GP-2d-v0", sampler="fourier", budget=budget)
        state, _ = problem.reset(3, torch.Generator().manual_seed(5))
        values.append(problem.step(state, torch.full((3, 2), 0.3))[2].value)
    assert torch.equal(*values)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ([[0.5, 1.5]], r"\[0.5, 1.5\] \(row 0\) is not in the unit cube"),
        ([[0.5, -1e-3]], "not in the unit cube"),
        ([[0.5, math.nan]], "not in the unit cube"),
        ([[0.5, 0.5, 0.5]], r"shape \(1, 2\) \(batch, dim\), got \(1, 3\)"),
        ([0.5, 0.5], r"got \(2,\)"),
    ],
)
def test_bad_queries_are_refused_and_change_nothing(x, message, generator):
    problem = make_problem("BBO-Branin-2d-v0")
    state, _ = problem.reset(1, generator)
    with pytest.raises(QueryError, match=message):
        problem.step(state, torch.tensor(x))
    assert problem.step(state, torch.tensor([[0.5, 0.5]]))[0].t == 1


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_an_objective_that_returns_no_finite_number(value, generator):
    answers = iter([1.0, value, 0.5])
    problem = Problem(Objective(lambda x: next(answers), dim=1), budget=3)
    state, _ = problem.reset(1, generator)
    state, _, _ = problem.step(state, torch.tensor([[0.2]]))
    with pytest.raises(ObjectiveError, match=rf"returned {value} at x = \[0\.\d+\].*finite"):
        problem.step(state, torch.tensor([[0.3]]))
    state, _, _ = problem.step(state, torch.tensor([[0.4]]))
    assert state.t == 2
    assert state.best_y.item() == 0.5


def test_an_objective_that_raises(generator):
    def fails(x):
        raise RuntimeError("the simulator crashed")

    problem = Problem(Objective(fails, dim=2), budget=3)
    state, _ = problem.reset(1, generator)
    with pytest.raises(ObjectiveError, match=r"x = \[.*RuntimeError: the simulator crashed") as e:
        problem.step(state, torch.tensor([[0.2, 0.3]]))
    assert isinstance(e.value.__cause__, RuntimeError)
    assert state.t == 0


def test_step_after_the_end(generator):
    problem = make_problem("BBO-Branin-2d-v0", budget=1)
    state, _ = problem.reset(1, generator)
    state, _, info = problem.step(state, torch.zeros(1, 2))
    assert info.done
    with pytest.raises(BudgetExhaustedError, match="all 1 evaluations.*reset"):
        problem.step(state, torch.zeros(1, 2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"budget": 0}, "budget must be an integer of at least 1, got 0"),
        ({"budget": 10.5}, "budget must be an integer of at least 1, got 10.5"),
        ({"budget": "10"}, "budget must be an integer of at least 1, got '10'"),
        ({"workers": 0}, "workers must be an integer of at least 1"),
        ({"runtime_spread": 1.5}, r"runtime_spread must be a finite number in \[0, 1\], got 1.5"),
        ({"noise": -1.0}, "noise must be a finite number of at least 0, got -1.0"),
        ({"noise": math.nan}, "noise must be a finite number of at least 0, got nan"),
        ({"noise": "0.1"}, "noise must be a finite number of at least 0, got '0.1'"),
        ({"reward": "improvment"}, "Did you mean 'improvement'"),
        ({"budgte": 3}, "Did you mean 'budget'"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises((ValueError, LookupError), match=message):
        make_problem("BBO-Branin-2d-v0", **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"length_scale": -1.0}, "length_scale"),
        ({"kernel": "rbff"}, "Did you mean 'rbf'"),
        ({"sampler": "exakt"}, "Did you mean 'exact'"),
        ({"sampler": "fourier", "features": 0}, "features must be an integer of at least 1"),
        ({"dim": 0}, "dim must be an integer of at least 1"),
    ],
)
def test_bad_gp_arguments(arguments, message):
    with pytest.raises((ValueError, LookupError), match=message):
        make_problem("BBO-GP-v0", **arguments)


def test_an_unknown_task_suggests_the_nearest():
    with pytest.raises(bbo_envs.UnknownNameError, match="Did you mean 'BBO-Branin-2d-v0'"):
        make_problem("BBO-Brannin-2d-v0")


def test_an_objective_in_the_users_own_units():
    space = bbo_envs.Space(
        {"rate": (1e-4, 1.0, "log"), "depth": (1, 8), "loss": ["squared", "huber"]}
    )
    seen = []

    def objective(values):
        seen.append(values)
        return values["depth"]

    functions = Objective(objective, space=space)
    x = torch.tensor([[0.5, 0.99, 0.2], [1.0, 0.0, 0.9]])
    assert functions.evaluate((), x)[0].tolist() == [8.0, 1.0]
    assert seen[0] == {"rate": pytest.approx(0.01), "depth": 8, "loss": "squared"}
    assert seen[1] == {"rate": 1.0, "depth": 1, "loss": "huber"}
    assert functions.native((), x)[1].tolist() == [1.0, 1.0, 1.0]
    for wrong in ({}, {"dim": 3, "space": space}):
        with pytest.raises(ValueError, match="either dim or space"):
            Objective(objective, **wrong)
