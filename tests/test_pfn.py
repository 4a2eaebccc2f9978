"""The prior-data fitted network: symmetries of what it says, and the search for its best word."""

import pytest
import torch
from gymnasium.spaces import Box

from agents.pending import Pending
from agents.pfn import Memory, PFNAgent, no_memory, remember
from bbo_envs import Observation

DOUBLE = torch.float64


def make(seed=0, gain=2.0, **sizes):
    """A network with larger weights than the first ones, so that all of its parts matter."""
    sizes = {"width": 12, "heads": 3, "layers": 2, "candidates": 16} | sizes
    agent = PFNAgent(**sizes, generator=torch.Generator().manual_seed(seed)).double()
    for parameter in agent.parameters():
        if parameter.dim() > 1:
            parameter.data.mul_(gain)
    return agent


def uniform(*shape, seed=0):
    return torch.rand(*shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))


def memory_of(x, y, pending=None):
    """The memory of evaluations x [B, t, d], y [B, t], and of queries [B, n, d] that are out."""
    memory = no_memory(len(x), x.shape[2], 20, DOUBLE, torch.device("cpu"))
    for t in range(x.shape[1]):
        memory = remember(memory, Observation(x[:, t], y[:, t], torch.ones(len(x))))
    if pending is not None:
        there = torch.ones(pending.shape[:2], dtype=DOUBLE)
        memory = memory._replace(pending=Pending(pending, there))
    return memory


X, Y, OUT, CANDIDATES = (
    uniform(3, 9, 4),
    uniform(3, 9, seed=1),
    uniform(3, 2, 4, seed=2),
    uniform(3, 7, 4, seed=3),
)


def said(agent, memory, candidates=CANDIDATES):
    with torch.no_grad():
        return torch.stack(agent(memory, candidates))


def assert_same(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


def test_the_order_of_evaluations_and_of_pending_queries_does_not_matter():
    agent, order = make(), torch.tensor([3, 7, 0, 8, 1, 5, 2, 6, 4])
    expected = said(agent, memory_of(X, Y, OUT))
    assert_same(said(agent, memory_of(X[:, order], Y[:, order], OUT.flip(1))), expected)


def test_turning_mirroring_and_rotating_axes_about_the_centre_changes_nothing():
    """Only distances count: any orthogonal map about the centre of the cube will do."""
    turn, _ = torch.linalg.qr(torch.randn(4, 4, dtype=DOUBLE, generator=torch.Generator()))

    def turned(x):
        return 0.5 + (x - 0.5) @ turn

    agent = make()
    expected = said(agent, memory_of(X, Y, OUT))
    found = said(agent, memory_of(turned(X), Y, turned(OUT)), turned(CANDIDATES))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-8)


def test_candidates_do_not_see_each_other():
    agent, memory = make(), memory_of(X, Y, OUT)
    assert_same(said(agent, memory, CANDIDATES[:, 2:4]), said(agent, memory)[..., 2:4])


def test_what_did_not_come_back_says_nothing():
    """Rows in which evaluations are missing say what they say alone."""
    agent, o = make(), (uniform(3, 9, seed=4) < 0.6).double()
    memory = no_memory(3, 4, 20, DOUBLE, torch.device("cpu"))
    for t in range(9):
        seen = Observation(X[:, t] * o[:, t, None], Y[:, t] * o[:, t], o[:, t])
        memory = remember(memory, seen)
    found = said(agent, memory)
    for row in range(3):
        back = o[row] > 0
        alone = memory_of(X[row : row + 1, back], Y[row : row + 1, back])
        expected = said(agent, alone, CANDIDATES[row : row + 1])
        assert_same(found[:, row : row + 1], expected)


@pytest.mark.parametrize("part", ["values", "points", "pending"])
def test_everything_that_is_known_counts(part):
    agent = make()
    plain = said(agent, memory_of(X, Y, OUT))
    other = {
        "values": lambda: memory_of(X, Y.flip(1), OUT),
        "points": lambda: memory_of(1.0 - 0.5 * X, Y, OUT),
        "pending": lambda: memory_of(X, Y),
    }[part]()
    assert not torch.isclose(said(agent, other), plain).any()


def test_the_query_is_the_best_candidate_met(monkeypatch):
    agent = make(rounds=3)
    weighed = []

    def spy(seen, candidates):
        belief = PFNAgent.weigh(agent, seen, candidates)
        weighed.append((candidates, belief.logit))
        return belief

    monkeypatch.setattr(agent, "weigh", spy)
    state = agent.init(3, Box(0, 1, (4,)), 20, torch.Generator().manual_seed(0))
    state = state._replace(memory=memory_of(X, Y))
    query, following = agent.step(state, Observation(X[:, 0], Y[:, 0], torch.zeros(3)))
    points, logits = (torch.cat(parts, 1) for parts in zip(*weighed, strict=True))
    assert points.shape == (3, 16 + 3 * 8, 4)
    assert ((points >= 0) & (points <= 1)).all()
    assert torch.equal(query, points[torch.arange(3), logits.argmax(1)])
    assert torch.equal(following.memory.pending.x, query.unsqueeze(1))
    # Every round finds something better than the one before it, in most rows.
    assert (logits[:, 16:].amax(1) > logits[:, :16].amax(1)).float().mean() > 0.5


def test_candidates_are_drawn_around_the_best_and_all_over_the_cube(monkeypatch):
    agent = make(candidates=64, rounds=0)
    seen = []
    monkeypatch.setattr(
        agent, "weigh", lambda read, x: seen.append(x) or PFNAgent.weigh(agent, read, x)
    )
    x, y = X.clone(), Y.clone()
    y[:, 3] = -5.0  # the incumbent
    state = agent.init(3, Box(0, 1, (4,)), 20, torch.Generator().manual_seed(0))
    state = state._replace(memory=memory_of(x, y))
    agent.step(state, Observation(x[:, 0], y[:, 0], torch.zeros(3)))
    wide, near = seen[0][:, :32], seen[0][:, 32:]
    assert wide.mean((0, 1)).sub(0.5).abs().max() < 5 * (1 / 12 / 96) ** 0.5
    distance = (near - x[:, 3:4]).norm(dim=-1)
    assert (distance < 0.1).float().mean() > 0.1
    assert (distance[:, 0::2].median() < distance[:, 1::2].median()).all()


def test_a_width_that_heads_cannot_share_is_refused():
    with pytest.raises(ValueError, match="width must be a multiple of heads, got 10 and 4"):
        PFNAgent(width=10, heads=4)


def test_memory_of_nothing_says_the_same_of_equally_central_points():
    agent, memory = make(), no_memory(1, 4, 20, DOUBLE, torch.device("cpu"))
    assert isinstance(memory, Memory)
    ring = 0.5 + 0.3 * torch.eye(4, dtype=DOUBLE).unsqueeze(0)
    logit = said(agent, memory, ring)[0]
    assert_same(logit, logit[:, :1].expand(1, 4))
