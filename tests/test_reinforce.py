"""REINFORCE: its estimates against closed forms and finite differences, and that it learns."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch
from rollouts import trained_and_random
from safetensors.torch import load_file
from scipy import stats

from agents.policy import Policy, log_density, sample
from agents.pretrained import save
from agents.recurrent import LSTMAgent
from agents.stochastic import StochasticAgent
from bbo_envs import Observation, make_problem
from training.bptt import CHECKPOINT, train
from training.configs import TrainConfig
from training.losses import make_loss, observed_improvement
from training.reinforce import LOSSES, advantages, costs, estimate, reinforce_loss
from training.rollout import Trajectory, unroll
from training.trainer import Trainer

SMALL = TrainConfig(
    task="BBO-HPO-SVM-3d-v0",
    task_arguments={},
    network_arguments={"hidden": 8},
    loss="oi",
    estimator="score",
    entropy=0.01,
    iterations=5,
    batch=8,
    micro_batches=2,
    first_horizon=3,
    horizon=6,
    truncation=4,
)
MIXED = dataclasses.replace(
    SMALL,
    task="BBO-GP-1d-v0",
    task_arguments={"sampler": "fourier", "features": 16},
    estimator="mixed",
    mixture={"kernel": ["rbf", "matern52"]},
)


def normal(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


# --- The pieces.


def run_of(value):
    return Trajectory(torch.zeros(*value.shape, 1), value, Observation(None, None, None))


@pytest.mark.parametrize("loss", LOSSES)
def test_costs_sum_to_the_loss_and_each_depends_on_its_own_query(loss):
    problem = make_problem("BBO-Branin-2d-v0", budget=7)
    start = problem.reset(5, torch.Generator())
    optimum = problem.functions.optimum(start[0].function)
    value = problem.functions.prior_mean + 10.0 * normal(5, 7)
    expected = make_loss(loss, problem.functions, 0.0, optimum)(run_of(value))
    found, _ = costs(run_of(value), loss, problem.functions.prior_mean, optimum)
    torch.testing.assert_close(found.sum(-1), expected)

    def of_one(row):
        return costs(run_of(row.unsqueeze(0)), loss, problem.functions.prior_mean)[0][0]

    jacobian = torch.autograd.functional.jacobian(of_one, value[0])
    assert torch.equal(jacobian, jacobian.diag().diag())
    assert jacobian.any()


def test_the_costs_of_oi_have_the_gradient_of_its_stop_gradient_form():
    value = normal(3, 6).requires_grad_()
    left = torch.autograd.grad(costs(run_of(value), "oi")[0].sum(), value)
    right = torch.autograd.grad(observed_improvement(run_of(value)).sum(), value)
    assert torch.equal(left[0], right[0])


def test_the_best_before_a_query():
    value = torch.tensor([[1.0, -2.0, -1.0, -3.0]])
    assert costs(run_of(value), "sum", reference=0.5)[1].tolist() == [[0.5, 0.5, -2.0, -2.0]]


def test_advantages_against_a_loop_of_regressions():
    """Ridge regression on the other rows, by least squares with one row added for the penalty."""
    outcome, feature = normal(6, 4), normal(6, 4, seed=1)
    feature[:, 0] = 0.3  # as before the first query
    found = advantages(outcome, feature)
    for row in range(6):
        others = [i for i in range(6) if i != row]
        variation = 5 * feature[others].numpy().var(0)
        for t in range(4):
            x, y = feature[others, t].numpy(), outcome[others, t].numpy()
            penalty = (0.05 * variation.mean()) ** 0.5
            design = np.stack([np.append(np.ones(5), 0.0), np.append(x - x.mean(), penalty)], 1)
            (level, slope), *_ = np.linalg.lstsq(design, np.append(y, 0.0), rcond=None)
            expected = outcome[row, t] - level - slope * (feature[row, t] - x.mean())
            assert found[row, t].item() == pytest.approx(expected.item(), rel=1e-9)


def test_what_a_row_is_compared_with_does_not_depend_on_it():
    """Which is what keeps the estimate unbiased."""
    outcome, feature = normal(5, 3), normal(5, 3, seed=1)
    changed = outcome.clone()
    changed[2] += torch.tensor([1.0, -5.0, 100.0])
    before, after = (part - advantages(part, feature) for part in (outcome, changed))
    torch.testing.assert_close(before[2], after[2])
    assert not torch.allclose(before[1], after[1])


def test_advantages_where_nothing_varies_or_only_one_row_does():
    outcome = normal(5, 3)
    lone = torch.zeros(5, 3, dtype=torch.float64)
    for feature in (lone, lone + 1 / 3):
        expected = 1.25 * (outcome - outcome.mean(0))
        torch.testing.assert_close(advantages(outcome, feature), expected)
    lone[4] = 1e-3
    found = advantages(outcome, lone)
    assert found[4].tolist() == pytest.approx((1.25 * (outcome - outcome.mean(0)))[4].tolist())
    assert found.abs().max() < 100


# --- The estimates. Those of independent batches are compared, in which the baseline is included.


def check(found, expected):
    """By how many standard errors means of independent differences are off: 4 are too many.

    One of 3,600 correct programs fails with 40 batches (Student's t). The expected derivative is
    more than 10 standard errors from zero: an estimate that is off by half of it fails.
    """
    difference = torch.tensor(found) - torch.tensor(expected)
    error = (difference.std() / len(difference) ** 0.5).item()
    assert abs(sum(expected) / len(expected)) > 10.0 * error
    return abs(difference.mean().item()) / error


def test_the_estimate_on_a_step_function_against_its_closed_form():
    """A task without any gradient: f is 1 right of a step, which is asked for around a point."""
    step, location, scale = 0.6, 0.45, 0.2

    def right(point):
        cut = stats.truncnorm(-point / scale, (1 - point) / scale, point, scale)
        return cut.sf(step)

    expected = (right(location + 1e-5) - right(location - 1e-5)) / 2e-5
    found = []
    for batch in range(40):
        point = torch.tensor(location, dtype=torch.float64, requires_grad=True)
        centre = point.expand(100, 1)
        policy = Policy(
            centre.unsqueeze(1),
            torch.zeros(100, 1, dtype=torch.float64),
            centre,
            torch.full((100, 1), scale, dtype=torch.float64),
        )
        generator = torch.Generator().manual_seed(batch)
        x = sample(policy, torch.rand(100, 1, dtype=torch.float64, generator=generator)).detach()
        value = (x > step).double()
        surrogate = estimate(
            value,
            log_density(policy, x).unsqueeze(1),
            torch.zeros_like(value),
            False,
            standardise=False,
        )
        surrogate.mean().backward()
        found.append(point.grad.item())
    assert check(found, [expected] * 40) < 4


@pytest.mark.parametrize("mixed", [False, True])
def test_a_discount_weighs_what_comes_later(mixed):
    cost, log_density, best = normal(6, 5), normal(6, 5, seed=1), normal(6, 5, seed=2)
    found = estimate(cost, log_density, best, mixed, 0.8, standardise=False)
    later = normal(5, 5)
    for t in range(5):
        for k in range(5):
            later[t, k] = 0.8 ** (k - t) if k >= t + mixed else 0.0
    outcome = torch.stack([(later * row).sum(-1) for row in cost])
    expected = advantages(outcome, best) * log_density + cost * mixed
    torch.testing.assert_close(found, expected)


class Small:
    """Three queries of a function with a slope, many times, by a network of few weights."""

    def __init__(self) -> None:
        self.problem = make_problem("BBO-Branin-2d-v0", budget=3)
        generator = torch.Generator().manual_seed(4)
        network = LSTMAgent(2, hidden=3, generator=generator)
        self.agent = StochasticAgent(network, 0.4, generator).double()
        with torch.no_grad():  # queries stay inside, where clamping is no matter
            network.head.weight *= 0.01
            network.head.bias *= 0.01
        self.weights = list(self.agent.parameters())
        self.biases = [network.head.bias, self.agent.head.bias]

    def play(self, seed, rows=1000, **options):
        generator = torch.Generator().manual_seed(seed)
        start = self.problem.reset(rows, generator)
        return unroll(self.agent, self.problem, start, generator, **options)

    def loss(self, seed):
        with torch.no_grad():
            return self.costs(self.play(seed))[0].sum(-1).mean().item()

    def costs(self, run):
        return costs(run, "oi", self.problem.functions.prior_mean)

    def gradient(self, seed, mixed):
        run = self.play(seed, through="step" if mixed else "nothing")
        cost, best = self.costs(run)
        surrogate = estimate(cost, run.draw.log_density, best, mixed, standardise=False)
        return torch.autograd.grad(surrogate.sum(-1).mean(), self.weights)

    def pathwise_alone(self, seed):
        cost, _ = self.costs(self.play(seed, through="step"))
        return torch.autograd.grad(cost.sum(-1).mean(), self.weights, allow_unused=True)

    def along(self, gradient: Callable[..., list[torch.Tensor]], direction, *arguments):
        """Derivatives along a direction, by each of 40 batches."""
        return [
            sum(
                (g * d).sum().item()
                for g, d in zip(gradient(seed, *arguments), direction, strict=True)
                if g is not None
            )
            for seed in range(40)
        ]


def test_both_estimates_against_a_finite_difference_of_the_expected_loss():
    """With common random numbers: queries are continuous in the weights, and so is the loss."""
    small = Small()
    parts = [small.gradient(1000 + seed, True) for seed in range(5)]
    # Along the biases of locations and scale, which all queries share.
    chosen = [any(w is b for b in small.biases) for w in small.weights]
    direction = [c * sum(part) for c, part in zip(chosen, zip(*parts, strict=True), strict=True)]
    size = 1e-3 / sum(d.square().sum() for d in direction).sqrt()
    values = []
    for side in (size, -2 * size, size):  # forward, back, and home again
        with torch.no_grad():
            for weight, d in zip(small.weights, direction, strict=True):
                weight += side * d
        values.append([small.loss(seed) for seed in range(40)])
    expected = [(a - b) / (2 * size.item()) for a, b in zip(*values[:2], strict=True)]
    for mixed in (False, True):
        assert check(small.along(small.gradient, direction, mixed), expected) < 4, mixed
    # What the mixed one adds is no small matter.
    assert check(small.along(small.pathwise_alone, direction), expected) > 10


def test_the_loss_has_its_value_and_the_gradient_of_the_entropy():
    small = Small()
    config = dataclasses.replace(MIXED, estimator="score", horizon=3)

    def found(entropy):
        generator = torch.Generator().manual_seed(0)
        start = small.problem.reset(6, generator)
        loss, value = reinforce_loss(small.agent, small.problem, start, generator, config, entropy)
        return loss, value, torch.autograd.grad(loss, small.weights)

    loss, value, plain = found(0.0)
    other, _, with_entropy = found(0.5)
    reference = small.problem.functions.prior_mean
    expected = observed_improvement(run_of(value), reference).mean() / 3
    assert loss.item() == other.item() == pytest.approx(expected.item())
    entropy = small.play(0, rows=6, through="nothing").draw.entropy.mean() / 2
    gradient = torch.autograd.grad(entropy, small.weights)
    for one, two, three in zip(with_entropy, plain, gradient, strict=True):
        torch.testing.assert_close(one, two - 0.5 * three)


# --- Training.


class Killed(Exception):
    pass


@pytest.mark.parametrize("config", [SMALL, MIXED], ids=["score", "mixed"])
def test_a_killed_and_resumed_run_equals_one_that_was_not(config, tmp_path):
    def kill(facts):
        if facts["iteration"] == 3:
            raise Killed

    whole, broken = tmp_path / "whole", tmp_path / "broken"
    settings = {"checkpoint_every": 2, "log_every": 1}
    train(config, whole, **settings)
    with pytest.raises(Killed):
        train(config, broken, **settings, report=kill)
    train(config, broken, **settings)
    left, right = (load_file(folder / CHECKPOINT) for folder in (whole, broken))
    assert left.keys() == right.keys()
    assert all(torch.equal(left[key], right[key]) for key in left)
    begun = {f"weight/{name}": w for name, w in Trainer(config).agent.state_dict().items()}
    assert not all(torch.equal(begun[name], left[name]) for name in begun)


@pytest.mark.parametrize(
    "change",
    [
        {"task": "BBO-BBOB-f7-2d-v0"},
        {"task": "BBO-HPO-LogReg-4d-v0", "loss": "regret"},
        {"mixture": {"task": ["BBO-HPO-SVM-3d-v0", "BBO-Hartmann-3d-v0"]}, "estimator": "mixed"},
        {"network": "universal", "network_arguments": {"hidden": 4, "heads": 2}, "loss": "sum"},
        {"network": "dnc", "network_arguments": {"hidden": 4}},
    ],
)
def test_tasks_without_gradients_train(change):
    run = Trainer(dataclasses.replace(SMALL, **change))
    begun = [weight.clone() for weight in run.agent.parameters()]
    facts = run.step()
    assert not facts["skipped"]
    assert facts["gradient_norm"] > 0
    moved = [(a != b).any() for a, b in zip(begun, run.agent.parameters(), strict=True)]
    assert sum(moved) > len(moved) / 2


def test_the_choice_among_proposals_is_taught():
    arguments = {"hidden": 4, "heads": 2}
    run = Trainer(dataclasses.replace(SMALL, network="universal", network_arguments=arguments))
    run.gradient()
    for name, parameter in run.agent.network.acquisition.named_parameters():
        assert parameter.grad.any(), name


def test_a_network_goes_on_from_another(tmp_path):
    """By REINFORCE where back-propagation has ended, by itself, and the other way round."""
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    begun = Trainer(dataclasses.replace(MIXED, estimator="pathwise", seed=1))
    save(first, begun.agent, {})
    tuned = Trainer(dataclasses.replace(MIXED, initial=str(first)))
    for name, weight in begun.agent.state_dict().items():
        assert torch.equal(weight, tuned.agent.state_dict()[f"network.{name}"])
    tuned.step()
    save(second, tuned.agent, {})
    for estimator in ("score", "pathwise"):
        further = Trainer(dataclasses.replace(MIXED, initial=str(second), estimator=estimator))
        theirs = tuned.agent if estimator == "score" else tuned.agent.network
        for name, weight in theirs.state_dict().items():
            assert torch.equal(weight, further.agent.state_dict()[name])
    arguments = {"hidden": 9}
    with pytest.raises(ValueError, match=r"'hidden': 8.*configuration's network.*'hidden': 9"):
        Trainer(dataclasses.replace(MIXED, initial=str(first), network_arguments=arguments))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": "oi-telescoped"}, "takes the losses sum, oi, regret, got 'oi-telescoped'"),
        ({"micro_batches": 4}, "at least 4 functions, got 8 in 4 micro_batches"),
        ({"network": "pfn", "network_arguments": {}}, "'pfn' is taught by the loss 'acquisition'"),
        (
            {"network": "universal", "network_arguments": {}, "estimator": "mixed"},
            "no gradient passes through the choice of the network 'universal' among its 16",
        ),
        ({"estimator": "pathwise"}, "passes no gradients.*or by estimator='score'"),
    ],
)
def test_what_cannot_be_trained_shows_before_training(change, message):
    with pytest.raises(ValueError, match=message):
        Trainer(dataclasses.replace(SMALL, **change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale": 0.0}, "scale must be a finite number"),
        ({"entropy": -1.0}, "entropy must be a finite number of at least 0"),
    ],
)
def test_mistakes_in_a_configuration_show_before_training(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SMALL, **change)


@pytest.mark.slow
@pytest.mark.parametrize("estimator", ["score", "mixed"])
def test_reinforce_learns(estimator):
    """On the same 1,000 held-out functions as random search, in half a minute.

    The standard error of a mean is 0.02, so that the margin is more than four of the difference's
    even if the two were independent.
    """
    config = TrainConfig(
        task="BBO-GP-6d-v0",
        task_arguments={"sampler": "fourier", "features": 64},
        network_arguments={"hidden": 32},
        estimator=estimator,
        iterations=400,
        batch=128,
        first_horizon=5,
        horizon=20,
        curriculum=0.3,
        learning_rate=5e-3,
        warm_up=20,
    )
    found, floor = trained_and_random(config)
    assert found < floor - 0.13
