"""Beyond the horizon: when a network begins anew, what it is told then, and what that gains."""

from typing import Any, NamedTuple

import pytest
import torch
from torch import nn

from agents import AskTell, load, make_agent
from agents.restarts import Restarting, restarted
from bbo_envs import make_problem
from tests.rollouts import play
from training.rollout import steps, unroll
from training.score import half_width, held_out


class Told(NamedTuple):
    budget: int
    asked: tuple[Any, ...] = ()
    seen: int = 0


class Recorder(nn.Module):
    """Proposes at random, and remembers what it was told."""

    dim = None

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.runs = []

    def init(self, batch, space, budget, generator):
        self.generator, self.shape = generator, (batch, *space.shape)
        self.runs.append(Told(budget))
        return self.runs[-1]

    def step(self, state, observation):
        x = torch.rand(self.shape, generator=self.generator)
        self.runs[-1] = Told(
            state.budget, (*state.asked, x), state.seen + int(observation.o.sum()) // len(x)
        )
        return x, self.runs[-1]

    def asked(self, state, x):
        self.runs[-1] = state._replace(asked=(*state.asked[:-1], *([] if x is None else [x])))
        return self.runs[-1]

    def announced(self, state, x):
        return state


@pytest.mark.parametrize("name", ["lstm-oi", "universal", "universal-reinforce"])
def test_up_to_the_horizon_it_is_the_network_itself(name):
    problem = make_problem("BBO-GP-6d-v0", sampler="fourier", budget=30, workers=2)
    network = make_agent(name, problem)
    torch.testing.assert_close(
        play(Restarting(network, 30), problem).x, play(network, problem).x, rtol=0, atol=0
    )


@pytest.mark.parametrize(
    ("budget", "runs"),
    [(20, [20]), (60, [60]), (61, [31, 30]), (100, [50, 50]), (130, [44, 43, 43]), (1, [1])],
)
def test_a_budget_is_divided_into_runs_of_a_length(budget, runs):
    recorder = Recorder()
    play(Restarting(recorder, 60), make_problem("BBO-GP-2d-v0", sampler="fourier", budget=budget))
    assert [run.budget for run in recorder.runs] == runs
    assert [len(run.asked) for run in recorder.runs] == runs


def test_a_new_run_knows_what_is_out_and_nothing_else():
    """Each row has its own queries out, in its own order."""
    problem = make_problem("BBO-GP-2d-v0", sampler="fourier", budget=20, workers=3)
    recorder = Recorder()
    generator = torch.Generator().manual_seed(0)
    told = before = None
    for step in steps(Restarting(recorder, 10), problem, problem.reset(8, generator), generator):
        if len(recorder.runs) == 2 and told is None:
            told = torch.stack(recorder.runs[1].asked, 1)
            assert recorder.runs[1].seen == 0
            busy, queries = before.busy_until.isfinite(), before.busy_x.float()
        before = step.state
    # Two of three workers were busy when the eleventh query was wanted, and then came that one.
    assert told.shape == (8, 3, 2)
    for row in range(8):
        out = {tuple(x) for x in queries[row][busy[row]].tolist()}
        assert {tuple(x) for x in told[row, :2].tolist()} == out


def test_past_the_budget_a_run_goes_on_to_the_horizon():
    recorder = Recorder()
    agent = Restarting(recorder, 10)
    problem = make_problem("BBO-GP-2d-v0", sampler="fourier", budget=25)
    generator = torch.Generator().manual_seed(0)
    problem_state, observation = problem.reset(1, generator)
    state = agent.init(1, problem.space, 4, generator)
    for _ in range(25):
        x, state = agent.step(state, observation)
        problem_state, observation, _ = problem.step(problem_state, x)
    assert [(run.budget, len(run.asked)) for run in recorder.runs] == [(4, 10), (10, 10), (10, 5)]


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("name", ["lstm-oi", "universal-reinforce", "recurrent-ppo"])
def test_asking_and_telling_beyond_the_horizon_restarts(name, workers):
    """The queries are those of the unroll of the network that restarts, to the bit."""
    problem = make_problem("BBO-GP-6d-v0", sampler="fourier", budget=130, workers=workers)
    start = problem.reset(1, torch.Generator().manual_seed(3))
    horizon = {"lstm-oi": 60, "universal-reinforce": 30, "recurrent-ppo": 30}[name]
    agent = Restarting(make_agent(name, problem), horizon)
    optimizer = AskTell({f"x{i}": (0.0, 1.0) for i in range(6)}, 130, name, seed=7)
    for step in steps(agent, problem, start, torch.Generator().manual_seed(7)):
        x, y, o = (part[0] for part in step.observation)
        if o:
            optimizer.tell({f"x{i}": x[i].item() for i in range(6)}, y.item())
        assert list(optimizer.ask().values()) == step.x[0].double().tolist()


def test_replayed_queries_count_and_those_of_others_do_not():
    """Restored with a larger budget, a network goes on where its runs have come to."""
    space = {"a": (0.0, 1.0), "b": (0.0, 1.0)}
    optimizer = AskTell(space, 200, "lstm-oi")  # its horizon is 100
    for _ in range(150):
        optimizer.tell(optimizer.ask(), 1.0)
    grown = AskTell.from_state_dict(optimizer.state_dict() | {"budget": 250})
    assert (grown._state.made, grown._state.since) == (150, 150 - 84)
    other = AskTell(space, 200, "lstm-oi")
    for n in range(20):
        other.tell({"a": n / 20, "b": 0.5}, 1.0)
    other.ask()
    assert (other._state.made, other._state.since) == (1, 1)


def test_which_networks_restart():
    assert restarted(load("universal"), "universal").horizon == 100
    assert restarted(load("lstm-oi-6d"), "lstm-oi-6d").horizon == 60
    guided = load("posterior-guided")
    assert restarted(guided, "posterior-guided") is guided
    assert restarted(guided, "a-model-without-a-card.zip") is guided


def test_restarts_find_what_going_on_does_not():
    """64 GP samples in six dimensions, 200 evaluations each: by the paired 99.9 % interval."""
    problem = make_problem("BBO-GP-6d-v0", sampler="fourier", features=512, budget=200)
    network = load("lstm-oi-6d")
    best = []
    with torch.no_grad():
        for agent in (Restarting(network, 60), network):
            start = held_out(problem, range(64))
            run = unroll(agent, problem, start, torch.Generator().manual_seed(0))
            best.append(run.value.amin(1))
    gain = best[1] - best[0]
    # Student's interval at 95 % is 2.0 standard errors wide here, one at 99.9 % 3.5.
    assert gain.mean() > 1.75 * half_width(gain.std(), len(gain))


@pytest.mark.parametrize("horizon", [0, -1, 2.5, "60"])
def test_a_horizon_is_a_positive_integer(horizon):
    with pytest.raises(ValueError, match="horizon must be"):
        Restarting(Recorder(), horizon)
