"""Which atom each row of the node features is, the same for every layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mpprobe.structures import Frame


@dataclass(frozen=True)
class Rows:
    """One row an atom, structures in their order; all of their atoms, or some.

    Attributes:
        frame: index of the atom's structure, shape (n_atoms,).
        atom: its index within the structure, shape (n_atoms,).
        species: its atomic number, shape (n_atoms,).
    """

    frame: np.ndarray
    atom: np.ndarray
    species: np.ndarray

    def __len__(self) -> int:
        return len(self.species)

    @classmethod
    def of(cls, frames: Sequence[Frame]) -> Rows:
        """Rows of all atoms of ``frames``."""
        sizes = [len(frame) for frame in frames]
        return cls(
            frame=np.repeat(np.arange(len(frames)), sizes),
            atom=np.concatenate([np.arange(n) for n in sizes]),
            species=np.concatenate([frame.numbers for frame in frames]),
        )

    def taken(self, chosen: np.ndarray) -> Rows:
        """Those rows for which ``chosen`` (n_atoms,) is true."""
        return Rows(self.frame[chosen], self.atom[chosen], self.species[chosen])

    def split(self, values: np.ndarray) -> list[np.ndarray]:
        """Per-atom ``values`` (n_atoms, ...) as one array for each structure."""
        return np.split(values, np.flatnonzero(np.diff(self.frame)) + 1)
