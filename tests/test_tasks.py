"""The catalogue: what every distribution must do, what is said of each id, suites and seeds."""

import gymnasium
import numpy as np
import pytest
import torch
from catalogue import DATA_OF_THE_USER, FEW

import bbo_envs
from bbo_envs import TASKS, QueryError, UnknownNameError, make_problem, suite
from bbo_envs.core import map_tensors, stack
from bbo_envs.functions.bbob_instances import instance_numbers
from bbo_envs.seeds import (
    AGENT_SEED,
    FUNCTION_SEED,
    EnvironmentSeeds,
    evaluation_seeds,
    function_generator,
)
from evaluation import docs, listing


@pytest.fixture(params=TASKS, scope="module")
def task(request):
    return request.param


@pytest.fixture(scope="module")
def functions(task, arguments_of):
    return make_problem(task, budget=4, **arguments_of(task)).functions


class TestEveryDistribution:
    """The contract of ``FunctionDistribution``, for every id."""

    def test_what_the_catalogue_says_of_it(self, task, functions):
        entry = TASKS[task]
        assert isinstance(functions, bbo_envs.FunctionDistribution)
        assert entry.dim in (None, functions.dim)
        assert entry.differentiable in (None, functions.differentiable)
        optimum = functions.optimum(functions.sample(1, torch.Generator().manual_seed(0)))
        assert entry.optimum == (optimum is not None)
        assert entry.source

    def test_shapes_values_and_the_optimum(self, functions):
        generator = torch.Generator().manual_seed(0)
        for batch in (1, 5):
            state = functions.sample(batch, generator)
            x = torch.rand(batch, functions.dim, dtype=torch.float64, generator=generator)
            y, following = functions.evaluate(state, x)
            assert y.shape == (batch,)
            assert y.dtype == functions.dtype == torch.float64
            assert y.isfinite().all()
            assert functions.native(state, x).shape == x.shape
            y, _ = functions.evaluate(following, x)
            assert y.isfinite().all()
            optimum = functions.optimum(state)
            if optimum is not None:
                assert (y - optimum).min() >= -1e-9 * optimum.abs().max().clamp_min(1.0)
        assert isinstance(functions.prior_mean, float)

    def test_float32_is_kept(self, task, arguments_of):
        made = make_problem(task, budget=4, dtype=torch.float32, **arguments_of(task)).functions
        state = made.sample(2, torch.Generator().manual_seed(0))
        y, _ = made.evaluate(state, torch.full((2, made.dim), 0.4))
        assert y.dtype == made.dtype == torch.float32
        assert y.isfinite().all()

    def test_a_seed_is_a_function_and_evaluation_is_pure(self, functions):
        first, second = (functions.sample(3, torch.Generator().manual_seed(7)) for _ in range(2))
        x = torch.rand(3, functions.dim, dtype=torch.float64)
        expected, _ = functions.evaluate(first, x)
        for state in (first, second):  # the first one again: it was left as it is
            assert torch.equal(functions.evaluate(state, x)[0], expected)

    def test_rows_do_not_know_of_each_other(self, functions):
        states = [functions.sample(1, torch.Generator().manual_seed(seed)) for seed in range(3)]
        x = torch.rand(3, functions.dim, dtype=torch.float64)
        together, _ = functions.evaluate(stack(states), x)
        for row, state in enumerate(states):
            alone, _ = functions.evaluate(state, x[row : row + 1])
            torch.testing.assert_close(together[row : row + 1], alone, rtol=1e-9, atol=1e-9)
        assert map_tensors(len, stack(states)) is not None  # every leaf has the batch axis

    @pytest.mark.parametrize("bad", [-1e-6, 1.0 + 1e-6, torch.nan, torch.inf])
    def test_a_point_outside_the_cube_is_an_error(self, functions, bad):
        state = functions.sample(2, torch.Generator().manual_seed(0))
        x = torch.full((2, functions.dim), 0.5, dtype=torch.float64)
        x[1, -1] = bad
        with pytest.raises(QueryError, match=r"row 1\) is not in the unit cube"):
            functions.evaluate(state, x)

    def test_another_dimension_is_an_error(self, functions):
        state = functions.sample(1, torch.Generator().manual_seed(0))
        with pytest.raises(QueryError, match=f"must have {functions.dim} coordinates"):
            functions.evaluate(state, torch.zeros(1, functions.dim + 1))

    def test_gradients_pass_where_it_says_so(self, functions):
        generator = torch.Generator().manual_seed(0)
        state = functions.sample(4, generator)
        x = torch.rand(4, functions.dim, dtype=torch.float64, generator=generator)
        if not functions.differentiable:
            return
        _, state = functions.evaluate(state, 1.0 - x)  # the first value of an exact GP is free
        y, _ = functions.evaluate(state, x.requires_grad_())
        (gradient,) = torch.autograd.grad(y.sum(), x)
        assert gradient.isfinite().all()
        assert (gradient != 0).any()


@pytest.mark.parametrize("task", [*FEW, *DATA_OF_THE_USER])
def test_float32(task, arguments_of):
    # As precise as float32 is where values reach 1e6; f21's peaks and SVMs' cells are steep.
    arguments = {"budget": 4, **arguments_of(task)}
    single = make_problem(task, dtype=torch.float32, **arguments).functions
    double = make_problem(task, **arguments).functions
    states = [f.sample(16, torch.Generator().manual_seed(0)) for f in (single, double)]
    x = torch.rand(16, single.dim, generator=torch.Generator().manual_seed(1))
    y, expected = (f.evaluate(s, x)[0] for f, s in zip((single, double), states, strict=True))
    assert y.dtype == torch.float32
    torch.testing.assert_close(y.double(), expected, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("task", DATA_OF_THE_USER)
def test_tasks_on_the_users_data_say_what_they_need(task, arguments_of):
    with pytest.raises(ValueError, match=rf"{task} reads data that you have: .*missing: folder"):
        gymnasium.make(task)
    env = gymnasium.make(task, budget=3, **arguments_of(task))
    env.reset(seed=0)
    for _ in range(3):
        *_, terminated, _, info = env.step(env.action_space.sample())
    assert terminated
    assert info["t"] == 3


def test_arguments_that_an_id_gives_a_value_can_be_changed():
    car = make_problem("BBO-HPO-MLP-5d-v0", dataset="car").functions
    usual = make_problem("BBO-HPO-MLP-5d-v0").functions
    x = torch.full((1, 5), 0.5)
    state = car.sample(1, torch.Generator())
    assert car.evaluate(state, x)[0] != usual.evaluate(state, x)[0]
    assert make_problem("BBO-BBOB-v0", function=3, dim=4).functions.dim == 4
    with pytest.raises(UnknownNameError, match="Did you mean 'instance'"):
        make_problem("BBO-BBOB-f1-2d-v0", instanse=3)


def test_precisions_by_name_survive_json():
    env = gymnasium.make("BBO-Ackley-v0", dim=4, dtype="float32", transforms=["warp"])
    again = gymnasium.make(gymnasium.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    assert again.unwrapped.problem.functions.dtype == torch.float32
    with pytest.raises(UnknownNameError, match="Unknown dtype 'float16'. Did you mean 'float"):
        make_problem("BBO-Ackley-v0", dtype="float16")
    with pytest.raises(UnknownNameError, match="Did you mean 'transforms'"):
        make_problem("BBO-Ackley-v0", transfroms=["warp"])


class TestSuites:
    def test_the_paper_has_all_its_tasks(self):
        ids = [task.id for task in suite("paper")]
        named = "GP-1d GP-3d GP-6d GP-9d Branin GoldsteinPrice Hartmann-3d Hartmann-6d Repellers"
        for name in [*named.split(), "SVM", "LDA", "LogReg", "ResNet"]:
            assert any(f"-{name}-" in task for task in ids), name
        assert [t.arguments for t in suite("paper") if "ResNet" in t.id] == [{}, {"workers": 5}]

    def test_bbob_is_every_function_in_every_dimension_on_15_instances(self):
        tasks = suite("bbob")
        assert len({(t.id, t.arguments["instance"]) for t in tasks}) == 24 * 6 * 15 == len(tasks)

    def test_hpo_has_all_data_sets(self):
        assert len(suite("hpo")) == 4 + 8 + 4 + 3

    @pytest.mark.parametrize("name", ["paper", "hpo", "quick", "bbob"])
    def test_every_entry_can_be_made(self, name):
        for task, arguments, seeds in suite(name)[:: 97 if name == "bbob" else 1]:
            env = gymnasium.make(task, **arguments, budget=2)
            env.reset(seed=seeds[0])
            observation, reward, *_, info = env.step(env.action_space.sample())
            assert observation in env.observation_space
            assert observation[2] == (1 if arguments.get("workers", 1) == 1 else 0)
            assert np.isfinite(reward)
            assert info["t"] == 1

    def test_an_unknown_suite(self):
        with pytest.raises(UnknownNameError, match="Did you mean 'quick'"):
            suite("quik")

    def test_seeds_of_evaluation_are_not_those_of_training(self):
        """By the rule of bbo_envs.seeds; PyTorch's CPU generator keeps 32 bits of a seed."""
        from training.configs import PRESETS

        for name in bbo_envs.suites.SUITES:
            for task in suite(name):
                assert FUNCTION_SEED <= task.seeds[0] <= task.seeds[-1] < 2**32
        assert evaluation_seeds(2, start=3) == range(FUNCTION_SEED + 3, FUNCTION_SEED + 5)
        assert AGENT_SEED + 10**6 < FUNCTION_SEED
        assert all(config.seed + config.iterations < AGENT_SEED for config in PRESETS.values())

    def test_changing_one_task_changes_no_other(self):
        suite("paper")[0].arguments["workers"] = 7
        assert all("workers" not in task.arguments for task in suite("paper")[:-1])
        assert "workers" not in suite("quick")[0].arguments

    def test_an_evaluation_seed_is_the_same_function_in_an_environment(self):
        """And the environments seeded otherwise draw from the seeds of training."""
        env = gymnasium.make("BBO-GP-2d-v0", sampler="fourier").unwrapped
        for seed, number in ((FUNCTION_SEED + 7, 7), (FUNCTION_SEED, 0)):
            env.reset(seed=seed)
            expected, _ = env.problem.reset(1, function_generator(number))
            assert torch.equal(env._state.function.weight, expected.function.weight)
        drawn = EnvironmentSeeds(np.random.default_rng(0), FUNCTION_SEED + 7)
        assert all(FUNCTION_SEED <= drawn.next().initial_seed() < 2**32 for _ in range(100))
        for seed in (0, 123, FUNCTION_SEED - 1, None):
            drawn = EnvironmentSeeds(np.random.default_rng(0), seed)
            assert all(drawn.next().initial_seed() < AGENT_SEED for _ in range(100))

    def test_bbob_instances_of_training_are_not_in_the_suite(self):
        evaluated = {task.arguments["instance"] for task in suite("bbob")}
        assert not evaluated & set(instance_numbers(None))


def test_the_list_shows_every_id(capsys):
    from evaluation.cli import main

    main(["list"])
    shown = capsys.readouterr().out
    assert all(f" {task} " in shown for task in TASKS)
    assert len(listing.rows("hpo")) == sum(task.family == "hpo" for task in TASKS.values())


def test_the_page_of_tasks_is_up_to_date():
    page = docs.TASK_LIST.read_text()
    assert docs.rendered_tasks(page) == page
    assert all(f"| `{task}` |" in page for task in TASKS)
