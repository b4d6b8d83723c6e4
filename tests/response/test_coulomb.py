"""The screened Coulomb form, on force constants that are known."""

from __future__ import annotations

import ase.units
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from mpprobe.response.coulomb import coulomb_fit, pair_table, unit_charge_constants
from mpprobe.structures import Frame

COULOMB = ase.units.Hartree * ase.units.Bohr


@pytest.fixture(scope="module")
def cluster():
    rng = np.random.default_rng(0)
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True).repeat((3, 2, 2))
    atoms.positions += rng.normal(scale=0.1, size=atoms.positions.shape)
    return Frame.from_atoms(Atoms(atoms.symbols, atoms.positions), "cluster")


@pytest.fixture(scope="module")
def crystal():
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True).repeat((4, 2, 2))
    return Frame.from_atoms(atoms, "crystal")


def signs(frame):
    return np.where(frame.numbers == 11, 1.0, -1.0)


def dipoles(frame, i):
    """(δ − 3 r̂ r̂)/r³ of unit charges, eV/Å²."""
    vectors = frame.atoms.positions - frame.atoms.positions[i]
    r = np.linalg.norm(vectors, axis=1)
    r[i] = np.inf
    u = vectors / r[:, None]
    return COULOMB * ((np.eye(3) - 3 * u[:, :, None] * u[:, None]) / r[:, None, None] ** 3)


def test_without_periodicity_it_is_the_dipole_form(cluster):
    found = unit_charge_constants(cluster, [0, 7])
    for k, i in enumerate((0, 7)):
        np.testing.assert_allclose(found[k].transpose(1, 0, 2), dipoles(cluster, i), atol=1e-5)


def test_in_a_crystal_images_are_in_it(crystal):
    """A ball of images, and what the charge around it (tin foil, background) adds to that."""
    found = unit_charge_constants(crystal, [0])[0]
    lattice = crystal.atoms.cell.lengths()
    far = crystal.atoms.get_distances(0, range(len(crystal)), mic=True)
    near = np.argsort(far)[1]
    # Images in a ball of cells, summed as they are.
    total = np.zeros((3, 3))
    for n in np.ndindex(13, 13, 13):
        shift = (np.array(n) - 6) * lattice
        vector = crystal.atoms.positions[near] - crystal.atoms.positions[0] + shift
        r = np.linalg.norm(vector)
        if r < 6 * lattice.min():
            total += (np.eye(3) - 3 * np.outer(vector, vector) / r**2) / r**3
    total -= np.eye(3) * 4 * np.pi / (3 * crystal.atoms.get_volume())
    np.testing.assert_allclose(found[:, near], COULOMB * total, atol=5e-4)


class TestFit:
    @pytest.mark.parametrize("which", ["cluster", "crystal"])
    def test_screened_charges_come_back(self, which, request):
        frame = request.getfixturevalue(which)
        z = np.where(frame.numbers == 11, 0.7, -0.5)
        unit = unit_charge_constants(frame, [0, 1])
        model = unit * z[[0, 1]][:, None, None, None] * z[None, None, :, None]
        found = coulomb_fit(pair_table(frame, [0, 1], model, unit, signs(frame), 5.0))
        assert found["charge:Na"] == pytest.approx(0.7, abs=1e-3)
        assert found["charge:Cl"] == pytest.approx(-0.5, abs=1e-3)
        assert found["exponent"] == pytest.approx(3, abs=0.3)  # z differ: no one strength fits
        assert 0.25 < found["strength"] < 0.49

    def test_one_strength_is_exact(self, crystal):
        unit = unit_charge_constants(crystal, [0, 1])
        q = signs(crystal)
        model = 0.4 * unit * q[[0, 1]][:, None, None, None] * q[None, None, :, None]
        found = coulomb_fit(pair_table(crystal, [0, 1], model, unit, q, 5.0))
        assert found["strength"] == pytest.approx(0.4)
        assert found["strength_low"] == pytest.approx(found["strength_high"])
        assert found["exponent"] == pytest.approx(3, abs=1e-3)
        assert found["anisotropy"] == pytest.approx(1)
        assert found["residual"] == pytest.approx(0, abs=1e-9)
        assert found["charge:Na"] == pytest.approx(np.sqrt(0.4))

    def test_twice_the_charge_is_four_times_the_strength(self, crystal):
        unit = unit_charge_constants(crystal, [0])
        q = 2 * signs(crystal)
        model = 0.3 * unit * q[[0]][:, None, None, None] * q[None, None, :, None]
        found = coulomb_fit(pair_table(crystal, [0], model, unit, q, 5.0))
        assert found["strength"] == pytest.approx(1.2)
        assert found["charge:Na"] == pytest.approx(2 * np.sqrt(0.3))

    @pytest.mark.parametrize("p", [1.5, 4.0, 6.5])
    def test_another_decay_is_told_apart(self, cluster, p):
        q = signs(cluster)
        unit = unit_charge_constants(cluster, [0, 1])
        distances = cluster.atoms.get_all_distances()[[0, 1]][:, None, :, None]
        with np.errstate(divide="ignore"):
            fall = np.where(distances > 0, (distances / 8.0) ** (3 - p), 0.0)
        model = unit * q[[0, 1]][:, None, None, None] * q[None, None, :, None] * fall
        found = coulomb_fit(pair_table(cluster, [0, 1], model, unit, q, 5.0))
        assert found["exponent"] == pytest.approx(p, abs=0.02)

    def test_noise_has_no_strength(self, crystal):
        rng = np.random.default_rng(0)
        unit = unit_charge_constants(crystal, [0, 1])
        model = 1e-3 * rng.normal(size=unit.shape)
        found = coulomb_fit(pair_table(crystal, [0, 1], model, unit, signs(crystal), 5.0))
        assert found["strength_low"] < 0 < found["strength_high"]
        assert found["residual"] > 0.9

    def test_the_wrong_sign_has_no_charges(self, crystal):
        q = signs(crystal)
        unit = unit_charge_constants(crystal, [0, 1])
        model = -unit * q[[0, 1]][:, None, None, None] * q[None, None, :, None]
        found = coulomb_fit(pair_table(crystal, [0, 1], model, unit, q, 5.0))
        assert found["strength"] == pytest.approx(-1)
        assert found["charge:Na"] == found["charge:Cl"] == 0
        assert np.isnan(found["exponent"])

    def test_components_are_told_apart(self, cluster):
        """Only what is along the line: none across it, so that the ratio has no end."""
        q = signs(cluster)
        unit = unit_charge_constants(cluster, [0])
        vectors = cluster.atoms.positions - cluster.atoms.positions[0]
        u = vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(min=1e-9)
        inside = np.einsum("ja,ajb,jb->j", u, unit[0], u)
        along = np.einsum("j,ja,jb->ajb", inside, u, u)
        model = ((unit[0] + along) * q[0] * q[None, :, None])[None]  # twice as much along
        found = coulomb_fit(pair_table(cluster, [0], model, unit, q, 5.0))
        assert found["anisotropy"] == pytest.approx(2)
