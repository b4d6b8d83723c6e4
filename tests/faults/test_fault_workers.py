"""Workers and schedulers that are lost: the work goes on, or stops with a line and is kept."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import ase.io
import pytest

from faults.commands import content
from mpprobe.errors import ToyError
from mpprobe.toys.sweep import _Processes

#: Results are the same to the byte with the same number of threads.
ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1"}
MAIN = "from mpprobe.cli import main; main()"


def die(folder, item):
    """Kill this process at item 1."""
    if item == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def test_a_training_process_that_is_killed_is_one_line():
    from functools import partial

    with pytest.raises(ToyError, match=r"was killed, most often for want of memory; .* --jobs$"):
        list(_Processes(2).map(partial(die, None), range(3)))


def extract(folder, small_file, *more):
    """The command as a process of its own, since Dask starts others."""
    pytest.importorskip("distributed")
    folder.mkdir(exist_ok=True)
    words = ["extract", "-m", "sevenn-0", "-s", small_file, "-l", "1", "--max-atoms", "8",
             "--random-seeds", "1", "--device", "cpu", "--no-progress", "-o", "out",
             *more]  # fmt: skip
    return subprocess.Popen(
        [sys.executable, "-c", MAIN, *map(str, words)], cwd=folder, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ONE_THREAD,
    )  # fmt: skip


def code_of(process):
    """The exit code, when it has ended."""
    process.communicate(timeout=600)
    return process.returncode


def workers_of(process):
    """Process ids of Dask's workers below a process, not of the nannies' helpers."""
    found, below = [], [process.pid]
    while below:
        with contextlib.suppress(OSError):  # one that has just ended
            threads = Path(f"/proc/{below.pop()}/task").glob("*/children")
            listed = [int(child) for thread in threads for child in thread.read_text().split()]
            below += listed
            found += [p for p in listed if _is_worker(Path(f"/proc/{p}/cmdline").read_bytes())]
    return found


def _is_worker(command):
    """By the name that Dask gives its workers, where it can."""
    return command.startswith(b"dask worker") or b"spawn_main" in command


def shards(folder):
    return sorted(folder.rglob("*.safetensors"))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_worker_killed_in_the_middle_changes_no_byte(small_file, tmp_path, record_property):
    many = tmp_path / "many.extxyz"  # so that there is a middle
    ase.io.write(many, ase.io.read(small_file, ":") * 20)
    assert code_of(extract(tmp_path / "alone", many)) == 0
    process = extract(tmp_path / "work", many, "--executor", "dask", "--workers", "2")
    killed = 0
    while process.poll() is None and killed < 2:
        if len(shards(tmp_path / "work")) > 2 * killed and workers_of(process):
            os.kill(workers_of(process)[-1], signal.SIGKILL)
            killed += 1
        time.sleep(0.01)
    _, said = process.communicate(timeout=600)
    assert process.returncode == 0, said
    assert killed
    assert content(tmp_path / "work") == content(tmp_path / "alone")
    record_property("tried", killed)


@pytest.mark.slow
def test_what_was_done_when_the_scheduler_went_is_kept(small_file, tmp_path, record_property):
    pytest.importorskip("distributed")
    file = tmp_path / "scheduler.json"
    dask = [sys.executable, "-m", "dask"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": tmp_path,
             "env": ONE_THREAD}  # fmt: skip
    scheduler = subprocess.Popen(
        [*dask, "scheduler", "--scheduler-file", file, "--no-dashboard", "--port", "0",
         "--host", "127.0.0.1"], **quiet,
    )  # fmt: skip
    worker = subprocess.Popen(
        [*dask, "worker", "--scheduler-file", file, "--no-nanny", "--nthreads", "1",
         "--no-dashboard"], **quiet,
    )  # fmt: skip
    try:
        process = extract(tmp_path / "work", small_file, "--scheduler", _address(file))
        while not shards(tmp_path / "work"):
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        scheduler.kill()
        _, said = process.communicate(timeout=600)
    finally:
        for left in (worker, scheduler):
            left.kill()
            left.wait()
    assert process.returncode in (0, 2), said
    if process.returncode:
        assert "the Dask scheduler was lost" in said.splitlines()[-1]
    kept = shards(tmp_path / "work")
    times = [path.stat().st_mtime_ns for path in kept]
    assert code_of(extract(tmp_path / "work", small_file)) == 0
    assert [path.stat().st_mtime_ns for path in kept] == times, "made again"
    assert code_of(extract(tmp_path / "alone", small_file)) == 0
    assert content(tmp_path / "work") == content(tmp_path / "alone")
    record_property("tried", 1)


def _address(file):
    import json

    for _ in range(600):
        if file.exists() and file.read_text():
            return json.loads(file.read_text())["address"]
        time.sleep(0.1)
    raise AssertionError("no scheduler after 60 s")
