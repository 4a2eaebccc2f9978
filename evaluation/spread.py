"""Spreading the work of a benchmark: over processes of this machine, or over a Ray cluster."""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from bbo_envs.errors import WorkerLostError, require_extra
from evaluation.run import Row, Unit, play

Lot = Sequence[Unit]

# How often Ray starts a lot again whose node was lost, before it counts as failed.
_RETRIES = 5


def on_processes(lots: Sequence[Lot], jobs: int) -> Iterator[list[Row]]:
    """Plays lots in processes of one thread each.

    Args:
        lots: Units to play side by side, in the order in which to start them.
        jobs: The number of processes; 1 plays everything in this one.

    Yields:
        The rows of each lot as it ends.

    Raises:
        WorkerLostError: If a process is killed, as it is where memory runs out.
    """
    if jobs == 1:
        yield from map(play, lots)
        return
    from joblib import Parallel, delayed
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    # With a batch of one, no result waits for another one; loky's processes take objects that were
    # typed in at a prompt.
    parallel = Parallel(n_jobs=jobs, backend="loky", batch_size=1, return_as="generator_unordered")
    try:
        yield from parallel(delayed(_play_on_one_thread)(lot) for lot in lots)
    except TerminatedWorkerError as error:
        raise WorkerLostError(
            "a process was killed, for lack of memory perhaps; what was played is kept. Run the "
            "same command again to go on, with fewer --jobs or a smaller --batch"
        ) from error


def on_ray(lots: Sequence[Lot]) -> Iterator[list[Row]]:
    """Plays lots on the Ray cluster at ``RAY_ADDRESS``, or on this machine if that is not set.

    A lot whose process or node is lost is played again on another one. Nodes need the same packages
    installed, and files that optimisers are named by at the same paths.

    Args:
        lots: As for ``on_processes``.

    Yields:
        The rows of each lot as it ends.

    Raises:
        MissingExtraError: If Ray is not installed.
        WorkerLostError: If a lot is lost again and again.
    """
    require_extra("Spreading over a Ray cluster", "ray", "ray")
    import ray

    started = not ray.is_initialized()
    if started:
        ray.init(address=os.environ.get("RAY_ADDRESS"), log_to_driver=False)
    try:
        remote: Any = ray.remote(num_cpus=1, max_retries=_RETRIES)(_play_on_one_thread)
        pending = [remote.remote(lot) for lot in lots]
        while pending:
            done, pending = ray.wait(pending)
            yield ray.get(done[0])
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError) as error:
        raise WorkerLostError(
            f"a lot of units was lost {_RETRIES + 1} times with the process that played it; what "
            "was played is kept. Run the same command again to go on"
        ) from error
    finally:
        if started:
            ray.shutdown()


def _play_on_one_thread(lot: Lot) -> list[Row]:
    torch.set_num_threads(1)
    return play(lot)
