"""The DNC optimiser: its equations, state, gradients, invariance, and that it learns."""

import numpy as np
import pytest
import torch
from rollouts import play, tensors

from agents.dnc import DNCAgent, access, interface_size, parse_interface
from bbo_envs import Objective, Observation, Problem, make_problem
from bbo_envs.core import map_tensors

SMALL = {"hidden": 8, "slots": 5, "word": 3, "reads": 2}


def dnc(dim, seed=0, **sizes):
    return DNCAgent(dim, generator=torch.Generator().manual_seed(seed), **(SMALL | sizes))


def gp_task(dim, budget, dtype=torch.float64):
    return make_problem(
        f"BBO-GP-{dim}d-v0", sampler="fourier", features=64, budget=budget, dtype=dtype
    )


def after_some_steps(agent, batch, generator):
    """A state with everything in use, and what is observed next."""
    state = agent.init(batch, gp_task(agent.dim, 20).space, 20, generator)
    for _ in range(6):
        x = torch.rand(batch, agent.dim, generator=generator)
        observation = Observation(x, torch.randn(batch, generator=generator), torch.ones(batch))
        _, state = agent.step(state, observation)
    return state, observation


def test_the_state_starts_at_zero():
    state = dnc(2).init(3, gp_task(2, 10).space, 10, torch.Generator())
    parts = [state.hidden, state.cell, *state.memory]
    assert [tuple(part.shape) for part in parts] == [
        (3, 8), (3, 8), (3, 5, 3), (3, 5), (3, 5), (3, 5, 5), (3, 5), (3, 2, 5), (3, 2, 3)
    ]  # fmt: skip
    assert not any(part.any() for part in parts)


def test_the_parts_of_an_interface_vector_are_in_their_ranges(generator):
    word, reads = 3, 2
    size = interface_size(word, reads)
    at_zero = parse_interface(torch.zeros(1, size), word, reads)
    for strengths in (at_zero.read_strengths, at_zero.write_strength):
        torch.testing.assert_close(strengths, torch.full_like(strengths, 1 + np.log(2)))
    asked = parse_interface(30 * torch.randn(50, size, generator=generator), word, reads)
    assert (asked.read_strengths >= 1).all()
    assert (asked.write_strength >= 1).all()
    for gate in (asked.erase, asked.free_gates, asked.allocation_gate, asked.write_gate):
        assert ((gate >= 0) & (gate <= 1)).all()
    torch.testing.assert_close(asked.modes.sum(-1), torch.ones(50, reads))
    numbers = sum(part[0].numel() for part in asked)
    assert numbers == size == word * reads + 3 * word + 5 * reads + 3


def test_the_core_follows_the_equations(generator):
    """An LSTM is fed the features and what was read; both it and what is read make the output."""
    agent = dnc(2).double()
    state, _ = after_some_steps(agent, 1, generator)
    signal = torch.randn(1, agent.inputs, dtype=torch.float64, generator=generator)
    with torch.no_grad():
        output, after = agent._core(signal, state)
        memory = access(
            state.memory, parse_interface(agent.interface(after.hidden), agent.word, agent.reads)
        )

    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    w = {name: value.numpy() for name, value in agent.state_dict().items()}
    hidden, cell = state.hidden[0].detach().numpy(), state.cell[0].detach().numpy()
    fed = np.concatenate([signal[0], state.memory.read_vectors.detach().flatten()])
    z = w["controller.weight_ih"] @ fed + w["controller.bias_ih"]
    z += w["controller.weight_hh"] @ hidden + w["controller.bias_hh"]
    enter, forget, candidate, leave = z.reshape(4, -1)
    cell = sigmoid(forget) * cell + sigmoid(enter) * np.tanh(candidate)
    hidden = sigmoid(leave) * np.tanh(cell)
    seen = np.concatenate([hidden, memory.read_vectors.flatten()])
    np.testing.assert_allclose(after.hidden[0].numpy(), hidden)
    np.testing.assert_allclose(after.cell[0].numpy(), cell)
    np.testing.assert_allclose(output[0].numpy(), w["head.weight"] @ seen + w["head.bias"])
    assert all(map(torch.equal, after.memory, memory))


def test_the_cell_and_the_output_are_clipped(generator):
    agent = dnc(2, clip=1.5)
    state, _ = after_some_steps(agent, 4, generator)
    with torch.no_grad():
        for parameter in agent.parameters():
            parameter.mul_(1e3)
        output, after = agent._core(
            torch.ones(4, agent.inputs), state._replace(cell=state.cell + 9)
        )
    assert output.abs().max() == after.cell.abs().max() == 1.5
    with pytest.raises(ValueError, match=r"clip must be a finite number of at least 1, got 0.5"):
        dnc(2, clip=0.5)


def test_a_step_changes_nothing_but_the_generator(generator):
    agent = dnc(2)
    state, observation = after_some_steps(agent, 3, generator)
    draws = generator.get_state()
    before = [t.clone() for t in tensors((state, observation))]
    weights = [parameter.clone() for parameter in agent.parameters()]
    everyones = torch.get_rng_state()
    x, after = agent.step(state, observation)
    assert torch.equal(everyones, torch.get_rng_state())
    assert all(map(torch.equal, before, tensors((state, observation))))
    assert all(map(torch.equal, weights, agent.parameters()))
    assert not torch.equal(draws, generator.get_state())
    generator.set_state(draws)
    again, after_again = agent.step(state, observation)
    assert torch.equal(x, again)
    assert all(map(torch.equal, tensors(after), tensors(after_again)))


def test_rows_do_not_see_each_other(generator, monkeypatch):
    agent = dnc(2).double()
    state, observation = after_some_steps(agent, 4, generator)
    uniform = torch.rand(4, 3, dtype=torch.float64, generator=generator)
    monkeypatch.setattr("agents.recurrent.open_uniform", lambda shape, _: uniform)
    x, after = agent.step(state, observation)
    for i in range(4):
        alone = slice(i, i + 1)
        monkeypatch.setattr("agents.recurrent.open_uniform", lambda *_, rows=alone: uniform[rows])
        x_alone, after_alone = agent.step(
            map_tensors(lambda t, rows=alone: t[rows], state),
            Observation(*(o[alone] for o in observation)),
        )
        for together, single in zip(
            tensors((x, after)), tensors((x_alone, after_alone)), strict=True
        ):
            torch.testing.assert_close(together[alone], single, rtol=1e-12, atol=1e-14)


def test_the_gradient_reaches_every_parameter_and_every_part_of_the_interface():
    agent = dnc(2)
    run = play(agent, gp_task(2, 12, torch.float32), batch=16)
    run.value.sum().backward()
    for name, parameter in agent.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name
    assert (agent.interface.bias.grad != 0).all()
    assert agent.interface.weight.grad.any(1).all()
    assert agent.head.weight.grad.any(0).all()


def test_gradients_are_finite_over_a_long_run():
    agent = dnc(2, hidden=32, slots=16, word=16, reads=4)
    play(agent, gp_task(2, 60, torch.float32), batch=8).value.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in agent.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_queries_are_distinct_points_of_the_cube_and_repeat_with_the_seed(dtype):
    agent, problem = dnc(3).to(dtype), gp_task(3, 30, dtype)
    with torch.no_grad():
        first, again, other = (play(agent, problem, 4, seed).x for seed in (1, 1, 2))
    assert first.dtype == dtype
    assert ((first >= 0) & (first <= 1)).all()
    assert all(len(row.unique(dim=0)) == 30 for row in first)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("shift", [-3.0, 0.0, 5.0])
def test_queries_do_not_change_under_affine_maps_of_y(scale, shift):
    """The objective is a * f + b; b is a multiple of a, which float64 can hold beside it."""

    def objective(x):
        return float(np.sin(7 * x).sum() + x[0] * x[1])

    agent = dnc(2, hidden=32).double().requires_grad_(False)
    plain = play(agent, Problem(Objective(objective, 2), budget=30))
    moved = Problem(Objective(lambda x: scale * (objective(x) + shift), 2), budget=30)
    torch.testing.assert_close(play(agent, moved).x, plain.x, rtol=0, atol=1e-6)


def test_a_network_for_another_dimension_says_so():
    with pytest.raises(ValueError, match=r"proposes in 6 dimensions, the task has shape \(2,\)"):
        play(dnc(6), make_problem("BBO-Branin-2d-v0"))


def test_its_architecture_and_a_seed_make_the_same_network_again():
    agent = dnc(2, seed=4, clip=7.5)
    again = DNCAgent(**agent.architecture, generator=torch.Generator().manual_seed(4))
    assert agent.kind == "dnc"
    assert agent.architecture == {"dim": 2, **SMALL, "clip": 7.5}
    assert all(map(torch.equal, agent.parameters(), again.parameters()))


def test_it_learns():
    """60 steps of Adam on 1-d functions lower the mean value on 2,048 others."""
    agent, problem = dnc(1), gp_task(1, 6, torch.float32)
    optimizer = torch.optim.Adam(agent.parameters(), lr=0.01)

    def held_out():
        with torch.no_grad():
            return play(agent, problem, batch=2048, seed=10**6).value.mean(1)

    before = held_out()
    for iteration in range(60):
        loss = play(agent, problem, batch=64, seed=iteration).value.mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(agent.parameters(), 1.0)
        optimizer.step()
    gain = before - held_out()
    assert gain.mean() > 5 * gain.std() / len(gain) ** 0.5
    assert gain.mean() > 0.04
