"""Copies and neighbouring frames are found, independent draws of one crystal aren't."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk, make_supercell, molecule

from mpprobe.probes.duplicates import kept_together, near_duplicates
from mpprobe.structures import as_frames

CUTOFF = 5.0


def salt(rattle, seed, name="NaCl", a=5.64):
    atoms = bulk(name, "rocksalt", a=a, cubic=True) * (2, 1, 1)
    atoms.positions += np.random.default_rng(seed).normal(scale=rattle, size=(len(atoms), 3))
    return atoms


def moved(atoms, distance, seed):
    atoms = atoms.copy()
    rng = np.random.default_rng(seed)
    atoms.positions += rng.normal(scale=distance, size=atoms.positions.shape)
    return atoms


def same(atoms):
    """Whether each structure has the label of the first."""
    labels = near_duplicates(as_frames(atoms), CUTOFF)
    return (labels == labels[0]).tolist()


@pytest.mark.parametrize("distance", [0.0, 0.001, 0.02])
def test_copies_and_neighbouring_frames_are_found(distance):
    base = salt(0.2, 0)
    assert same([base, moved(base, distance, 1), salt(0.2, 2)]) == [True, True, False]


def test_order_origin_cell_and_repeats_do_not_hide_a_copy():
    base = salt(0.2, 0)
    shuffled = base[np.random.default_rng(0).permutation(len(base))]
    shifted = base.copy()
    shifted.positions += (1.3, -0.4, 2.2)
    shifted.wrap()
    turned = base.copy()
    turned.rotate(40, (1, 2, 3), rotate_cell=True)
    repeated = make_supercell(base, np.diag([1, 2, 1]))
    assert all(same([base, shuffled, shifted, turned, repeated]))


@pytest.mark.parametrize("rattle", [0.02, 0.05, 0.12, 0.2])
def test_independent_draws_of_one_crystal_are_no_duplicates(rattle):
    labels = near_duplicates(as_frames([salt(rattle, seed) for seed in range(8)]), CUTOFF)
    assert len(set(labels)) == 8


def test_perfect_crystals_are_copies_of_each_other_and_strained_ones_are_not():
    assert same([salt(0, 0), salt(0, 1), salt(0, 0, a=5.80)]) == [True, True, False]


def test_other_formulas_are_never_duplicates():
    assert same([salt(0.2, 0), salt(0.2, 0, "KCl", 5.64)]) == [True, False]


def test_duplicates_of_duplicates_are_joined_and_groups_merged_with_them():
    base = salt(0.2, 0)
    atoms = [base, moved(base, 0.01, 1), salt(0.2, 9), base, salt(0.2, 8)]
    atoms = [structure.copy() for structure in atoms]
    for structure, group, compound in zip(atoms, "abcbc", "xyzwv", strict=True):
        structure.info |= {"group": group, "compound": compound}
    frames = as_frames(atoms)
    kept, n = kept_together(frames, CUTOFF)
    assert n == 2
    assert [frame.group for frame in kept] == ["a", "a", "c", "a", "c"]
    assert [frame.compound for frame in kept] == list("xyzwv")
    assert kept[0] is frames[0]
    assert kept[2] is frames[2]


def test_the_bundled_structures_are_none():
    import mpprobe as mp

    frames = mp.read("ionic", limit=40)
    kept, n = kept_together(frames, CUTOFF)
    assert n == 0
    assert all(a is b for a, b in zip(kept, frames, strict=True))


def test_a_chain_of_frames_is_one_even_where_its_ends_differ():
    base, step = salt(0.2, 0), np.random.default_rng(1).normal(scale=0.02, size=(16, 3))
    chain = [base.copy() for _ in range(9)]
    for k, atoms in enumerate(chain):
        atoms.positions += k * step
    assert all(same(chain))
    assert same([chain[0], chain[-1]]) == [True, False]


@pytest.mark.parametrize("rattle", [0.02, 0.05, 0.12])
def test_many_draws_of_a_large_crystal_are_no_duplicates(rattle):
    # Their means agree to second order in the displacements: too close to tell draws apart.
    large = [salt(0, 0) * (1, 2, 2) for _ in range(30)]
    frames = as_frames([moved(atoms, rattle, seed) for seed, atoms in enumerate(large)])
    assert len(set(near_duplicates(frames, CUTOFF))) == 30


@pytest.mark.parametrize("name", ["ionic", "dft"])
@pytest.mark.parametrize("cutoff", [4.0, 5.0])
def test_no_structure_of_the_sets_that_come_with_mpprobe_is_found_twice(name, cutoff):
    import mpprobe as mp

    frames = mp.read(name)
    assert len(set(near_duplicates(frames, cutoff))) == len(frames)


def test_cells_with_one_atom_a_species_are_duplicates_only_if_copied():
    primitive = [moved(bulk("NaCl", "rocksalt", a=5.64), 0.1, seed) for seed in range(6)]
    assert len(set(near_duplicates(as_frames(primitive), CUTOFF))) == 6
    assert same([primitive[0], primitive[0] * (2, 1, 1), primitive[1]]) == [True, True, False]


def test_draws_of_a_molecule_are_no_duplicates_though_few_of_its_atoms_are_alike():
    draws = [moved(molecule("CH3CH2OH"), 0.1, seed) for seed in range(20)]
    assert len(set(near_duplicates(as_frames(draws), CUTOFF))) == 20
    assert same([draws[0], moved(draws[0], 0.01, 0), *draws[1:]]) == [True, True, *[False] * 19]


def test_a_lower_threshold_finds_less():
    frames = as_frames([salt(0.2, 0), moved(salt(0.2, 0), 0.02, 1)])
    assert near_duplicates(frames, CUTOFF).tolist() == [0, 0]
    assert near_duplicates(frames, CUTOFF, threshold=1e-3).tolist() == [0, 1]


def test_of_no_structures_none_are_duplicates():
    assert kept_together([], CUTOFF) == ([], 0)
