"""Work shared among threads that each compute alone."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

Result = TypeVar("Result")

# Set in the threads of the pools.
_thread = threading.local()


def in_own_threads(task: Callable[..., Result], arguments: Sequence[tuple]) -> list[Result]:
    """``task(*a)`` for each of the arguments at once, in order.

    In these threads torch takes one core each, so none waits for another. A single task runs in
    the thread that called, with all cores; what one of these threads shares out, it does itself.
    """
    if len(arguments) == 1 or getattr(_thread, "alone", False):
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


@cache
def _pool(process: int, n: int) -> ThreadPoolExecutor:
    """Threads don't survive a fork, so every process has its own."""
    return ThreadPoolExecutor(n, thread_name_prefix="mpprobe")


def _alone(task: Callable[..., Result], *arguments) -> Result:
    """Run a task on one core of its own; other threads of torch keep theirs."""
    import torch

    _thread.alone = True
    if torch.get_num_threads() != 1:
        torch.set_num_threads(1)
    return task(*arguments)
