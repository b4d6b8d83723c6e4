"""Reference energies and forces that come with the structures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mpprobe.errors import StructureError, TargetError, shortened
from mpprobe.structures import Frame
from mpprobe.targets.charges import per_atom_array


@dataclass(frozen=True)
class Reference:
    """What a structure's own calculation gave.

    Attributes:
        forces: eV/Å, shape (n_atoms, 3).
        energy: eV, or None where it isn't there.
    """

    forces: np.ndarray
    energy: float | None


def reference_forces(frames: Sequence[Frame]) -> np.ndarray | None:
    """Reference forces of all atoms, eV/Å, (n_atoms, 3); None where some structure has none.

    Raises:
        StructureError: there are some, but not three finite numbers an atom.
    """
    try:
        for frame in frames:
            per_atom_array(frame, "forces")
    except TargetError:
        return None
    return np.concatenate([reference_of(frame).forces for frame in frames])


def reference_of(frame: Frame, forces: str = "forces", energy: str = "energy") -> Reference:
    """Forces and energy stored with a structure, as results of a calculation or by name.

    Args:
        frame: the structure.
        forces: the per-atom array that holds the forces in eV/Å.
        energy: the info key that holds the energy in eV; it may be absent.

    Raises:
        StructureError: there are no such forces, or not three finite numbers an atom; an energy
            that is no number.
    """
    try:
        values = per_atom_array(frame, forces)
    except TargetError as error:
        raise StructureError(
            f"{frame.source}: no reference forces to compare with ({error}); name the array that "
            "holds them (--forces NAME), or give structures that have some"
        ) from None
    if values.shape != (len(frame), 3) or not np.isfinite(values).all():
        raise StructureError(
            f"{frame.source}: the array {forces!r} isn't three finite numbers an atom (eV/Å)"
        )
    stored = getattr(frame.atoms.calc, "results", {})
    found = frame.atoms.info.get(energy, stored.get(energy))
    try:
        number = np.nan if found is None else float(found)
    except (TypeError, ValueError):
        raise StructureError(
            f"{frame.source}: the energy {energy!r} is {shortened(found, 40)!r}, and no number of "
            "eV; correct it, or name another info key (--energy NAME)"
        ) from None
    return Reference(values, number if np.isfinite(number) else None)
