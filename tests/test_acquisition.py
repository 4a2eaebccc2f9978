"""The learned acquisition function: what it is told, its symmetries, what it can learn."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.spatial.distance import cdist

from agents.acquisition import Acquisition, Proposals, choose
from agents.features import (
    CANDIDATE_FEATURES,
    PAIR_FEATURES,
    Known,
    candidate_features,
    empty_history,
    no_evaluations,
    record,
    update,
)
from bbo_envs import Observation

DIM, HEADS = 3, 2


def known(generator, scale=1.0, shift=0.0, number=6, batch=2, lost=True):
    """What is known after some evaluations, of which a third was lost where ``lost``."""
    zeros = torch.zeros(batch, 0, DIM, dtype=torch.float64)
    history = empty_history(batch, DIM, 20, zeros.dtype, zeros.device)
    evaluations = no_evaluations(batch, DIM, zeros.dtype, zeros.device)
    queries = torch.rand(batch, number, DIM, dtype=torch.float64, generator=generator)
    values = torch.randn(batch, number, dtype=torch.float64, generator=generator)
    for t in range(number):
        o = torch.tensor([float(not lost or (t + row) % 3 > 0) for row in range(batch)])
        seen = Observation(
            queries[:, t] * o.unsqueeze(1), (scale * values[:, t] + shift) * o, o.double()
        )
        history, evaluations = update(history, seen), record(evaluations, seen)
    directions = torch.randn(batch, HEADS, DIM, dtype=torch.float64, generator=generator)
    directions = torch.nn.functional.normalize(directions, dim=-1)
    return Known(history, evaluations, queries, directions)


def candidates(generator, number=5, batch=2):
    return torch.rand(batch, number, DIM, dtype=torch.float64, generator=generator)


def acquisition(hidden=4, seed=0):
    torch.manual_seed(seed)
    return Acquisition(hidden, HEADS).double()


def test_features_against_numpy(generator):
    told, points = known(generator), candidates(generator)
    found = candidate_features(told, points)
    assert found.pairs.shape == (2, 5, 6, PAIR_FEATURES)
    assert found.own.shape == (2, 5, CANDIDATE_FEATURES + HEADS)
    for row in range(2):
        back = told.evaluations.o[row].numpy() > 0
        assert found.back[row].tolist() == back.tolist()
        y, x = told.evaluations.y[row].numpy()[back], told.evaluations.x[row].numpy()[back]
        point, best = points[row].numpy(), x[y.argmin()]
        distance = cdist(point, x) / DIM**0.5
        gap = cdist(point, told.queries[row].numpy()).min(1, keepdims=True) / DIM**0.5
        pairs = found.pairs[row].numpy()[:, back]
        np.testing.assert_allclose(pairs[..., 0], np.log(distance + 1e-3) / 3)
        np.testing.assert_allclose(pairs[..., 1], np.log1p(distance / np.maximum(gap, 1e-3)))
        z = np.broadcast_to((y - y.mean()) / y.std(), distance.shape)
        np.testing.assert_allclose(pairs[..., 2], z)
        np.testing.assert_allclose(pairs[..., 3], z - z.min())
        np.testing.assert_allclose(found.z[row].numpy()[back], z[0])
        assert (found.z[row].numpy()[~back] == 0).all()
        np.testing.assert_allclose(found.own[row, :, 0], np.log(gap[:, 0] + 1e-3) / 3)
        offset = point - best
        length = np.linalg.norm(offset, axis=1, keepdims=True)
        np.testing.assert_allclose(found.own[row, :, 1], np.log(length[:, 0] / DIM**0.5 + 1e-3) / 3)
        np.testing.assert_allclose(
            found.own[row, :, 2:], offset / length @ told.directions[row].numpy().T
        )


@pytest.mark.parametrize("scale", [1e-6, 1e6])
@pytest.mark.parametrize("shift", [0.0, -7.0])
def test_weights_do_not_change_under_affine_maps_of_y(scale, shift):
    network, state = acquisition(), torch.ones(2, 4, dtype=torch.float64)
    plain, mapped = (
        network(
            state,
            known(torch.Generator().manual_seed(1), *map_of_y),
            candidates(torch.Generator().manual_seed(2)),
        )
        for map_of_y in ((1.0, 0.0), (scale, shift * scale))
    )
    torch.testing.assert_close(mapped, plain, rtol=0, atol=1e-7)


def test_weights_do_not_depend_on_the_order_of_coordinates_evaluations_or_candidates(generator):
    network, state = acquisition(), torch.randn(2, 4, dtype=torch.float64, generator=generator)
    told, points = known(generator, lost=False), candidates(generator)
    expected = network(state, told, points)
    axes, order, places = (torch.randperm(n, generator=generator) for n in (DIM, 6, 5))
    evaluations = type(told.evaluations)(
        told.evaluations.x[:, order][..., axes],
        told.evaluations.y[:, order],
        told.evaluations.o[:, order],
    )
    history = told.history._replace(best_x=told.history.best_x[:, axes])
    again = Known(history, evaluations, told.queries[..., axes], told.directions[..., axes])
    found = network(state, again, points[:, places][..., axes])
    torch.testing.assert_close(found, expected[:, places], rtol=0, atol=1e-10)


def test_probabilities_sum_to_one_and_depend_on_what_came_back(generator):
    network, state = acquisition(), torch.zeros(2, 4, dtype=torch.float64)
    told, points = known(generator), candidates(generator)
    weights = network(state, told, points).exp()
    assert weights.sum(1).tolist() == pytest.approx([1.0, 1.0])
    y = told.evaluations.y.clone()
    y[:, 1] += 1.0  # came back in both rows
    other = told._replace(evaluations=told.evaluations._replace(y=y))
    assert not torch.allclose(network(state, other, points).exp(), weights)
    y = told.evaluations.y.clone()
    y[told.evaluations.o == 0] = 9.0  # what did not come back has no value
    other = told._replace(evaluations=told.evaluations._replace(y=y))
    assert torch.equal(network(state, other, points).exp(), weights)


def test_nothing_known_gives_finite_weights(generator):
    zeros = torch.zeros(2, 0, DIM, dtype=torch.float64)
    history = empty_history(2, DIM, 20, zeros.dtype, zeros.device)
    evaluations = no_evaluations(2, DIM, zeros.dtype, zeros.device)
    empty = Observation(torch.zeros(2, DIM), torch.zeros(2), torch.zeros(2))
    told = Known(
        update(history, empty),
        record(evaluations, empty),
        zeros,
        torch.zeros(2, HEADS, DIM).double(),
    )
    found = acquisition()(torch.zeros(2, 4).double(), told, candidates(generator))
    assert found.isfinite().all()


def test_choices_follow_the_probabilities():
    """A chi-squared test over 20,000 draws; a right implementation fails once in 10^4."""
    weights = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)
    number = 20_000
    uniform = torch.rand(number, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    points = torch.arange(4.0).view(1, 4, 1).expand(number, 4, 1)
    found = choose(Proposals(points, weights.log().expand(number, 4)), uniform)
    counts = torch.bincount(found.flatten().long(), minlength=4).numpy()
    assert stats.chisquare(counts, number * weights.numpy()).pvalue > 1e-4


def test_the_gradient_of_a_choice_reaches_what_was_chosen_alone(generator):
    x = torch.rand(2, 3, DIM, generator=generator, requires_grad=True)
    uniform = torch.rand(2, 3, generator=generator)
    choose(Proposals(x, torch.full((2, 3), -math.log(3))), uniform).sum().backward()
    assert x.grad.sum((1, 2)).tolist() == [DIM, DIM]
    assert (x.grad.flatten(2).any(-1).sum(1) == 1).all()


def test_it_can_learn_to_prefer_what_lies_near_good_values(generator):
    """Nearest-neighbour prediction from 6 values, learned in 150 steps: 20 percent is chance."""
    network = acquisition()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    state = torch.zeros(64, 4, dtype=torch.float64)

    def task():
        told = known(generator, batch=64, lost=False)
        points = candidates(generator, batch=64)
        nearest = torch.cdist(points, told.evaluations.x).argmin(-1)
        return told, points, told.evaluations.y.gather(1, nearest).argmin(1)

    for _ in range(150):
        told, points, label = task()
        loss = torch.nn.functional.nll_loss(network(state, told, points), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    told, points, label = task()
    right = (network(state, told, points).argmax(1) == label).double().mean()
    assert right > 0.5
