"""Work shared among threads that each compute alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

Result = TypeVar("Result")


def in_own_threads(task: Callable[..., Result], arguments: Sequence[tuple]) -> list[Result]:
    """``task(*a)`` for each of the arguments at once, in order.

    In these threads torch takes one core each, so none waits for another. A single task runs in
    the thread that called, with all cores.
    """
    if len(arguments) == 1:
        return [task(*arguments[0])]
    pool = _pool(os.getpid(), len(arguments))
    futures = [pool.submit(task, *a) for a in arguments]
    try:
        return [future.result() for future in futures]
    finally:
        for future in futures:  # nothing of this call still runs after an error
            future.exception()


@cache
def _pool(process: int, n: int) -> ThreadPoolExecutor:
    """Threads don't survive a fork, so every process has its own."""
    return ThreadPoolExecutor(n, thread_name_prefix="mpprobe", initializer=_alone)


def _alone() -> None:
    """Have torch take one core in this thread; other threads keep theirs."""
    import torch

    torch.set_num_threads(1)
