"""Training in several processes, as torchrun starts them: who does what, and who waits for whom."""

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """The processes of a run, all of which take the same steps with the same weights.

    Attributes:
        rank: The number of this one; the first writes what is written.
        count: How many there are.

    Example:
        >>> Processes(rank=1, count=2).share([10, 11, 12, 13])
        [12, 13]
    """

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> list[T]:
        """This process's part of items whose number is a multiple of ``count``."""
        size = len(items) // self.count
        return list(items[self.rank * size : (self.rank + 1) * size])

    def gather(self, items: list[T]) -> list[T]:
        """The parts of all processes, in their order."""
        if self.count == 1:
            return items
        parts: list[Any] = [None] * self.count
        distributed.all_gather_object(parts, items)
        return [item for part in parts for item in part]

    def wait(self) -> None:
        """Returns when every process has come here."""
        if self.count > 1:
            distributed.barrier()

    def averaged(self, module: nn.Module) -> nn.Module:
        """The module, such that a backward pass averages its gradients over the processes."""
        if self.count == 1:
            return module
        # A micro-batch need not reach every weight: one evaluation never uses a recurrent one.
        return DistributedDataParallel(module, find_unused_parameters=True)


def without_averaging(module: nn.Module) -> AbstractContextManager[None]:
    """Within it, gradients of a module that is ``averaged`` add up in this process only."""
    if isinstance(module, DistributedDataParallel):
        return module.no_sync()
    return nullcontext()


@contextmanager
def processes(device: str) -> Iterator[tuple[Processes, str]]:
    """Joins the processes that torchrun started; without it there is only this one.

    Args:
        device: ``"cpu"`` (gloo), or ``"cuda"`` (nccl): each process takes the GPU of its number on
            its machine.

    Yields:
        The processes, and the device of this one.

    Raises:
        ValueError: If there are fewer GPUs than processes.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes(), device
        return
    cuda = torch.device(device).type == "cuda"
    if cuda:
        local, gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if local >= gpus:
            raise ValueError(
                f"process {local} of this machine has no GPU of its own: there are {gpus}; start "
                f"torchrun with --nproc-per-node {gpus} at most, or train with --device cpu"
            )
        torch.cuda.set_device(local)
        device = f"cuda:{local}"
    distributed.init_process_group("nccl" if cuda else "gloo")
    try:
        yield Processes(distributed.get_rank(), count), device
    finally:
        import gc; gc.collect()
        distributed.destroy_process_group()
