"""Tasks in threads of their own."""

import threading

import pytest
import torch

from mpprobe.models.threads import in_own_threads


@pytest.fixture(autouse=True)
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_results_come_in_order_from_several_threads():
    barrier = threading.Barrier(3)

    def task(k):
        barrier.wait(timeout=20)  # passes only if all three run at once
        return k, torch.get_num_threads(), threading.get_ident()

    found = in_own_threads(task, [(k,) for k in range(3)])
    assert [k for k, _, _ in found] == [0, 1, 2]
    assert {n for _, n, _ in found} == {1}
    assert len({ident for _, _, ident in found}) == 3
    assert torch.get_num_threads() == 3


def test_one_task_stays_in_the_thread_that_called():
    assert in_own_threads(lambda: threading.get_ident(), [()]) == [threading.get_ident()]


def test_a_thread_does_itself_what_it_shares_out():
    """Else all threads could wait for a free one."""

    def outer(k):
        torch.set_num_threads(2)  # as something in the thread might
        return in_own_threads(lambda j: (k, j, threading.get_ident()), [(0,), (1,)])

    for found in in_own_threads(outer, [(0,), (1,), (2,)]):
        assert len({ident for _, _, ident in found}) == 1
    assert in_own_threads(lambda: torch.get_num_threads(), [(), (), ()]) == [1, 1, 1]


def test_other_threads_keep_their_cores():
    in_own_threads(lambda: torch.ones(10).sum(), [(), (), ()])
    seen = []
    other = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    other.start()
    other.join()
    assert seen == [3]


def test_an_error_is_raised_once_all_are_done():
    done = []

    def task(k):
        if k == 0:
            raise ValueError("the first")
        done.append(k)

    with pytest.raises(ValueError, match="the first"):
        in_own_threads(task, [(0,), (1,), (2,)])
    assert sorted(done) == [1, 2]
