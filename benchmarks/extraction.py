"""Node features, energies and forces of SevenNet-0: mpprobe's two paths and upstream's two ways.

``python -m benchmarks.extraction FORMULA CELLS SIZE...`` serves upstream's batched way to a
parent process (see :mod:`benchmarks.child`).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from ase import Atoms

from benchmarks.cells import atoms_in, crystals
from benchmarks.child import KEEP_MEMORY, Child, serve
from benchmarks.models import sevennet_0
from benchmarks.sizes import Sizes
from benchmarks.timing import Contender, Runnable, Timing, best, interleaved, paired_ratio
from benchmarks.upstream import SevenNetASE, SevenNetBatched
from mpprobe.activations.capture import batch_limit, batches, extract
from mpprobe.models.potential import Potential
from mpprobe.structures import as_frames

#: Relative to the largest feature of a layer: how far float32 paths may differ.
TOLERANCE = 1e-4
ASE, ASE_FEATURES = "ASE calculator", "ASE calculator, features kept"
FAST, REFERENCE = "fast path", "reference path"
PREBUILT, TUNED = ", graphs prebuilt", ", memory kept"
FORCES, LAYER_2 = ", energies and forces", ", layer 2"


def measure(sizes: Sizes) -> dict[str, Any]:
    """Timings on NaCl and MgO, and the ratios that follow from NaCl's."""
    fast, reference = sevennet_0(), sevennet_0(fast=False)
    peers = SevenNetASE(), SevenNetBatched()
    salt = crystals("NaCl", sizes.cells)
    agreement = check_agreement(fast, reference, *peers, salt[:1])
    timings = _race("NaCl", salt, fast, reference, *peers, sizes, sizes.repeats)
    result = {
        "NaCl": _table(timings),
        "largest_difference": agreement,
        "ratios": _ratios(timings) | {"hook_overhead": hook_overhead(fast, salt, sizes)},
    }
    if sizes.dense:
        oxide = crystals("MgO", max(sizes.cells // 2, 1))
        dense = _race("MgO", oxide, fast, reference, *peers, sizes, sizes.dense)
        result |= {"MgO": _table(dense), "ratios_MgO": _ratios(dense)}
    return result


def _race(
    formula: str,
    structures: list[Atoms],
    fast: Potential,
    reference: Potential,
    calculator: SevenNetASE,
    batched: SevenNetBatched,
    sizes: Sizes,
    repeats: int,
) -> dict[str, Timing]:
    """All contenders in turn; upstream's batched way in a second process as well."""
    atoms = atoms_in(structures)
    batch_sizes = [size for size in sizes.batch_sizes if size <= len(structures)]
    contenders: dict[str, Runnable] = {
        ASE: Contender(partial(calculator.forces, structures), atoms),
        ASE_FEATURES: Contender(partial(calculator.features, structures), atoms),
        **batched_contenders(batched, structures, batch_sizes),
        **_own_contenders(REFERENCE, reference, structures),
        **_own_contenders(FAST, fast, structures * sizes.times_over),
    }
    arguments = [formula, str(len(structures)), *map(str, batch_sizes)]
    with Child("benchmarks.extraction", arguments, KEEP_MEMORY) as child:
        names = [name for name in contenders if name.startswith("batched")]
        contenders |= {name + TUNED: child.contender(name, atoms) for name in names}
        return interleaved(contenders, repeats, sizes.least)


def batched_contenders(
    batched: SevenNetBatched, structures: list[Atoms], batch_sizes: Sequence[int]
) -> dict[str, Contender]:
    """Upstream's batched forward pass for each batch size, from structures and from graphs."""
    atoms, contenders = atoms_in(structures), {}
    for size in batch_sizes:
        name = f"batched, {size} a batch"
        contenders[name] = Contender(partial(batched.features, structures, size), atoms)
        graphs = batched.graphs(structures, size)
        contenders[name + PREBUILT] = Contender(partial(batched.from_graphs, graphs), atoms)
    return contenders


def _own_contenders(
    name: str, potential: Potential, structures: list[Atoms]
) -> dict[str, Contender]:
    atoms = atoms_in(structures)
    frames = as_frames(structures)
    parts = [[frames[i] for i in part] for part in batches(frames, batch_limit(potential, None))]
    built = [potential.batch(part) for part in parts]

    def forces() -> None:
        for part in parts:
            potential.run(potential.batch(part), forces=True)

    def prebuilt() -> None:
        for batch in built:
            potential.run(batch, range(len(potential.layers)), energies=False)

    return {
        name: Contender(partial(extract, potential, structures), atoms),
        name + PREBUILT: Contender(prebuilt, atoms),
        name + LAYER_2: Contender(partial(extract, potential, structures, 2), atoms),
        name + FORCES: Contender(forces, atoms),
    }


def hook_overhead(potential: Potential, structures: list[Atoms], sizes: Sizes) -> float:
    """Time that hooks on all layers add to the same forward pass, as a part of that pass."""
    built = [potential.batch(atoms) for atoms in structures]
    layers = range(len(potential.layers))

    def forward(hooked: Sequence[int]) -> None:
        for batch in built:
            potential.run(batch, hooked)

    contenders = {
        "with": Contender(partial(forward, layers), 0),
        "without": Contender(partial(forward, ()), 0),
    }
    timings = interleaved(contenders, sizes.pairs, sizes.least)
    return paired_ratio(timings["with"], timings["without"]) - 1.0


def check_agreement(
    fast: Potential,
    reference: Potential,
    calculator: SevenNetASE,
    batched: SevenNetBatched,
    structures: list[Atoms],
) -> float:
    """Largest difference of any contender from the reference path; beyond rounding, an error."""

    def own(potential: Potential) -> list[np.ndarray]:
        acts = extract(potential, structures)
        return [acts[t].values for t in acts.layers]

    expected = own(reference)
    found = {
        FAST: own(fast),
        ASE: calculator.features(structures),
        "batched": batched.features(structures, len(structures)),
    }
    worst = 0.0
    for name, layers in found.items():
        for t, (ours, theirs) in enumerate(zip(expected, layers, strict=True)):
            difference = float(np.abs(ours - theirs).max() / np.abs(ours).max())
            if difference > TOLERANCE:
                raise SystemExit(f"{name}: layer {t} differs by {difference:.1e}; nothing to time")
            worst = max(worst, difference)
    return worst


def _ratios(timings: Mapping[str, Timing]) -> dict[str, float]:
    """By the medians. Upstream is its best batch size with its best allocator settings."""
    rate = {name: timing.rate for name, timing in timings.items()}
    rival = _best_batched(timings)
    return {
        "extract_vs_batched": rate[FAST] / rate[rival],
        "extract_vs_ase": rate[FAST] / rate[ASE_FEATURES],
        "energy_forces_vs_ase": rate[FAST + FORCES] / rate[ASE],
        "layer2_vs_all": rate[FAST + LAYER_2] / rate[FAST],
        "extract_vs_batched_prebuilt": rate[FAST + PREBUILT] / rate[_best_batched(timings, True)],
        "fast_vs_reference": rate[FAST] / rate[REFERENCE],
    }


def _best_batched(timings: Mapping[str, Timing], prebuilt: bool = False) -> str:
    names = [n for n in timings if n.startswith("batched") and (PREBUILT in n) == prebuilt]
    return best(timings, names)


def _table(timings: Mapping[str, Timing]) -> dict[str, Any]:
    return {
        "best_batched": _best_batched(timings),
        "timings": {name: timing.summary() for name, timing in timings.items()},
    }


def main(formula: str, cells: str, *batch_sizes: str) -> None:
    structures = crystals(formula, int(cells))
    serve(batched_contenders(SevenNetBatched(), structures, [int(size) for size in batch_sizes]))


if __name__ == "__main__":
    main(*sys.argv[1:])
