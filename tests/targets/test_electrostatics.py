"""Site potentials and fields against Madelung constants, symmetry, and sums done another way."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from scipy.special import erf, erfc

from mpprobe.errors import TargetError
from mpprobe.structures import Frame
from mpprobe.targets import electrostatics, site_field, site_potential
from mpprobe.targets.boxes import box_of, pairs
from mpprobe.targets.electrostatics import COULOMB


def frame(atoms):
    return Frame.from_atoms(atoms, "test@0")


def rock_salt(repeat=(1, 1, 1), rattle=0.0, seed=0):
    """NaCl cells with a charge of ±1 e an atom."""
    atoms = bulk("NaCl", "rocksalt", 5.64, cubic=True) * repeat
    charges = np.where(atoms.numbers == 11, 1.0, -1.0)
    atoms.rattle(rattle, seed=seed)
    return atoms, charges


def skewed(atoms):
    """The same crystal in another, strongly sheared cell."""
    other = atoms.copy()
    other.set_cell([[1, 0, 0], [3, 1, 0], [-2, 1, 1]] @ atoms.cell.array, scale_atoms=False)
    return other


def system(kind, seed=1):
    """A structure without symmetry of each periodicity; its charges don't go by species."""
    atoms, _ = rock_salt((1, 1, 2), rattle=0.3, seed=seed)
    atoms.pbc = {"bulk": True, "slab": (True, True, False), "cluster": False}[kind]
    charges = np.random.default_rng(seed).normal(size=len(atoms))
    charges[3] = 0.0
    return atoms, charges - charges.sum() / (len(atoms) - 1) * (charges != 0)


KINDS = ("bulk", "slab", "cluster")


class TestMadelung:
    """M = −φ_i r₀ / (q_i e²/4πε0), r₀ the nearest-neighbour distance."""

    @pytest.mark.parametrize(
        ("atoms", "charge", "nearest", "constant"),
        [
            (bulk("NaCl", "rocksalt", 5.64), 1, 5.64 / 2, 1.7475645946),
            (bulk("CsCl", "cesiumchloride", 4.12), 1, 4.12 * 3**0.5 / 2, 1.7626747731),
            (bulk("ZnS", "zincblende", 5.41), 2, 5.41 * 3**0.5 / 4, 1.6380550534),
        ],
        ids=["rock salt", "CsCl", "zinc blende"],
    )
    def test_binary_crystals(self, atoms, charge, nearest, constant):
        charges = np.array([charge, -charge], dtype=float)
        potential = site_potential(frame(atoms), charges)
        np.testing.assert_allclose(-potential * nearest / (COULOMB * charges), constant, rtol=1e-9)

    def test_fluorite(self):
        # Unlike sites: the constant is that of the energy a formula unit, −M |q₊q₋| e²/(4πε0 r₀),
        # M = 2 × 2.5193924 for charges 2 and −1.
        atoms, charges = bulk("CaF2", "fluorite", 5.46), np.array([2.0, -1.0, -1.0])
        energy = charges @ site_potential(frame(atoms), charges) / 2
        nearest = 5.46 * 3**0.5 / 4
        assert -energy * nearest / (2 * COULOMB) == pytest.approx(2.5193924399, rel=1e-9)

    def test_skewed_supercell(self):
        atoms, charges = rock_salt((2, 1, 3))
        potential = site_potential(frame(skewed(atoms)), charges)
        np.testing.assert_allclose(-potential * 2.82 / (COULOMB * charges), 1.7475645946, rtol=1e-9)

    def test_field_vanishes_at_sites_with_inversion(self):
        atoms, charges = rock_salt((2, 1, 1))
        np.testing.assert_allclose(site_field(frame(skewed(atoms)), charges), 0, atol=1e-9)

    def test_background_of_a_charged_cell(self):
        # A simple cubic lattice of charges in a uniform background: the Wigner lattice.
        lone = Atoms("Na", cell=np.eye(3) * 4.0, pbc=True)
        potential = site_potential(frame(lone), np.array([1.0]))
        assert potential[0] == pytest.approx(-2.8372974795 * COULOMB / 4.0, rel=1e-9)


@pytest.mark.parametrize("kind", KINDS)
class TestInvariance:
    def test_translation_by_any_vector(self, kind):
        atoms, charges = system(kind)
        moved = atoms.copy()
        moved.positions += [7.3, -11.1, 23.9]
        for quantity in (site_potential, site_field):
            expected = quantity(frame(atoms), charges)
            np.testing.assert_allclose(quantity(frame(moved), charges), expected, atol=1e-7)

    def test_permutation(self, kind):
        atoms, charges = system(kind)
        order = np.random.default_rng(3).permutation(len(atoms))
        for quantity in (site_potential, site_field):
            expected = quantity(frame(atoms), charges)[order]
            permuted = quantity(frame(atoms[order]), charges[order])
            np.testing.assert_allclose(permuted, expected, atol=1e-9)

    def test_rotation(self, kind):
        atoms, charges = system(kind)
        rotated = atoms.copy()
        rotated.rotate(73, (1, 2, -1), rotate_cell=True)
        turn = np.linalg.lstsq(atoms.cell.array, rotated.cell.array, rcond=None)[0]
        potential, field = site_potential(frame(atoms), charges), site_field(frame(atoms), charges)
        np.testing.assert_allclose(site_potential(frame(rotated), charges), potential, atol=1e-7)
        np.testing.assert_allclose(site_field(frame(rotated), charges), field @ turn, atol=1e-7)

    def test_atoms_are_left_as_they_are(self, kind):
        atoms, charges = system(kind)
        before = atoms.copy()
        site_field(frame(atoms), charges)
        assert atoms == before

    def test_field_is_minus_the_gradient_of_the_potential(self, kind):
        """Moving an atom whose charge is switched off moves a probe in the field of the others.

        Its own images, which go with it, have no field at its site by symmetry.
        """
        atoms, charges = system(kind)
        field = site_field(frame(atoms), charges)
        for atom in (0, 3, 10):
            probe = charges.copy()
            probe[atom] = 0.0
            np.testing.assert_allclose(field[atom], -slope(atoms, probe, atom), atol=1e-5)


def slope(atoms, charges, atom, step=1e-3):
    """Central differences of the potential at ``atom`` with respect to its position."""
    gradient = np.zeros(3)
    for axis in range(3):
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[atom, axis] += sign * step
            gradient[axis] += sign * site_potential(frame(moved), charges)[atom] / (2 * step)
    return gradient


@pytest.mark.parametrize("quantity", [site_potential, site_field])
@pytest.mark.parametrize(("kind", "repeat"), [("bulk", (2, 1, 3)), ("slab", (3, 2, 1))])
def test_a_supercell_changes_nothing(quantity, kind, repeat):
    atoms, charges = system(kind)
    copies = np.prod(repeat)
    large = quantity(frame(atoms * repeat), np.tile(charges, copies))
    small = quantity(frame(atoms), charges)
    np.testing.assert_allclose(large, np.concatenate([small] * copies), atol=1e-7)


def test_the_cell_of_a_slab_is_compact_and_as_large():
    atoms, _ = rock_salt(rattle=0.2)
    atoms.pbc = (True, True, False)
    for other in (atoms, skewed(atoms)):
        own = box_of(frame(other))
        np.testing.assert_allclose(own.cell[:2] @ own.cell[2], 0, atol=1e-9)
        np.testing.assert_allclose(np.linalg.norm(own.cell[:2], axis=1), 5.64)
        assert own.cell[2, 2] > np.ptp(own.positions[:, 2]) + 6
        inside = own.positions @ np.linalg.inv(own.cell)
        assert (inside >= 0).all()
        assert (inside < 1).all()


@pytest.mark.parametrize("repeat", [(1, 1, 1), (2, 2, 2), (1, 1, 4)])
def test_the_two_sums_are_about_equally_long(repeat):
    box = box_of(frame(rock_salt(repeat)[0]))
    reach, width = electrostatics._REACH, electrostatics._smearing(box)
    near = len(pairs(box, reach * width, every_axis=True)[0])
    far = len(box.positions) * len(electrostatics._wave_vectors(box.cell, reach / width))
    assert 0.8 < near / far < 1.25


class TestSlab:
    @pytest.mark.parametrize("excess", [0.0, 0.8], ids=["neutral", "charged"])
    @pytest.mark.parametrize("shear", [0.0, 0.4], ids=["square", "oblique"])
    def test_agrees_with_the_two_dimensional_ewald_sum(self, excess, shear):
        atoms, charges = system("slab")
        charges = charges + excess / len(charges)
        atoms.set_cell([[5.64, 0, 0], [5.64 * shear, 7.0, 0], [0, 0, 11.28]], scale_atoms=True)
        dipole = charges @ (atoms.positions[:, 2] - 5.0)
        assert abs(dipole) > 1  # e Å: polar, so that the planar term counts
        expected = parry_potential(atoms, charges)
        np.testing.assert_allclose(site_potential(frame(atoms), charges), expected, atol=1e-6)

    def test_two_charged_sheets_far_apart_are_a_capacitor(self):
        # Two square lattices 30 Å apart: the field between them is σ/ε0 = 4π k q/A; at a site it
        # is the other sheet's half, its own sheet having none.
        atoms = Atoms("NaCl", [[0, 0, 0], [0, 0, 30.0]], cell=[4, 4, 0], pbc=(True, True, False))
        field = site_field(frame(atoms), np.array([1.0, -1.0]))
        np.testing.assert_allclose(field, [[0, 0, 2 * np.pi * COULOMB / 16]] * 2, atol=1e-9)

    def test_the_free_cell_vector_does_not_count(self):
        atoms, charges = system("slab")
        expected = site_potential(frame(atoms), charges)
        for vector in ([0, 0, 0], [0, 0, 50], [3, 4, 9]):
            other = atoms.copy()
            other.cell[2] = vector
            np.testing.assert_allclose(site_potential(frame(other), charges), expected, atol=1e-9)

    @pytest.mark.parametrize("free", [0, 1, 2])
    def test_any_two_axes_may_be_periodic(self, free):
        atoms, charges = system("slab")
        # A cyclic exchange of x, y, z is a rotation; it takes z to the axis that is free.
        turn = np.roll(np.eye(3), free - 2, axis=1)
        turned = Atoms(
            atoms.numbers,
            atoms.positions @ turn,
            cell=np.roll(atoms.cell.array @ turn, free - 2, axis=0),
            pbc=np.arange(3) != free,
        )
        field = site_field(frame(atoms), charges)
        np.testing.assert_allclose(site_field(frame(turned), charges), field @ turn, atol=1e-8)

    def test_many_layers_approach_the_crystal_inside(self):
        atoms, charges = rock_salt((1, 1, 5))
        atoms.pbc = (True, True, False)
        middle = np.argsort(abs(atoms.positions[:, 2] - atoms.positions[:, 2].mean()))[:4]
        madelung = -site_potential(frame(atoms), charges)[middle] * 2.82 / COULOMB / charges[middle]
        np.testing.assert_allclose(madelung, 1.7475645946, atol=1e-5)


def parry_potential(atoms, charges, alpha=0.35, reach=18.0, longest=5.0):
    """The two-dimensional Ewald sum (Parry, Surf. Sci. 49, 433, 1975) for a slab in the xy plane.

    φ_i = Σ' q_j erfc(αr)/r − 2α q_i/√π
          + π/A Σ_{G≠0} Σ_j q_j cos(G·ρ)/G [e^{Gz} erfc(G/2α + αz) + e^{−Gz} erfc(G/2α − αz)]
          − 2π/A Σ_j q_j [z erf(αz) + e^{−α²z²}/(α√π)]
    """
    plane = atoms.cell.array[:2, :2]
    area = abs(np.linalg.det(plane))
    vectors = atoms.positions[:, None] - atoms.positions[None]
    z = vectors[..., 2]
    kernel = (
        -2 * np.pi / area * (z * erf(alpha * z) + np.exp(-((alpha * z) ** 2)) / alpha / np.pi**0.5)
    )
    kernel -= np.eye(len(atoms)) * 2 * alpha / np.pi**0.5
    for shift in lattice_points(plane, reach):
        r = np.linalg.norm(vectors + np.append(shift, 0), axis=-1)
        kernel += np.where(r > 1e-9, erfc(alpha * r) / np.where(r > 1e-9, r, 1), 0)
    for g_vector in lattice_points(2 * np.pi * np.linalg.inv(plane).T, longest):
        g = np.linalg.norm(g_vector)
        if g > 1e-9:
            both = sum(np.exp(s * g * z) * erfc(g / 2 / alpha + s * alpha * z) for s in (1, -1))
            kernel += np.pi / area * np.cos(vectors[..., :2] @ g_vector) / g * both
    return COULOMB * kernel @ charges


def lattice_points(basis, radius):
    """Points of the two-dimensional lattice within ``radius``, more than enough of them."""
    n = int(np.ceil(radius / abs(np.linalg.det(basis)) * np.linalg.norm(basis, axis=1).max())) + 1
    points = np.mgrid[-n : n + 1, -n : n + 1].reshape(2, -1).T @ basis
    return points[np.linalg.norm(points, axis=1) <= radius]


class TestCluster:
    def test_is_the_sum_over_the_other_atoms(self):
        atoms, charges = system("cluster")
        expected = [
            COULOMB
            * sum(charges[j] / atoms.get_distance(i, j) for j in range(len(atoms)) if j != i)
            for i in range(len(atoms))
        ]
        np.testing.assert_allclose(site_potential(frame(atoms), charges), expected, rtol=1e-12)

    def test_is_the_limit_of_a_large_periodic_cell(self):
        # A quadrupole, so that the periodic images fall off as 1/L⁵.
        atoms = Atoms("FCaF", [[-2, 0, 0], [0, 0, 0], [2, 0, 0]])
        charges = np.array([-1.0, 2.0, -1.0])
        boxed = Atoms(atoms, cell=np.eye(3) * 60, pbc=True)
        np.testing.assert_allclose(
            site_potential(frame(boxed), charges), site_potential(frame(atoms), charges), atol=2e-3
        )

    def test_a_lone_atom_feels_nothing(self):
        lone, charge = frame(Atoms("Na")), np.array([1.0])
        assert site_potential(lone, charge) == 0
        assert not site_field(lone, charge).any()


class TestRefusals:
    @pytest.mark.parametrize("quantity", [site_potential, site_field])
    @pytest.mark.parametrize(
        ("atoms", "reason"),
        [
            (Atoms("NaCl", [[0, 0, 0], [2, 0, 0]], cell=[4, 4, 4], pbc=(1, 0, 0)), "one periodic"),
            (Atoms("NaCl", [[0, 0, 0], [2, 0, 0]], pbc=True), "no cell"),
            (Atoms("NaCl", [[0, 0, 0], [2, 0, 0]], cell=[4, 0, 4], pbc=(1, 1, 0)), "no cell"),
            (Atoms("NaCl", [[1, 0, 0], [1, 0, 0]]), "same place"),
            (Atoms("NaCl", [[1, 0, 0], [5, 0, 0]], cell=[4, 4, 4], pbc=True), "same place"),
            (Atoms("NaCl", [[1, 0, 0], [np.nan, 0, 0]], cell=[4, 4, 4], pbc=True), "not finite"),
            (Atoms(), "no atoms"),
        ],
        ids=[
            "one direction",
            "no cell",
            "flat slab",
            "coincident",
            "coincident by an image",
            "nan",
            "empty",
        ],
    )
    def test_one_line_names_the_frame(self, quantity, atoms, reason):
        with pytest.raises(TargetError, match=reason) as caught:
            quantity(frame(atoms), np.array([1.0, -1.0]))
        assert str(caught.value).startswith("test@0: ")
        assert "\n" not in str(caught.value)

    def test_the_atoms_of_a_cluster_that_coincide_are_named(self):
        cluster = frame(Atoms("NaClF", [[0, 0, 0], [2, 0, 0], [2, 0, 0]]))
        with pytest.raises(TargetError, match=r"^test@0: atoms 1 and 2 are in the same place"):
            site_potential(cluster, np.zeros(3))
