"""The worlds: exact energies, forces and charges, against sums and derivatives done otherwise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from mpprobe.errors import ToyError
from mpprobe.structures import Frame
from mpprobe.targets.electrostatics import COULOMB, point_forces, site_potential
from mpprobe.toys import (
    CHARGE,
    DOMAINS,
    POTENTIAL,
    TRAINING,
    WORLDS,
    EquilibratedCharges,
    FixedCharges,
    make_structures,
    world,
)
from mpprobe.toys.lattice_sums import Lattice, pair_sums, short_range


def salt(repeat=(2, 1, 1), rattle=0.2):
    atoms = bulk("NaCl", "rocksalt", a=5.6, cubic=True).repeat(repeat)
    atoms.positions += np.random.default_rng(0).normal(scale=rattle, size=atoms.positions.shape)
    return atoms


def slab():
    atoms = salt()
    atoms.pbc = (True, True, False)
    atoms.center(vacuum=6, axis=2)
    return atoms


def cluster():
    atoms = salt((1, 1, 1))
    atoms.pbc = False
    return atoms


def sums(atoms, kappa=0.0):
    return pair_sums(torch.tensor(atoms.positions), Lattice.of(atoms, kappa), kappa)


def signs(atoms):
    return np.where(atoms.numbers == 11, 1.0, -1.0)


class TestSums:
    @pytest.mark.parametrize("make", [salt, slab, cluster])
    def test_they_are_those_of_the_targets(self, make):
        atoms = make()
        found = COULOMB * sums(atoms).numpy() @ signs(atoms)
        expected = site_potential(Frame.from_atoms(atoms, "x"), signs(atoms))
        np.testing.assert_allclose(found, expected, atol=1e-7)

    def test_madelung_constant_of_rock_salt(self):
        atoms = bulk("NaCl", "rocksalt", a=2.0)
        found = sums(atoms).numpy() @ signs(atoms)
        np.testing.assert_allclose(found, [-1.7475645946, 1.7475645946], atol=1e-9)

    @pytest.mark.parametrize(("make", "images"), [(salt, (4, 8, 8)), (slab, (4, 8, 0))])
    def test_screened_ones_against_the_plain_sum(self, make, images):
        atoms, kappa = make(), 0.5
        copies = 2 * np.array(images) + 1
        many = atoms.repeat(copies)
        middle = atoms.positions + np.array(images) @ atoms.cell.array
        r = np.linalg.norm(many.positions[None] - middle[:, None], axis=2)
        terms = np.where(r > 1e-9, np.exp(-kappa * r) / np.where(r > 1e-9, r, 1), 0)
        plain = terms.reshape(len(atoms), -1, len(atoms)).sum(axis=1)
        np.testing.assert_allclose(sums(atoms, kappa).numpy(), plain, atol=1e-7)

    def test_weak_screening_is_none_for_neutral_cells(self):
        atoms = salt()
        weak, none = (sums(atoms, kappa).numpy() @ signs(atoms) for kappa in (1e-4, 0.0))
        np.testing.assert_allclose(weak, none, atol=1e-3)

    def test_atoms_may_lie_in_other_cells(self):
        atoms = salt()
        moved = atoms.copy()
        moved.positions[3] += 2 * atoms.cell.array[0] - atoms.cell.array[1]
        np.testing.assert_allclose(sums(moved).numpy(), sums(atoms).numpy(), atol=1e-9)

    def test_what_gaussians_lack_goes_to_nothing_far_away(self):
        pair = Atoms("NaCl", [(0, 0, 0), (0, 0, 2.0)])
        width = torch.full((2, 2), 1.6, dtype=torch.float64)
        near = short_range(torch.tensor(pair.positions), Lattice.of(pair), width)
        from scipy.special import erfc

        assert near[0, 1].item() == pytest.approx(erfc(2 / 1.6) / 2)
        assert near[0, 0] == 0

    def test_other_periodicity(self):
        atoms = salt()
        atoms.pbc = (True, False, False)
        with pytest.raises(ToyError, match="world fixed: periodic in all directions"):
            FixedCharges().label(atoms)


def by_differences(rule, atoms, step=1e-4):
    forces = np.zeros((len(atoms), 3))
    for i, axis in np.ndindex(*forces.shape):
        ends = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[i, axis] += sign * step
            ends.append(rule.label(moved).get_potential_energy())
        forces[i, axis] = -(ends[0] - ends[1]) / (2 * step)
    return forces


@pytest.mark.parametrize("name", [*WORLDS, "screened:2.5"])
@pytest.mark.parametrize("make", [lambda: salt((1, 1, 1)), cluster, slab])
def test_forces_are_derivatives_of_the_energy(name, make):
    atoms, rule = make()[:12], world(name)
    atoms.symbols = (["Na", "Cl", "Mg", "O"] * 3)[: len(atoms)]
    labelled = rule.label(atoms)
    found = labelled.get_forces()
    chosen = by_differences(rule, atoms)
    np.testing.assert_allclose(found, chosen, atol=1e-6)
    assert np.abs(found.sum(axis=0)).max() < 1e-9


class TestFixed:
    def test_forces_are_those_of_point_charges_and_the_repulsion(self):
        atoms = salt()
        frame = Frame.from_atoms(atoms, "x")
        coulomb, screened = (rule.label(atoms) for rule in (FixedCharges(), FixedCharges(0.05)))
        # Screened within 0.05 Å nothing but the repulsion is left.
        difference = coulomb.get_forces() - screened.get_forces()
        expected = point_forces(frame, 0.7 * signs(atoms))
        np.testing.assert_allclose(difference, expected, atol=1e-6)

    def test_what_is_known_of_each_atom(self):
        atoms = salt()
        labelled = FixedCharges().label(atoms)
        charges, potential = labelled.arrays[CHARGE], labelled.arrays[POTENTIAL]
        assert charges.sum() == pytest.approx(0, abs=1e-12)
        np.testing.assert_allclose(charges, 0.7 * signs(atoms))
        expected = site_potential(Frame.from_atoms(atoms, "x"), charges)
        np.testing.assert_allclose(potential, expected, atol=1e-6)

    @pytest.mark.parametrize("name", ["fixed", "screened", "equilibrated", "band"])
    @pytest.mark.parametrize(("compound", "a"), [("NaCl", 5.6), ("MgO", 4.2)])
    def test_crystals_are_near_equilibrium(self, name, compound, a):
        energies = []
        for scale in (0.88, 1.03, 1.18):
            atoms = bulk(compound, "rocksalt", a=a * scale)
            energies.append(world(name).label(atoms).get_potential_energy())
        assert energies[1] < min(energies[0], energies[2])


class TestEquilibrated:
    def energy(self, atoms, charges):
        """E of given charges, term by term."""
        rule = EquilibratedCharges()
        width = torch.full((len(atoms),) * 2, 2 * rule.width, dtype=torch.float64)
        lattice = Lattice.of(atoms)
        positions = torch.tensor(atoms.positions)
        smeared = (pair_sums(positions, lattice) - short_range(positions, lattice, width)).numpy()
        pull = {"Na": 0.0, "Mg": 1.0, "Cl": 6.5, "O": 14.0}
        hardness = {"Na": 3.0, "Mg": 3.0, "Cl": 4.0, "O": 4.0}
        symbols = atoms.get_chemical_symbols()
        own = sum(
            pull[s] * q + q**2 * (hardness[s] + COULOMB / (np.sqrt(np.pi) * rule.width)) / 2
            for s, q in zip(symbols, charges, strict=True)
        )
        return own + COULOMB * charges @ smeared @ charges / 2

    @pytest.mark.parametrize("make", [salt, slab, cluster])
    def test_charges_are_neutral_and_minimise_the_energy(self, make):
        atoms = make()
        charges = EquilibratedCharges().label(atoms).arrays[CHARGE]
        assert charges.sum() == pytest.approx(0, abs=1e-10)
        assert (charges * signs(atoms) > 0).all()
        least = self.energy(atoms, charges)
        rng = np.random.default_rng(1)
        for _ in range(20):
            step = rng.normal(scale=1e-3, size=len(atoms))
            assert self.energy(atoms, charges + step - step.mean()) > least

    def test_charges_answer_to_their_surroundings_near_and_far(self):
        crystal = salt((1, 1, 1), rattle=0.0)
        even = EquilibratedCharges().label(crystal).arrays[CHARGE]
        np.testing.assert_allclose(np.abs(even), np.abs(even[0]), atol=1e-9)
        chain = Atoms("NaCl" * 6, [(0, 0, 2.8 * k) for k in range(12)])
        before = EquilibratedCharges().label(chain).arrays[CHARGE]
        chain.symbols[0] = "Mg"
        change = EquilibratedCharges().label(chain).arrays[CHARGE] - before
        assert np.abs(change[-6:]).min() > 1e-3  # 17 Å away and more


class TestBand:
    def test_no_charges(self):
        labelled = world("band").label(salt())
        assert CHARGE not in labelled.arrays
        assert POTENTIAL not in labelled.arrays

    def test_two_atoms_as_on_paper(self):
        """Levels ∓√(Δ² + t²), the lower one doubly filled."""
        rule = world("band")
        pair = Atoms("NaCl", [(0, 0, 0), (0, 0, 2.8)])
        levels = np.sqrt((rule.gap / 2) ** 2 + rule.hopping**2)
        glue = 0.18
        energy = rule.label(pair).get_potential_energy()
        assert energy == pytest.approx(-2 * levels + glue, abs=1e-4)

    def test_force_constants_reach_beyond_the_hopping(self):
        chain = Atoms("NaCl" * 8, [(0, 0, 2.8 * k) for k in range(16)])
        rule = world("band")
        ends = []
        for sign in (1, -1):
            moved = chain.copy()
            moved.positions[3, 2] += sign * 1e-3
            ends.append(rule.label(moved).get_forces()[8, 2])
        assert abs(ends[0] - ends[1]) / 2e-3 > 1e-3


class TestStructures:
    @pytest.mark.parametrize("domain", DOMAINS)
    def test_every_domain_is_neutral_and_bounded(self, domain):
        for atoms in make_structures(world("fixed"), domain, 4, seed=3):
            assert abs(atoms.arrays[CHARGE].sum()) < 1e-9
            assert np.abs(atoms.get_forces()).max() < 60
            assert atoms.info["domain"] == domain
            assert 8 <= len(atoms) <= 80
            assert np.isfinite(atoms.get_potential_energy())

    def test_the_seed_decides(self):
        one, same, other = (make_structures(world("fixed"), TRAINING, 2, seed=s) for s in (1, 1, 2))
        np.testing.assert_array_equal(one[1].positions, same[1].positions)
        assert len(one[1]) != len(other[1]) or np.abs(one[1].positions - other[1].positions).max()
        assert one[0].info["group"] != one[1].info["group"]

    def test_worlds_share_the_structures(self):
        one, other = (make_structures(world(w), "packing", 2, seed=5) for w in ("fixed", "band"))
        np.testing.assert_array_equal(one[1].positions, other[1].positions)

    def test_what_is_not_there(self):
        for name in ("flat", "screened:x", "screened:-1", "fixed:3"):
            with pytest.raises(ToyError, match="choose"):
                world(name)
        with pytest.raises(ToyError, match="choose among crystal"):
            make_structures(world("fixed"), "bulk", 1)
        with pytest.raises(ToyError, match="at least one"):
            make_structures(world("fixed"), TRAINING, 0)
        with pytest.raises(ToyError, match="ions of Na, Mg, Cl, O"):
            world("fixed").label(bulk("Cu"))
