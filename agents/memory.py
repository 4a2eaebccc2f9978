"""The memory of a differentiable neural computer (DNC): where to write, what to free, how to read.

Graves et al. 2016, "Hybrid computing using a neural network with dynamic external memory",
Nature 538; every function names the section of its Methods that it implements, for one write head.
All are pure and work row by row. In the shapes B is the batch, N the number of slots of the memory
(the paper's locations), W the width of the word in each slot, and R the number of read heads.

A weighting holds numbers in [0, 1] over the slots whose sum is at most 1.
"""

from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor

_EPSILON = 1e-6  # of DeepMind's dnc/addressing.py; bounds the gradients at an empty memory


class MemoryState(NamedTuple):
    """What is kept between steps, all zero before the first.

    Attributes:
        memory: ``[B, N, W]`` the words.
        usage: ``[B, N]`` how much each slot is in use, in [0, 1].
        precedence: ``[B, N]`` weighting of the slots written to last.
        link: ``[B, N, N]``; entry (i, j) tells how much slot i was written to right after slot j.
        write_weights: ``[B, N]`` where the last write went.
        read_weights: ``[B, R, N]`` where the last reads were.
        read_vectors: ``[B, R, W]`` what they read.
    """

    memory: Tensor
    usage: Tensor
    precedence: Tensor
    link: Tensor
    write_weights: Tensor
    read_weights: Tensor
    read_vectors: Tensor


def empty_memory(
    batch: int, slots: int, word: int, reads: int, dtype: torch.dtype, device: torch.device
) -> MemoryState:
    """The all-zero state.

    Example:
        >>> state = empty_memory(2, 5, 3, 4, torch.float32, torch.device("cpu"))
        >>> state.link.shape, state.read_vectors.shape
        (torch.Size([2, 5, 5]), torch.Size([2, 4, 3]))
    """

    def zeros(*shape: int) -> Tensor:
        return torch.zeros(batch, *shape, dtype=dtype, device=device)

    return MemoryState(
        memory=zeros(slots, word),
        usage=zeros(slots),
        precedence=zeros(slots),
        link=zeros(slots, slots),
        write_weights=zeros(slots),
        read_weights=zeros(reads, slots),
        read_vectors=zeros(reads, word),
    )


def content_weighting(memory: Tensor, keys: Tensor, strengths: Tensor) -> Tensor:
    """Weightings by likeness to keys: section "Content-based addressing", C(M, k, β).

    They are a softmax of the strength times the cosine similarity. As in DeepMind's code the norms
    are sqrt(|v|² + 1e-6): an empty word is similar to no key, with a gradient that is finite.

    Args:
        memory: ``[B, N, W]``.
        keys: ``[B, H, W]`` of H heads.
        strengths: ``[B, H]``, not negative.

    Returns:
        ``[B, H, N]``, each sums to 1.

    Example:
        >>> memory = torch.eye(3).unsqueeze(0)
        >>> content_weighting(memory, 9.0 * memory[:, 1:2], torch.tensor([[200.0]]))
        tensor([[[0., 1., 0.]]])
    """
    scale = strengths * _inverse_norm(keys)
    similarity = torch.bmm(keys, memory.transpose(1, 2)) * _inverse_norm(memory).unsqueeze(1)
    return torch.softmax(similarity * scale.unsqueeze(-1), -1)


def retention(free_gates: Tensor, read_weights: Tensor) -> Tensor:
    """How much of each slot is not freed: section "Dynamic memory allocation", ψ.

    Args:
        free_gates: ``[B, R]`` in [0, 1]: whether what each head read last is needed no more.
        read_weights: ``[B, R, N]`` of the last step.

    Returns:
        ``[B, N]`` in [0, 1].

    Example:
        >>> retention(torch.tensor([[1.0, 0.5]]), torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]))
        tensor([[0.0000, 0.5000]])
    """
    kept = 1.0 - free_gates.unsqueeze(-1) * read_weights
    # Few heads: the gradient of a product of tensors is cheaper than that of torch.prod.
    return reduce(torch.mul, kept.unbind(1))


def updated_usage(usage: Tensor, write_weights: Tensor, retained: Tensor) -> Tensor:
    """The usage after the last write and frees: section "Dynamic memory allocation", u.

    DeepMind's code passes no gradient to the write weights here; the equation does.

    Args:
        usage: ``[B, N]`` of the last step.
        write_weights: ``[B, N]`` of the last step.
        retained: ``[B, N]`` what ``retention`` gave.

    Returns:
        ``[B, N]`` in [0, 1].

    Example:
        >>> updated_usage(torch.zeros(1, 2), torch.tensor([[0.25, 0.5]]), torch.ones(1, 2))
        tensor([[0.2500, 0.5000]])
    """
    return torch.addcmul(usage, write_weights, 1.0 - usage) * retained


def allocation_weighting(usage: Tensor) -> Tensor:
    """Where there is room: section "Dynamic memory allocation", a.

    With slots sorted by usage, the j-th least used one gets (1 - u_j) times the product of the
    usages of those before it. Equally used slots are filled in their order. The gradient does not
    see the sorting. As in DeepMind's code usage is raised to 1e-6 or more before.

    Args:
        usage: ``[B, N]`` in [0, 1].

    Returns:
        ``[B, N]``; it sums to 1 less the product of all usages.

    Example:
        >>> allocation_weighting(torch.tensor([[0.9, 0.5, 1.0]]))
        tensor([[0.0500, 0.5000, 0.0000]])
    """
    usage = _EPSILON + (1.0 - _EPSILON) * usage
    ascending, order = usage.sort(stable=True)
    products = ascending.cumprod(-1)
    before = torch.cat([torch.ones_like(products[:, :1]), products[:, :-1]], -1)
    return torch.zeros_like(usage).scatter(-1, order, before * (1.0 - ascending))


def write_weighting(
    content: Tensor, allocation: Tensor, allocation_gate: Tensor, write_gate: Tensor
) -> Tensor:
    """Where to write: section "Dynamic memory allocation", w^w.

    Args:
        content: ``[B, N]`` the weighting by content.
        allocation: ``[B, N]`` the weighting by room.
        allocation_gate: ``[B, 1]`` in [0, 1]: by room rather than by content.
        write_gate: ``[B, 1]`` in [0, 1]: whether to write at all.

    Returns:
        ``[B, N]``; it sums to the write gate or, where no room is left, to less.

    Example:
        >>> content, allocation = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
        >>> write_weighting(content, allocation, torch.tensor([[0.75]]), torch.tensor([[0.5]]))
        tensor([[0.1250, 0.3750]])
    """
    return write_gate * torch.lerp(content, allocation, allocation_gate)


def written(memory: Tensor, write_weights: Tensor, erase: Tensor, write: Tensor) -> Tensor:
    """The memory after a write: section "Reading and writing to memory", M.

    Args:
        memory: ``[B, N, W]``.
        write_weights: ``[B, N]``.
        erase: ``[B, W]`` in [0, 1].
        write: ``[B, W]`` what is added.

    Returns:
        ``[B, N, W]``: slot i becomes M_i * (1 - w_i erase) + w_i write.

    Example:
        >>> where, all_of_it = torch.tensor([[0.0, 1.0]]), torch.ones(1, 3)
        >>> written(torch.full((1, 2, 3), 5.0), where, all_of_it, 7.0 * all_of_it)
        tensor([[[5., 5., 5.],
                 [7., 7., 7.]]])
    """
    change = torch.addcmul(write.unsqueeze(1), erase.unsqueeze(1), memory, value=-1)
    return torch.addcmul(memory, write_weights.unsqueeze(-1), change)


def updated_precedence(precedence: Tensor, write_weights: Tensor) -> Tensor:
    """Which slots were written to last: section "Temporal memory linkage", p.

    Args:
        precedence: ``[B, N]`` before the write.
        write_weights: ``[B, N]``.

    Returns:
        ``[B, N]``; the more was written, the less of the old remains.

    Example:
        >>> updated_precedence(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 0.25]]))
        tensor([[0.7500, 0.2500]])
    """
    remains = 1.0 - write_weights.sum(-1, keepdim=True)
    return torch.addcmul(write_weights, remains, precedence)


def updated_link(link: Tensor, precedence: Tensor, write_weights: Tensor) -> Tensor:
    """Which slot was written to after which: section "Temporal memory linkage", L.

    Args:
        link: ``[B, N, N]`` before the write.
        precedence: ``[B, N]`` before the write.
        write_weights: ``[B, N]``.

    Returns:
        ``[B, N, N]``; its diagonal is zero, its rows and columns sum to at most 1.

    Example:
        >>> first, second = torch.eye(2).unsqueeze(1)
        >>> updated_link(torch.zeros(1, 2, 2), precedence=first, write_weights=second)
        tensor([[[0., 0.],
                 [1., 0.]]])
    """
    to, origin = write_weights.unsqueeze(2), write_weights.unsqueeze(1)
    kept = (1.0 - to - origin) * link
    others = 1.0 - torch.eye(link.shape[-1], dtype=link.dtype, device=link.device)
    return torch.addcmul(kept, to, precedence.unsqueeze(1)) * others


def linked_weightings(link: Tensor, read_weights: Tensor) -> tuple[Tensor, Tensor]:
    """The slots written to right before and after those read last: "Temporal memory linkage", b, f.

    Args:
        link: ``[B, N, N]``.
        read_weights: ``[B, R, N]`` of the last step.

    Returns:
        The backward and the forward weighting, ``[B, R, N]`` each.

    Example:
        >>> link = torch.tensor([[[0.0, 0.0], [1.0, 0.0]]])  # slot 1 after slot 0
        >>> backward, forward = linked_weightings(link, torch.eye(2).unsqueeze(0))
        >>> forward
        tensor([[[0., 1.],
                 [0., 0.]]])
    """
    return torch.bmm(read_weights, link), torch.bmm(read_weights, link.transpose(1, 2))


def read_weighting(backward: Tensor, content: Tensor, forward: Tensor, modes: Tensor) -> Tensor:
    """Where to read: section "Temporal memory linkage", w^r.

    Args:
        backward: ``[B, R, N]``.
        content: ``[B, R, N]``.
        forward: ``[B, R, N]``.
        modes: ``[B, R, 3]`` the share of each, in this order.

    Returns:
        ``[B, R, N]``.

    Example:
        >>> ways = torch.eye(3).reshape(3, 1, 1, 3)
        >>> read_weighting(*ways, torch.tensor([[[0.5, 0.25, 0.25]]]))
        tensor([[[0.5000, 0.2500, 0.2500]]])
    """
    back, by_content, onward = modes.unsqueeze(-1).unbind(2)
    mixed = torch.addcmul(by_content * content, back, backward)
    return torch.addcmul(mixed, onward, forward)


def read(memory: Tensor, read_weights: Tensor) -> Tensor:
    """The words that are read: section "Reading and writing to memory", r.

    Args:
        memory: ``[B, N, W]``.
        read_weights: ``[B, R, N]``.

    Returns:
        ``[B, R, W]``.

    Example:
        >>> read(torch.tensor([[[2.0], [4.0]]]), torch.tensor([[[0.5, 0.5]]]))
        tensor([[[3.]]])
    """
    return torch.bmm(read_weights, memory)


def _inverse_norm(vectors: Tensor) -> Tensor:
    return torch.rsqrt(vectors.square().sum(-1) + _EPSILON)
