"""What is compared beyond the horizon and after earlier results: the ways, and their tables."""

import pandas as pd
import pytest
import torch
from gymnasium.spaces import Box

from agents import load
from bbo_envs import Observation, make_problem
from evaluation import earlier, horizon
from tests.rollouts import play
from tests.test_restarts import Recorder

CUBE = Box(0.0, 1.0, (6,))


def test_up_to_the_horizon_a_sliding_memory_is_the_network_itself():
    problem = make_problem("BBO-GP-6d-v0", sampler="fourier", budget=30)
    network = load("lstm-oi-6d")
    own, other = play(network, problem), play(horizon.SlidingMemory(network, 30), problem)
    torch.testing.assert_close(other.x, own.x, rtol=0, atol=0)


def test_a_sliding_memory_shows_the_last_half_of_a_horizon_again():
    recorder = Recorder()
    problem = make_problem("BBO-GP-6d-v0", sampler="fourier", budget=20)
    run = play(horizon.SlidingMemory(recorder, 8), problem)
    first, second, *_ = recorder.runs
    assert (first.budget, len(first.asked)) == (8, 8)
    # Four that are shown again, and four of its own.
    assert (second.budget, len(second.asked), second.seen) == (8, 8, 7)
    torch.testing.assert_close(torch.stack(second.asked[:4], 1), run.x[:, 4:8])
    torch.testing.assert_close(torch.stack(second.asked[4:], 1), run.x[:, 8:12])


@pytest.mark.parametrize(
    ("way", "steps", "known"),
    [("clock stands still", 1, 4), ("clock runs", 5, 4), ("not told", 1, 0)],
)
def test_what_a_network_knows_of_earlier_results_and_of_its_budget(way, steps, known):
    network = load("lstm-oi-6d")
    agent = earlier.Earlier(network, way)
    state = agent.init(2, CUBE, 4 + earlier.OWN, torch.Generator().manual_seed(0))
    observation = Observation(torch.zeros(2, 6), torch.zeros(2), torch.zeros(2))
    points = []
    for n in range(5):
        x, state = agent.step(state, observation)
        points.append(x)
        observation = Observation(x.double(), -torch.full((2,), n + 1.0), torch.ones(2))
    history = state.network.history
    assert history.budget == earlier.OWN
    assert history.steps == steps
    assert history.returned.tolist() == [known] * 2
    if known:
        torch.testing.assert_close(history.best_x, points[3])
    generator = torch.Generator().manual_seed(0)
    expected = torch.rand(2, 4, 6, generator=generator)
    torch.testing.assert_close(torch.stack(points[:4], 1), expected, rtol=0, atol=0)


@pytest.mark.parametrize("module", [horizon, earlier])
def test_tables_have_the_mean_of_the_last_best_values(module):
    units = module.experiments(functions=2).units
    rows = [
        {
            "agent": unit.entrant.name,
            "task": unit.task.id,
            "arguments": unit.task.arguments_json,
            "budget": unit.budget,
            "seed": unit.seed,
            "t": t,
            "best": number + 1000.0 * (t == 1),
        }
        for number, unit in enumerate(units)
        for t in (1, unit.budget)
    ]
    ends = module.ends(pd.DataFrame(rows))
    assert len(ends) == len(units)
    *_, last = module.markdown(ends).splitlines()
    cells = [cell.strip() for cell in last.strip("|").split("|")]
    found = [float(cell.split(" ± ")[0]) for cell in cells[1:]]
    own = [(n, unit) for n, unit in enumerate(units) if unit.entrant.name == cells[0]]
    expected = [
        [n for n, unit in own if (unit.task, unit.budget) == setting] for setting in module.SETTINGS
    ]
    assert found == pytest.approx([sum(pair) / 2 for pair in expected], abs=0.5)
