"""The refinement by a posterior: pending queries, the ascent, its gradients, and that it helps.

What it shares with the network that proposes (symmetries, purity, dimensions) is tested in
``test_universal.py``.
"""

import math

import pytest
import torch
from gymnasium.spaces import Box

from agents import make_agent, posterior_guided
from agents.pending import Pending
from agents.posterior import condition, log_probability_of_improvement
from agents.posterior_guided import PosteriorGuidedAgent
from bbo_envs import Objective, Observation, Problem, make_problem
from training.rollout import steps, unroll

DOUBLE = torch.float64
# The posterior takes part from the first query on, save where that is tested.
SMALL = {"hidden": 12, "heads": 3, "width": 5, "candidates": 32, "alone": 0}


def make(seed=0, dtype=DOUBLE, **sizes):
    generator = torch.Generator().manual_seed(seed)
    return PosteriorGuidedAgent(**(SMALL | sizes), generator=generator).to(dtype)


def gp(dim, budget, workers=1, **arguments):
    return make_problem(
        "BBO-GP-v0", dim=dim, sampler="fourier", budget=budget, workers=workers, **arguments
    )


def nothing(batch, dim):
    return Observation(torch.zeros(batch, dim), torch.zeros(batch), torch.zeros(batch))


def wavy(x):
    row = torch.arange(len(x), dtype=x.dtype).unsqueeze(1)
    return torch.sin(5.0 * x + row).sum(1)


def after(agent, batch, dim, number, function=wavy, budget=30, seed=0):
    """The state after some evaluations at random points, and the last observation."""
    generator = torch.Generator().manual_seed(seed)
    # What would have been asked is of no importance: the shortest ascent will do.
    quick = make(ascent=1, starts=1, candidates=1)
    quick.proposer = agent.proposer
    state = agent.init(batch, Box(0, 1, (dim,)), budget, generator)
    observation = nothing(batch, dim)
    with torch.no_grad():
        for _ in range(number):
            _, state = quick.step(state, observation)
            x = torch.rand(batch, dim, dtype=DOUBLE, generator=generator)
            observation = Observation(x, function(x), torch.ones(batch))
            # The agent asked for another point: it gets this one back in its place.
            state = state._replace(
                pending=Pending(x.unsqueeze(1), torch.ones(batch, 1, dtype=DOUBLE))
            )
    return state, observation


def spied(monkeypatch):
    """Every call of the probability of improvement: (posterior, points, margin, values)."""
    calls = []

    def spy(posterior, z, margin):
        values = log_probability_of_improvement(posterior, z, margin)
        calls.append((posterior, z.detach(), margin, values.detach()))
        return values

    monkeypatch.setattr(posterior_guided, "log_probability_of_improvement", spy)
    return calls


# --- queries that have not come back ---


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pending_queries_are_those_that_the_problem_has_out(dtype):
    """Five workers with random runtimes: rows return in different orders."""
    agent, problem, batch = make(dtype=dtype, ascent=2), gp(3, 20, workers=5), 4
    generator = torch.Generator().manual_seed(0)
    problem_state, observation = problem.reset(batch, generator)
    state = agent.init(batch, problem.space, problem.budget, generator)
    orders = set()
    with torch.no_grad():
        for t in range(problem.budget):
            x, state = agent.step(state, observation)
            busy = problem_state.busy_until.isfinite()
            for row in range(batch):
                out = [*problem_state.busy_x[row][busy[row]].tolist(), x[row].tolist()]
                mine = state.pending.x[row][state.pending.there[row] > 0].tolist()
                assert sorted(mine) == sorted(out), (t, row)
            problem_state, observation, _ = problem.step(problem_state, x)
            orders.add(tuple(map(tuple, busy.tolist())))
    assert state.pending.x.shape[1] <= 2 * problem.workers  # no more than rows out of step need
    assert any(len(set(busy)) > 1 for busy in orders)


def test_an_observation_that_is_empty_strikes_nothing_out():
    agent = make(ascent=2)
    state, observation = after(agent, 3, 2, 2)
    asked = []
    with torch.no_grad():
        for number in range(1, 4):
            x, state = agent.step(state, observation)
            asked.append(x)
            assert torch.equal(state.pending.x, torch.stack(asked, 1))
            assert state.pending.there.shape == (3, number)
            assert state.pending.there.all()
            observation = nothing(3, 2)
        mixed = Observation(asked[1] * torch.tensor([[1.0], [0.0], [1.0]]), wavy(asked[1]),
                            torch.tensor([1.0, 0.0, 1.0]))  # fmt: skip
        _, state = agent.step(state, mixed._replace(y=mixed.y * mixed.o))
    assert state.pending.there[:, :3].tolist() == [[1, 0, 1], [1, 1, 1], [1, 0, 1]]


def test_two_equal_pending_queries_return_one_by_one():
    agent = make(ascent=2)
    state, observation = after(agent, 2, 2, 3)
    twice = torch.full((2, 2, 2), 0.25, dtype=DOUBLE)
    state = state._replace(pending=Pending(twice, torch.ones(2, 2, dtype=DOUBLE)))
    came = Observation(twice[:, 0], wavy(twice[:, 0]), torch.ones(2))
    with torch.no_grad():
        _, state = agent.step(state, came)
        assert state.pending.there.sum(1).tolist() == [2, 2]  # one of the two, and the new query
        _, state = agent.step(state, came)
    assert not (state.pending.x == 0.25).all(2).any()


OBJECTIVES = {
    "waves": wavy,
    "a bowl": lambda x: (x - 0.6).square().sum(1),
    "a slope": lambda x: x.sum(1),
    "a plain": lambda x: torch.full_like(x[:, 0], 4.2),
    "noise": lambda x: torch.sin(1e4 * x.sum(1)),
}


# Not strict: how often it shows depends on the constants of the ascent.
def keep_apart(name, number):
    """Five queries in a row with nothing coming back, in the first half of the budget."""
    agent = make()
    state, observation = after(agent, 4, 3, number, OBJECTIVES[name])
    queries = []
    with torch.no_grad():
        for _ in range(5):
            x, state = agent.step(state, observation)
            queries.append(x)
            observation = nothing(4, 3)
    distances = torch.cdist(torch.stack(queries, 1), torch.stack(queries, 1))
    return distances[:, ~torch.eye(5, dtype=torch.bool)].min()


def test_the_first_parallel_queries_keep_apart():
    assert keep_apart("waves", 0) > 0.02


@pytest.mark.parametrize(
    "name",
    [
        "waves",
        "a bowl",
        "a slope",
        "a plain",
        "noise",
    ],
)
def test_parallel_queries_keep_apart_in_the_middle_of_a_run(name):
    assert keep_apart(name, 12) > 0.02


def test_parallel_queries_keep_apart_to_the_end_of_the_budget():
    """On GP functions with five workers, where the margin has become small."""
    agent, problem = make(), gp(6, 25, workers=5)
    generator = torch.Generator().manual_seed(2)
    closest = []
    with torch.no_grad():
        problem_state, observation = problem.reset(32, generator)
        state = agent.init(32, problem.space, problem.budget, generator)
        for _ in range(problem.budget):
            x, state = agent.step(state, observation)
            distance = torch.cdist(x.unsqueeze(1), state.pending.x[:, :-1]).squeeze(1)
            distance = distance.masked_fill(state.pending.there[:, :-1] == 0, torch.inf)
            closest += [distance.amin(1)] if distance.shape[1] else []
            problem_state, observation, _ = problem.step(problem_state, x)
    assert torch.stack(closest).min() > 0.01


# --- the ascent ---


def test_the_margin_falls_from_the_first_query_to_the_last(monkeypatch):
    calls = spied(monkeypatch)
    agent = make(ascent=1, margin=0.7, last_margin=0.1)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(0)
        problem = gp(2, 9)
        unroll(agent, problem, problem.reset(2, generator), generator)
    assert all((margin == margin[0]).all() for _, _, margin, _ in calls)
    margins = list(dict.fromkeys(margin[0].item() for _, _, margin, _ in calls))
    assert len(margins) == 9
    assert margins == sorted(margins, reverse=True)
    assert (margins[0], margins[-1]) == (pytest.approx(0.7), pytest.approx(0.1))


def test_the_margin_gives_way_where_nothing_is_left_to_find(monkeypatch):
    """On a slope whose lowest end has been seen; a fast sine, in the other row, has hope left.

    By halves, up to the first with which a candidate has a chance of one in a million.
    """
    calls = spied(monkeypatch)
    agent = make(ascent=1, margin=0.8, last_margin=0.8)
    x = torch.linspace(0.0, 1.0, 12, dtype=DOUBLE)
    rough = torch.sin(40.0 * x)
    state = agent.init(2, Box(0, 1, (1,)), 40, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for here, y in zip(x, rough, strict=True):
            observation = Observation(here.expand(2, 1), torch.stack([here, y]), torch.ones(2))
            calls.clear()
            _, state = agent.step(state, observation)
            state = state._replace(
                pending=Pending(here.expand(2, 1, 1), torch.ones(2, 1, dtype=DOUBLE))
            )
    kept = calls[-1][2]
    assert kept[1].item() == 0.8
    halvings = math.log2(0.8 / kept[0].item())
    assert halvings in range(1, 7)
    weighed = [(margin[0].item(), values[0].max().item()) for _, _, margin, values in calls]
    refused = {margin: best for margin, best in weighed if margin > kept[0].item()}
    assert len(refused) == halvings
    assert max(refused.values()) < math.log(1e-6)
    assert halvings == 6 or max(b for m, b in weighed if m == kept[0].item()) >= math.log(1e-6)


def test_the_network_is_alone_at_first(monkeypatch):
    """The ascent has one start for the first 2 d queries, and looks at candidates after them."""
    calls = spied(monkeypatch)
    agent, problem = make(ascent=2, alone=2), gp(3, 9)
    generator = torch.Generator().manual_seed(0)
    widest = []
    with torch.no_grad():
        for _ in steps(agent, problem, problem.reset(2, generator), generator):
            widest.append(max(z.shape[1] for _, z, _, _ in calls))
            calls.clear()
    assert widest == [1] * 6 + [2 * SMALL["candidates"]] * 3


def ascents(agent, problem, calls, batch):
    """At each query of a run, the log probability of the query and those of the ascent's starts."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for step in steps(agent, problem, problem.reset(batch, generator), generator):
            posterior, _, margin, values = next(c for c in calls if c[1].shape[1] == agent.starts)
            taken = log_probability_of_improvement(posterior, step.x.unsqueeze(1), margin)
            yield taken.squeeze(1), values
            calls.clear()


def test_no_start_is_likelier_to_improve_than_the_query(monkeypatch):
    """In one dimension, where a peak is soon narrower than a step."""
    for taken, values in ascents(make(), gp(1, 15), spied(monkeypatch), batch=8):
        assert (taken >= values.amax(1) - 1e-6).all()


def test_the_ascent_gains_on_its_starts(monkeypatch):
    """In 6 dimensions; before the first value the probability is the same everywhere."""
    runs = list(ascents(make(), gp(6, 10), spied(monkeypatch), batch=8))
    gains = torch.stack([taken - values.amax(1) for taken, values in runs])
    assert gains[1:].mean() > 0.1


def test_candidates_lie_in_the_cube_and_close_in_on_the_incumbent(monkeypatch):
    agent = make(ascent=1)
    state, observation = after(agent, 3, 2, 8)
    calls = spied(monkeypatch)
    with torch.no_grad():
        _, following = agent.step(state, observation)
    _, z, _, _ = max(calls, key=lambda call: call[1].shape[1])
    assert z.shape == (3, 2 * SMALL["candidates"], 2)
    assert ((z >= 0) & (z <= 1)).all()
    incumbent = following.proposer.history.best_x.unsqueeze(1)
    distance = (z - incumbent).abs().amax(2)
    near, far = posterior_guided._NEAR
    everywhere, around = distance.split(SMALL["candidates"], 1)
    assert (around <= far + 1e-9).all()
    assert (around[:, 0] <= near).all()
    assert (around.median(1).values < everywhere.median(1).values).all()


# --- the gradient of training ---


def with_proposal(agent, monkeypatch):
    """Makes the network's proposal a leaf of the graph, and lists it."""
    leaves, step = [], agent.proposer.step

    def propose(state, observation):
        proposal, state = step(state, observation)
        leaves.append(proposal.detach().requires_grad_())
        return leaves[-1], state

    monkeypatch.setattr(agent.proposer, "step", propose)
    return leaves


def test_the_gradient_to_the_proposal_is_the_identity_where_the_ascent_began_there(monkeypatch):
    """Elsewhere it is zero. Where it began is known from an agent with no other start."""
    agent, batch, dim = make(starts=2, candidates=2), 32, 3
    alone = make(starts=1)
    state, observation = after(agent, batch, dim, 6)
    leaves = with_proposal(agent, monkeypatch)
    x, _ = agent.step(state, observation)
    climbed, _ = alone.step(state, observation)
    own = torch.isclose(x, climbed, rtol=0, atol=1e-12).all(1)
    assert own.any()
    assert not own.all()
    inside = ((x > 0) & (x < 1)).double()
    for i in range(dim):
        (gradient,) = torch.autograd.grad(x[:, i].sum(), leaves[0], retain_graph=True)
        expected = torch.zeros(batch, dim, dtype=DOUBLE)
        expected[:, i] = own.double()
        # On a face of the cube the gradient passes one way only: see clamp_to_cube.
        torch.testing.assert_close(gradient * inside, expected * inside)
        assert not gradient[~own].any()


def test_the_gradient_to_the_step_sizes_is_along_the_way_climbed(monkeypatch):
    """The ascent from the proposal, done again step by step."""
    agent, batch, dim = make(starts=1, margin=0.3, last_margin=0.3), 6, 3
    state, observation = after(agent, batch, dim, 6)
    leaves = with_proposal(agent, monkeypatch)
    x, following = agent.step(state, observation)
    weight = torch.randn(batch, dim, dtype=DOUBLE, generator=torch.Generator().manual_seed(1))
    (x * weight).sum().backward()

    posterior = condition(following.beliefs, agent.hypotheses)
    # Where a descent would push the query out of the cube, no gradient passes.
    passes = ~(((x <= 0) & (weight > 0)) | ((x >= 1) & (weight < 0)))
    z, way, slopes = leaves[0].detach().unsqueeze(1), [], []
    for size in agent.log_sizes.detach().exp():
        z.requires_grad_()
        value = log_probability_of_improvement(posterior, z, 0.3).sum()
        (gradient,) = torch.autograd.grad(value, z)
        z = z.detach()
        outward = ((z <= 0) & (gradient < 0)) | ((z >= 1) & (gradient > 0))
        gradient = torch.where(outward, 0.0, gradient)
        direction = gradient / gradient.norm(dim=-1, keepdim=True).clamp_min(1e-12)
        direction = direction * posterior.hypotheses.length_scale[:, :1, None]
        slopes.append((direction.squeeze(1) * weight * passes).sum(1) * size)
        z = (z + size * direction).clamp(0.0, 1.0)
        way.append(z.squeeze(1))
    # [steps, B]: where on its way each query was taken, and what lies before that.
    reached = torch.isclose(torch.stack(way), x, rtol=0, atol=1e-9).all(2)
    assert reached.any(0).all()
    before = reached.flip(0).cumsum(0).flip(0) > 0
    expected = (torch.stack(slopes) * before).sum(1)
    torch.testing.assert_close(agent.log_sizes.grad, expected, rtol=1e-6, atol=1e-9)


def test_the_value_of_a_query_is_the_same_with_and_without_gradients():
    agent = make()
    state, observation = after(agent, 4, 3, 5)
    x, _ = agent.step(state, observation)
    with torch.no_grad():
        same, _ = agent.step(state, observation)
    assert x.requires_grad
    assert torch.equal(x, same)


def test_beliefs_and_pending_queries_hold_no_graph():
    agent, problem = make(ascent=2), gp(2, 6, workers=2, dtype=DOUBLE)
    generator = torch.Generator().manual_seed(0)
    problem_state, observation = problem.reset(3, generator)
    state = agent.init(3, problem.space, problem.budget, generator)
    for _ in range(problem.budget):
        x, state = agent.step(state, observation)
        problem_state, observation, _ = problem.step(problem_state, x)
        assert x.requires_grad
        for part in (*state.beliefs.grid, *state.beliefs[1:], *state.pending):
            assert not part.requires_grad
    assert observation.y.requires_grad


# --- that it helps ---


def test_it_beats_random_search_before_any_training():
    """The best of 25 values on 64 functions in 6 dimensions, by five standard errors and more.

    The difference is about one deviation of the functions, nine standard errors.
    """
    problem, best = gp(6, 25), []
    guided = PosteriorGuidedAgent(alone=0, generator=torch.Generator().manual_seed(0))
    for agent in (guided, make_agent("random", problem)):
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            run = unroll(agent, problem, problem.reset(64, generator), generator)
        best.append(run.value.amin(1))
    difference = best[0] - best[1]
    assert difference.mean() < -5.0 * difference.std() / 8.0


def test_it_finds_the_bottom_of_a_bowl():
    """Where random search of 25 queries is 0.05 away at best, in two dimensions."""
    problem = Problem(Objective(lambda x: float(((x - 0.37) ** 2).sum()), 2), budget=25)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        run = unroll(make(), problem, problem.reset(1, generator), generator)
    assert run.value.min() < 1e-3
