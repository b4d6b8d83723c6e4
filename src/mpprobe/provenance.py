"""What identifies a result: versions, seed, hashes of the checkpoint and of the structures."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

import numpy as np

from mpprobe.structures import Frame

PACKAGES = (
    "mpprobe", "torch", "e3nn", "sevenn", "mace-torch", "numba", "ase", "numpy",
    "scikit-learn", "torch-pme", "dftd4", "featomic", "concept-erasure", "statsmodels", "captum",
)  # fmt: skip


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Versions of Python and of packages (those that decide the numbers), where installed."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def structures_sha256(frames: Sequence[Frame]) -> str:
    """SHA-256 over species, positions, cells and periodicity of all structures, in order."""
    digest = hashlib.sha256()
    for frame in frames:
        atoms = frame.atoms
        for values in (atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc):
            digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()
