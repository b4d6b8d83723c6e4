"""Tasks in threads of their own."""

import threading

import pytest
import torch

from mpprobe.models import threads
from mpprobe.models.threads import by_rows, in_own_threads


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


def test_rows_are_shared_out_and_keep_their_gradients(monkeypatch):
    monkeypatch.setattr(threads, "ROWS_PER_THREAD", 2)
    x = torch.randn(11, 3, requires_grad=True)
    seen = []

    def function(x, nothing, y):
        seen.append(len(x))
        assert nothing is None
        return x * y, x.sum(dim=1)

    y = torch.randn(11, 1)
    product, total = by_rows(function, x, None, y)
    assert sorted(seen) == [3, 4, 4]
    torch.testing.assert_close(product, x * y)
    torch.testing.assert_close(total, x.sum(dim=1))
    torch.testing.assert_close(torch.autograd.grad(product.sum(), x)[0], y.expand(11, 3))
    with torch.no_grad():
        assert not by_rows(function, x, None, y)[0].requires_grad


def test_few_rows_stay_together():
    x = torch.randn(threads.ROWS_PER_THREAD)
    ran = []
    by_rows(lambda x: (ran.append(threading.get_ident()) or x,), x)
    assert ran == [threading.get_ident()]
