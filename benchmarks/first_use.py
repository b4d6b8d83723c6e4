"""What is paid once: compiling the kernels on first use, and loading them in later processes.

``python -m benchmarks.first_use`` prints the seconds of a first and of a second extraction.
"""

from __future__ import annotations

import json
import tempfile
import time
from typing import Any

from benchmarks.child import run_json
from benchmarks.sizes import Sizes


def measure(sizes: Sizes) -> dict[str, Any]:
    """Seconds in a process that finds no compiled kernels, and in the one after it."""
    if not sizes.one_off:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        return {
            name: run_json("benchmarks.first_use", environment={"MPPROBE_CACHE_DIR": folder})
            for name in ("nothing compiled yet", "compiled before")
        }


def main() -> dict[str, float]:
    from benchmarks.cells import crystals
    from mpprobe import load
    from mpprobe.activations import extract

    structures = crystals("NaCl", 1)
    seconds, started = {}, time.perf_counter()
    potential = load("sevenn-0")
    for name in ("load_s", "first_extraction_s", "second_extraction_s"):
        if name != "load_s":
            extract(potential, structures)
        seconds[name] = time.perf_counter() - started
        started = time.perf_counter()
    batch = potential.batch(structures)
    started = time.perf_counter()
    potential.run(batch, forces=True)
    return seconds | {"first_forces_s": time.perf_counter() - started}


if __name__ == "__main__":
    print(json.dumps(main()))
