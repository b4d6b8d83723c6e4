"""Copies and neighbouring frames of a trajectory, which no split may put on both sides.

A probe trained on a structure knows its copies too: with copies in the test set, even random
numbers look decodable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist
from threadpoolctl import threadpool_limits

from mpprobe.probes.baselines import neighbour_vectors, radial_densities
from mpprobe.structures.frame import Frame, conventional_formula

#: Squared distance of atoms to their likes in the other structure, over that within their own.
THRESHOLD = 0.1

# Å. Environments are between so wide: outside, the radial functions can't be made.
NARROWEST, WIDEST = 4.0, 8.0

# Near duplicates differ by no more than random displacements of this size do, in Å.
FARTHEST = 0.04

# The atoms of a structure that are looked for in the others: those most unlike the rest.
N_ATOMS = 16

# Atoms within this squared distance are the same. Distances are in units of the spread over the
# set, or of this part of the descriptors' own size where they hardly vary.
SAME = 1e-6
LEAST_SPREAD = 1e-2


def near_duplicates(
    frames: Sequence[Frame], cutoff: float, threshold: float = THRESHOLD
) -> np.ndarray:
    """Label the structures; near duplicates of each other share a label.

    An atom is described by x_i: the densities of :func:`radial_densities` and the lengths of
    :func:`neighbour_vectors`, each over its standard deviation among the atoms of the species. A
    structure A is found in B of the same reduced formula if

        mean_i min_{j in B} |x_i − x_j|² < threshold · mean_i min_{j in A, x_j ≠ x_i} |x_i − x_j|²,

    with j of the species of i, and i the 16 atoms of A that are farthest from their likes in A.
    The ratio is about 1 for independent random or thermal displacements of one crystal, however
    small, and about (δ/σ)² if B is A displaced by δ, and A a crystal displaced by σ. (The means of
    x over a structure would not do: in a symmetric crystal they hardly depend on the draw.)
    Molecules have few atoms that are alike, so the left side must also be below what displacements
    of 0.04 Å give; independent ones smaller than that may count as duplicates there. So do, the
    sides being means, structures that differ by one atom moved by some 0.1 Å.

    Near duplicates are found in each other, or linked by others. The order of the atoms, the
    origin, the orientation and repeats of the cell don't matter.

    Without two different atoms of one species, as in perfect crystals and in cells with one atom
    of each, only copies are found: same to 3e-4 of the spread over the set, or to 3e-6 of x.

    Args:
        frames: the structures.
        cutoff: radius of the environments, Å; that of the potential probed, but
            between 4 and 8 Å.
        threshold: of the ratio. With 0.1, frames of metals at 300 to 1,000 K are near duplicates
            up to 5 fs apart and differ from 10 fs on (gold and copper: 10 and 20 fs). A trajectory
            with frames closer than that is linked from end to end.

    Returns:
        (n_frames,) labels: for each structure, the index of the first one it is linked with.

    Raises:
        MissingPackageError: featomic is not installed.
    """
    cutoff = min(max(cutoff, NARROWEST), WIDEST)
    labels = np.arange(len(frames))
    formulas = np.array([conventional_formula(f.atoms) for f in frames])
    for formula in np.unique(formulas):
        rows = np.flatnonzero(formulas == formula)
        if len(rows) > 1:
            # The products of matrices are small: threads would mostly wait for each other.
            with threadpool_limits(limits=1, user_api="blas"):
                found = _found([frames[i] for i in rows.tolist()], cutoff, threshold)
            part = connected_components(csr_array(found & found.T), directed=False)[1]
            labels[rows] = rows[np.unique(part, return_index=True)[1]][part]
    return labels


def kept_together(frames: Sequence[Frame], cutoff: float) -> tuple[list[Frame], int]:
    """Merge the groups of near duplicates, so that splits by structure keep them on one side.

    A merged group takes the label of its first frame.

    Args:
        frames: the structures.
        cutoff: as in :func:`near_duplicates`.

    Returns:
        The frames, the same objects where the group stays; and how many structures are near
        duplicates of an earlier one.
    """
    labels, n = near_duplicates(frames, cutoff), len(frames)
    # A graph of labels and groups, in which each frame links its label to its group.
    groups = n + np.unique([f.group for f in frames], return_inverse=True)[1]
    links = csr_array((np.ones(n), (labels, groups)), shape=(2 * n + 1, 2 * n + 1))
    part = connected_components(links, directed=False)[1][labels]
    first: dict[int, str] = {}
    merged = [first.setdefault(p, f.group) for p, f in zip(part.tolist(), frames, strict=True)]
    kept = [f if f.group == g else replace(f, group=g) for f, g in zip(frames, merged, strict=True)]
    return kept, int((labels < np.arange(n)).sum())


def _found(frames: list[Frame], cutoff: float, threshold: float) -> np.ndarray:
    """(n_frames, n_frames): whether the first structure is found in the second."""
    numbers = np.concatenate([f.numbers for f in frames])
    X, farthest = _descriptors(frames, numbers, cutoff)
    starts = np.cumsum([0, *map(len, frames)])[:-1]
    places = {z: np.flatnonzero(numbers == z) for z in np.unique(numbers)}
    # |x − y|² = |x|² + (x, 1) · (−2y, |y|²)
    tables = {z: np.vstack([-2 * X[p].T, (X[p] ** 2).sum(axis=1)]) for z, p in places.items()}
    found = np.zeros((len(frames), len(frames)), dtype=bool)
    for i, frame in enumerate(frames):
        x = X[starts[i] :][: len(frame)]
        spacing = _spacing(x, frame.numbers)
        telling = np.argsort(-spacing)[:N_ATOMS]
        known = np.sort(spacing[np.isfinite(spacing)])[-N_ATOMS:]
        limit = min(threshold * (known.mean() if len(known) else SAME), farthest)
        nearest = np.full(len(frames), (x[telling] ** 2).sum())
        for z, place in places.items():
            own = x[telling[frame.numbers[telling] == z]]
            distances = np.pad(own, ((0, 0), (0, 1)), constant_values=1.0) @ tables[z]
            first = np.searchsorted(place, starts)
            nearest += np.minimum.reduceat(distances, first, axis=1).sum(axis=0)
        found[i] = nearest < limit * len(telling)
    return found


def _spacing(x: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """(n,) squared distance of each atom to the next different one of its species, inf if none."""
    distances = cdist(x, x, "sqeuclidean")
    distances[(distances < SAME) | (numbers[:, None] != numbers)] = np.inf
    return distances.min(axis=1)


def _descriptors(
    frames: list[Frame], numbers: np.ndarray, cutoff: float
) -> tuple[np.ndarray, float]:
    """(n_atoms, w) in units of their spread, and the squared distance that :data:`FARTHEST` is."""
    some = frames[:: 1 + len(frames) // 3]
    X = _described(frames, cutoff)
    change = _described([_displaced(f) for f in some], cutoff) - _described(some, cutoff)
    changed = np.concatenate([f.numbers for f in some])
    for z in np.unique(numbers):
        own = X[numbers == z]
        least = LEAST_SPREAD * np.sqrt((own**2).mean())
        unit = np.maximum(own.std(axis=0), least) * np.sqrt(X.shape[1])
        X[numbers == z] = (own - own.mean(axis=0)) / unit
        change[changed == z] /= unit
    return X, float((change**2).sum(axis=1).mean())


def _described(frames: list[Frame], cutoff: float) -> np.ndarray:
    """(n_atoms, w): the density of the neighbours by species, and how lopsided it is."""
    species = np.unique(frames[0].numbers)
    densities = radial_densities(frames, cutoff, species=species)[:, : -len(species)]
    vectors = neighbour_vectors(frames, cutoff, species=species)
    return np.hstack([densities, np.linalg.norm(vectors, axis=2)])


def _displaced(frame: Frame) -> Frame:
    atoms = frame.atoms.copy()
    atoms.positions += np.random.default_rng(0).normal(scale=FARTHEST, size=atoms.positions.shape)
    return replace(frame, atoms=atoms)
