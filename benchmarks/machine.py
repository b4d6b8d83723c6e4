"""The machine, the versions, and whether something else keeps the machine busy."""

from __future__ import annotations

import datetime
import os
import platform
import re
import time
from pathlib import Path
from typing import Any

from mpprobe import provenance

#: Cores that others may keep busy before the figures are called doubtful.
BUSY = 0.3
#: Seconds over which they are watched.
WATCH = 2.0
PACKAGES = (
    "mpprobe", "torch", "e3nn", "sevenn", "mace-torch", "ase", "matscipy", "numpy", "scipy",
    "scikit-learn", "numba",
)  # fmt: skip
_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS",
              "OMP_WAIT_POLICY", "MALLOC_MMAP_MAX_")  # fmt: skip


def machine() -> dict[str, Any]:
    """Processor, cores, caches and memory, and the threads that the libraries take."""
    import torch
    from threadpoolctl import threadpool_info

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cpu": _line("/proc/cpuinfo", "model name") or platform.processor(),
        "cores": cores,
        "caches": _caches(),
        "ram_gib": round(_memory() / 2**30, 1),
        "system": platform.platform(),
        "threads": {"torch": torch.get_num_threads()}
        | {Path(pool["filepath"]).name: pool["num_threads"] for pool in threadpool_info()},
        "environment": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
    }


def versions() -> dict[str, str]:
    """Of Python and of all packages that take part."""
    return provenance.versions(PACKAGES)


def now() -> str:
    """Date and time, UTC."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def load_of_others() -> float:
    """Cores that other processes keep busy, watched for :data:`WATCH` seconds; 0 if unknown."""
    before = _busy_ticks()
    if before is None:
        return 0.0
    own, started = time.process_time(), time.monotonic()
    time.sleep(WATCH)
    elapsed = time.monotonic() - started
    busy = (_busy_ticks() - before) / os.sysconf("SC_CLK_TCK")
    return max(0.0, (busy - (time.process_time() - own)) / elapsed)


def _busy_ticks() -> int | None:
    """Clock ticks that all cores have worked since the machine started."""
    try:
        first = Path("/proc/stat").read_text().splitlines()[0]
    except OSError:
        return None
    user, nice, system, _idle, _wait, *other = (int(x) for x in first.split()[1:])
    return user + nice + system + sum(other[:3])


def _line(path: str, key: str) -> str:
    try:
        text = Path(path).read_text()
    except OSError:
        return ""
    found = re.search(rf"^{key}\s*:\s*(.+)$", text, re.MULTILINE)
    return found.group(1).strip() if found else ""


def _caches() -> dict[str, str]:
    """Sizes of the first core's caches, such as L2: 1024K."""
    found = {}
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            level, kind, size = ((folder / name).read_text().strip()
                                 for name in ("level", "type", "size"))  # fmt: skip
        except OSError:
            continue
        if kind != "Instruction":
            found[f"L{level}"] = size
    return found


def _memory() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return 0
