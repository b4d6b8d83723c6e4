"""The cell in which a structure's electrostatic sums run, for each kind of periodicity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mpprobe.errors import TargetError
from mpprobe.structures import Frame

#: Å. Below this a slab's images would count as neighbours, whatever their fields do.
_LEAST_GAP = 6.0
#: Å. Closer atoms are one atom given twice.
_COINCIDENT = 1e-3


@dataclass(frozen=True)
class Box:
    """A structure moved into a compact cell that encloses it; its own periodicity is kept.

    Attributes:
        positions: Å, shape (n_atoms, 3), inside the cell.
        cell: Å, rows are lattice vectors, shape (3, 3). Of a slab, the third is its normal, along
            z, and holds the vacuum; of a cluster, all three are only there to enclose it.
        periodic: which cell vectors the structure repeats along, bool, shape (3,).
        axes: rows are the box's Cartesian axes in those of the structure, shape (3, 3).
        source: the frame's, for messages.
    """

    positions: np.ndarray
    cell: np.ndarray
    periodic: np.ndarray
    axes: np.ndarray
    source: str

    @property
    def volume(self) -> float:
        """Å³."""
        return abs(float(np.linalg.det(self.cell)))

    def to_structure(self, vectors: np.ndarray) -> np.ndarray:
        """Turn vectors, shape (n, 3), from the box's axes to the structure's."""
        return vectors @ self.axes


def box_of(frame: Frame, decay: float = 23.0) -> Box:
    """The box of ``frame``, whichever of its directions are periodic.

    Args:
        frame: the structure.
        decay: how far a slab is kept from its images along the normal: what varies within its
            plane has fallen there by at least exp(-decay), since the part with the in-plane wave
            vector G falls as exp(-G z).

    Raises:
        TargetError: no atoms or positions that aren't numbers, a single periodic direction, or
            periodic directions without a cell.
    """
    if not len(frame) or not np.isfinite(frame.atoms.positions).all():
        raise TargetError(f"{frame.source}: no atoms, or positions not finite; leave it out")
    build = {0: _cluster_box, 2: _slab_box, 3: _bulk_box}.get(int(frame.atoms.pbc.sum()))
    if build is None:
        raise TargetError(
            f"{frame.source}: one periodic direction, for which there is no electrostatic sum "
            "here; set pbc to none, two or three directions"
        )
    return build(frame, decay)


def pairs(box: Box, cutoff: float, every_axis: bool = False) -> tuple[np.ndarray, ...]:
    """All pairs within ``cutoff`` (Å), each both ways, images of an atom by itself included.

    Args:
        box: the structure.
        cutoff: Å.
        every_axis: repeat the box along all its vectors, periodic or not.

    Returns:
        i, j, shape (n_pairs,), and the vectors from i to j in Å, shape (n_pairs, 3).

    Raises:
        TargetError: two atoms in one place.
    """
    from matscipy.neighbours import neighbour_list

    periodic = np.ones(3, dtype=bool) if every_axis else box.periodic
    i, j, vectors = neighbour_list(
        "ijD", pbc=periodic, cell=box.cell, positions=box.positions, cutoff=cutoff
    )
    check_apart(box, i, j, np.linalg.norm(vectors, axis=1))
    return i, j, vectors


def check_apart(box: Box, i: np.ndarray, j: np.ndarray, distances: np.ndarray) -> None:
    """Raise a TargetError if one of the pairs (i, j) at ``distances`` (Å) is in one place."""
    close = np.flatnonzero(distances < _COINCIDENT)
    if len(close):
        first, second = i[close[0]], j[close[0]]
        raise TargetError(
            f"{box.source}: atoms {first} and {second} are in the same place; remove one of them"
        )


def _bulk_box(frame: Frame, decay: float) -> Box:
    from ase.geometry import minkowski_reduce

    if frame.atoms.cell.rank < 3:
        raise _no_cell(frame)
    cell = np.array(minkowski_reduce(frame.atoms.cell.array)[0])
    return _wrapped(frame, frame.atoms.positions, cell, np.eye(3))


def _slab_box(frame: Frame, decay: float) -> Box:
    vectors = frame.atoms.cell.array[frame.atoms.pbc]
    if np.linalg.matrix_rank(vectors) < 2:
        raise _no_cell(frame)
    plane, axes = _plane(vectors)
    positions = frame.atoms.positions @ axes.T
    z = positions[:, 2]
    area = abs(np.linalg.det(plane))
    # 2π over this is the shortest in-plane wave vector.
    widest = area / np.linalg.norm(plane, axis=1).min()
    height = np.ptp(z) + max(_LEAST_GAP, decay * widest / (2 * np.pi))
    cell = np.zeros((3, 3))
    cell[:2, :2], cell[2, 2] = plane, height
    # Centred along the normal, so that wrapping can't cut the slab.
    positions[:, 2] += (height - z.max() - z.min()) / 2
    return _wrapped(frame, positions, cell, axes)


def _cluster_box(frame: Frame, decay: float) -> Box:
    lowest = frame.atoms.positions.min(axis=0)
    cell = np.diag(np.ptp(frame.atoms.positions, axis=0) + 2.0)
    return _wrapped(frame, frame.atoms.positions - lowest + 1.0, cell, np.eye(3))


def _plane(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The shortest two vectors (2, 2) of a plane lattice, and axes (3, 3) with z its normal."""
    from ase.geometry import minkowski_reduce

    normal = np.cross(*vectors)
    normal /= np.linalg.norm(normal)
    reduced = np.array(minkowski_reduce(np.vstack([vectors, normal]), [True, True, False])[0])
    x = reduced[0] / np.linalg.norm(reduced[0])
    axes = np.stack([x, np.cross(normal, x), normal])
    return reduced[:2] @ axes[:2].T, axes


def _wrapped(frame: Frame, positions: np.ndarray, cell: np.ndarray, axes: np.ndarray) -> Box:
    n_periodic = int(frame.atoms.pbc.sum())
    fractional = positions @ np.linalg.inv(cell)
    positions = (fractional - np.floor(fractional)) @ cell
    return Box(positions, cell, np.arange(3) < n_periodic, axes, frame.source)


def _no_cell(frame: Frame) -> TargetError:
    return TargetError(
        f"{frame.source}: its periodic directions have no cell, or a flat one; "
        "give it a cell or set pbc to false"
    )
