"""Dask executors: order, errors, and workers that die, on real processes."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from mpprobe.errors import MissingPackageError, MPProbeError, ProbeError
from mpprobe.scale import dask_executor


def slower_first(i):
    """What comes first takes longest."""
    time.sleep(0.2 / (1 + i))
    return i, os.getpid()


def test_results_come_in_order_and_from_other_processes(two_workers):
    found = list(two_workers.map(slower_first, range(24)))
    assert [i for i, _ in found] == list(range(24))
    workers = {pid for _, pid in found}
    assert len(workers) == 2
    assert os.getpid() not in workers


def test_no_more_items_are_taken_than_the_workers_can_use(two_workers):
    taken = []

    def items():
        for i in range(200):
            taken.append(i)
            yield np.zeros(1000)

    results = two_workers.map(np.sum, items())
    next(results)
    assert len(taken) < 20
    results.close()
    assert len(taken) < 20


def test_functions_that_only_this_process_knows_are_sent(two_workers):
    offset = 5
    assert list(two_workers.map(lambda x: x + offset, range(3))) == [5, 6, 7]


def refuse(what):
    raise ProbeError(f"{what}: no good; take another")


def test_a_users_mistake_is_the_same_line_as_without_workers(two_workers, capfd):
    with pytest.raises(ProbeError, match=r"^x: no good; take another$"):
        list(two_workers.map(refuse, "xyz"))
    assert capfd.readouterr().err == ""


def fail(x):
    raise ZeroDivisionError("a bug")


def test_a_bug_is_raised_as_it_is(two_workers):
    with pytest.raises(ZeroDivisionError, match="a bug"):
        list(two_workers.map(fail, [1]))


def die_once(folder, i):
    """Kill this process the first time that item 3 or 4 is seen."""
    mark = Path(folder, str(i))
    if i in (3, 4) and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return i * i


def test_what_a_killed_worker_had_is_done_by_another(two_workers, tmp_path, capfd):
    found = list(two_workers.map(partial(die_once, tmp_path), range(12)))
    assert found == [i * i for i in range(12)]
    assert {p.name for p in tmp_path.iterdir()} == {"3", "4"}
    assert capfd.readouterr().err == ""


def die_often(folder, times):
    """Kill this process so many times in a row, whatever else is done."""
    seen = len(list(Path(folder).iterdir()))
    if seen < times:
        Path(folder, str(seen)).touch()
        time.sleep(0.5)  # a worker killed in the moment that it starts is not replaced
        os.kill(os.getpid(), signal.SIGKILL)
    return seen


@pytest.fixture(scope="module")
def unforgiving():
    """Two workers under a scheduler that gives a task up at the first death, not the fourth."""
    dask = pytest.importorskip("dask")
    import distributed  # noqa: F401 - its defaults must be there before one is set

    settings = dask.config.set({"distributed.scheduler.allowed-failures": 0})
    with settings, dask_executor(workers=2) as executor:
        yield executor


def test_more_deaths_than_dask_forgives_are_outlived(unforgiving, tmp_path):
    assert list(unforgiving.map(partial(die_often, tmp_path), [1])) == [1]


@pytest.mark.slow
def test_an_item_that_always_kills_is_given_up_with_the_reason(unforgiving, tmp_path):
    with pytest.raises(MPProbeError, match=r"keep dying .* memory.* --max-atoms$") as error:
        list(unforgiving.map(partial(die_often, tmp_path), [1000]))
    assert "\n" not in str(error.value)
    assert list(unforgiving.map(np.sqrt, [4.0])) == [2.0]


def test_a_machine_left_without_workers_is_no_endless_wait(monkeypatch):
    monkeypatch.setattr("mpprobe.scale.executor.NO_WORKERS", 1)
    with dask_executor(workers=1) as executor:
        executor.client.cluster.scale(0)
        with pytest.raises(MPProbeError, match="keep dying"):
            list(executor.map(abs, [1]))


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nonsense"])
def test_a_scheduler_that_does_not_answer_is_named(address, monkeypatch):
    monkeypatch.setattr("mpprobe.scale.executor.PATIENCE", 1)
    refused = pytest.raises(MPProbeError, match=f"^{address}: no Dask scheduler answers")
    with refused, dask_executor(address):
        raise AssertionError("connected to nothing")


def test_without_dask_the_line_that_installs_it_is_given(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *a: None if name == "distributed" else find(name, *a),
    )
    refused = pytest.raises(MissingPackageError, match=r'pip install "mpprobe\[scale\]"')
    with refused, dask_executor():
        raise AssertionError("there is no Dask")


def test_a_running_scheduler_is_used_and_left_running(tmp_path):
    pytest.importorskip("distributed")
    dask = [sys.executable, "-m", "dask"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": tmp_path}
    file = tmp_path / "scheduler.json"
    flags = ["--scheduler-file", file, "--no-dashboard"]
    scheduler = subprocess.Popen(
        [*dask, "scheduler", *flags, "--port", "0", "--host", "127.0.0.1"], **quiet
    )
    worker = None
    try:
        address = _address(file)
        worker = subprocess.Popen(
            [*dask, "worker", address, "--no-nanny", "--nthreads", "1", "--no-dashboard"], **quiet
        )
        for _ in range(2):
            with dask_executor(address) as executor:
                assert list(executor.map(abs, [-1, -2])) == [1, 2]
            assert scheduler.poll() is None
        with dask_executor(address) as executor:
            results = executor.map(time.sleep, [60] * 3)
            scheduler.kill()
            with pytest.raises(MPProbeError, match="scheduler was lost"):
                next(results)
    finally:
        for process in (worker, scheduler):
            if process is not None:
                process.kill()
                process.wait()


def _address(file):
    import json

    for _ in range(300):
        if file.exists() and file.read_text():
            return json.loads(file.read_text())["address"]
        time.sleep(0.1)
    raise AssertionError("no scheduler after 30 s")
