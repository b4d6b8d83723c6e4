"""Node features of a MACE model against ``MACECalculator.get_descriptors`` in a loop."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import mpprobe
from benchmarks.cells import atoms_in, crystals
from benchmarks.sizes import Sizes
from benchmarks.timing import Contender, interleaved
from benchmarks.upstream import MaceASE
from mpprobe.activations import extract

TOLERANCE = 1e-4


def measure(sizes: Sizes) -> dict[str, Any]:
    """Timings on NaCl, and mpprobe's fast path over get_descriptors."""
    structures = crystals("NaCl", sizes.mace_cells)
    atoms = atoms_in(structures)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "small.model")
        torch.save(small(), path)
        options = {"dtype": "float32", "trust_checkpoint": True}
        fast, reference = mpprobe.load(path, **options), mpprobe.load(path, fast=False, **options)
        peer = MaceASE(path)
    timings = interleaved(
        {
            "get_descriptors": Contender(partial(peer.descriptors, structures), atoms),
            "mace, no gradients": Contender(partial(peer.forward, structures), atoms),
            "reference path": Contender(partial(extract, reference, structures, [1, 2]), atoms),
            "fast path": Contender(partial(extract, fast, structures, [1, 2]), atoms),
        },
        sizes.mace_repeats,
        sizes.least,
    )
    rate = {name: timing.rate for name, timing in timings.items()}
    return {
        "model": "MACE-MP-0 small architecture, random weights",
        "fast": fast.fast,
        "largest_difference": _difference(fast, peer, structures[:1]),
        "timings": {name: timing.summary() for name, timing in timings.items()},
        "ratios": {
            "mace_extract_vs_descriptors": rate["fast path"] / rate["get_descriptors"],
            "mace_extract_vs_forward": rate["fast path"] / rate["mace, no gradients"],
        },
    }


def _difference(fast, peer: MaceASE, structures) -> float:
    """Relative to the largest feature; more than rounding is an error."""
    acts = extract(fast, structures, [1, 2])
    ours = np.concatenate([acts[t].values for t in (1, 2)], axis=1)
    (theirs,) = peer.descriptors(structures)
    difference = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
    if difference > TOLERANCE:
        raise SystemExit(f"MACE: features differ by {difference:.1e}; nothing to time")
    return difference


def small() -> torch.nn.Module:
    """The architecture of MACE-MP-0 small; random weights cost as much as trained ones."""
    from mpprobe.models.mace import _mace_imported

    with _mace_imported(), torch.random.fork_rng(devices=[]):
        import mace.modules
        from e3nn import o3

        torch.manual_seed(0)
        block = mace.modules.interaction_classes["RealAgnosticResidualInteractionBlock"]
        return mace.modules.ScaleShiftMACE(
            r_max=6.0,
            num_bessel=10,
            num_polynomial_cutoff=5,
            max_ell=3,
            interaction_cls=block,
            interaction_cls_first=block,
            num_interactions=2,
            num_elements=89,
            hidden_irreps=o3.Irreps("128x0e"),
            MLP_irreps=o3.Irreps("16x0e"),
            gate=torch.nn.functional.silu,
            atomic_energies=np.zeros(89),
            avg_num_neighbors=60.0,
            atomic_numbers=list(range(1, 90)),
            correlation=3,
            radial_type="bessel",
            radial_MLP=[64, 64, 64],
            atomic_inter_scale=0.8,
            atomic_inter_shift=0.1,
            heads=["Default"],
        )
