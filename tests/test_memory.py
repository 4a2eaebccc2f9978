"""The DNC's memory: weightings, order of writes, gradients, and the paper's equations in loops."""

import math

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from agents import memory as m
from agents.dnc import access, interface_size, parse_interface

GUARD = 1e-6  # of usage and of squared norms, in DeepMind's code


def random(generator, *shape):
    return torch.rand(*shape, dtype=torch.float64, generator=generator)


def weighting(generator, *shape):
    """Non-negative, with a sum below 1."""
    raw = random(generator, *shape)
    return raw / (raw.sum(-1, keepdim=True) + random(generator, *shape[:-1], 1))


def one_hot(slot, slots):
    return torch.eye(slots, dtype=torch.float64)[slot].unsqueeze(0)


def asked_at_random(generator, batch=2, word=3, reads=2, scale=3.0):
    vector = torch.randn(
        batch, interface_size(word, reads), dtype=torch.float64, generator=generator
    )
    return parse_interface(scale * vector, word, reads)


def blank(batch=2, slots=5, word=3, reads=2, dtype=torch.float64):
    return m.empty_memory(batch, slots, word, reads, dtype, torch.device("cpu"))


def slow_content(memory, key, strength):
    similarity = []
    for word in memory:
        norms = math.sqrt(word @ word + GUARD) * math.sqrt(key @ key + GUARD)
        similarity.append(word @ key / norms)
    powers = [math.exp(strength * s) for s in similarity]
    return np.array([p / sum(powers) for p in powers])


def slow_allocation(usage):
    usage = [GUARD + (1 - GUARD) * u for u in usage]
    free_list = sorted(range(len(usage)), key=lambda i: usage[i])
    allocation = np.zeros(len(usage))
    for j, slot in enumerate(free_list):
        allocation[slot] = (1 - usage[slot]) * math.prod(usage[i] for i in free_list[:j])
    return allocation


def slow_access(state, asked):
    """One step for one row; both arguments hold NumPy arrays without the batch axis."""
    slots, word = state["memory"].shape
    usage = np.zeros(slots)
    for i in range(slots):
        kept = math.prod(
            1 - f * w[i] for f, w in zip(asked["free_gates"], state["read_weights"], strict=True)
        )
        u, w = state["usage"][i], state["write_weights"][i]
        usage[i] = (u + w - u * w) * kept
    by_content = slow_content(state["memory"], asked["write_key"][0], asked["write_strength"][0])
    by_room, gate = slow_allocation(usage), asked["allocation_gate"][0]
    write = asked["write_gate"][0] * (gate * by_room + (1 - gate) * by_content)

    memory, link = np.zeros((slots, word)), np.zeros((slots, slots))
    for i in range(slots):
        for k in range(word):
            erased = state["memory"][i, k] * (1 - write[i] * asked["erase"][k])
            memory[i, k] = erased + write[i] * asked["write"][k]
        for j in range(slots):
            if i != j:
                kept = (1 - write[i] - write[j]) * state["link"][i, j]
                link[i, j] = kept + write[i] * state["precedence"][j]
    read_weights = []
    for head, before in enumerate(state["read_weights"]):
        content = slow_content(memory, asked["read_keys"][head], asked["read_strengths"][head])
        mode = asked["modes"][head]
        read_weights.append(mode[0] * link.T @ before + mode[1] * content + mode[2] * link @ before)
    return {
        "memory": memory,
        "usage": usage,
        "precedence": (1 - write.sum()) * state["precedence"] + write,
        "link": link,
        "write_weights": write,
        "read_weights": np.array(read_weights),
        "read_vectors": np.array([memory.T @ w for w in read_weights]),
    }


def row(parts, i):
    return {name: value[i].numpy() for name, value in parts._asdict().items()}


def test_steps_follow_the_equations_of_the_paper(generator):
    state = blank()
    expected = [row(state, i) for i in range(2)]
    for _ in range(12):
        asked = asked_at_random(generator)
        state = access(state, asked)
        for i in range(2):
            expected[i] = slow_access(expected[i], row(asked, i))
            for name, value in row(state, i).items():
                np.testing.assert_allclose(value, expected[i][name], rtol=1e-9, atol=1e-12)


def test_allocation_follows_the_equation_of_the_paper(generator):
    usage = random(generator, 20, 7)
    usage[0], usage[1], usage[2, :3], usage[3, 2:] = 0.0, 1.0, 0.0, 1.0
    expected = [slow_allocation(u) for u in usage.numpy()]
    np.testing.assert_allclose(m.allocation_weighting(usage).numpy(), expected, atol=1e-14)


def test_content_weights_follow_the_angle_not_the_length(generator):
    memory, keys = random(generator, 3, 6, 4) - 0.5, random(generator, 3, 2, 4) - 0.5
    strengths = torch.full((3, 2), 2.0, dtype=torch.float64)
    weights = m.content_weighting(memory, keys, strengths)
    torch.testing.assert_close(weights.sum(-1), torch.ones_like(strengths))
    torch.testing.assert_close(
        m.content_weighting(memory, 10 * keys, strengths), weights, rtol=1e-4, atol=0
    )
    nearest = torch.nn.functional.cosine_similarity(keys.unsqueeze(2), memory.unsqueeze(1), -1)
    sharp = m.content_weighting(memory, keys, 1e4 * strengths)
    assert torch.equal(sharp.argmax(-1), nearest.argmax(-1))
    assert (sharp.amax(-1) > 0.999).all()


@pytest.mark.parametrize("case", ["no strength", "empty memory", "no key"])
def test_content_weights_are_uniform_where_nothing_tells_the_slots_apart(generator, case):
    memory, keys, strengths = random(generator, 1, 4, 3), random(generator, 1, 2, 3), 9.0
    if case == "no strength":
        strengths = 0.0
    elif case == "empty memory":
        memory = torch.zeros_like(memory)
    else:
        keys = torch.zeros_like(keys)
    strengths = torch.full((1, 2), strengths, dtype=torch.float64)
    weights = m.content_weighting(memory, keys, strengths)
    torch.testing.assert_close(weights, torch.full_like(weights, 0.25))


def test_allocation_takes_the_least_used_slot():
    usage = torch.tensor([[1.0, 0.3, 0.0, 1.0]], dtype=torch.float64)
    weights = m.allocation_weighting(usage)
    assert weights[0, 2] > 1 - 1e-5
    torch.testing.assert_close(weights.sum(), 1 - (GUARD + (1 - GUARD) * usage).prod())


def test_allocation_fills_an_empty_memory_in_order_and_a_full_one_not_at_all():
    empty = m.allocation_weighting(torch.zeros(1, 4))[0]
    assert empty[0] > 1 - 1e-5
    assert (empty.diff() <= 0).all()
    assert not m.allocation_weighting(torch.ones(1, 4)).any()


def test_a_slot_that_is_written_to_is_in_use_until_it_is_freed():
    slot, nothing = one_hot(2, 4), torch.zeros(1, 4, dtype=torch.float64)
    reads = torch.stack([one_hot(2, 4), one_hot(0, 4)], 1)
    keep, free = (torch.tensor([gates], dtype=torch.float64) for gates in ([0.0, 1.0], [1.0, 0.0]))
    used = m.updated_usage(nothing, slot, m.retention(keep, reads))
    assert torch.equal(used, slot)
    assert torch.equal(m.updated_usage(used, nothing, m.retention(keep, reads)), slot)
    assert not m.updated_usage(used, nothing, m.retention(free, reads)).any()


def test_write_weights_sum_to_the_write_gate_less_the_room_that_is_missing(generator):
    content = random(generator, 3, 5).softmax(-1)
    allocation = m.allocation_weighting(random(generator, 3, 5))
    room, write = random(generator, 3, 1), random(generator, 3, 1)
    weights = m.write_weighting(content, allocation, room, write)
    expected = write * (room * allocation.sum(-1, keepdim=True) + 1 - room)
    torch.testing.assert_close(weights.sum(-1, keepdim=True), expected)
    by_room = m.write_weighting(content, allocation, torch.ones_like(room), torch.ones_like(write))
    torch.testing.assert_close(by_room, allocation)


def test_writing_replaces_what_is_erased_and_leaves_the_other_slots(generator):
    memory, write = random(generator, 1, 4, 3), random(generator, 1, 3)
    everything = torch.ones_like(write)
    after = m.written(memory, one_hot(1, 4), everything, write)
    torch.testing.assert_close(after[:, 1], write)
    assert torch.equal(after[:, [0, 2, 3]], memory[:, [0, 2, 3]])
    added = m.written(memory, one_hot(1, 4), 0 * everything, write)
    torch.testing.assert_close(added[:, 1], memory[:, 1] + write)


def test_reads_walk_along_the_order_of_the_writes():
    order, slots = [3, 0, 4, 1], 5
    link, precedence = blank(1).link, blank(1).precedence
    for slot in order:
        link = m.updated_link(link, precedence, one_hot(slot, slots))
        precedence = m.updated_precedence(precedence, one_hot(slot, slots))
    assert torch.equal(precedence, one_hot(order[-1], slots))
    for before, after in zip(order, order[1:], strict=False):
        _, forward = m.linked_weightings(link, one_hot(before, slots).unsqueeze(1))
        backward, _ = m.linked_weightings(link, one_hot(after, slots).unsqueeze(1))
        assert torch.equal(forward[0], one_hot(after, slots))
        assert torch.equal(backward[0], one_hot(before, slots))


def test_a_slot_that_is_written_to_again_leaves_its_old_place_in_the_order():
    link, precedence = blank(1, 3).link, blank(1, 3).precedence
    for slot in [0, 1, 2, 1]:
        link = m.updated_link(link, precedence, one_hot(slot, 3))
        precedence = m.updated_precedence(precedence, one_hot(slot, 3))
    # What led to slot 1 and on from it is forgotten; it now comes after slot 2.
    expected = torch.zeros(1, 3, 3, dtype=torch.float64)
    expected[0, 1, 2] = 1.0
    assert torch.equal(link, expected)


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_weightings_stay_weightings_over_many_steps(generator, scale):
    state, tolerance = blank(64, slots=6, dtype=torch.float32), 1e-5
    for _ in range(200):
        asked = asked_at_random(generator, 64, scale=scale)
        state = access(state, type(asked)(*(part.float() for part in asked)))
        sums = [state.link.sum(1), state.link.sum(2), state.write_weights.sum(-1)]
        sums += [state.read_weights.sum(-1), state.precedence.sum(-1), state.usage]
        entries = [state.link, state.write_weights, state.read_weights, state.precedence]
        assert all((part <= 1 + tolerance).all() for part in sums)
        assert all((part >= -tolerance).all() for part in [*entries, state.usage])
        assert not state.link.diagonal(dim1=1, dim2=2).any()


@pytest.mark.parametrize(
    ("function", "shapes"),
    [
        (m.content_weighting, ["bnw", "bhw", "bh"]),
        (m.retention, ["br", "b%r%n"]),
        (m.updated_usage, ["bn", "%bn", "bn"]),
        (m.allocation_weighting, ["bn"]),
        (m.write_weighting, ["%bn", "%bn", "b1", "b1"]),
        (m.written, ["bnw", "%bn", "bw", "bw"]),
        (m.updated_precedence, ["%bn", "%bn"]),
        (m.updated_link, ["bnn", "%bn", "%bn"]),
        (m.linked_weightings, ["bnn", "%brn"]),
        (m.read_weighting, ["%brn", "%brn", "%brn", "br3"]),
        (m.read, ["bnw", "%brn"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_gradients_against_finite_differences(generator, function, shapes):
    sizes = {"b": 2, "n": 4, "w": 3, "r": 2, "h": 2, "1": 1, "3": 3}
    arguments = []
    for letters in shapes:
        draw = weighting if "%" in letters else random
        shape = [sizes[letter] for letter in letters.replace("%", "")]
        arguments.append(draw(generator, *shape).requires_grad_())
    assert gradcheck(function, arguments)


def test_the_gradient_of_content_weights_is_right_at_an_empty_memory(generator):
    memory = torch.zeros(1, 3, 2, dtype=torch.float64, requires_grad=True)
    keys = random(generator, 1, 1, 2).requires_grad_()
    strengths = torch.ones(1, 1, dtype=torch.float64)
    assert gradcheck(lambda *x: m.content_weighting(*x, strengths), (memory, keys), rtol=1e-2)


def test_the_gradient_through_several_steps_against_finite_differences(generator):
    vectors = torch.randn(3, 1, interface_size(2, 1), dtype=torch.float64, generator=generator)

    def last_state(vectors):
        state = blank(1, slots=3, word=2, reads=1)
        for vector in vectors:
            state = access(state, parse_interface(vector, 2, 1))
        return tuple(state)

    assert gradcheck(last_state, vectors.requires_grad_())


@pytest.mark.parametrize("scale", [0.0, 0.1, 3.0, 50.0])
def test_gradients_are_finite_through_many_steps_from_the_empty_memory(generator, scale):
    """Scale 0 asks the same of all heads and slots; at 50 every gate is fully open or shut."""
    size = interface_size(3, 2)
    vectors = (scale * torch.randn(60, 4, size, generator=generator)).requires_grad_()
    state, total = blank(4, dtype=torch.float32), 0.0
    for vector in vectors:
        state = access(state, parse_interface(vector, 3, 2))
        total = total + sum(part.square().sum() for part in state)
    total.backward()
    assert total.isfinite()
    assert vectors.grad.isfinite().all()
