"""Electronegativity-equilibration charges: known values, and cells the library alone gets wrong."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, surface

from mpprobe.errors import TargetError
from mpprobe.structures import Frame
from mpprobe.targets.eeq import eeq_charges


def charges_of(atoms):
    return eeq_charges(Frame.from_atoms(atoms, "test@0"))


def rattled(repeat=(1, 1, 1)):
    atoms = bulk("NaCl", "rocksalt", 5.64, cubic=True) * repeat
    atoms.rattle(0.15, seed=3)
    return atoms


@pytest.mark.parametrize(
    ("formula", "lattice", "charge"), [("NaCl", 5.64, 0.348), ("MgO", 4.21, 0.702)]
)
@pytest.mark.parametrize("cubic", [True, False])
def test_crystals(formula, lattice, charge, cubic):
    crystal = bulk(formula, "rocksalt", lattice, cubic=cubic)
    expected = np.where(np.isin(crystal.symbols, ["Na", "Mg"]), charge, -charge)
    np.testing.assert_allclose(charges_of(crystal), expected, atol=5e-4)


def test_hydrogen_of_water_is_positive():
    charges = charges_of(Atoms("OH2", [[0, 0, 0], [0.76, 0.59, 0], [-0.76, 0.59, 0]]))
    assert charges[0] < -0.3
    assert charges[1] == pytest.approx(charges[2])
    assert charges[1] == pytest.approx(-charges[0] / 2)


def test_the_last_element_with_parameters():
    def fluoride(number):
        return charges_of(Atoms(numbers=[number, 9], positions=[[0, 0, 0], [0, 0, 2.0]]))

    assert fluoride(103)[0] > 0
    message = "^test@0: no eeq charges for the element of atomic number 104, only for 1 to 103; "
    with pytest.raises(TargetError, match=message):
        fluoride(104)


@pytest.mark.parametrize("pbc", [True, (True, True, False), False])
def test_they_are_neutral_and_depend_on_the_geometry(pbc):
    atoms = rattled()
    atoms.pbc = pbc
    charges = charges_of(atoms)
    assert charges.sum() == pytest.approx(0, abs=1e-9)
    assert np.ptp(charges[atoms.numbers == 11]) > 0.01
    assert (charges[atoms.numbers == 11] > 0).all()


@pytest.mark.parametrize("pbc", [True, (True, True, False), False])
def test_the_total_charge_is_that_of_info(pbc):
    atoms = rattled()
    atoms.pbc = pbc
    atoms.info["charge"] = 1
    assert charges_of(atoms).sum() == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("repeat", [(2, 2, 1), (1, 1, 8)], ids=["flat", "elongated"])
def test_a_supercell_has_the_charges_of_its_cell(repeat):
    atoms = rattled()
    expected = np.tile(charges_of(atoms), np.prod(repeat))
    np.testing.assert_allclose(charges_of(atoms * repeat), expected, atol=2e-4)


def test_a_skewed_cell_has_the_charges_of_the_reduced_one():
    atoms = rattled()
    skewed = atoms.copy()
    skewed.set_cell([[1, 0, 0], [5, 1, 0], [0, 0, 1]] @ atoms.cell.array, scale_atoms=False)
    np.testing.assert_allclose(charges_of(skewed), charges_of(atoms), atol=1e-6)


@pytest.mark.parametrize("pbc", [True, (True, True, False), False])
def test_whole_lattice_vectors_and_the_origin_do_not_matter(pbc):
    atoms = rattled()
    atoms.pbc = pbc
    moved = atoms.copy()
    moved.positions += [3.1, -40.2, 17.3]
    moved.positions[2] += 3 * atoms.cell[0] * atoms.pbc[0]
    np.testing.assert_allclose(charges_of(moved), charges_of(atoms), atol=1e-6)


def test_a_polar_slab_is_the_limit_of_ever_more_vacuum():
    """Periodic along the normal, the images' field falls as one over the height of the cell."""
    slab = rattled((1, 1, 2))
    slab.positions[slab.numbers == 11] += [0, 0, 0.3]
    slab.pbc = (True, True, False)
    heights = np.array([25.0, 40.0, 80.0])
    padded = np.array([padded_charges(slab, height) for height in heights])
    limit = np.polynomial.polynomial.polyfit(1 / heights, padded, 2)[0]
    charges = charges_of(slab)
    np.testing.assert_allclose(charges, limit, atol=5e-4)  # the extrapolation's own error
    assert np.abs(charges - padded[0]).max() > 5e-3


def padded_charges(slab, height):
    bulk_like = slab.copy()
    bulk_like.cell[2, 2] = height
    bulk_like.pbc = True
    return charges_of(bulk_like)


def test_an_oblique_slab_of_any_orientation():
    slab = surface(bulk("ZnS", "zincblende", 5.41, cubic=True), (1, 1, 1), 2, periodic=False)
    slab.rattle(0.1, seed=0)
    turned = slab.copy()
    turned.rotate(50, (1, 1, 2), rotate_cell=True)
    assert list(slab.pbc) == [True, True, False]
    np.testing.assert_allclose(charges_of(turned), charges_of(slab), atol=1e-6)


def test_the_same_structure_is_solved_once(monkeypatch):
    from mpprobe.targets import eeq

    calls = []
    library = eeq._library_charges
    monkeypatch.setattr(eeq, "_library_charges", lambda *args: calls.append(1) or library(*args))
    eeq._solve.cache_clear()
    atoms = rattled()
    first = charges_of(atoms)
    first[:] = 0  # what a caller does to its array stays its own
    assert charges_of(atoms).any()
    assert len(calls) == 1
    atoms.positions[0] += 0.2
    charges_of(atoms)
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("atoms", "reason"),
    [
        (Atoms("RfO", [[0, 0, 0], [0, 0, 2]]), "atomic number 104"),
        (Atoms("OgO", [[0, 0, 0], [0, 0, 2]]), "atomic number 118"),
        (Atoms("XO", [[0, 0, 0], [0, 0, 2]]), "atomic number 0"),
        (Atoms("NaCl", [[0, 0, 0], [0, 0, 0]]), "DFT-D4 gives no"),
        (Atoms("NaCl", [[0, 0, 0], [0, 0, 2]], info={"charge": "none"}), "not a number"),
        (Atoms("NaCl", [[0, 0, 0], [0, 0, 2]], cell=[4, 4, 4], pbc=(1, 0, 0)), "one periodic"),
    ],
)
def test_refusals_are_one_line_that_names_the_frame(atoms, reason):
    with pytest.raises(TargetError, match=reason) as caught:
        charges_of(atoms)
    assert str(caught.value).startswith("test@0: ")
    assert "\n" not in str(caught.value)
