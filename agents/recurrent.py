"""The LSTM optimiser of Chen et al. 2017, section 2, and what it shares with the DNC."""

import math
from abc import abstractmethod
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

import torch
from gymnasium.spaces import Box
from torch import Tensor, nn

from agents.features import VALUE_FEATURES, History, asked, empty_history, update, value_features
from bbo_envs.core import Observation


class RecurrentState(Protocol):
    """What the state of every ``RecurrentAgent`` holds beside the memory of its core.

    Attributes:
        history: Running statistics of the evaluations.
        generator: The source of the random points.
    """

    @property
    def history(self) -> History: ...

    @property
    def generator(self) -> torch.Generator: ...

    def _replace(self, *args: Any, **fields: Any) -> Any: ...


State = TypeVar("State", bound=RecurrentState)


class RecurrentAgent(nn.Module, Generic[State]):
    """Proposes the next query by a recurrent network: h_t, x_t = RNN(h_t-1, x_t-1, y_t-1, o_t-1).

    The paper publishes its networks only in outline; what it leaves open is chosen here so that
    they learn. Values are fed normalised, together with the incumbent (see ``agents.features``).
    The output is an offset from the incumbent: an absolute one through a sigmoid saturates at the
    boundary and collapses to one fixed query. And each step is given a uniform random point with
    a gate that moves the query towards it: a deterministic network stops exploring. The gate is
    a noisy one, whose spread is learned too; with a gate that is a plain number the network stays
    where it is as soon as no small step away from the incumbent helps.

    A subclass is the core between them. It makes its layers, last of all ``head``, and draws their
    weights by ``initialise``.

    Args:
        dim: The number of coordinates it proposes.

    Attributes:
        kind: The name of the core.
        dim: The number of coordinates it proposes.
        architecture: The arguments that make the same network again, save for its weights.
        head: Maps the output of the core to ``outputs`` numbers.
        inputs: The number of features that the core is fed, 4 d + 7.
        outputs: The number of values that make a query, 2 d + 1.
    """

    kind: ClassVar[str]
    architecture: dict[str, Any]
    head: nn.Linear

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.inputs = 4 * dim + VALUE_FEATURES
        self.outputs = 2 * dim + 1

    @abstractmethod
    def _blank(self, batch: int, history: History, generator: torch.Generator) -> State:
        """The all-zero state of B rows, with this history and this generator."""

    @abstractmethod
    def _core(self, signal: Tensor, state: State) -> tuple[Tensor, State]:
        """Maps features ``[B, inputs]`` to ``[B, outputs]``, and moves the core's memory on."""

    def init(self, batch: int, space: Box, budget: int, generator: torch.Generator) -> State:
        """The all-zero state.

        Raises:
            ValueError: If the space has another number of dimensions than the network.
        """
        if space.shape != (self.dim,):
            raise ValueError(
                f"this network proposes in {self.dim} dimensions, the task has shape "
                f"{space.shape}; load a network trained for that number of dimensions"
            )
        weight = self.head.weight
        history = empty_history(batch, self.dim, budget, weight.dtype, weight.device)
        return self._blank(batch, history, generator)

    def step(self, state: State, observation: Observation) -> tuple[Tensor, State]:
        """The next query ``[B, dim]``, in the network's dtype."""
        history = update(state.history, observation)
        best = history.best_x
        # Where nothing came back, the incumbent stands in for the last query.
        last = torch.where(observation.o.unsqueeze(-1) > 0, observation.x.to(best), best)
        values = value_features(history, observation)
        uniform = open_uniform((len(best), self.dim + 1), state.generator).to(best)
        away = uniform[:, 1:] - best
        signal = torch.cat([last - 0.5, best - 0.5, last - best, away, values], -1)
        output, state = self._core(signal, state._replace(history=history))
        offset, gate, spread = output.split_with_sizes([self.dim, self.dim, 1], -1)
        gate = (gate + spread.exp() * uniform[:, :1].logit()).sigmoid()
        return clamp_to_cube(best + offset + gate * away), state

    def asked(self, state: State, x: Tensor | None) -> State:
        """The state where another query ``[B, dim]`` was made than the one proposed, or none.

        This network sees a query when it comes back; it is only told how many there were.
        """
        found: State = state._replace(history=asked(state.history, x))
        return found

    def announced(self, state: State, x: Tensor) -> State:
        """The state where somebody else made a query too: the same, until it comes back."""
        return state


class LSTMState(NamedTuple):
    """State of an ``LSTMAgent``: the recurrent state, and the history behind its features.

    Attributes:
        hidden: ``[layers, B, hidden]``.
        cell: ``[layers, B, hidden]``.
        history: Running statistics of the evaluations.
        generator: The source of the random points.
    """

    hidden: Tensor
    cell: Tensor
    history: History
    generator: torch.Generator


class LSTMAgent(RecurrentAgent[LSTMState]):
    """A stacked LSTM.

    Args:
        dim: The number of coordinates it proposes.
        hidden: Width of each layer.
        layers: Number of layers.
        generator: Draws the initial weights.

    Example:
        >>> agent = LSTMAgent(2, hidden=8, layers=1, generator=torch.Generator().manual_seed(0))
        >>> state = agent.init(3, Box(0, 1, (2,)), 10, torch.Generator())
        >>> x, state = agent.step(state, Observation(torch.zeros(3, 2), *torch.zeros(2, 3)))
        >>> x.shape
        torch.Size([3, 2])
    """

    kind = "lstm"

    def __init__(
        self, dim: int, hidden: int = 128, layers: int = 1, generator: torch.Generator | None = None
    ) -> None:
        super().__init__(dim)
        self.architecture = {"dim": dim, "hidden": hidden, "layers": layers}
        self.cells = nn.ModuleList(
            nn.LSTMCell(self.inputs if layer == 0 else hidden, hidden) for layer in range(layers)
        )
        self.head = nn.Linear(hidden, self.outputs)
        initialise(self, generator)

    def _blank(self, batch: int, history: History, generator: torch.Generator) -> LSTMState:
        zeros = history.best_x.new_zeros(len(self.cells), batch, self.head.in_features)
        return LSTMState(zeros, zeros, history, generator)

    def _core(self, signal: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        hidden, cell = [], []
        for layer, lstm in enumerate(self.cells):
            signal, memory = lstm(signal, (state.hidden[layer], state.cell[layer]))
            hidden.append(signal)
            cell.append(memory)
        state = state._replace(hidden=torch.stack(hidden), cell=torch.stack(cell))
        return self.head(signal), state


def open_uniform(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draws from the open interval (0, 1), so that the logistic quantile is finite.

    The draws are float32 and lie on the generator's device.

    Example:
        >>> u = open_uniform((1000,), torch.Generator().manual_seed(0))
        >>> bool(u.logit().isfinite().all())
        True
    """
    tiny = torch.finfo(torch.float32).eps
    draws = torch.empty(shape, dtype=torch.float32, device=generator.device)
    return draws.uniform_(tiny, 1.0 - tiny, generator=generator)


def initialise(module: nn.Module, generator: torch.Generator | None) -> None:
    """Draws weights as PyTorch's LSTM does, U(-1/sqrt(fan), 1/sqrt(fan)), from the generator.

    Layers are drawn in the order in which the module holds them. Without a generator PyTorch's
    global one is used.

    Example:
        >>> layer = nn.Linear(4, 1)
        >>> initialise(layer, torch.Generator().manual_seed(0))
        >>> bool((layer.weight.abs() <= 0.5).all())
        True
    """
    for layer in module.modules():
        if isinstance(layer, nn.LSTMCell | nn.Linear):
            fan = layer.hidden_size if isinstance(layer, nn.LSTMCell) else layer.in_features
            bound = 1.0 / math.sqrt(fan)
            for parameter in layer.parameters(recurse=False):
                nn.init.uniform_(parameter, -bound, bound, generator=generator)


def linear_of_both(layer: nn.Linear, row: Tensor, each: Tensor) -> Tensor:
    """A layer of a vector per row beside each of several, ``[B, ..., out]``, with no copies of it.

    Args:
        layer: It takes n + m features.
        row: ``[B, n]``.
        each: ``[B, ..., m]``.

    Example:
        >>> layer, row, each = nn.Linear(5, 2), torch.rand(3, 1), torch.rand(3, 7, 4)
        >>> beside = torch.cat([row.unsqueeze(1).expand(3, 7, 1), each], -1)
        >>> torch.allclose(linear_of_both(layer, row, each), layer(beside), atol=1e-6)
        True
    """
    of_row, of_each = layer.weight.split_with_sizes([row.shape[1], each.shape[-1]], 1)
    common = nn.functional.linear(row, of_row, layer.bias)
    common = common.view(len(row), *[1] * (each.dim() - 2), -1)
    return nn.functional.linear(each, of_each) + common


def clamp_to_cube(x: Tensor) -> Tensor:
    """Clamps x to [0, 1]; the gradient is blocked only where following it would push outward.

    The gradient of a plain clamp is zero outside the box, so that a query which has left it never
    learns to come back.

    Example:
        >>> x = torch.tensor([-0.5, 1.5], requires_grad=True)
        >>> clamp_to_cube(x).sum().backward()  # descending lowers both: away from 0, towards 1
        >>> x.grad
        tensor([0., 1.])
    """
    clamped: Tensor = _Clamp.apply(x)  # type: ignore[no-untyped-call]
    return clamped


class _Clamp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(0.0, 1.0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (x,), (gradient,) = ctx.saved_tensors, gradients
        outward = ((x <= 0.0) & (gradient > 0.0)) | ((x >= 1.0) & (gradient < 0.0))
        return gradient.masked_fill(outward, 0.0)
