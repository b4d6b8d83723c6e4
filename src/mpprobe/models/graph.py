"""Neighbour graphs of structures, batched: the input every adapter builds its own from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
    from ase import Atoms


@dataclass(frozen=True)
class Batch:
    """Structures joined into one graph.

    Attributes:
        numbers: atomic numbers, int64, shape (n_atoms,).
        positions: Å, shape (n_atoms, 3).
        edge_index: int64, shape (2, n_edges). The edge (i, j) stands for the vector from i to an
            image of j, ``positions[j] - positions[i] + shifts``; every pair is there both ways.
        shifts: Å, shape (n_edges, 3), the lattice translation of j's image.
        unit_shifts: the same in lattice vectors, shape (n_edges, 3).
        frame: which structure each atom belongs to, int64, shape (n_atoms,), ascending.
        cells: Å, rows are lattice vectors, shape (n_frames, 3, 3).
        sources: of the structures, for messages; empty where they aren't known.
    """

    numbers: torch.Tensor
    positions: torch.Tensor
    edge_index: torch.Tensor
    shifts: torch.Tensor
    unit_shifts: torch.Tensor
    frame: torch.Tensor
    cells: torch.Tensor
    sources: tuple[str, ...] = ()

    @property
    def n_atoms(self) -> int:
        return len(self.numbers)

    @property
    def n_frames(self) -> int:
        return len(self.cells)

    def edge_vectors(self) -> torch.Tensor:
        """Vectors along the edges in Å, shape (n_edges, 3), differentiable in the positions."""
        start, end = self.edge_index
        return self.positions[end] - self.positions[start] + self.shifts

    def with_edges(self, edges: np.ndarray) -> Batch:
        """The same batch with only these edges, given by their indices."""
        chosen = self.edge_index.new_tensor(edges)
        return replace(
            self,
            edge_index=self.edge_index[:, chosen],
            shifts=self.shifts[chosen],
            unit_shifts=self.unit_shifts[chosen],
        )

    def to(self, device: torch.device, dtype: torch.dtype) -> Batch:
        """The same batch on ``device``, its lengths in ``dtype``."""
        lengths = ("positions", "shifts", "unit_shifts", "cells")
        indices = ("numbers", "edge_index", "frame")
        return Batch(
            **{name: getattr(self, name).to(device=device, dtype=dtype) for name in lengths},
            **{name: getattr(self, name).to(device=device) for name in indices},
            sources=self.sources,
        )


def split_batch(batch: Batch, n: int) -> list[Batch]:
    """At most ``n`` batches of consecutive structures, with about as many edges each.

    The structures, atoms and edges of a batch from :func:`build_batch` come in the same order; one
    whose edges don't is not split.
    """
    import torch

    of_edge = batch.frame[batch.edge_index[0]]
    if n < 2 or batch.n_frames < 2 or bool((of_edge[1:] < of_edge[:-1]).any()):
        return [batch]
    cost = torch.bincount(of_edge, minlength=batch.n_frames) + 1
    share = ((cost.cumsum(0) - cost / 2) * n / cost.sum()).long()
    starts = torch.searchsorted(share, share.unique()).tolist()
    ends = [*starts[1:], batch.n_frames]
    return [_slice(batch, of_edge, first, end) for first, end in zip(starts, ends, strict=True)]


def _slice(batch: Batch, of_edge: torch.Tensor, first: int, end: int) -> Batch:
    """Structures ``first`` to ``end`` of a batch."""
    import torch

    bounds = torch.tensor([first, end])
    atoms = slice(*torch.searchsorted(batch.frame, bounds).tolist())
    edges = slice(*torch.searchsorted(of_edge, bounds).tolist())
    return Batch(
        numbers=batch.numbers[atoms],
        positions=batch.positions[atoms],
        edge_index=batch.edge_index[:, edges] - atoms.start,
        shifts=batch.shifts[edges],
        unit_shifts=batch.unit_shifts[edges],
        frame=batch.frame[atoms] - first,
        cells=batch.cells[first:end],
        sources=batch.sources[first:end],
    )


def neighbour_list(atoms: Atoms, cutoff: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All pairs closer than ``cutoff`` (Å), counting periodic images.

    Returns:
        i and j, shape (n_edges,), and the translation of j in lattice vectors, (n_edges, 3).
    """
    from matscipy.neighbours import neighbour_list as matscipy_list

    cell, positions = _bounding_cell(atoms, cutoff)
    return matscipy_list("ijS", pbc=atoms.pbc, cell=cell, positions=positions, cutoff=cutoff)


def fewest_bonds(atoms: Atoms, cutoff: float) -> np.ndarray:
    """Fewest bonds shorter than the cutoff (Å) between atoms, (n_atoms, n_atoms); inf: no way."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import shortest_path

    i, j = neighbour_list(atoms, cutoff)[:2]
    bonds = csr_array((np.ones(len(i)), (i, j)), shape=(len(atoms), len(atoms)))
    return shortest_path(bonds, unweighted=True)


def _bounding_cell(atoms: Atoms, cutoff: float) -> tuple[np.ndarray, np.ndarray]:
    """A cell that holds all atoms: free directions get a vector of their own, long enough."""
    cell = atoms.cell.complete().array.copy()
    positions = atoms.positions.copy()
    free = np.flatnonzero(~atoms.pbc)
    if len(free) == 0:
        return cell, positions
    directions = _free_directions(cell, atoms.pbc)
    for axis, direction in zip(free, directions, strict=True):
        height = positions @ direction
        cell[axis] = direction * (np.ptp(height) + 2 * cutoff)
        positions += direction * (cutoff - height.min())
    return cell, positions


def _free_directions(cell: np.ndarray, pbc: np.ndarray) -> np.ndarray:
    """Orthonormal directions normal to every periodic lattice vector."""
    periodic = cell[pbc]
    if len(periodic) == 0:
        return np.eye(3)
    # The right singular vectors beyond the rank span what the periodic vectors leave free.
    return np.linalg.svd(periodic)[2][len(periodic) :]


def build_batch(structures: Sequence[Atoms], cutoff: float) -> Batch:
    """Join ``structures`` into one :class:`Batch` in float64 on the CPU, edges up to ``cutoff`` Å.

    Structures with one or two periodic directions, or none, are taken as they are: free
    directions have no images.
    """
    import torch

    edges, units, shifts, first = [], [], [], 0
    for atoms in structures:
        i, j, unit = neighbour_list(atoms, cutoff)
        edges.append(np.stack([i, j]) + first)
        units.append(unit)
        shifts.append(unit @ atoms.cell.array)
        first += len(atoms)
    sizes = [len(atoms) for atoms in structures]
    return Batch(
        numbers=torch.from_numpy(np.concatenate([a.numbers for a in structures]).astype(np.int64)),
        positions=torch.from_numpy(np.concatenate([a.positions for a in structures])),
        edge_index=torch.from_numpy(np.concatenate(edges, axis=1).astype(np.int64)),
        shifts=torch.from_numpy(np.concatenate(shifts)),
        unit_shifts=torch.from_numpy(np.concatenate(units).astype(np.float64)),
        frame=torch.from_numpy(np.repeat(np.arange(len(sizes)), sizes)),
        cells=torch.from_numpy(np.stack([a.cell.array for a in structures])),
    )
