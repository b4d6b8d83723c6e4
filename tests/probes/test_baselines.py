"""Baselines: what symmetry demands of a descriptor, and what a mean is."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111
from ase.neighborlist import neighbor_list
from scipy.spatial.transform import Rotation

from mpprobe.probes import baselines
from mpprobe.probes.baselines import (
    neighbour_vectors,
    radial_densities,
    random_projection,
    soap,
    species_means,
)
from mpprobe.probes.crossfit import cross_predict
from mpprobe.probes.splits import make_split
from mpprobe.structures.frame import Frame, as_frames

CUTOFF = 4.0
SCALARS = [soap, radial_densities]
ALL = [*SCALARS, neighbour_vectors]


def crystal():
    atoms = bulk("NaCl", "rocksalt", 5.0, cubic=True)
    atoms.rattle(0.3, seed=1)
    return atoms


def cluster():
    rng = np.random.default_rng(0)
    return Atoms("Na3Cl2O", positions=3 * rng.normal(size=(6, 3)))


def slab():
    atoms = fcc111("Al", (2, 2, 2), a=4.0, vacuum=0.0)  # layers touch their images if repeated
    atoms.pbc = (True, True, False)
    atoms.rattle(0.1, seed=2)
    return atoms


def turned(atoms, matrix):
    atoms = atoms.copy()
    atoms.set_cell(atoms.cell.array @ matrix.T)
    atoms.positions = atoms.positions @ matrix.T
    return atoms


@pytest.fixture
def turn():
    return Rotation.random(random_state=3).as_matrix()


@pytest.mark.parametrize("describe", SCALARS)
@pytest.mark.parametrize("make", [crystal, cluster])
def test_scalars_do_not_change_when_the_structure_is_turned_or_moved(describe, make, turn):
    moved = turned(make(), turn)
    moved.positions += [1.0, 2.0, 3.0]
    first, second = describe(as_frames(make()), CUTOFF), describe(as_frames(moved), CUTOFF)
    assert np.std(first, axis=0).max() > 1e-3
    np.testing.assert_allclose(second, first, atol=1e-6)


@pytest.mark.parametrize("make", [crystal, cluster])
def test_vectors_turn_with_the_structure(make, turn):
    still = neighbour_vectors(as_frames(make()), CUTOFF)
    moved = neighbour_vectors(as_frames(turned(make(), turn)), CUTOFF)
    assert np.abs(still).max() > 1e-2
    np.testing.assert_allclose(moved, still @ turn.T, atol=1e-6)


def test_vectors_point_from_the_atom_to_its_neighbour():
    pair = Atoms("NaCl", positions=[[0, 0, 0], [0.6, -1.2, 1.8]])
    vectors = neighbour_vectors(as_frames(pair), CUTOFF).reshape(2, 2, 5, 3)
    chlorine_by_sodium = vectors[0, 1]
    np.testing.assert_allclose(vectors[0, 0], 0.0, atol=1e-12)
    np.testing.assert_allclose(
        np.cross(chlorine_by_sodium, pair.positions[1]), np.zeros((5, 3)), atol=1e-9
    )
    assert chlorine_by_sodium[0] @ pair.positions[1] > 0


def test_the_field_of_the_charges_within_the_cutoff_is_a_linear_map_of_the_vectors():
    frames = []
    for i in range(20):
        atoms = bulk("NaCl", "rocksalt", 5.6, cubic=True)
        atoms.rattle(0.2, seed=i)
        frames.append(Frame.from_atoms(atoms, str(i)))
    field = np.concatenate([local_field(f.atoms) for f in frames])[..., None]
    vectors = neighbour_vectors(frames, CUTOFF)
    fit = cross_predict(vectors, field, make_split("structure", frames))
    assert ((field - fit.predictions) ** 2).sum() < 0.02 * (field**2).sum()


def local_field(atoms):
    """Σ_j q_j r_ij/r_ij³ over the atoms j within the cutoff, smoothly ended."""
    i, j, d, vector = neighbor_list("ijdD", atoms, CUTOFF)
    charge = np.where(atoms.numbers == 11, 1.0, -1.0)[j]
    window = np.cos(np.pi * d / CUTOFF) + 1
    field = np.zeros((len(atoms), 3))
    np.add.at(field, i, -(charge * window / d**3)[:, None] * vector)
    return field


@pytest.mark.parametrize("describe", ALL)
@pytest.mark.parametrize("make", [crystal, cluster, slab])
def test_order_batches_and_company_do_not_matter(describe, make, monkeypatch):
    frames = as_frames([crystal(), make(), cluster()])
    whole = describe(frames, CUTOFF)
    order = np.random.default_rng(0).permutation(len(make()))
    shuffled = describe(as_frames([crystal(), make()[order], cluster()]), CUTOFF)
    rows = np.concatenate([np.arange(8), 8 + order, np.arange(8 + len(order), len(whole))])
    np.testing.assert_allclose(shuffled, whole[rows], atol=1e-9)
    monkeypatch.setattr("mpprobe.probes.baselines.BATCH_ATOMS", 1)
    np.testing.assert_allclose(describe(frames, CUTOFF), whole, atol=1e-9)


def test_the_density_of_all_neighbours_goes_with_an_atoms_own_species():
    frames = as_frames(cluster())
    numbers = frames[0].numbers
    n_species = len(np.unique(numbers))
    density = radial_densities(frames, CUTOFF)[:, :-n_species].reshape(6, 2, n_species, -1)
    own = numbers[:, None] == np.unique(numbers)
    whole = density[:, 0].sum(axis=1)
    assert (np.abs(density[:, 0]).max(axis=2) > 0.01).sum() > 6  # of other species too
    np.testing.assert_allclose(density[:, 1], own[..., None] * whole[:, None], atol=1e-12)


@pytest.mark.parametrize("describe", ALL)
def test_neighbours_fade_out_at_the_cutoff(describe):
    near, inside, outside = (
        describe(as_frames(Atoms("NaCl", [[0, 0, 0], [x, 0, 0]])), CUTOFF)
        for x in (CUTOFF / 2, CUTOFF - 0.01, CUTOFF + 0.01)
    )
    assert np.abs(inside - outside).max() < 0.01 * np.abs(near - outside).max()


@pytest.mark.parametrize("describe", ALL)
def test_open_directions_see_no_image(describe):
    """A slab equals the same slab in a box with much vacuum, periodic in every direction."""
    boxed = slab()
    boxed.cell[2] = [0, 0, 60.0]
    boxed.pbc = True
    np.testing.assert_allclose(
        describe(as_frames(slab()), CUTOFF), describe(as_frames(boxed), CUTOFF), atol=1e-9
    )
    closed = slab()
    closed.cell[2, 2] = 5.0
    closed.pbc = True
    images = describe(as_frames(closed), CUTOFF)
    assert np.abs(images - describe(as_frames(slab()), CUTOFF)).max() > 1e-3


def test_a_slab_may_lie_in_any_plane():
    """Here in one that holds the vector (1, 1, 1)."""
    axis = np.array([1.0, 1.0, 1.0]) / 3**0.5
    side = np.array([1.0, -1.0, 0.0]) / 2**0.5
    turn = np.stack([axis, side, np.cross(axis, side)], axis=1)
    found = [radial_densities(as_frames(s), CUTOFF) for s in (slab(), turned(slab(), turn))]
    np.testing.assert_allclose(found[1], found[0], atol=1e-9)


@pytest.mark.parametrize("describe", ALL)
def test_the_cell_of_a_cluster_does_not_matter(describe):
    boxed = cluster()
    boxed.cell = [3.0, 3.0, 3.0]  # smaller than the cluster, but not periodic
    np.testing.assert_array_equal(
        describe(as_frames(boxed), CUTOFF), describe(as_frames(cluster()), CUTOFF)
    )


def test_an_isolated_atom_is_described():
    alone = as_frames(Atoms("Na"))
    assert np.isfinite(soap(alone, CUTOFF)).all()
    assert np.linalg.norm(soap(alone, CUTOFF)) > 0
    np.testing.assert_allclose(neighbour_vectors(alone, CUTOFF), 0.0, atol=1e-12)


def test_nothing_beyond_the_cutoff_is_seen():
    near = Atoms("NaClO", positions=[[0, 0, 0], [2, 0, 0], [-1.9, -2, 0]])
    far = near.copy()
    far.positions[2] = [-3, -3, 0]  # 4.2 Å from Na and farther from Cl, where it was 2.8 from Na
    gone = near[:2]
    for describe in ALL:
        trio = [describe(as_frames([x, Atoms("O")]), CUTOFF)[0] for x in (near, far, gone)]
        np.testing.assert_allclose(trio[1], trio[2], atol=1e-12)
        assert np.abs(trio[0] - trio[2]).max() > 1e-4


def test_soap_tells_angles_apart_and_radial_densities_do_not():
    bent = Atoms("NaCl2", positions=[[0, 0, 0], [2, 0, 0], [0, 2, 0]])
    straight = Atoms("NaCl2", positions=[[0, 0, 0], [2, 0, 0], [-2, 0, 0]])
    gap = [
        np.abs(d(as_frames(bent), CUTOFF)[0] - d(as_frames(straight), CUTOFF)[0]).max()
        for d in SCALARS
    ]
    assert gap[0] > 1e-2
    assert gap[1] < 1e-9


def test_the_projection_keeps_distances_and_the_seed_decides_it():
    frames = as_frames(crystal())
    wide, other = soap(frames, CUTOFF, width=4000), soap(frames, CUTOFF, width=4000, seed=1)
    assert wide.shape == (8, 4002)

    def distances(X):
        return np.linalg.norm(X[:, None, :4000] - X[None, :, :4000], axis=-1)[np.triu_indices(8, 1)]

    np.testing.assert_allclose(distances(wide), distances(other), rtol=0.15)
    np.testing.assert_array_equal(wide, soap(frames, CUTOFF, width=4000))
    assert (wide != other).any()


def test_soap_is_the_spectrum_over_the_root_of_its_length():
    frames, square = as_frames(crystal()), np.zeros(8)
    calculator = baselines._calculator("SoapPowerSpectrum", CUTOFF, baselines.MAX_ANGULAR)
    for _, rows, values in baselines._blocks(calculator, frames, CUTOFF):
        square[rows] += (values**2).sum(axis=1)
    found = np.linalg.norm(soap(frames, CUTOFF, width=4000)[:, :4000], axis=1)
    np.testing.assert_allclose(found, square**0.25, rtol=0.1)


def test_random_projection_mixes_channels_and_keeps_equivariance(turn):
    X = np.random.default_rng(0).normal(size=(20, 7, 3))
    mixed = random_projection(X, 4, seed=1)
    assert mixed.shape == (20, 4, 3)
    np.testing.assert_allclose(random_projection(X @ turn.T, 4, seed=1), mixed @ turn.T)
    flat = random_projection(X[..., 0], 4, seed=1)
    np.testing.assert_allclose(flat, mixed[..., 0])


def test_random_projection_keeps_lengths_on_average():
    X = np.random.default_rng(0).normal(size=(20, 7))
    lengths = (np.linalg.norm(Y, axis=1) for Y in (random_projection(X, 4000), X))
    np.testing.assert_allclose(*lengths, rtol=0.1)


@pytest.mark.parametrize("species", [None, (8, 11, 17)])
def test_widths_are_by_species(species):
    frames = as_frames(crystal())
    n = 2 if species is None else len(species)
    assert soap(frames, CUTOFF, species=species).shape == (8, 512 + n)
    assert radial_densities(frames, CUTOFF, species=species).shape == (8, 11 * n)
    assert neighbour_vectors(frames, CUTOFF, species=species).shape == (8, 5 * n, 3)


@pytest.mark.parametrize("describe", SCALARS)
def test_the_last_columns_are_one_hot_species(describe):
    frames = as_frames(crystal())
    expected = frames[0].numbers[:, None] == np.array([8, 11, 17])
    np.testing.assert_array_equal(describe(frames, CUTOFF, species=(8, 11, 17))[:, -3:], expected)
    np.testing.assert_array_equal(describe(frames, CUTOFF)[:, -2:], expected[:, 1:])


# --- species means ---------------------------------------------------------------------------


@pytest.fixture
def oxides():
    formulas = ["MgO", "CaO", "NaCl", "KBr", "Mg2O2"] * 4
    return [Frame(Atoms(f), str(i), f, "bulk", str(i)) for i, f in enumerate(formulas)]


@pytest.mark.parametrize("name", ["structure", "compound", "element"])
def test_species_means_are_those_of_the_training_set(oxides, name):
    split = make_split(name, oxides)
    z = np.concatenate([f.numbers for f in oxides])
    y = np.random.default_rng(0).normal(size=(len(z), 2)) + z[:, None]
    means = species_means(y, z, split)
    for i in range(len(z)):
        rows = split.training_rows(split.test[i])
        known = rows & (z == z[i])
        expected = y[known if known.any() else rows].mean(axis=0)
        np.testing.assert_allclose(means[i], expected)


def test_species_means_are_the_one_hot_probe_without_penalty(oxides):
    split = make_split("structure", oxides)
    z = np.concatenate([f.numbers for f in oxides])
    y = np.random.default_rng(0).normal(size=(len(z), 1)) + z[:, None]
    one_hot = (z[:, None] == np.unique(z)).astype(float)
    fit = cross_predict(one_hot, y, split, penalties=[1e-12])
    np.testing.assert_allclose(species_means(y, z, split), fit.predictions, atol=1e-6)


def test_the_mean_of_vectors_is_zero(oxides):
    split = make_split("structure", oxides)
    z = np.concatenate([f.numbers for f in oxides])
    assert (species_means(np.ones((len(z), 3, 1)), z, split) == 0).all()
