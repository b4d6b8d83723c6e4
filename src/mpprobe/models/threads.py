"""Work shared among threads that each compute alone."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    import torch

# Fewer are done before another thread has woken.
ROWS_PER_THREAD = 200
# Rows at a time: 1,024 of 480 values in float32 are 2 MB.
BLOCK = 1024

Result = TypeVar("Result")

# Set in the threads of the pools.
_thread = threading.local()


def in_own_threads(task: Callable[..., Result], arguments: Sequence[tuple]) -> list[Result]:
    """``task(*a)`` for each of the arguments at once, in order.

    In these threads torch takes one core each, so none waits for another. A single task runs in
    the thread that called, with all cores; what one of these threads shares out, it does itself.
    """
    if len(arguments) < 2 or getattr(_thread, "alone", False):
        return [task(*a) for a in arguments]
    import torch

    pool = _pool(os.getpid(), len(arguments))
    futures = [pool.submit(_alone, task, *a) for a in arguments]
    try:
        return [future.result() for future in futures]
    finally:
        for future in futures:  # nothing of this call still runs after an error
            future.exception()
        # torch gives threads that are new the last number that any thread has set.
        torch.set_num_threads(torch.get_num_threads())


def by_rows(
    function: Callable[..., tuple[torch.Tensor, ...]], *arguments: torch.Tensor | None
) -> tuple[torch.Tensor, ...]:
    """``function(*arguments)``, runs of rows shared out among threads.

    Without gradients it goes block by block, so that what it holds in between stays in the caches.

    Args:
        function: takes and gives tensors whose rows have nothing to do with each other.
        arguments: of as many rows each; None is passed on.
    """
    import torch

    n_rows = next(len(a) for a in arguments if a is not None)
    with_gradients = torch.is_grad_enabled()  # known to each thread by itself

    def part(start: int, stop: int) -> tuple[torch.Tensor, ...]:
        with torch.set_grad_enabled(with_gradients):
            return function(*(None if a is None else a[start:stop] for a in arguments))

    n = 1 if getattr(_thread, "alone", False) else torch.get_num_threads()
    n = max(1, min(n, n_rows // ROWS_PER_THREAD))
    runs = list(pairwise(n_rows * k // n for k in range(n + 1)))
    if with_gradients or n_rows < ROWS_PER_THREAD:
        parts = in_own_threads(part, runs)
        return tuple(torch.cat(p) if len(p) > 1 else p[0] for p in zip(*parts, strict=True))
    outs = tuple(_empty(n_rows, one) for one in part(0, 1))

    def fill(start: int, stop: int) -> None:
        for first in range(start, stop, BLOCK):
            last = min(first + BLOCK, stop)
            for out, values in zip(outs, part(first, last), strict=True):
                out[first:last] = values

    in_own_threads(fill, runs)
    return outs


def _empty(n_rows: int, like: torch.Tensor) -> torch.Tensor:
    """Room for so many such rows, from NumPy, which asks for huge pages."""
    import torch

    return torch.from_numpy(np.empty((n_rows, *like.shape[1:]), like.numpy().dtype))


@cache
def _pool(process: int, n: int) -> ThreadPoolExecutor:
    """Threads don't survive a fork, so every process has its own."""
    return ThreadPoolExecutor(n, thread_name_prefix="mpprobe")


def _alone(task: Callable[..., Result], *arguments: Any) -> Result:
    """Run a task on one core of its own; other threads of torch keep theirs."""
    import torch

    _thread.alone = True
    if torch.get_num_threads() != 1:
        torch.set_num_threads(1)
    return task(*arguments)
