"""Methods that one thread at a time is in."""

import functools
import threading
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

import torch

P = ParamSpec("P")
S = TypeVar("S", bound=Any)
T = TypeVar("T")


def one_at_a_time(
    method: Callable[Concatenate[S, P], T],
) -> Callable[Concatenate[S, P], T]:
    """Lets one thread at a time into the methods of an object, which has a ``_lock``.

    There PyTorch is in a mode of its own: the caller's may be one in which no posterior can be
    climbed (``torch.inference_mode``), or in which networks compute in another precision.
    """

    @functools.wraps(method)
    def called(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with (
            self._lock,
            torch.inference_mode(False),
            torch.no_grad(),
            torch.autocast("cpu", enabled=False),
        ):
            return method(self, *args, **kwargs)

    return called


class Lock(type(threading.RLock())):  # type: ignore[misc]  # a class that has no public name
    """A lock that may be copied: the copy is another one.

    It has no methods of Python's own to enter and leave it, in which Ctrl-C could leave it locked.
    """

    def __reduce__(self) -> tuple[type["Lock"], tuple[()]]:
        return Lock, ()
