"""Where charges come from when they aren't computed, and what is said when there are none."""

from __future__ import annotations

import gzip
import importlib.util
import io
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator

from mpprobe.errors import TargetError
from mpprobe.structures import Frame
from mpprobe.targets import charges_of, get_target
from mpprobe.targets.charges import DFT_ARRAYS, FORMAL_ARRAYS, POTENTIAL_ARRAYS, per_atom_array

SHARED_DATA = Path(__file__).parents[2].parent / "shared" / "data"
HAS_PYMATGEN = importlib.util.find_spec("pymatgen") is not None


def salt(**arrays):
    atoms = bulk("NaCl", "rocksalt", 5.64)
    for name, values in arrays.items():
        atoms.set_array(name, np.array(values))
    return Frame.from_atoms(atoms, "salt.xyz@3")


def refusal(call, *args):
    with pytest.raises(TargetError) as caught:
        call(*args)
    message = str(caught.value)
    assert message.startswith("salt.xyz@3: ")
    assert "\n" not in message
    return message


class TestFormal:
    @pytest.mark.parametrize("name", FORMAL_ARRAYS)
    def test_from_an_array_whole_numbers_included(self, name):
        charges = charges_of(salt(**{name: [1, -1]}), "formal")
        assert charges.tolist() == [1, -1]
        assert charges.dtype == np.float64

    def test_the_documented_array_comes_first(self):
        frame = salt(oxi_states=[2, -2], charge_formal=[1, -1], initial_charges=[3, -3])
        assert charges_of(frame, "formal").tolist() == [1, -1]

    def test_initial_charges_stand_in_unless_zero(self, monkeypatch):
        monkeypatch.setattr("mpprobe.targets.charges.find_spec", lambda name: None)
        assert charges_of(salt(initial_charges=[1, -1]), "formal").tolist() == [1, -1]
        assert "charge_formal" in refusal(charges_of, salt(initial_charges=[0, 0]), "formal")

    def test_without_any_the_message_says_what_to_add(self, monkeypatch):
        monkeypatch.setattr("mpprobe.targets.charges.find_spec", lambda name: None)
        message = refusal(charges_of, salt(), "formal")
        assert "charge_formal" in message
        assert "@eeq" in message
        assert "pip install pymatgen" in message

    def test_guesses_are_one_state_for_each_species(self, monkeypatch):
        guesses = {"ClNa": {"Na": 1.0, "Cl": -1.0}, "CuO": {}}
        monkeypatch.setattr("mpprobe.targets.charges.find_spec", lambda name: name)
        monkeypatch.setattr("mpprobe.targets.charges._guessed_states", guesses.__getitem__)
        frame = Frame.from_atoms(Atoms("NaClClNa", np.eye(4, 3) * 3), "salt")
        assert charges_of(frame, "formal").tolist() == [1, -1, -1, 1]
        oxide = Frame.from_atoms(Atoms("CuO", [[0, 0, 0], [0, 0, 2]]), "oxide@1")
        with pytest.raises(
            TargetError, match=r"^oxide@1: no formal charges \(none guessed for CuO"
        ) as caught:
            charges_of(oxide, "formal")
        assert "pip install" not in str(caught.value)

    def test_all_zero_is_no_charge_at_all(self):
        assert "all its formal charges are zero" in refusal(
            charges_of, salt(charge_formal=[0, 0]), "formal"
        )

    @pytest.mark.skipif(not HAS_PYMATGEN, reason="pymatgen is not installed")
    def test_guessed_from_the_composition(self):
        assert charges_of(salt(), "formal").tolist() == [1, -1]


class TestStored:
    @pytest.mark.parametrize("name", [n for n in DFT_ARRAYS if n != "charges"])
    def test_every_known_name(self, name):
        assert charges_of(salt(**{name: [0.8, -0.8]}), "dft").tolist() == [0.8, -0.8]

    def test_charges_among_the_results_of_a_calculation(self):
        frame = salt()
        frame.atoms.calc = SinglePointCalculator(frame.atoms, charges=np.array([0.7, -0.7]))
        assert charges_of(frame, "dft").tolist() == [0.7, -0.7]

    def test_the_names_looked_for_are_listed(self):
        message = refusal(charges_of, salt(), "dft")
        assert all(name in message for name in DFT_ARRAYS)

    def test_any_array_by_its_name(self):
        frame = salt(Resp=[0.5, -0.5])
        assert charges_of(frame, "Resp").tolist() == [0.5, -0.5]
        assert "'resp'; there are Resp, numbers, positions" in refusal(charges_of, frame, "resp")

    def test_an_array_of_vectors_is_no_charge(self):
        assert "shape (2, 3)" in refusal(charges_of, salt(), "positions")

    def test_an_array_of_words_is_no_charge(self):
        assert "numbers" in refusal(charges_of, salt(label=["a", "b"]), "label")

    def test_a_column_is_an_array_of_numbers(self):
        assert per_atom_array(salt(q=[[1.0], [2.0]]), "q").tolist() == [1, 2]

    @pytest.mark.parametrize(
        ("file", "array"),
        [
            ("spice_dipeptides_mbis.extxyz.gz", "mbis_charges"),
            ("lobster_crystals.extxyz.gz", "loewdin_charges"),
        ],
    )
    def test_public_data(self, file, array):
        path = SHARED_DATA / file
        if not path.exists():
            pytest.skip(f"{path} is not here")
        atoms = first_frame(path)
        frame = Frame.from_atoms(atoms, f"{file}@0")
        np.testing.assert_array_equal(charges_of(frame, "dft"), atoms.arrays[array])
        assert np.isfinite(get_target("potential@dft").values([frame])[0]).all()


def first_frame(path):
    """ASE would look through the whole compressed file before it gives the first frame."""
    with gzip.open(path, "rt") as file:
        size = file.readline()
        lines = [size, *(file.readline() for _ in range(int(size) + 1))]
    return ase.io.read(io.StringIO("".join(lines)), format="extxyz")


class TestStoredPotential:
    @pytest.mark.parametrize("name", POTENTIAL_ARRAYS)
    def test_is_free_of_its_constant(self, name):
        values = [
            get_target("potential:dft").values([salt(**{name: [3.0 + shift, 1.0 + shift]})])[0]
            for shift in (0.0, 40.0)
        ]
        np.testing.assert_allclose(values, [[1, -1], [1, -1]], atol=1e-12)

    def test_the_names_looked_for_are_listed(self):
        message = refusal(get_target("potential:dft").values, [salt()])
        assert all(name in message for name in POTENTIAL_ARRAYS)


def test_forces_read_by_ase_are_an_array_too():
    water = molecule("H2O")
    forces = np.arange(9.0).reshape(3, 3)
    water.calc = SinglePointCalculator(water, forces=forces, energy=1.0)
    frame = Frame.from_atoms(water, "salt.xyz@3")
    np.testing.assert_array_equal(per_atom_array(frame, "forces"), forces)
    assert "'energy'" in refusal(per_atom_array, frame, "energy")
