"""Time and memory of extraction as structures become more, and as they become larger."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ase import Atoms

from benchmarks.cells import atoms_in, crystals
from benchmarks.child import run_json
from benchmarks.models import sevennet_0
from benchmarks.sizes import Sizes
from benchmarks.timing import Contender, Timing, interleaved
from mpprobe.activations import extract
from mpprobe.models.potential import Potential


def measure(sizes: Sizes) -> dict[str, Any]:
    """Time an atom relative to the smallest, and peak memory, of features written to a folder."""
    largest = max(sizes.growth_repeat) ** 3
    more = {f"{n} × 64 atoms": (n, 2) for n in sizes.growth_cells}
    larger = {f"{largest // r**3} × {8 * r**3} atoms": (largest // r**3, r)
              for r in sizes.growth_repeat}  # fmt: skip
    timings = _timings(more | larger, sizes)
    memory = {name: run_json("benchmarks.memory", "extract", *map(str, shape))
              for name, shape in (more | larger).items() if sizes.one_off}  # fmt: skip
    by_atom = {"structures": _relative(timings, more), "cells": _relative(timings, larger)}
    return {
        "timings": {name: timing.summary() for name, timing in timings.items()},
        "time_per_atom": by_atom,
        "peak_memory": memory,
        "ratios": {f"time_per_atom_largest_{k}": [*v.values()][-1] for k, v in by_atom.items()},
    }


def _timings(runs: Mapping[str, tuple[int, int]], sizes: Sizes) -> dict[str, Timing]:
    """Extraction to files of so many cells with so many unit cells along each edge."""
    potential = sevennet_0()
    with tempfile.TemporaryDirectory(prefix="mpprobe-bench-") as folder:
        contenders = {
            name: _contender(potential, crystals("NaCl", *shape), Path(folder) / str(k))
            for k, (name, shape) in enumerate(runs.items())
        }
        return interleaved(contenders, sizes.growth_repeats, sizes.least)


def _relative(timings: Mapping[str, Timing], names: Iterable[str]) -> dict[str, float]:
    """Time an atom, over that of the first."""
    by_atom = {name: timings[name].median / timings[name].atoms for name in names}
    return {name: time / next(iter(by_atom.values())) for name, time in by_atom.items()}


def _contender(potential: Potential, structures: list[Atoms], folder: Path) -> Contender:
    work = partial(extract, potential, structures, folder=folder)
    return Contender(work, atoms_in(structures))
