"""Who does which shards: a fixed, balanced share for each task of a job array."""

from __future__ import annotations

import heapq
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mpprobe.errors import MPProbeError


@dataclass(frozen=True)
class Task:
    """One of several tasks that share the work.

    Attributes:
        index: from 0.
        count: of all tasks.
    """

    index: int
    count: int

    def __str__(self) -> str:
        return f"task {self.index + 1} of {self.count}"


def assign(sizes: Sequence[int], n_tasks: int) -> list[list[int]]:
    """Share items among tasks so that the sums of sizes differ little.

    The largest item goes first, each to the task with least so far (Graham's longest processing
    time rule: the fullest task holds at most 4/3 of what the best division would give it). Ties
    go to the lower number, so every task finds the same division.

    Args:
        sizes: of the items.
        n_tasks: number of shares.

    Returns:
        Items of each task, ascending; empty where there are more tasks than items.
    """
    loads = [(0, task) for task in range(n_tasks)]
    shares: list[list[int]] = [[] for _ in range(n_tasks)]
    for item in sorted(range(len(sizes)), key=lambda i: (-sizes[i], i)):
        load, task = heapq.heappop(loads)
        shares[task].append(item)
        heapq.heappush(loads, (load + sizes[item], task))
    return [sorted(share) for share in shares]


def find_task(
    n_shards: int | None, shard_index: int | None, environment: Mapping[str, str] = os.environ
) -> Task | None:
    """Which task this is: as given, else as Slurm's array variables say, else the only one.

    Raises:
        MPProbeError: one of the two is given without the other, or the index is too large.
    """
    if n_shards is None and shard_index is None:
        return slurm_task(environment)
    if n_shards is None or shard_index is None:
        raise MPProbeError("give --n-shards and --shard-index together, or neither")
    if not 0 <= shard_index < n_shards:
        raise MPProbeError(
            f"--shard-index {shard_index}: counts from 0, so with --n-shards {n_shards} the last "
            f"is {n_shards - 1}"
        )
    return Task(shard_index, n_shards)


def slurm_task(environment: Mapping[str, str]) -> Task | None:
    """The task of a Slurm job array (``sbatch --array``), None outside of one.

    Raises:
        MPProbeError: the array's numbers aren't evenly spaced, or not numbers.
    """
    names = ("COUNT", "ID", "MIN", "MAX")
    found = [environment.get(f"SLURM_ARRAY_TASK_{name}", "") for name in names]
    if not (found[0] and found[1]):
        return None
    try:
        count, number, first, last = (int(value) for value in found)
        step, rest = divmod(last - first, max(count - 1, 1))
        index, between = divmod(number - first, max(step, 1))
    except (TypeError, ValueError):
        rest, between, index, count = 1, 1, 0, 0
    if rest or between or not 0 <= index < count:
        raise MPProbeError(
            "the tasks of this Slurm array aren't evenly numbered, so their shares can't be told "
            "from its variables; give --n-shards and --shard-index"
        )
    return Task(index, count)
