"""What a probe must beat: the species alone, and what is within one cutoff.

The geometry is described by the ``featomic`` library: the SOAP power spectrum (Bartók, Kondor and
Csányi, Phys. Rev. B 87, 184115, 2013) and the density expansion that it is made from; the
electrostatics by sums over the neighbours' charges.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from mpprobe.errors import TargetError, require
from mpprobe.models.graph import neighbour_list
from mpprobe.probes.electronegativity import electronegativities
from mpprobe.probes.splits import Split
from mpprobe.structures.frame import Frame
from mpprobe.targets import Target
from mpprobe.targets.charges import CHARGE_SOURCES, charges_of

if TYPE_CHECKING:
    from ase import Atoms

# Resolution of the density: l ≤ 4, 5 radial functions, Gaussians and a smooth edge of 0.5 Å.
MAX_ANGULAR = 4
MAX_RADIAL = 4
WIDTH = 0.5

# Atoms described at a time, which bounds the memory.
BATCH_ATOMS = 2000

# Radial functions of the local electrostatics.
RADIAL_FUNCTIONS = 12


def label_means(targets: np.ndarray, label: np.ndarray, split: Split) -> np.ndarray:
    """Predict the training set's mean over atoms of the same label: the species, or the kind.

    The overall mean stands in for a label that isn't in the training set. Vectors, whose mean
    depends on how the structures are turned, are predicted as zero.

    Args:
        targets: (n_atoms, t), or (n_atoms, 2l+1, t).
        label: (n_atoms,) atomic numbers, or :func:`mpprobe.probes.scores.kinds`.
        split: of the same atoms.

    Returns:
        Shaped like the targets; NaN for atoms tested in no fold.
    """
    predictions = np.where(split.scored.reshape(-1, *[1] * (targets.ndim - 1)), 0.0, np.nan)
    predictions = np.broadcast_to(predictions, targets.shape).copy()
    for k in range(len(split.folds) if targets.ndim == 2 else 0):
        train, test = split.training_rows(k), split.test == k
        for one in np.unique(label[test]):
            known = train & (label == one)
            rows = known if known.any() else train
            predictions[test & (label == one)] = targets[rows].mean(axis=0)
    return predictions


def random_projection(X: np.ndarray, width: int, seed: int = 0) -> np.ndarray:
    """Mix the channels of ``X`` (n, d) or (n, d, 2l+1) into ``width`` random ones.

    Independent normal weights of variance 1/width keep distances on average (Johnson and
    Lindenstrauss). Used to give a descriptor the width of the layer it is compared with.
    """
    weights = _normal(X.shape[1], width, seed)
    return np.swapaxes(np.swapaxes(X, 1, -1) @ weights, 1, -1)


def soap(
    frames: Sequence[Frame],
    cutoff: float,
    *,
    species: Sequence[int] | np.ndarray | None = None,
    width: int = 512,
    seed: int = 0,
    chosen: Sequence[np.ndarray] | None = None,
) -> np.ndarray:
    """SOAP power spectrum of every atom, randomly projected, beside the atom's own species.

    The spectrum is resolved by pairs of neighbour species. With many species it is thousands wide
    and mostly zero; each pair's part is projected by its own normal matrix, drawn from
    (seed, pair), so that the wide vector is never formed and the features of a structure don't
    depend on what else is in the set. It is divided by the root of its length: being quadratic in
    the density, it so becomes linear in it, which served linear probes best in our trials.

    Args:
        frames: the structures.
        cutoff: radius of the environments, Å; that of the potential probed.
        species: atomic numbers, ascending, where the structures are part of a set with more
            (default: those of the structures).
        width: width of the projection.
        seed: of the projection.
        chosen: which atoms of each structure are wanted, masks (n,); by default all.

    Returns:
        (n_atoms, width + n_species): the projection, then the one-hot species in the order of
        their atomic numbers.

    Raises:
        MissingPackageError: featomic is not installed.
    """
    calculator = _calculator("SoapPowerSpectrum", cutoff, MAX_ANGULAR)
    numbers = _numbers(frames)
    projected, length = np.zeros((len(numbers), width)), np.zeros(len(numbers))
    for key, rows, values in _blocks(calculator, frames, cutoff, chosen):
        pair = key["neighbor_1_type"], key["neighbor_2_type"]
        projected[rows] += values @ _pair_weights(values.shape[1], width, seed, *pair)
        length[rows] += (values**2).sum(axis=1)
    length = np.where(length > 0, length, 1.0)[:, None]  # of atoms that are not wanted
    return _wanted(np.hstack([projected / length**0.25, one_hot(numbers, species)]), chosen)


# At most 128 matrices of 0.5 MB, drawn once for all batches of structures.
@lru_cache(maxsize=128)
def _pair_weights(n: int, width: int, seed: int, z1: int, z2: int) -> np.ndarray:
    return _normal(n, width, [seed, z1, z2])


def radial_densities(
    frames: Sequence[Frame],
    cutoff: float,
    *,
    species: Sequence[int] | np.ndarray | None = None,
    chosen: Sequence[np.ndarray] | None = None,
) -> np.ndarray:
    """The l = 0 part of the density around every atom: distances and species of single neighbours.

    It holds less than SOAP, but carries over better to compounds not trained on: a pair of
    neighbour species may be new where each of the two is known.

    Args:
        frames: the structures.
        cutoff: radius of the environments, Å.
        species, chosen: as in :func:`soap`.

    Returns:
        (n_atoms, 11 n_species): the density by neighbour species (5 radial functions each), that
        of all neighbours by the atom's own species, and the one-hot species.

    Raises:
        MissingPackageError: featomic is not installed.
    """
    calculator = _calculator("SphericalExpansion", cutoff, 0)
    numbers = _numbers(frames)
    species = np.unique(numbers) if species is None else np.asarray(species)
    density = np.zeros((len(numbers), 2, len(species), MAX_RADIAL + 1))
    for key, rows, values in _blocks(calculator, frames, cutoff, chosen):
        neighbour, centre = np.searchsorted(species, [key["neighbor_type"], key["center_type"]])
        density[rows, 0, neighbour] = values[:, 0]
        density[rows, 1, centre] += values[:, 0]
    features = np.hstack([density.reshape(len(numbers), -1), one_hot(numbers, species)])
    return _wanted(features, chosen)


def neighbour_vectors(
    frames: Sequence[Frame],
    cutoff: float,
    *,
    species: Sequence[int] | np.ndarray | None = None,
    chosen: Sequence[np.ndarray] | None = None,
) -> np.ndarray:
    """The l = 1 part of the density around every atom, by neighbour species and radial function.

    Σ_j over the neighbours of one species of a radial function of r_ij times r̂_ij. What is a sum
    over neighbours of a function of distance and species along r̂_ij, as is the field of fixed
    charges within the cutoff, is a linear map of these as far as 5 radial functions resolve it.

    Args:
        frames: the structures.
        cutoff: radius of the environments, Å.
        species, chosen: as in :func:`soap`.

    Returns:
        (n_atoms, 5 n_species, 3), the components in the order x, y, z.

    Raises:
        MissingPackageError: featomic is not installed.
    """
    calculator = _calculator("SphericalExpansion", cutoff, 1)
    numbers = _numbers(frames)
    species = np.unique(numbers) if species is None else np.asarray(species)
    vectors = np.zeros((len(numbers), len(species), MAX_RADIAL + 1, 3))
    for key, rows, values in _blocks(calculator, frames, cutoff, chosen):
        if key["o3_lambda"] == 1:
            # Real spherical harmonics come in the order m = −1, 0, 1, that is y, z, x.
            xyz = np.swapaxes(values, 1, 2)[..., [2, 0, 1]]
            vectors[rows, np.searchsorted(species, key["neighbor_type"])] = xyz
    return _wanted(vectors.reshape(len(numbers), -1, 3), chosen)


@dataclass(frozen=True)
class Weights:
    """What each neighbour counts in :func:`local_electrostatics`.

    Attributes:
        name: such as ``formal charges``.
        values: of the atoms of each structure.
        relative: the neighbour's value less that of the atom itself counts.
    """

    name: str
    values: list[np.ndarray]
    relative: bool = False


def weights_for(target: Target, frames: Sequence[Frame]) -> Weights:
    """The charges whose potential or field a target is; for others the formal charges.

    Where structures have none, differences of Pauling electronegativities.
    """
    if target.charges is not None:
        source = target.charges
        name = f"{source} charges" if source in CHARGE_SOURCES else f"charges of array {source}"
        return Weights(name, [charges_of(f, source) for f in frames])
    try:
        return Weights("formal charges", [charges_of(f, "formal") for f in frames])
    except TargetError:
        values = [electronegativities(f) for f in frames]
        return Weights("electronegativities", values, relative=True)


def local_electrostatics(
    frames: Sequence[Frame],
    cutoff: float,
    weights: Weights,
    l: int = 0,
    *,
    n_functions: int = RADIAL_FUNCTIONS,
    chosen: Sequence[np.ndarray] | None = None,
) -> np.ndarray:
    """Charge-weighted sums over the neighbours within the cutoff, one set for all species.

    Σ_j w_j g_n(r_ij) with g_n(r) = sin(nπr/r_c)/r, n = 1 to 12, the radial functions of the
    potentials themselves without an envelope; for l = 1 times r̂_ij. They end at zero at the cutoff,
    so no atom counts by rounding. A one-cutoff sum of charges is a linear map of them as far as
    twelve functions resolve it, and as one set serves all species it carries over to compounds not
    trained on: the control that what a layer knows of electrostatics has to beat.

    Args:
        frames: the structures.
        cutoff: r_c, Å.
        weights: of the atoms, from :func:`weights_for`.
        l: 0 for sums, 1 for vectors.
        n_functions: how many radial functions.
        chosen: as in :func:`soap`.

    Returns:
        (n_atoms, 12), or (n_atoms, 12, 3) in the order x, y, z.
    """
    order = np.arange(1, n_functions + 1) * np.pi / cutoff
    parts = []
    masks = [np.ones(len(f), dtype=bool) for f in frames] if chosen is None else chosen
    for frame, values, wanted in zip(frames, weights.values, masks, strict=True):
        atoms = frame.atoms
        i, j, shift = neighbour_list(atoms, cutoff)
        i, j, shift = i[wanted[i]], j[wanted[i]], shift[wanted[i]]
        vectors = atoms.positions[j] - atoms.positions[i] + shift @ atoms.cell.array
        distances = np.linalg.norm(vectors, axis=1)
        weight = values[j] - (values[i] if weights.relative else 0.0)
        terms = (weight / distances)[:, None] * np.sin(order * distances[:, None])
        if l == 1:
            terms = terms[:, :, None] * (vectors / distances[:, None])[:, None, :]
        sums = np.zeros((len(atoms), *terms.shape[1:]))
        np.add.at(sums, i, terms)
        parts.append(sums[wanted])
    return np.concatenate(parts)


def _wanted(features: np.ndarray, chosen: Sequence[np.ndarray] | None) -> np.ndarray:
    """The rows of the atoms that are wanted."""
    return features if chosen is None else features[np.concatenate(chosen)]


def _numbers(frames: Sequence[Frame]) -> np.ndarray:
    return np.concatenate([f.numbers for f in frames])


def one_hot(numbers: np.ndarray, species: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
    """Which species each atom is, (n_atoms, n_species): those that occur, ascending, or others."""
    return numbers[:, None] == (np.unique(numbers) if species is None else np.asarray(species))


def _normal(n: int, width: int, seed: int | list[int]) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=width**-0.5, size=(n, width))


def _calculator(name: str, cutoff: float, max_angular: int) -> Any:
    """A featomic calculator of the density within ``cutoff``."""
    require("featomic", "the local-geometry baseline (SOAP)")
    import featomic

    smoothing = featomic.cutoff.ShiftedCosine(width=WIDTH)
    radial = featomic.basis.Gto(max_radial=MAX_RADIAL)
    return getattr(featomic, name)(
        cutoff=featomic.cutoff.Cutoff(radius=cutoff, smoothing=smoothing),
        density=featomic.density.Gaussian(width=WIDTH),
        basis=featomic.basis.TensorProduct(max_angular=max_angular, radial=radial),
    )


def _blocks(
    calculator: Any,
    frames: Sequence[Frame],
    cutoff: float,
    chosen: Sequence[np.ndarray] | None = None,
) -> Iterator[tuple[dict[str, int], np.ndarray, np.ndarray]]:
    """Each block of the descriptor: its key, the rows (atoms of all frames) and the values."""
    from metatensor import Labels

    offsets = np.cumsum([0, *(len(f) for f in frames)])
    for batch in batches(frames):
        systems = [_periodic(frames[i], cutoff) for i in batch]
        samples = None
        if chosen is not None:
            wanted = [(k, a) for k, i in enumerate(batch) for a in np.flatnonzero(chosen[i])]
            samples = Labels(["system", "atom"], np.array(wanted).reshape(-1, 2))
        descriptor = calculator.compute(systems, selected_samples=samples)
        for key, block in descriptor.items():
            rows = offsets[batch[0] + block.samples["system"]] + block.samples["atom"]
            yield dict(zip(key.names, key.values.tolist(), strict=True)), rows, block.values


def batches(frames: Sequence[Frame]) -> Iterator[list[int]]:
    """Indices of runs of frames of about :data:`BATCH_ATOMS` atoms, described at a time."""
    number = np.cumsum([0, *(len(f) for f in frames)])[:-1] // BATCH_ATOMS
    for n in np.unique(number):
        yield np.flatnonzero(number == n).tolist()


def _periodic(frame: Frame, cutoff: float) -> Atoms:
    """The structure as featomic takes it: periodic in all directions or in none.

    A slab or a wire gets vacuum wider than the cutoff along its open directions, so that no atom
    sees an image of its own structure there.
    """
    from ase import Atoms
    from ase.geometry import complete_cell

    atoms = frame.atoms
    if not atoms.pbc.any():
        return Atoms(atoms.numbers, atoms.positions)
    cell = complete_cell(np.where(atoms.pbc[:, None], atoms.cell.array, 0.0))
    extent = np.ptp(atoms.positions @ np.linalg.inv(cell), axis=0)
    cell[~atoms.pbc] *= (extent + 2 * cutoff)[~atoms.pbc, None]
    return Atoms(atoms.numbers, atoms.positions, cell=cell, pbc=True)
