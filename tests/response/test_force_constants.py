"""Exact second derivatives, and the sites they sit on."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

import mpprobe
from interventions.toy import PointCharges
from mpprobe.errors import StructureError
from mpprobe.response import force_constants, pair_shares, unit_charge_constants


@pytest.fixture(scope="module")
def cell():
    atoms = bulk("NaCl", "rocksalt", a=5.7, cubic=True).repeat((2, 1, 1))
    atoms.positions += np.random.default_rng(0).normal(scale=0.1, size=atoms.positions.shape)
    return atoms


def finite_differences(potential, atoms, i, step=1e-3):
    rows = []
    for axis in range(3):
        forces = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[i, axis] += sign * step
            forces.append(potential.run(potential.batch(moved), forces=True).forces.numpy())
        rows.append(-(forces[0] - forces[1]) / (2 * step))
    return np.array(rows)


def test_they_are_the_derivatives_of_the_forces(potential, cell):
    found = force_constants(potential, cell, [3])
    assert found.shape == (1, 3, len(cell), 3)
    np.testing.assert_allclose(found[0], finite_differences(potential, cell, 3), atol=2e-5)
    assert np.abs(found).max() > 0.01


def test_they_are_symmetric_and_moving_all_atoms_does_nothing(potential, cell):
    found = force_constants(potential, cell)
    np.testing.assert_allclose(found, found.transpose(2, 3, 0, 1), atol=1e-9)
    np.testing.assert_allclose(found.sum(axis=2), 0, atol=1e-9)


def test_sites_add_up_to_the_pair(potential, cell):
    pairs = [(0, 5), (3, 12)]
    lines = np.array([[0.6, 0.0, 0.8], [0.0, 1.0, 0.0]])
    found = pair_shares(potential, cell, pairs, lines)
    assert found.shape == (2, len(cell))
    whole = force_constants(potential, cell, [0, 3])
    for own, (i, j), u in zip(found, pairs, lines, strict=True):
        row = whole[[0, 3].index(i)][:, j]
        assert own.sum() == pytest.approx(u @ row @ u, abs=1e-9)
    assert (np.abs(found) > 1e-6).sum() > 2 * len(pairs)  # message passing spreads it


class TestPointCharges:
    """E_i = q_i φ_i/2 + 0.3 Σ_j exp(−r_ij), of which the second part is nothing far away."""

    @pytest.fixture(scope="class")
    @classmethod
    def ions(cls):
        # Far from each other and from all else: 12 Å and more.
        atoms = Atoms("NaClNaCl", [(0, 0, 0), (12, 1, 0), (0, 13, 2), (14, 12, 1)])
        return mpprobe.Frame.from_atoms(atoms, "ions")

    def test_force_constants_are_those_of_unit_charges(self, ions):
        found = force_constants(PointCharges(), ions)
        q = np.where(ions.numbers == 11, 1.0, -1.0)
        expected = unit_charge_constants(ions, range(4)) * np.outer(q, q)[:, None, :, None]
        off = ~np.eye(4, dtype=bool)
        np.testing.assert_allclose(
            found.transpose(0, 2, 1, 3)[off], expected.transpose(0, 2, 1, 3)[off], atol=2e-5
        )

    def test_half_of_a_pair_sits_on_each_ion(self, ions):
        (found,) = pair_shares(PointCharges(), ions, [(0, 3)], np.array([[1.0, 0, 0]]))
        share = found / found.sum()
        np.testing.assert_allclose(share[[0, 3]], 0.5, atol=1e-3)
        np.testing.assert_allclose(share[[1, 2]], 0, atol=1e-12)


def test_an_atom_that_is_not_there(potential, cell):
    with pytest.raises(StructureError, match="there is no atom 16; it has atoms 0 to 15"):
        force_constants(potential, cell, [0, 16])
