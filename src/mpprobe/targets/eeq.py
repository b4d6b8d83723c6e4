"""Electronegativity-equilibration charges from the DFT-D4 library, made safe for any cell.

The library sums two repeats of the cell in each direction, of the lattice and of its reciprocal,
takes atoms to be within the cell and knows no two-dimensional periodicity. A skewed, elongated or
tiny cell then costs up to some hundredths of e without a word. So the cell is reduced to its
shortest vectors and repeated until it is compact, which leaves every charge as it is. A slab is
laid beside its mirror image: the dipoles along the normal cancel, so that neither feels a field
from the periodic images, and both carry the charges of the slab alone.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from ase import Atoms
from ase.units import Bohr

from mpprobe.errors import TargetError
from mpprobe.structures import Frame
from mpprobe.targets.boxes import box_of

#: Lawrencium, the last element with parameters; the library takes some later ones and errs.
_LAST_ELEMENT = 103
#: Longest over shortest cell vector up to which the library's sums are good to some 1e-4 e.
_COMPACT = 4.0
#: Å. Shortest cell vector for which they are.
_SHORTEST = 5.0
#: For a slab's gap, see :func:`box_of`: charges hardly feel what is left of the corrugation.
_DECAY = 7.0


def eeq_charges(frame: Frame) -> np.ndarray:
    """Charges of the electronegativity-equilibration model of DFT-D4.

    Caldeweyher et al., J. Chem. Phys. 150, 154122 (2019). They depend on the geometry and add up
    to ``info["charge"]`` (e a cell), else to zero.

    Args:
        frame: the structure, periodic in no, two or three directions.

    Returns:
        e, shape (n_atoms,).

    Raises:
        TargetError: an element without parameters, or a structure the library refuses.
    """
    box = box_of(frame, _DECAY)
    numbers = frame.numbers.astype(np.int64)
    unknown = numbers[(numbers < 1) | (numbers > _LAST_ELEMENT)]
    if len(unknown):
        raise TargetError(
            f"{frame.source}: no eeq charges for the element of atomic number {unknown[0]}, "
            f"only for 1 to {_LAST_ELEMENT}; use formal charges"
        )
    content = (numbers.tobytes(), box.positions.tobytes(), box.cell.tobytes())
    try:
        return _solve(*content, int(box.periodic.sum()), _total_charge(frame)).copy()
    except RuntimeError as error:
        raise TargetError(
            f"{frame.source}: DFT-D4 gives no eeq charges ({error}); mend the structure or use "
            "formal charges"
        ) from error


# Several targets of one frame need the same charges. The key is what the charges depend on, not
# the frame, so that an entry can't go stale.
@lru_cache(maxsize=1024)
def _solve(
    numbers: bytes, positions: bytes, cell: bytes, n_periodic: int, charge: float
) -> np.ndarray:
    """Charges in e, shape (n_atoms,), of the structure whose arrays these are the bytes of."""
    atoms = Atoms(
        numbers=np.frombuffer(numbers, dtype=np.int64),
        positions=np.frombuffer(positions).reshape(-1, 3),
        cell=np.frombuffer(cell).reshape(3, 3),
        pbc=n_periodic > 0,
    )
    enlarged = _with_mirror_image(atoms) if n_periodic == 2 else atoms
    enlarged = _compact(enlarged) if n_periodic else atoms
    return _library_charges(enlarged, charge * len(enlarged) / len(atoms))[: len(atoms)]


def _with_mirror_image(slab: Atoms) -> Atoms:
    """The slab and, above it, its mirror image in the cell's upper face; the cell twice as high."""
    image = slab.copy()
    image.positions[:, 2] = 2 * slab.cell[2, 2] - slab.positions[:, 2]
    both = slab + image
    both.cell[2, 2] *= 2
    return both


def _compact(atoms: Atoms) -> Atoms:
    """The cell repeated until no vector is too short for the library; its own atoms first."""
    lengths = atoms.cell.lengths()
    shortest = max(lengths.max() / _COMPACT, _SHORTEST)
    return atoms * np.ceil(shortest / lengths).astype(int)


def _library_charges(atoms: Atoms, charge: float) -> np.ndarray:
    from dftd4.interface import DispersionModel

    lattice = {"lattice": atoms.cell.array / Bohr, "periodic": atoms.pbc} if any(atoms.pbc) else {}
    model = DispersionModel(atoms.numbers, atoms.positions / Bohr, charge=charge, **lattice)
    return model.get_properties()["partial charges"]


def _total_charge(frame: Frame) -> float:
    charge = frame.atoms.info.get("charge", 0.0)
    try:
        return float(charge)
    except (TypeError, ValueError) as error:
        raise TargetError(
            f"{frame.source}: info['charge'] is {charge!r}, not a number of elementary charges"
        ) from error
