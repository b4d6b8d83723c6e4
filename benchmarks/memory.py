"""Peak memory of one piece of work, each in a process of its own.

What counts is anonymous memory (RssAnon): pages of mapped files can be dropped by the system at
any time, so they are not the process's own, and ``ru_maxrss`` and ``VmHWM`` would count them.

``python -m benchmarks.memory fit FILE ROWS`` and ``python -m benchmarks.memory extract CELLS
REPEAT`` print it as JSON.
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

#: Seconds between two looks.
PERIOD = 0.002


def peak(work: Callable[[], object]) -> dict[str, float]:
    """Run ``work``; the peak of anonymous memory, also above what was held before, in MiB.

    What the libraries freed before the work may be used by it again, unseen; so look at how the
    peak changes with the size of the work.
    """
    baseline = _status("RssAnon")
    highest = baseline
    done = threading.Event()

    def watch() -> None:
        nonlocal highest
        while not done.wait(PERIOD):
            highest = max(highest, _status("RssAnon"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        work()
    finally:
        done.set()
        watcher.join()
    return {
        "peak_mib": round(highest / 1024, 1),
        "above_baseline_mib": round((highest - baseline) / 1024, 1),
        "with_mapped_files_mib": round(_status("VmHWM") / 1024, 1),
    }


def _status(key: str) -> int:
    """What Linux says of this process, in KiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1])
    raise OSError(f"this kernel doesn't report {key}")


def _fit(path: str, rows: str) -> dict[str, float]:
    from benchmarks.fitting import Problem, small_problem

    problem = Problem.open(path, int(rows))
    small_problem().solve()  # libraries loaded, threads and their buffers there
    return peak(problem.solve)


def _extract(cells: str, repeat: str) -> dict[str, float]:
    from benchmarks.cells import crystals
    from benchmarks.models import sevennet_0
    from mpprobe.activations import extract

    potential = sevennet_0()
    structures = crystals("NaCl", int(cells), int(repeat))
    with tempfile.TemporaryDirectory() as folder:
        extract(potential, crystals("NaCl", 1, 1), folder=folder)
        return peak(lambda: extract(potential, structures, folder=folder))


if __name__ == "__main__":
    work = {"fit": _fit, "extract": _extract}[sys.argv[1]]
    print(json.dumps(work(*sys.argv[2:])))
