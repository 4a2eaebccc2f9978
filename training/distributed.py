"""Training in several processes, as torchrun starts them: who does what, and who waits for whom."""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import distributed, nn

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """The processes of a run, all of which take the same steps with the same weights.

    Attributes:
        rank: The number of this one; the first writes what is written.
        count: How many there are.
        device: Where this one computes.

    Example:
        >>> Processes(rank=1, count=2).share([10, 11, 12, 13])
        [12, 13]
    """

    rank: int = 0
    count: int = 1
    device: str = "cpu"

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> list[T]:
        """This process's part of items whose number is a multiple of ``count``."""
        size = len(items) // self.count
        return list(items[self.rank * size : (self.rank + 1) * size])

    def gather(self, items: list[T]) -> list[T]:
        """The parts of all processes, in their order; items are what JSON holds."""
        if self.count == 1:
            return items
        # Not by all_gather_object, which would unpickle what it receives.
        mine = torch.frombuffer(bytearray(json.dumps(items).encode()), dtype=torch.uint8)
        sizes = torch.zeros(self.count, dtype=torch.int64)
        sizes[self.rank] = len(mine)
        sizes = sizes.to(self.device)
        distributed.all_reduce(sizes)
        parts = torch.zeros(self.count, int(sizes.max()), dtype=torch.uint8)
        parts[self.rank, : len(mine)] = mine
        parts = parts.to(self.device)
        distributed.all_reduce(parts)
        texts = [bytes(part[:size].tolist()) for part, size in zip(parts, sizes, strict=True)]
        return [item for text in texts for item in json.loads(text)]

    def wait(self) -> None:
        """Returns when every process has come here."""
        if self.count > 1:
            distributed.barrier()

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replaces gradients by their means over the processes; a weight that has none gets zero.

        Once per iteration and in one message: an unrolled network is small, and its gradient is
        complete only when the first step has been reached, so that there is nothing to overlap.
        """
        gradients = []
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
        if self.count == 1:
            return
        message = torch.cat([gradient.flatten() for gradient in gradients]) / self.count
        distributed.all_reduce(message)
        parts = torch.split(message, [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))


@contextmanager
def processes(device: str) -> Iterator[Processes]:
    """Joins the processes that torchrun started; without it there is only this one.

    Args:
        device: ``"cpu"`` (gloo), or ``"cuda"`` (nccl): each process takes the GPU of its number on
            its machine.

    Yields:
        The processes.

    Raises:
        ValueError: If there are fewer GPUs than processes.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes(device=device)
        return
    cuda = torch.device(device).type == "cuda"
    if cuda:
        local, gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if local >= gpus:
            raise ValueError(
                f"process {local} of this machine has no GPU of its own, there are {gpus}; start "
                "at most one process per GPU (torchrun's --nproc-per-node), or train on the CPU"
            )
        torch.cuda.set_device(local)
        device = f"cuda:{local}"
    own = torch.device(device) if cuda else None
    distributed.init_process_group("nccl" if cuda else "gloo", device_id=own)
    try:
        yield Processes(distributed.get_rank(), count, device)
        distributed.barrier()  # so that none takes down what another still listens to
    finally:
        distributed.destroy_process_group()
