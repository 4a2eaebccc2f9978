"""The networks for any number of dimensions: symmetries, state, gradients, dimensions, workers."""

import pytest
import torch
from gymnasium.spaces import Box
from rollouts import play, tensors
from scipy import stats
from scipy.spatial.distance import cdist
from states import permuted, row_of

from agents import posterior_guided, universal
from agents.pfn import PFNAgent
from agents.posterior_guided import PosteriorGuidedAgent
from agents.universal import UniversalAgent, loneliest
from bbo_envs import Objective, Observation, Problem, make_problem
from training.rollout import detach

DOUBLE = torch.float64
# All are small here: what is tested holds for every size.
KINDS = {
    "universal": (UniversalAgent, {"hidden": 12, "heads": 3, "width": 5}),
    "posterior-guided": (
        PosteriorGuidedAgent,
        {"hidden": 12, "heads": 3, "width": 5}
        | {"starts": 3, "ascent": 3, "candidates": 16, "alone": 1},
    ),
    "pfn": (PFNAgent, {"width": 12, "heads": 3, "layers": 2, "candidates": 16}),
}


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(params=["universal", "posterior-guided"])
def recurrent(request):
    """The kinds with a recurrent state, through which gradients pass."""
    return request.param


def make(kind, seed=0, dtype=DOUBLE, gain=2.0, **sizes):
    """A network with larger weights than the first ones, so that all of its parts matter."""
    network, small = KINDS[kind]
    generator = torch.Generator().manual_seed(seed)
    agent = network(**(small | sizes), generator=generator).to(dtype)
    for parameter in agent.parameters():
        if parameter.dim() > 1:
            parameter.data.mul_(gain)
    return agent


def proposer(state):
    """The network's part of a state of any kind."""
    return getattr(state, "proposer", state)


def start(agent, batch, dim, budget=20, seed=0):
    """The state before the first query, and the empty observation."""
    generator = torch.Generator().manual_seed(seed)
    state = agent.init(batch, Box(0, 1, (dim,)), budget, generator)
    return state, Observation(torch.zeros(batch, dim), torch.zeros(batch), torch.zeros(batch))


def rugged(x):
    """A function [B, d] -> [B] that differs between coordinates and between rows."""
    coordinate = torch.arange(x.shape[1], dtype=x.dtype)
    row = torch.arange(len(x), dtype=x.dtype).unsqueeze(1)
    return torch.sin((3.0 + coordinate) * x + coordinate + row).sum(1)


def converse(agent, function, state, observation, number, first=0):
    """Asks and answers; every third answer of a row gets lost, so that rows are out of step.

    Returns:
        The queries ``[number, B, d]``, and the state and the observation that follow.
    """
    queries = []
    with torch.no_grad():
        for t in range(first, first + number):
            x, state = agent.step(state, observation)
            o = torch.tensor([float((t + row) % 3 > 0) for row in range(len(x))], dtype=x.dtype)
            observation = Observation(x * o.unsqueeze(1), function(x) * o, o)
            queries.append(x)
    return torch.stack(queries), state, observation


# --- symmetries ---


@pytest.mark.parametrize("dim", [2, 5])
def test_permuting_the_coordinates_permutes_the_queries(kind, dim):
    """Of a state in the middle of a run, and from there on for several steps."""
    agent, order = make(kind), torch.arange(dim).roll(1)
    back = order.argsort()
    _, state, observation = converse(agent, rugged, *start(agent, 3, dim), 4)
    expected, *_ = converse(agent, rugged, state, observation, 4, first=4)
    found, *_ = converse(
        agent,
        lambda x: rugged(x[:, back]),
        permuted(state, order),
        observation._replace(x=observation.x[:, order]),
        4,
        first=4,
    )
    torch.testing.assert_close(found, expected[..., order], rtol=0, atol=1e-8)


def test_mirroring_axes_mirrors_the_queries(recurrent, monkeypatch):
    """Exactly, where the random points and the network's direction of an axis are mirrored too.

    A uniform number and its mirror image have the same distribution, and so have the directions
    (see below): hence queries are mirrored in distribution where nobody interferes.
    """
    agent, dim, batch = make(recurrent), 4, 3
    mirror = torch.tensor([True, False, True, False])

    def image(x):
        return torch.where(mirror, 1.0 - x, x)

    def mirrored(draw):
        def draw_and_mirror(stream, number, dtype):
            values, stream = draw(stream, number, dtype)
            if len(values) == batch * dim:
                values = image(values.view(batch, dim, number).mT).mT.reshape(-1, number)
            return values, stream

        return draw_and_mirror

    state, observation = start(agent, batch, dim)
    expected, *_ = converse(agent, rugged, state, observation, 8)
    flip = torch.where(mirror, -1.0, 1.0) * proposer(state).flip
    if recurrent == "universal":
        state = state._replace(flip=flip)
    else:
        state = state._replace(proposer=state.proposer._replace(flip=flip))
    for module in (universal, posterior_guided):
        monkeypatch.setattr(module, "uniform", mirrored(module.uniform))
    found, *_ = converse(agent, lambda x: rugged(image(x)), state, observation, 8)
    torch.testing.assert_close(found, image(expected), rtol=0, atol=1e-8)


def test_directions_and_codes_are_drawn_evenly():
    """12,000 coordinates: 5 standard errors, one in a million; Kolmogorov-Smirnov at 1e-4."""
    state, _ = start(make("universal"), 4_000, 3)
    assert set(state.flip.unique().tolist()) == {-1.0, 1.0}
    assert state.flip.mean().abs() < 5.0 / 12_000**0.5
    assert stats.kstest(state.code.flatten().numpy(), "norm").pvalue > 1e-4
    products = state.code[:, 0] * state.code[:, 1]  # of two coordinates of a row
    assert (products.mean(0).abs() < 5.0 / 4_000**0.5).all()


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("shift", [-3.0, 0.0, 5.0])
def test_queries_do_not_change_under_affine_maps_of_y(kind, scale, shift):
    agent = make(kind)
    plain, *_ = converse(agent, rugged, *start(agent, 3, 2), 10)
    moved, *_ = converse(agent, lambda x: scale * (rugged(x) + shift), *start(agent, 3, 2), 10)
    torch.testing.assert_close(moved, plain, rtol=0, atol=1e-6)


@pytest.mark.parametrize("power", [-20, 20])
def test_powers_of_two_change_no_bit_of_a_query(kind, power):
    """In float32, in which other scales are rounded."""
    agent = make(kind, dtype=torch.float32)
    plain, *_ = converse(agent, rugged, *start(agent, 2, 3), 10)
    moved, *_ = converse(agent, lambda x: 2.0**power * rugged(x), *start(agent, 2, 3), 10)
    assert torch.equal(moved, plain)


# --- state and randomness ---


def test_the_recurrent_state_starts_at_zero(recurrent):
    state, _ = start(make(recurrent), 3, 4)
    network = proposer(state)
    assert network.hidden.shape == network.cell.shape == (3, 4, 12)
    assert not network.hidden.any()
    assert not network.cell.any()
    assert network.evaluations.x.shape == (3, 0, 4)
    assert not network.history.returned.any()


def test_a_step_changes_neither_its_state_nor_the_network(kind):
    agent = make(kind)
    _, state, observation = converse(agent, rugged, *start(agent, 3, 2), 5)
    before = [tensor.clone() for tensor in (*tensors(state), *observation, *agent.parameters())]
    (x, following), (again, likewise) = (agent.step(state, observation) for _ in range(2))
    assert torch.equal(x, again)
    after = (*tensors(state), *observation, *agent.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(
        torch.equal(a, b) for a, b in zip(tensors(following), tensors(likewise), strict=True)
    )


def test_every_step_draws_new_random_numbers(kind):
    """Of every coordinate and, where there is a choice among proposals, of every row."""
    agent = make(kind)
    _, state, observation = converse(agent, rugged, *start(agent, 3, 2), 3)
    _, following = agent.step(state, observation)
    chooses = kind != "posterior-guided"
    for name in ("coordinate_stream", *["row_stream"] * chooses):
        before, after = (getattr(proposer(s), name) for s in (state, following))
        assert torch.equal(after.key, before.key)
        assert (after.counter > before.counter).all()


def test_rows_do_not_see_each_other(kind):
    agent, dim = make(kind), 3
    state, nothing = start(agent, 3, dim)
    together, *_ = converse(agent, rugged, state, nothing, 9)
    for row in range(3):
        queries, alone, observation = [], row_of(state, row, dim), row_of(nothing, row, dim)
        with torch.no_grad():
            for t in range(9):
                x, alone = agent.step(alone, observation)
                o = torch.tensor([float((t + row) % 3 > 0)], dtype=x.dtype)
                y = rugged(x.expand(3, -1))[row : row + 1]
                observation = Observation(x * o.unsqueeze(1), y * o, o)
                queries.append(x)
        torch.testing.assert_close(torch.cat(queries), together[:, row], rtol=0, atol=1e-8)


def test_the_same_seed_repeats_a_run_and_another_does_not(kind):
    problem, agent = make_problem("BBO-GP-2d-v0", sampler="fourier", budget=6), make(kind)
    torch_before = torch.get_rng_state()
    first, again, other = (play(agent, problem, 2, seed).x for seed in (1, 1, 2))
    assert torch.equal(first, again)
    inside = (first > 0) & (first < 1)
    inside[:, : int(kind == "pfn")] = False  # its first query is the centre, whatever the seed
    assert not torch.isclose(first, other)[inside].any()
    assert torch.equal(torch_before, torch.get_rng_state())


def test_attention_averages_over_the_evaluations_that_came_back():
    """With weights that make all of them equally important."""
    agent = make("universal")
    _, state, _ = converse(agent, rugged, *start(agent, 3, 2), 8)
    with torch.no_grad():
        agent.weigh.weight.zero_()
        agent.weigh.bias.copy_(torch.tensor([0.0, 1.0], dtype=DOUBLE).repeat_interleave(3))
        direction, size = agent._directions(state.hidden.mean(1), state.history, state.evaluations)
    for row in range(3):
        back = state.evaluations.x[row][state.evaluations.o[row] > 0]
        expected = (back - state.history.best_x[row]).mean(0)
        torch.testing.assert_close(direction[row], expected.expand(3, -1))
        torch.testing.assert_close(size[row], expected.norm().expand(3))


@pytest.mark.parametrize("number", [1, 7, 60])
def test_the_loneliest_points_against_scipy(number, generator):
    points = torch.rand(3, 4, 8, 2, dtype=DOUBLE, generator=generator)
    queries = torch.rand(3, number, 2, dtype=DOUBLE, generator=generator)
    found, gap = loneliest(points, queries)
    for row in range(3):
        for proposal in range(4):
            distance = cdist(points[row, proposal], queries[row]).min(1)
            assert torch.equal(found[row, proposal], points[row, proposal, int(distance.argmax())])
            assert gap[row, proposal].item() == pytest.approx(distance.max() / 2**0.5)


def test_without_queries_the_first_point_is_as_good_as_any(generator):
    points = torch.rand(3, 4, 8, 2, dtype=DOUBLE, generator=generator)
    found, gap = loneliest(points, points[:, 0, :0])
    assert torch.equal(found, points[:, :, 0])
    assert gap.tolist() == [[1.0] * 4] * 3


def test_the_state_holds_the_queries_asked_for_without_a_graph(recurrent):
    agent = make(recurrent)
    state, observation = start(agent, 2, 3)
    asked = []
    for t in range(4):
        x, state = agent.step(state, observation)
        asked.append(x)
        assert torch.equal(proposer(state).queries, torch.stack(asked, 1))
        if t % 2:  # every other query comes back
            observation = Observation(x, rugged(x), torch.ones(2))
    assert not proposer(state).queries.requires_grad


def test_coordinates_and_rows_that_have_seen_the_same_still_differ(recurrent):
    agent = make(recurrent)
    x, _ = agent.step(*start(agent, 4, 5))
    assert len(x.flatten().unique()) > 15  # a few may lie on the faces of the cube


def test_the_architecture_makes_the_same_network_again(kind):
    agent = make(kind)
    twin = type(agent)(**agent.architecture).double()
    twin.load_state_dict(agent.state_dict())
    found, expected = (
        converse(network, rugged, *start(network, 2, 3), 5)[0] for network in (twin, agent)
    )
    assert torch.equal(found, expected)


# --- dimensions, workers, values ---


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("dim", [1, 2, 7, 25])
def test_one_network_proposes_distinct_points_in_every_dimension(kind, dim, workers, dtype):
    # With larger weights steps go beyond the cube, and end in the same corner.
    agent = make(kind, dtype=dtype, gain=1.0)
    problem = make_problem("BBO-GP-v0", dim=dim, sampler="fourier", budget=8, workers=workers)
    with torch.no_grad():
        run = play(agent, problem, batch=2)
    assert agent.dim is None
    assert run.x.shape == (2, 8, dim)
    assert run.x.dtype == dtype
    assert ((run.x >= 0) & (run.x <= 1)).all()
    if dim > 1:  # in one dimension the two ends of the cube are likely queries
        assert all(len(row.unique(dim=0)) == 8 for row in run.x)


def test_a_constant_objective_is_no_problem(kind):
    agent = make(kind, dtype=torch.float32)
    queries, *_ = converse(agent, lambda x: torch.full_like(x[:, 0], 4.2), *start(agent, 2, 3), 20)
    assert queries.isfinite().all()


@pytest.mark.parametrize("value", [1e-30, 1e30])
def test_values_of_any_size_are_no_problem(kind, value):
    agent = make(kind, dtype=torch.float32)
    queries, *_ = converse(agent, lambda x: value * rugged(x.double()), *start(agent, 2, 3), 15)
    assert queries.isfinite().all()


def test_one_outlier_is_no_problem(kind):
    """A failed evaluation that a user reports as a huge number."""
    agent = make(kind, dtype=torch.float32)

    def failing(x):
        return torch.where(x[:, 0] > 0.8, 1e12, rugged(x))

    queries, *_ = converse(agent, failing, *start(agent, 2, 2), 20)
    assert queries.isfinite().all()


def test_a_budget_of_one_and_queries_past_the_budget(kind):
    agent = make(kind)
    queries, *_ = converse(agent, rugged, *start(agent, 2, 2, budget=1), 4)
    assert queries.isfinite().all()


def test_a_users_objective_is_optimised_in_place(kind):
    """No gradients of the objective, float64 values, a float32 network."""
    problem = Problem(Objective(lambda x: float(((x - 0.3) ** 2).sum()), 2), budget=8)
    run = play(make(kind, dtype=torch.float32), problem, batch=1)
    assert run.x.isfinite().all()


# --- gradients ---


def smooth_problem(dim, budget):
    return make_problem(
        "BBO-GP-v0", dim=dim, sampler="fourier", features=32, budget=budget, dtype=DOUBLE
    )


def loss_of(run):
    """A loss that averages over the choice among proposals, as EI does, where there is one."""
    loss = run.value.sum()
    if run.proposals is not None:
        loss = loss + (run.proposals.log_weight.exp() * run.proposals.x.square().sum(-1)).sum()
    return loss


def test_gradients_reach_every_parameter(recurrent):
    """After four queries: an attention head has a direction only once two values came back."""
    agent = make(recurrent)
    run = play(agent, smooth_problem(2, 4), batch=12)
    loss_of(run).backward()
    for name, parameter in agent.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def test_gradients_stay_finite_over_sixty_queries(recurrent):
    agent = make(recurrent, dtype=torch.float32)
    loss_of(play(agent, smooth_problem(3, 60), batch=2)).backward()
    assert all(parameter.grad.isfinite().all() for parameter in agent.parameters())


def test_gradients_stay_finite_while_all_values_are_equal(recurrent):
    agent = make(recurrent)
    state, observation = start(agent, 2, 2)
    loss = 0.0
    for _ in range(6):
        x, state = agent.step(state, observation)
        observation = Observation(x, 0.0 * x.sum(1) + 4.2, torch.ones(2))
        chosen_from = getattr(state, "proposals", None)
        loss = loss + x.square().sum() + (chosen_from.log_weight[0, 0] if chosen_from else 0.0)
    loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in agent.parameters())


def test_a_detached_state_cuts_the_gradient(recurrent):
    """What truncated back-propagation relies on: nothing else carries the graph."""
    agent = make(recurrent)
    state, observation = start(agent, 2, 2)
    for _ in range(4):
        x, state = agent.step(state, observation)
        observation = Observation(x, rugged(x), torch.ones(2))
    assert any(tensor.requires_grad for tensor in tensors(state))
    state, observation = detach((state, observation))
    assert not any(tensor.requires_grad for tensor in tensors(state))
    frozen = make(recurrent)
    frozen.load_state_dict(agent.state_dict())
    frozen.requires_grad_(False)
    following, _ = frozen.step(state, observation)
    assert not following.requires_grad
