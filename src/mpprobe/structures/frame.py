"""One structure with the labels that probing needs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from ase import Atoms


@dataclass(frozen=True)
class Frame:
    """One structure and the labels by which results are split and scored.

    Attributes:
        atoms: the structure; positions and cell in Å. Never changed by mpprobe.
        source: where it came from, ``file@index``; used in messages and tables.
        compound: what splits by compound hold out (``info["compound"]``, else the reduced formula).
        domain: where the structure comes from: ``bulk``, ``surface``, ... (``info["domain"]``,
            else ``unlabelled``).
        group: frames of one group stay together in splits by structure (``info["group"]``, else
            ``source``, so that every frame stands alone).
    """

    atoms: Atoms
    source: str
    compound: str
    domain: str
    group: str

    def __len__(self) -> int:
        return len(self.atoms)

    @property
    def numbers(self) -> np.ndarray:
        """Atomic numbers, shape (n_atoms,)."""
        return self.atoms.numbers

    @classmethod
    def from_atoms(cls, atoms: Atoms, source: str) -> Frame:
        """Label ``atoms`` from its ``info``, with the defaults stated for each attribute."""
        info = atoms.info
        return cls(
            atoms=atoms,
            source=source,
            compound=str(info.get("compound") or atoms.get_chemical_formula(empirical=True)),
            domain=str(info.get("domain") or "unlabelled"),
            group=str(info.get("group") or source),
        )


def as_frames(structures: Atoms | Frame | Iterable[Atoms | Frame]) -> list[Frame]:
    """Frames from ASE structures, frames, or a mixture; frames pass through unchanged."""
    if isinstance(structures, (Atoms, Frame)):
        structures = [structures]
    return [
        s if isinstance(s, Frame) else Frame.from_atoms(s, f"structure@{i}")
        for i, s in enumerate(structures)
    ]
