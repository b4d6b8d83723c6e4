"""What makes a structure unusable, found before any model sees it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols

from mpprobe.errors import StructureError
from mpprobe.structures.frame import Frame, as_frames

OVERLAP = 0.3
"""Two atoms closer than this (Å) are taken for one atom given twice: no bond is so short."""


LARGEST = 1e7
"""Coordinates above this (Å, a millimetre) are no structure's; rounding would swallow bonds."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong with one structure.

    Attributes:
        source: the frame's ``file@index``.
        message: what is wrong and what to do, in one line, without the source.
    """

    source: str
    message: str

    def __str__(self) -> str:
        return f"{self.source}: {self.message}"


def check(
    frames: Atoms | Frame | Iterable[Atoms | Frame],
    *,
    species: Iterable[int | str] | None = None,
    cutoff: float | None = None,
    needs_ewald: bool = False,
) -> None:
    """Raise on the first problem of :func:`find_problems`, saying how many other frames have any.

    Args: as for :func:`find_problems`.

    Raises:
        StructureError: naming file, frame, what is wrong and what to do.
    """
    problems = find_problems(frames, species=species, cutoff=cutoff, needs_ewald=needs_ewald)
    if not problems:
        return
    others = len({p.source for p in problems} - {problems[0].source})
    more = f" ({others} more of the structures can't be used either)" if others else ""
    raise StructureError(f"{problems[0]}{more}")


def find_problems(
    frames: Atoms | Frame | Iterable[Atoms | Frame],
    *,
    species: Iterable[int | str] | None = None,
    cutoff: float | None = None,
    needs_ewald: bool = False,
) -> list[Problem]:
    """Everything wrong with the frames, in their order; an empty list when all can be used.

    Args:
        frames: the structures.
        species: the elements a model knows, as symbols or atomic numbers; None for any.
        cutoff: a model's cutoff in Å: a structure without a single pair of atoms within it has
            an empty graph. None to allow that.
        needs_ewald: whether potentials or fields will be summed over the periodic images, which
            is defined for 0, 2 or 3 periodic directions and not for 1.

    Raises:
        StructureError: ``species`` holds something that is not an element.
    """
    known = None if species is None else {_number(s) for s in species}
    return [
        Problem(frame.source, message)
        for frame in as_frames(frames)
        for message in _messages(frame.atoms, known, cutoff, needs_ewald)
    ]


def closest_pair(atoms: Atoms, radius: float) -> tuple[int, int, float] | None:
    """The two closest atoms, periodic images counted: (i, j, distance in Å), or None.

    i = j where an atom is closest to its own image; None when no pair is within ``radius`` (Å).
    Positions and cell must be finite, and the cell not singular.
    """
    from scipy.spatial import cKDTree  # half a second that reading alone needn't wait for

    points, owner = _with_images(atoms, radius)
    positions = points[: len(atoms)]
    if len(points) < 2:
        return None
    distances, partners = cKDTree(points).query(positions, k=2, distance_upper_bound=radius)
    i = int(np.argmin(distances[:, 1]))
    if not np.isfinite(distances[i, 1]):
        return None
    # Two atoms at one place are each other's nearest in either order: take the one that isn't i.
    partner = next(p for p in partners[i, ::-1] if p != i)
    return i, int(owner[partner]), float(distances[i, 1])


def close_atoms(atoms: Atoms, radius: float) -> np.ndarray:
    """Which atoms have another, or an image, closer than ``radius`` (Å): (n_atoms,)."""
    from scipy.spatial import cKDTree

    if radius <= 0:
        return np.zeros(len(atoms), dtype=bool)
    points, _ = _with_images(atoms, radius)
    distances, _ = cKDTree(points).query(points[: len(atoms)], k=2, distance_upper_bound=radius)
    return np.isfinite(distances[:, 1])


def _messages(
    atoms: Atoms, known: set[int] | None, cutoff: float | None, needs_ewald: bool
) -> Iterator[str]:
    if len(atoms) == 0:
        yield "it holds no atoms; leave it out"
        return
    yield from _unknown_species(atoms, known)
    if needs_ewald and np.sum(atoms.pbc) == 1:
        yield (
            "it is periodic in one direction only, and the Ewald sum takes 0, 2 or 3; "
            "set its pbc to all three (with vacuum around it) or to none"
        )
    bad = _not_finite(atoms) or _singular_cell(atoms)
    if bad:
        yield bad
        return
    yield from _distances(atoms, cutoff)


def _unknown_species(atoms: Atoms, known: set[int] | None) -> Iterator[str]:
    unknown = sorted(set(atoms.numbers.tolist()) - known) if known is not None else []
    if unknown:
        names = ", ".join(chemical_symbols[z] for z in unknown)
        yield (
            f"the model does not know {names}; leave this structure out or choose a model "
            "that was trained on every element in it"
        )


def _not_finite(atoms: Atoms) -> str | None:
    bad = np.flatnonzero(~np.isfinite(atoms.positions).all(axis=1))
    if len(bad):
        first = f"{atoms.symbols[bad[0]]} (atom {bad[0]})"
        return f"positions of {len(bad)} atoms are NaN or infinite, first {first}; correct the file"
    if not np.isfinite(atoms.cell.array).all():
        return "its cell holds NaN or infinity; correct the file"
    if max(np.abs(atoms.positions).max(), np.abs(atoms.cell.array).max()) > LARGEST:
        return (
            f"it has lengths above {LARGEST:g} Å; check the unit of length (Å), or correct the file"
        )
    return None


def _singular_cell(atoms: Atoms) -> str | None:
    """A periodic direction without a cell vector, or with parallel or vanishing ones."""
    vectors = atoms.cell.array[atoms.pbc]
    singular = len(vectors) and np.linalg.matrix_rank(vectors, tol=1e-6) < len(vectors)
    if singular or (len(vectors) and np.min(_thickness(vectors)) < OVERLAP):
        return (
            "its cell is zero, flat or thinner than "
            f"{OVERLAP} Å along a periodic direction; give the cell, or set pbc to F F F"
        )
    return None


def _distances(atoms: Atoms, cutoff: float | None) -> Iterator[str]:
    # Double atoms first, for which few images are needed: without any, a cell however thin holds
    # so few atoms that all images within the cutoff fit in memory.
    double = closest_pair(atoms, OVERLAP)
    if double is not None:
        i, j, distance = double
        image = " (its periodic image)" if i == j else ""
        yield (
            f"{atoms.symbols[i]} (atom {i}) and {atoms.symbols[j]} (atom {j}){image} are "
            f"{distance:.2f} Å apart; remove the double atom, or check cell and unit of length (Å)"
        )
    elif cutoff is not None and closest_pair(atoms, max(OVERLAP, cutoff)) is None:
        yield (
            f"no two atoms are within the model's cutoff of {cutoff:g} Å, so its graph is "
            "empty; check the unit of length (Å) or leave it out"
        )


def _with_images(atoms: Atoms, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Wrapped positions, then every periodic image within ``radius`` of the cell, and owners."""
    periodic = np.asarray(atoms.pbc)
    if not periodic.any():
        return atoms.positions, np.arange(len(atoms))
    cell = _completed(atoms.cell.array, periodic)
    scaled = np.linalg.solve(cell.T, atoms.positions.T).T
    scaled[:, periodic] %= 1.0
    margin = np.zeros(3)
    margin[periodic] = radius / _thickness(cell[periodic])
    reach = [range(-n, n + 1) for n in np.ceil(margin).astype(int)]
    shifts = np.array(sorted(itertools.product(*reach), key=lambda s: s != (0, 0, 0)))
    images = (shifts[:, None, :] + scaled[None]).reshape(-1, 3)
    near = ((images >= -margin) & (images <= 1.0 + margin) | ~periodic).all(axis=1)
    near[: len(atoms)] = True
    owner = np.tile(np.arange(len(atoms)), len(shifts))
    return images[near] @ cell, owner[near]


def _completed(cell: np.ndarray, periodic: np.ndarray) -> np.ndarray:
    """The cell with unit vectors normal to the periodic ones in place of all others."""
    vectors = cell[periodic]
    completed = cell.copy()
    # The right singular vectors beyond the rank span what the periodic vectors leave free.
    completed[~periodic] = np.linalg.svd(vectors)[2][len(vectors) :]
    return completed


def _thickness(vectors: np.ndarray) -> np.ndarray:
    """Distance in Å between opposite faces along each of k independent vectors, shape (k,)."""
    return 1.0 / np.linalg.norm(np.linalg.pinv(vectors), axis=0)


def _number(species: int | str) -> int:
    if isinstance(species, str):
        if species not in atomic_numbers:
            raise StructureError(f"{species!r} is not an element; give symbols such as Na")
        return atomic_numbers[species]
    return int(species)
