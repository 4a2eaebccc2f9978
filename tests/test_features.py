"""The features of learned optimisers: against NumPy, gradients, invariance."""

import math

import numpy as np
import pytest
import torch

from agents.features import (
    EVALUATION_FEATURES,
    VALUE_FEATURES,
    deviation,
    empty_history,
    evaluation_features,
    no_evaluations,
    record,
    update,
    value_features,
)
from bbo_envs import Observation

CPU = torch.device("cpu")
BUDGET = 20


def observations(generator, batch=2, dim=3, number=7, scale=1.0, shift=0.0):
    """Observations of which some are empty; the first is, and rows differ in which."""
    for t in range(number):
        o = torch.tensor([float(t > 0 and (t + row) % 3 > 0) for row in range(batch)])
        x = torch.rand(batch, dim, dtype=torch.float64, generator=generator) * o.unsqueeze(1)
        y = torch.randn(batch, dtype=torch.float64, generator=generator)
        yield Observation(x, (scale * y + shift) * o, o)


def seen(stream, batch=2, dim=3):
    """The history and the memory behind some observations, and the last of these."""
    history = empty_history(batch, dim, BUDGET, torch.float64, CPU)
    evaluations = no_evaluations(batch, dim, torch.float64, CPU)
    for observation in stream:
        history, evaluations = update(history, observation), record(evaluations, observation)
    return history, evaluations, observation


def test_statistics_of_rows_that_return_at_different_times(generator):
    stream = list(observations(generator))
    history, evaluations, _ = seen(stream)
    assert history.steps == len(stream)
    for row in range(2):
        back = evaluations.o[row] > 0
        ys, xs = evaluations.y[row][back].numpy(), evaluations.x[row][back].numpy()
        assert history.returned[row] == len(ys)
        np.testing.assert_allclose(history.mean[row], ys.mean(), rtol=1e-12)
        np.testing.assert_allclose(deviation(history)[row], ys.std(), rtol=1e-12)
        assert history.best_y[row] == ys.min()
        assert history.best_x[row].tolist() == xs[ys.argmin()].tolist()


def test_the_memory_holds_what_was_seen_and_no_graph(generator):
    stream = list(observations(generator))
    for observation in stream:
        observation.x.requires_grad_()
        observation.y.requires_grad_()
    _, evaluations, _ = seen(stream)
    for name in ("x", "y", "o"):
        kept = getattr(evaluations, name)
        expected = torch.stack([getattr(observation, name) for observation in stream], 1)
        assert not kept.requires_grad, name
        assert torch.equal(kept, expected.to(kept)), name


def test_features_of_evaluations_against_numpy(generator):
    history, evaluations, _ = seen(observations(generator))
    features, difference = evaluation_features(history, evaluations)
    number, dim = evaluations.x.shape[1:]
    assert features.shape == (2, number, EVALUATION_FEATURES)
    for row in range(2):
        ys = evaluations.y[row].numpy()
        returned = ys[evaluations.o[row].numpy() > 0]
        for t in range(number):
            if evaluations.o[row, t] == 0:
                assert not features[row, t].any()
                assert not difference[row, t].any()
                continue
            gap = (evaluations.x[row, t] - history.best_x[row]).numpy()
            expected = [
                (ys[t] - returned.mean()) / returned.std(),
                (ys[t] - returned.min()) / returned.std(),
                math.log(np.linalg.norm(gap) / math.sqrt(dim) + 1e-3) / 3,
                (number - t) / number,
                math.log(1 + number - t) / 5,
            ]
            np.testing.assert_allclose(features[row, t], expected, rtol=1e-10, atol=1e-12)
            np.testing.assert_allclose(difference[row, t], gap, rtol=1e-10)


def test_before_anything_came_back_all_features_of_values_are_zero():
    nothing = Observation(torch.zeros(2, 3), torch.zeros(2), torch.zeros(2))
    history, evaluations, _ = seen([nothing, nothing])
    features, difference = evaluation_features(history, evaluations)
    assert not features.any()
    assert not difference.any()
    assert not value_features(history, nothing)[:, :4].any()


def test_no_evaluation_at_all_gives_no_features():
    history = empty_history(2, 3, BUDGET, torch.float64, CPU)
    features, difference = evaluation_features(history, no_evaluations(2, 3, torch.float64, CPU))
    assert features.shape == (2, 0, EVALUATION_FEATURES)
    assert difference.shape == (2, 0, 3)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("shift", [-3.0, 0.0, 5.0])
def test_no_feature_changes_under_affine_maps_of_y(scale, shift):
    def features(*moved):
        stream = observations(torch.Generator().manual_seed(0), 2, 3, 7, *moved)
        history, evaluations, last = seen(stream)
        return value_features(history, last), *evaluation_features(history, evaluations)

    for plain, moved in zip(features(), features(scale, scale * shift), strict=True):
        torch.testing.assert_close(moved, plain, rtol=1e-9, atol=1e-9)


def test_the_clock_runs_down_to_the_last_query():
    nothing = Observation(torch.zeros(1, 2), torch.zeros(1), torch.zeros(1))
    history, left = empty_history(1, 2, BUDGET, torch.float64, CPU), []
    for _ in range(BUDGET + 2):
        history = update(history, nothing)
        features = value_features(history, nothing)
        assert features.shape == (1, VALUE_FEATURES)
        left.append(features[0, 4].item() * BUDGET)
    assert np.allclose(left, [*range(BUDGET, 0, -1), 0, 0])


def test_gradients_pass_through_the_history_but_not_through_the_memory(generator):
    xs = torch.rand(4, 2, 3, dtype=torch.float64, generator=generator, requires_grad=True)
    ys = torch.randn(4, 2, dtype=torch.float64, generator=generator, requires_grad=True)
    history, evaluations, last = seen(
        Observation(x, y, torch.ones(2)) for x, y in zip(xs, ys, strict=True)
    )
    features, difference = evaluation_features(history, evaluations)
    assert not features.requires_grad
    assert not difference.requires_grad
    reached = torch.autograd.grad(
        value_features(history, last).square().sum() + history.best_x.sum(), (xs, ys)
    )
    assert all(part.isfinite().all() and part.any() for part in reached)


def test_the_gradient_of_the_deviation_is_finite_while_all_values_are_equal():
    y = torch.full((1,), 4.2, dtype=torch.float64, requires_grad=True)
    stream = [Observation(torch.zeros(1, 3), y, torch.ones(1))] * 3
    history, _, _ = seen(stream, batch=1)
    assert deviation(history).item() == 1.0
    (gradient,) = torch.autograd.grad(deviation(history).sum(), y)
    assert gradient.isfinite().all()
