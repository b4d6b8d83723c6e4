"""Shares of a job array: balanced, the same for every task, none lost and none doubled."""

from __future__ import annotations

import contextlib
import itertools

import numpy as np
import pytest

from mpprobe.errors import MPProbeError
from mpprobe.scale.shards import Task, assign, find_task


@pytest.mark.parametrize("n_tasks", [1, 2, 7, 40])
@pytest.mark.parametrize("n_items", [1, 12, 200])
def test_every_item_has_one_task(n_items, n_tasks):
    sizes = np.random.default_rng(n_items).integers(1, 4000, n_items).tolist()
    shares = assign(sizes, n_tasks)
    assert len(shares) == n_tasks
    assert sorted(itertools.chain(*shares)) == list(range(n_items))
    assert all(share == sorted(share) for share in shares)
    assert shares == assign(sizes, n_tasks)


def test_no_share_is_far_from_the_best_possible():
    """Graham: the fullest share is at most 4/3 − 1/(3m) of the best division's."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        sizes = rng.integers(1, 100, 8).tolist()
        fullest = max(sum(sizes[i] for i in share) for share in assign(sizes, 3))
        best = min(
            max(sum(s for s, t in zip(sizes, tasks, strict=True) if t == k) for k in range(3))
            for tasks in itertools.product(range(3), repeat=8)
        )
        assert fullest <= (4 / 3 - 1 / 9) * best


def test_many_equal_shards_are_shared_evenly():
    lengths = [len(share) for share in assign([400] * 256, 24)]
    assert max(lengths) - min(lengths) == 1


def slurm(**values) -> dict[str, str]:
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in values.items()}


def test_without_flags_or_slurm_there_is_no_task():
    assert find_task(None, None, {}) is None
    assert find_task(None, None, {"SLURM_JOB_ID": "7"}) is None


@pytest.mark.parametrize(
    ("first", "last", "step"), [(0, 7, 1), (1, 8, 1), (0, 14, 2), (3, 3, 1), (5, 50, 15)]
)
def test_the_tasks_of_a_slurm_array_are_numbered_from_zero(first, last, step):
    numbers = range(first, last + 1, step)
    tasks = [
        find_task(None, None, slurm(COUNT=len(numbers), ID=i, MIN=first, MAX=last)) for i in numbers
    ]
    assert tasks == [Task(i, len(numbers)) for i in range(len(numbers))]


def test_an_array_with_gaps_never_does_a_share_twice():
    """``--array=1,3,7``: a task either has a share of its own or asks for the flags."""
    for numbers in ([1, 3, 7], [0, 1, 5], [2, 9, 10, 30], [0, 1, 3]):
        found = []
        for i in numbers:
            environment = slurm(COUNT=len(numbers), ID=i, MIN=min(numbers), MAX=max(numbers))
            with contextlib.suppress(MPProbeError):
                found.append(find_task(None, None, environment).index)
        assert len(found) == len(set(found)) < len(numbers)


def test_flags_win_over_slurm():
    environment = slurm(COUNT=4, ID=1, MIN=0, MAX=3)
    assert find_task(8, 7, environment) == Task(7, 8)
    assert str(find_task(8, 7, environment)) == "task 8 of 8"


@pytest.mark.parametrize(
    ("n_shards", "shard_index", "word"),
    [(4, None, "together"), (None, 0, "together"), (4, 4, "the last is 3")],
)
def test_flags_that_say_no_task_are_refused(n_shards, shard_index, word):
    with pytest.raises(MPProbeError, match=word):
        find_task(n_shards, shard_index, slurm(COUNT=4, ID=1, MIN=0, MAX=3))


@pytest.mark.parametrize("broken", [{"MIN": ""}, {"MAX": "x"}, {"COUNT": "0"}])
def test_broken_variables_are_refused(broken):
    with pytest.raises(MPProbeError, match="Slurm"):
        find_task(None, None, slurm(**{"COUNT": 4, "ID": 1, "MIN": 0, "MAX": 3} | broken))
