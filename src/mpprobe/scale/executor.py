"""An executor on Dask: workers of this machine, or those of a scheduler that is running.

All scheduling is Dask's. A task whose worker dies is given to another one by the scheduler; here
is only what a study needs besides: results in order, few tasks in flight, and a line instead of a
traceback where the workers are at fault.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from mpprobe.errors import MPProbeError, require
from mpprobe.probes.executor import Item, Result

if TYPE_CHECKING:
    from distributed import Client, Future

# Enough tasks to keep each thread busy while the oldest result is waited for, and so few that
# the scheduler and this process hold little.
TASKS_PER_THREAD = 4
# Dask gives a task up after four workers have died over it. Preempted workers are no fault of the
# task, so it is handed in again this often.
SUBMISSIONS = 3
# Seconds to wait for a scheduler to answer.
PATIENCE = 15
# Seconds without a worker after which those of this machine are taken to be lost: one that is
# killed in the moment that it starts isn't replaced.
NO_WORKERS = 60


class DaskExecutor:
    """Maps functions over items on the workers of a Dask client.

    Args:
        client: connected to a scheduler. The workers need mpprobe and, under the same paths, the
            files that the study works with.
    """

    in_process = False

    def __init__(self, client: Client) -> None:
        self.client = client

    @property
    def n_threads(self) -> int:
        """Threads of all workers that are there now; one task runs on each."""
        return sum(self.client.nthreads().values())

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Results in the order of the items, whichever is done first.

        Raises:
            MPProbeError: what ``function`` raised; or workers died over one item again and again;
                or the scheduler was lost.
        """
        from distributed import CancelledError
        from distributed.comm import CommClosedError

        pending: deque[tuple[Item, Future]] = deque()
        try:
            limit = TASKS_PER_THREAD * max(self.n_threads, 1)
            for item in items:
                pending.append((item, self._submit(function, item)))
                if len(pending) >= limit:
                    yield self._result(function, *pending.popleft())
            while pending:
                yield self._result(function, *pending.popleft())
        except (CancelledError, CommClosedError) as lost:
            raise MPProbeError(
                "the Dask scheduler was lost, and the work with it; see its log, then start again"
            ) from lost
        finally:
            for _, future in pending:
                future.cancel()

    def _submit(self, function: Callable[[Item], Result], item: Item) -> Future:
        return self.client.submit(_attempt, function, item, pure=False)

    def _result(self, function: Callable[[Item], Result], item: Item, future: Future) -> Result:
        from distributed import KilledWorker
        from distributed.scheduler import NoWorkerError

        for _ in range(SUBMISSIONS):
            try:
                result, error = future.result()
            except KilledWorker:
                future = self._submit(function, item)
                continue
            except NoWorkerError:
                break
            if error is not None:
                raise error
            return result
        raise MPProbeError(
            "Dask workers keep dying over one piece of the work, most often for want of memory: "
            "see their logs; give each more memory, or take smaller batches with --max-atoms"
        )


def _attempt(
    function: Callable[[Item], Result], item: Item
) -> tuple[Result | None, MPProbeError | None]:
    """Result and error of one item. Dask would log a raised error with its traceback."""
    try:
        return function(item), None
    except MPProbeError as error:
        return None, error


@contextlib.contextmanager
def dask_executor(
    scheduler: str | None = None, *, workers: int | None = None
) -> Iterator[DaskExecutor]:
    """An executor on the workers of ``scheduler``, or on processes of this machine.

    Scripts that start processes need ``if __name__ == "__main__":`` around what they do.

    Args:
        scheduler: address of a running Dask scheduler, such as ``tcp://node1:8786``; None starts
            workers here and stops them at the end.
        workers: processes to start here, each with one thread (default: one a core).

    Raises:
        MissingPackageError: Dask isn't installed.
        MPProbeError: no scheduler answers at that address.
    """
    require("distributed", "--executor dask")
    import dask
    import distributed  # noqa: F401 - its defaults must be there before one is set

    # What is sent are statistics and targets; features stay in files. So the warning to keep
    # data out of the graph is not for us.
    large = dask.config.set({"distributed.admin.large-graph-warning-threshold": "1GB"})
    with large, _local(workers) if scheduler is None else _connected(scheduler) as client:
        yield DaskExecutor(client)


@contextlib.contextmanager
def _local(workers: int | None) -> Iterator[Client]:
    """A client of worker processes that end with it."""
    import dask
    from distributed import Client, LocalCluster

    # One thread each, for torch, BLAS and Numba too: as many as there are cores would compete.
    threads = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    # A worker that dies is replaced and its tasks are done again: no news for the user.
    before = dask.config.get("distributed.nanny.pre-spawn-environ")
    settings = {
        "distributed.nanny.pre-spawn-environ": before | {"DASK_LOGGING__DISTRIBUTED": "critical"},
        "distributed.scheduler.no-workers-timeout": f"{NO_WORKERS} s",
    }
    with (
        dask.config.set(settings),
        tempfile.TemporaryDirectory(prefix="mpprobe-dask-") as folder,
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            dashboard_address="127.0.0.1:0",  # any port that is free
            local_directory=folder,
            silence_logs=logging.CRITICAL,
            env=threads,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client
        # A worker stopped while it starts, in place of one that died, would show its traceback.
        if cluster.workers:
            with contextlib.suppress(TimeoutError):
                client.wait_for_workers(len(cluster.workers), timeout=PATIENCE)


@contextlib.contextmanager
def _connected(scheduler: str) -> Iterator[Client]:
    from distributed import Client

    try:
        client = Client(scheduler, timeout=PATIENCE)
    except (OSError, ValueError) as error:
        raise MPProbeError(
            f"{scheduler}: no Dask scheduler answers there; give the address that `dask "
            "scheduler` prints, such as tcp://node1:8786"
        ) from error
    with client:
        yield client
