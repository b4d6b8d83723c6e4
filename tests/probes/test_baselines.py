"""Baselines: what symmetry demands of a descriptor, and what a mean is."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111
from ase.neighborlist import neighbor_list
from scipy.spatial.transform import Rotation

from mpprobe.errors import TargetError
from mpprobe.probes import baselines
from mpprobe.probes.baselines import (
    RADIAL_FUNCTIONS,
    Weights,
    label_means,
    local_electrostatics,
    neighbour_vectors,
    radial_densities,
    random_projection,
    soap,
    weights_for,
)
from mpprobe.probes.chosen import kinds
from mpprobe.probes.crossfit import accumulate, cross_predict, solve_folds
from mpprobe.probes.electronegativity import electronegativities
from mpprobe.probes.heldout import hold_out, levels_only, r2_within, solved_maps
from mpprobe.probes.splits import make_split
from mpprobe.structures.frame import Frame, as_frames
from mpprobe.targets import get_target


def charged(frames, relative=False):
    """Made-up charges by species, of both signs."""
    values = [f.numbers / 8 - 1.5 for f in frames]
    return Weights("made up", values, relative)


def electrostatics(frames, cutoff):
    return local_electrostatics(frames, cutoff, charged(frames))


def electrostatic_vectors(frames, cutoff):
    return local_electrostatics(frames, cutoff, charged(frames), l=1)


CUTOFF = 4.0
SCALARS = [soap, radial_densities]
VECTORS = [neighbour_vectors, electrostatic_vectors]
DENSITIES = [*SCALARS, neighbour_vectors]
ALL = [*SCALARS, electrostatics, *VECTORS]


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


@pytest.mark.parametrize("describe", [*SCALARS, electrostatics])
@pytest.mark.parametrize("make", [crystal, cluster])
def test_scalars_do_not_change_when_the_structure_is_turned_or_moved(describe, make, turn):
    moved = turned(make(), turn)
    moved.positions += [1.0, 2.0, 3.0]
    first, second = describe(as_frames(make()), CUTOFF), describe(as_frames(moved), CUTOFF)
    assert np.std(first, axis=0).max() > 1e-3
    np.testing.assert_allclose(second, first, atol=1e-6)


@pytest.mark.parametrize("describe", VECTORS)
@pytest.mark.parametrize("make", [crystal, cluster])
def test_vectors_turn_with_the_structure(describe, make, turn):
    still = describe(as_frames(make()), CUTOFF)
    moved = describe(as_frames(turned(make(), turn)), CUTOFF)
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


@pytest.mark.parametrize("describe", DENSITIES)
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


# --- local electrostatics --------------------------------------------------------------------


def by_images(atoms, cutoff, charges, l, relative=False):
    """The sums from their definition, over every image that may lie within the cutoff."""
    order = np.pi / cutoff * np.arange(1, 13)
    reach = [range(-4, 5) if periodic else (0,) for periodic in atoms.pbc]
    shifts = [np.dot(shift, atoms.cell.array) for shift in itertools.product(*reach)]
    found = np.zeros((len(atoms), 12, 3) if l else (len(atoms), 12))
    for i, here in enumerate(atoms.positions):
        for j, there in enumerate(atoms.positions):
            for shift in shifts:
                r = np.linalg.norm(there + shift - here)
                if 1e-9 < r < cutoff:
                    weight = charges[j] - (charges[i] if relative else 0)
                    term = weight * np.sin(order * r) / r
                    found[i] += np.outer(term, (there + shift - here) / r) if l else term
    return found


def primitive():
    """Two atoms in a skewed cell whose vectors are shorter than the cutoff."""
    atoms = bulk("NaCl", "rocksalt", 5.0)
    atoms.rattle(0.2, seed=4)
    return atoms


@pytest.mark.parametrize("make", [crystal, primitive, slab, cluster])
@pytest.mark.parametrize("l", [0, 1])
@pytest.mark.parametrize("relative", [False, True])
def test_local_sums_are_over_all_images_within_the_cutoff(make, l, relative):
    atoms, cutoff = make(), 4.7
    charges = np.random.default_rng(0).normal(size=len(atoms))
    found = local_electrostatics(
        as_frames(atoms), cutoff, Weights("made up", [charges], relative), l
    )
    assert RADIAL_FUNCTIONS == found.shape[1] == 12
    assert np.abs(found).max() > 0.1
    expected = by_images(atoms, cutoff, charges, l, relative)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_perfect_rock_salt_has_shells_of_alternating_sign():
    """6 of the other sign at a/2, 12 of the own at a/√2, 8 at a√3/2, 6 at a; and no vectors."""
    a, cutoff = 5.6, 5.7
    frames = as_frames(bulk("NaCl", "rocksalt", a, cubic=True))
    charges = Weights("formal", [np.where(frames[0].numbers == 11, 1.0, -1.0)])
    order = np.pi / cutoff * np.arange(1, 13)
    shells = [(-6, a / 2), (12, a / 2**0.5), (-8, a * 3**0.5 / 2), (6, a)]
    expected = sum(n * np.sin(order * r) / r for n, r in shells)
    found = local_electrostatics(frames, cutoff, charges)
    np.testing.assert_allclose(found, charges.values[0][:, None] * expected, atol=1e-9)
    vectors = local_electrostatics(frames, cutoff, charges, l=1)
    np.testing.assert_allclose(vectors, 0, atol=1e-9)


@pytest.mark.parametrize("describe", [electrostatics, electrostatic_vectors])
def test_an_atom_that_enters_within_the_cutoff_does_not_count_at_once(describe):
    """The n-th function starts with the slope nπ/r_c²."""
    one, other = (
        describe(as_frames(Atoms("NaCl", [[0, 0, 0], [x, 0, 0]])), CUTOFF)[0]
        for x in (CUTOFF - 1e-4, CUTOFF + 1e-4)
    )
    assert not other.any()
    size = np.abs(one).reshape(12, -1).max(axis=1) / abs(17 / 8 - 1.5)
    np.testing.assert_allclose(size, 1e-4 * np.pi * np.arange(1, 13) / CUTOFF**2, rtol=1e-3)


def test_the_sums_are_linear_in_the_charges():
    frames = as_frames([crystal(), slab()])
    first, second = (
        [np.random.default_rng(seed).normal(size=len(f)) for f in frames] for seed in (0, 1)
    )
    both = [2 * a - 3 * b for a, b in zip(first, second, strict=True)]
    one, other, sums = (
        local_electrostatics(frames, CUTOFF, Weights("made up", values))
        for values in (first, second, both)
    )
    np.testing.assert_allclose(sums, 2 * one - 3 * other, atol=1e-12)


def test_relative_weights_know_differences_only():
    frames = as_frames([crystal(), cluster()])
    values = [np.random.default_rng(0).normal(size=len(f)) for f in frames]
    one, other = (
        local_electrostatics(
            frames, CUTOFF, Weights("made up", [v + more for v in values], relative=True)
        )
        for more in (0.0, 5.0)
    )
    np.testing.assert_allclose(one, other, atol=1e-9)
    alike = Weights("made up", [np.full(len(f), 2.0) for f in frames], relative=True)
    assert not local_electrostatics(frames, CUTOFF, alike).any()


def test_an_isolated_atom_has_no_sums():
    alone = as_frames(Atoms("Na"))
    assert not electrostatics(alone, CUTOFF).any()
    assert electrostatic_vectors(alone, CUTOFF).shape == (1, 12, 3)


def rock_salts(n=20, amplitude=0.1):
    """Rattled crystals of four compounds with their formal charges."""
    frames = []
    for name, a, charge in (("NaCl", 5.64, 1), ("MgO", 4.21, 2), ("KBr", 6.6, 1), ("LiF", 4.03, 1)):
        for i in range(n):
            atoms = bulk(name, "rocksalt", a, cubic=True)
            atoms.rattle(amplitude, seed=i)
            atoms.arrays["charge_formal"] = charge * np.where(np.arange(8) % 2, -1.0, 1.0)
            frames.append(Frame.from_atoms(atoms, f"{name}-{i}"))
    return frames


def read_within(features, target, frames, split):
    """R² within kinds (for vectors R²) of a map without penalty."""
    split = make_split(split, frames)
    probe = accumulate(features, target, split, kinds=kinds(frames), covariates=12)
    maps = solve_folds(probe, split, within=True)
    sums = (hold_out(probe, split, m, jackknife=False) for m in (solved_maps(maps), levels_only))
    return r2_within(*sums)[0, 0]


@pytest.mark.parametrize("name", ["potential:shell-1", "potential"])
def test_potentials_of_charges_within_the_cutoff_are_a_linear_map_of_them(name):
    """The smooth edge of the shell, ±0.5 Å, ends at the cutoff of the sums."""
    frames, target, cutoff = rock_salts(), get_target(name), 5.0
    values = np.concatenate(target.values(frames, cutoff - 0.5))[:, None]
    sums = local_electrostatics(frames, cutoff, weights_for(target, frames))
    assert read_within(sums, values, frames, "structure") > 0.99
    # One set serves all compounds.
    assert read_within(sums, values, frames, "compound") > 0.95
    # And charges of the wrong kind do not.
    ones = Weights("ones", [np.ones(len(f)) for f in frames])
    wrong = local_electrostatics(frames, cutoff, ones)
    assert read_within(wrong, values, frames, "structure") < 0.9


def test_the_field_is_a_linear_map_of_the_vectors():
    frames, target, cutoff = rock_salts(), get_target("field"), 5.0
    values = np.concatenate(target.values(frames))[..., None]
    sums = local_electrostatics(frames, cutoff, weights_for(target, frames), l=1)
    for split in ("structure", "compound"):
        assert read_within(sums, values, frames, split) > 0.95


class TestWeights:
    @pytest.fixture
    def frames(self):
        """Crystals that carry formal charges and others."""
        frames = rock_salts(2)
        for f in frames:
            f.atoms.arrays["made_up"] = np.arange(8.0)
            f.atoms.arrays["bader_charges"] = np.arange(8.0)[::-1].copy()
        return frames

    @pytest.mark.parametrize(
        ("name", "expected", "array"),
        [
            ("potential", "formal charges", "charge_formal"),
            ("field", "formal charges", "charge_formal"),
            ("potential:shell-2", "formal charges", "charge_formal"),
            ("potential:beyond@dft", "dft charges", "bader_charges"),
            ("field@made_up", "charges of array made_up", "made_up"),
            # Those that aren't of charges, and charges themselves:
            ("charge:formal", "formal charges", "charge_formal"),
            ("charge:eeq", "formal charges", "charge_formal"),
            ("charge:dft", "formal charges", "charge_formal"),
            ("array:made_up", "formal charges", "charge_formal"),
        ],
    )
    def test_a_target_has_its_own_charges_and_else_the_formal_ones(
        self, frames, name, expected, array
    ):
        found = weights_for(get_target(name, frames), frames)
        assert (found.name, found.relative) == (expected, False)
        for values, f in zip(found.values, frames, strict=True):
            np.testing.assert_array_equal(values, f.atoms.arrays[array])

    def test_charges_that_are_solved_for_are_those_of_the_target(self, frames):
        found = weights_for(get_target("potential@eeq"), frames)
        assert found.name == "eeq charges"
        expected = get_target("charge:eeq").values(frames)
        np.testing.assert_allclose(np.concatenate(found.values), np.concatenate(expected))

    @pytest.mark.parametrize("name", ["charge:eeq", "array:made_up"])
    def test_without_formal_charges_electronegativities_stand_in(self, name):
        """For all structures, also if one of them has some: sums of one kind for all."""
        alloy = Atoms("CuAu", positions=[[0, 0, 0], [2.5, 0, 0]])
        frames = as_frames([alloy, alloy.copy()])
        for f in frames:
            f.atoms.arrays["made_up"] = np.arange(2.0)
        frames[0].atoms.arrays["charge_formal"] = np.array([1.0, -1.0])
        frames[1].atoms.arrays["charge_formal"] = np.zeros(2)  # which is as good as none
        found = weights_for(get_target(name, frames), frames)
        assert (found.name, found.relative) == ("electronegativities", True)
        for values, f in zip(found.values, frames, strict=True):
            np.testing.assert_array_equal(values, electronegativities(f))
        one, other = local_electrostatics(frames[:1], CUTOFF, Weights("", found.values[:1], True))
        np.testing.assert_allclose(one, -other)
        assert one.any()

    def test_a_potential_whose_charges_are_not_there_is_refused(self):
        frames = as_frames(Atoms("CuAu", positions=[[0, 0, 0], [2.5, 0, 0]]))
        frames[0].atoms.arrays["charge_formal"] = np.zeros(2)
        with pytest.raises(TargetError, match="zero"):
            weights_for(get_target("potential"), frames)


# --- means of species and of kinds -----------------------------------------------------------


@pytest.fixture
def oxides():
    formulas = ["MgO", "CaO", "NaCl", "KBr", "Mg2O2"] * 4
    return [Frame(Atoms(f), str(i), f, "bulk", str(i)) for i, f in enumerate(formulas)]


@pytest.mark.parametrize("name", ["structure", "compound", "element"])
@pytest.mark.parametrize("of", ["species", "kinds"])
def test_means_are_those_of_the_training_set(oxides, name, of):
    split = make_split(name, oxides)
    z = np.concatenate([f.numbers for f in oxides])
    label = z if of == "species" else kinds(oxides)
    y = np.random.default_rng(0).normal(size=(len(z), 2)) + z[:, None]
    means, unknown = label_means(y, label, split), 0
    for i in range(len(z)):
        if not split.scored[i]:
            assert np.isnan(means[i]).all()
            continue
        rows = split.training_rows(split.test[i])
        known = rows & (label == label[i])
        unknown += not known.any()
        expected = y[known if known.any() else rows].mean(axis=0)
        np.testing.assert_allclose(means[i], expected)
    # Of a compound held out no kind is known, of a structure every one.
    assert (unknown > 0) == (name != "structure")


def test_species_means_are_the_one_hot_probe_without_penalty(oxides):
    split = make_split("structure", oxides)
    z = np.concatenate([f.numbers for f in oxides])
    y = np.random.default_rng(0).normal(size=(len(z), 1)) + z[:, None]
    one_hot = (z[:, None] == np.unique(z)).astype(float)
    fit = cross_predict(one_hot, y, split, penalties=[1e-12])
    np.testing.assert_allclose(label_means(y, z, split), fit.predictions, atol=1e-6)


def test_the_mean_of_vectors_is_zero(oxides):
    split = make_split("structure", oxides)
    z = np.concatenate([f.numbers for f in oxides])
    assert (label_means(np.ones((len(z), 3, 1)), z, split) == 0).all()
