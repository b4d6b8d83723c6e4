"""Reference energies and forces that come with structures."""

from __future__ import annotations

import re

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator

from mpprobe.errors import StructureError
from mpprobe.structures import Frame
from mpprobe.targets.reference import reference_of

FORCES = np.arange(1.0, 10.0).reshape(3, 3)


def water(**arrays):
    atoms = molecule("H2O")
    atoms.arrays.update({name: np.asarray(values) for name, values in arrays.items()})
    return atoms


def test_results_of_a_calculation():
    atoms = water()
    atoms.calc = SinglePointCalculator(atoms, forces=FORCES, energy=-3.0)
    found = reference_of(Frame.from_atoms(atoms, "water"))
    np.testing.assert_array_equal(found.forces, FORCES)
    assert found.energy == -3.0


def test_what_is_named_goes_before_the_results():
    atoms = water(mine=2 * FORCES)
    atoms.calc = SinglePointCalculator(atoms, forces=FORCES, energy=-3.0)
    atoms.info["own"] = -5
    frame = Frame.from_atoms(atoms, "water")
    found = reference_of(frame, "mine", "own")
    np.testing.assert_array_equal(found.forces, 2 * FORCES)
    assert found.energy == -5.0
    assert isinstance(found.energy, float)
    atoms.info["energy"] = -7.0
    assert reference_of(Frame.from_atoms(atoms, "water")).energy == -7.0


@pytest.mark.parametrize("energy", [None, np.nan, np.inf])
def test_the_energy_may_be_absent(energy):
    atoms = water(forces=FORCES)
    if energy is not None:
        atoms.info["energy"] = energy
    assert reference_of(Frame.from_atoms(atoms, "water")).energy is None


def test_structures_without_forces_are_refused():
    message = (
        r"^water@2: no reference forces to compare with \(.*\); name the array that holds them "
        r"\(--forces NAME\), or give structures that have some$"
    )
    with pytest.raises(StructureError, match=message) as error:
        reference_of(Frame.from_atoms(water(), "water@2"), "mine")
    assert "'mine'" in str(error.value)


@pytest.mark.parametrize(
    "values", [FORCES[:, :2], np.where(FORCES < 9, FORCES, np.nan), FORCES[:, 0]]
)
def test_forces_are_three_finite_numbers_an_atom(values):
    message = "water@2: the array 'mine' isn't three finite numbers an atom (eV/Å)"
    with pytest.raises(StructureError, match=f"^{re.escape(message)}$"):
        reference_of(Frame.from_atoms(water(mine=values), "water@2"), "mine")


@pytest.mark.parametrize("energy", ["often", [1.0, 2.0]])
def test_an_energy_that_is_no_number_is_named(energy):
    atoms = Atoms("H", info={"energy": energy})
    atoms.arrays["forces"] = np.zeros((1, 3))
    frame = Frame.from_atoms(atoms, "in.xyz@2")
    with pytest.raises(
        StructureError, match=r"in\.xyz@2: the energy 'energy' is .* no number of eV"
    ):
        reference_of(frame)
