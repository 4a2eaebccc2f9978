"""The DNC optimiser of Chen et al. 2017, section 2: a controller with an external memory."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from agents.features import History
from agents.memory import (
    MemoryState,
    allocation_weighting,
    content_weighting,
    empty_memory,
    linked_weightings,
    read,
    read_weighting,
    retention,
    updated_link,
    updated_precedence,
    updated_usage,
    write_weighting,
    written,
)
from agents.recurrent import RecurrentAgent, initialise
from bbo_envs.checks import number_between


class Interface(NamedTuple):
    """What the controller asks of the memory in one step; shapes as in ``agents.memory``.

    Attributes:
        read_keys: ``[B, R, W]`` words to look up.
        read_strengths: ``[B, R]``, at least 1: how sharply.
        write_key: ``[B, 1, W]`` the word that is to be changed.
        write_strength: ``[B, 1]``, at least 1.
        write: ``[B, W]`` what is added.
        erase: ``[B, W]`` in [0, 1].
        free_gates: ``[B, R]`` in [0, 1].
        allocation_gate: ``[B, 1]`` in [0, 1].
        write_gate: ``[B, 1]`` in [0, 1].
        modes: ``[B, R, 3]``: backward, by content, forward; positive, with sum 1.
    """

    read_keys: Tensor
    read_strengths: Tensor
    write_key: Tensor
    write_strength: Tensor
    write: Tensor
    erase: Tensor
    free_gates: Tensor
    allocation_gate: Tensor
    write_gate: Tensor
    modes: Tensor


def interface_size(word: int, reads: int) -> int:
    """The length of an interface vector, W R + 3 W + 5 R + 3.

    Example:
        >>> interface_size(word=16, reads=4)
        135
    """
    return word * reads + 3 * word + 5 * reads + 3


def parse_interface(vector: Tensor, word: int, reads: int) -> Interface:
    """Splits an interface vector and brings its parts into their ranges.

    This is the section "Interface parameters" of Graves et al. 2016, with the parts in an order
    that brings together those of one range.

    Args:
        vector: ``[B, interface_size(word, reads)]``.
        word: W.
        reads: R.

    Example:
        >>> parse_interface(torch.zeros(1, interface_size(2, 1)), word=2, reads=1).modes
        tensor([[[0.3333, 0.3333, 0.3333]]])
    """
    read_keys, write_key, write, strengths, gates, modes = vector.split_with_sizes(
        [reads * word, word, word, reads + 1, word + reads + 2, 3 * reads], -1
    )
    read_strengths, write_strength = (1.0 + softplus(strengths)).split_with_sizes([reads, 1], -1)
    erase, free, allocation, write_gate = gates.sigmoid().split_with_sizes([word, reads, 1, 1], -1)
    return Interface(
        read_keys=read_keys.reshape(-1, reads, word),
        read_strengths=read_strengths,
        write_key=write_key.unsqueeze(1),
        write_strength=write_strength,
        write=write,
        erase=erase,
        free_gates=free,
        allocation_gate=allocation,
        write_gate=write_gate,
        modes=modes.reshape(-1, reads, 3).softmax(-1),
    )


def access(state: MemoryState, asked: Interface) -> MemoryState:
    """One step of the memory: frees, writes, links, reads.

    Args:
        state: Of the last step.
        asked: What the controller asks.

    Example:
        >>> state = empty_memory(1, 5, 2, 1, torch.float32, torch.device("cpu"))
        >>> state = access(state, parse_interface(torch.ones(1, interface_size(2, 1)), 2, 1))
        >>> state.read_vectors.shape
        torch.Size([1, 1, 2])
    """
    retained = retention(asked.free_gates, state.read_weights)
    usage = updated_usage(state.usage, state.write_weights, retained)
    write_weights = write_weighting(
        content_weighting(state.memory, asked.write_key, asked.write_strength).squeeze(1),
        allocation_weighting(usage),
        asked.allocation_gate,
        asked.write_gate,
    )
    memory = written(state.memory, write_weights, asked.erase, asked.write)
    link = updated_link(state.link, state.precedence, write_weights)
    backward, forward = linked_weightings(link, state.read_weights)
    content = content_weighting(memory, asked.read_keys, asked.read_strengths)
    read_weights = read_weighting(backward, content, forward, asked.modes)
    return MemoryState(
        memory=memory,
        usage=usage,
        precedence=updated_precedence(state.precedence, write_weights),
        link=link,
        write_weights=write_weights,
        read_weights=read_weights,
        read_vectors=read(memory, read_weights),
    )


class DNCState(NamedTuple):
    """State of a ``DNCAgent``.

    Attributes:
        hidden: ``[B, hidden]`` output of the controller.
        cell: ``[B, hidden]`` cell of the controller.
        memory: The external memory.
        history: Running statistics of the evaluations.
        generator: The source of the random points.
    """

    hidden: Tensor
    cell: Tensor
    memory: MemoryState
    history: History
    generator: torch.Generator


class DNCAgent(RecurrentAgent[DNCState]):
    """A differentiable neural computer: an LSTM that writes to and reads from a memory.

    The sizes are those of DeepMind's demonstration.

    Args:
        dim: The number of coordinates it proposes.
        hidden: Width of the controller.
        slots: Words that the memory holds.
        word: Width of a word.
        reads: Read heads.
        clip: The cell of the controller and the output are clipped to ±clip. The output of the
            controller is in ±1 by itself.
        generator: Draws the initial weights.

    Raises:
        ValueError: If clip is below 1.

    Example:
        >>> from bbo_envs import make_problem
        >>> problem = make_problem("BBO-GP-2d-v0", sampler="fourier", budget=10)
        >>> agent = DNCAgent(2, hidden=8, generator=torch.Generator().manual_seed(0))
        >>> generator = torch.Generator().manual_seed(1)
        >>> problem_state, observation = problem.reset(3, generator)
        >>> state = agent.init(3, problem.space, problem.budget, generator)
        >>> x, state = agent.step(state, observation)
        >>> x.shape
        torch.Size([3, 2])
    """

    kind = "dnc"

    def __init__(
        self,
        dim: int,
        hidden: int = 64,
        slots: int = 16,
        word: int = 16,
        reads: int = 4,
        clip: float = 20.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(dim)
        self.architecture = {
            "dim": dim,
            "hidden": hidden,
            "slots": slots,
            "word": word,
            "reads": reads,
            "clip": number_between("clip", clip, 1.0),
        }
        self.slots, self.word, self.reads, self.clip = slots, word, reads, clip
        self.controller = nn.LSTMCell(self.inputs + reads * word, hidden)
        self.interface = nn.Linear(hidden, interface_size(word, reads))
        self.head = nn.Linear(hidden + reads * word, self.outputs)
        initialise(self, generator)

    def _blank(self, batch: int, history: History, generator: torch.Generator) -> DNCState:
        like = history.best_x
        memory = empty_memory(
            batch, self.slots, self.word, self.reads, dtype=like.dtype, device=like.device
        )
        zeros = like.new_zeros(batch, self.controller.hidden_size)
        return DNCState(zeros, zeros, memory, history, generator)

    def _core(self, signal: Tensor, state: DNCState) -> tuple[Tensor, DNCState]:
        signal = torch.cat([signal, state.memory.read_vectors.flatten(1)], -1)
        hidden, cell = self.controller(signal, (state.hidden, state.cell))
        memory = access(
            state.memory, parse_interface(self.interface(hidden), self.word, self.reads)
        )
        output = self.head(torch.cat([hidden, memory.read_vectors.flatten(1)], -1))
        state = state._replace(hidden=hidden, cell=cell.clamp(-self.clip, self.clip), memory=memory)
        return output.clamp(-self.clip, self.clip), state
