"""The table of published Born charges and dielectric constants."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.formula import Formula

import mpprobe
from mpprobe.errors import TargetError
from mpprobe.structures import Frame
from mpprobe.targets.dielectric import dielectrics, screened_charges


def test_every_row_is_a_crystal_of_two_elements_with_its_source():
    known = dielectrics()
    assert len(known) >= 12
    for name, row in known.items():
        assert set(Formula(name).count()) == {row.cation, row.anion}
        assert 0.8 < row.charge < 8
        assert 1.5 < row.constant < 9
        assert "DFPT" in row.method
        assert row.source


@pytest.mark.parametrize("name", ["NaCl", "CaF2", "Li2O", "Al2O3"])
def test_charges_of_a_formula_unit_add_up_to_zero(name):
    charges = dielectrics()[name].charges
    total = sum(n * charges[s] for s, n in Formula(name).count().items())
    assert total == pytest.approx(0)


def test_they_agree_with_the_public_data(shared_data):
    """Born charges there are of other codes and functionals."""
    seen = set()
    for frame in mpprobe.read(shared_data / "phonon_supercells_bec.extxyz.gz"):
        known = dielectrics().get(frame.compound)
        if known is None or frame.compound in seen or "bec_equilibrium" not in frame.atoms.arrays:
            continue
        seen.add(frame.compound)
        tensors = frame.atoms.arrays["bec_equilibrium"].reshape(-1, 3, 3)
        cations = tensors[frame.atoms.symbols == known.cation]
        assert np.trace(cations.mean(axis=0)) / 3 == pytest.approx(known.charge, rel=0.03)
        constant = np.asarray(frame.atoms.info["eps_inf"]).reshape(3, 3)
        assert np.trace(constant) / 3 == pytest.approx(known.constant, rel=0.07)
    assert {"NaCl", "KCl", "AlN"} <= seen


class TestScreenedCharges:
    def test_they_give_the_force_constants_of_ions_in_a_medium(self):
        frame = Frame.from_atoms(bulk("NaCl", "rocksalt", a=5.64, cubic=True), "salt")
        charges, known = screened_charges(frame), dielectrics()["NaCl"]
        sign = np.where(frame.numbers == 11, 1, -1)
        product = np.outer(sign, sign) * known.charge**2 / known.constant
        np.testing.assert_allclose(np.outer(charges, charges), product)
        assert (charges[frame.numbers == 11] > 0).all()

    def test_a_formula_unit_is_neutral(self):
        frame = Frame.from_atoms(bulk("CaF2", "fluorite", a=5.46), "fluorite")
        assert screened_charges(frame).sum() == pytest.approx(0)

    def test_an_unknown_compound_is_refused_and_the_known_ones_are_listed(self):
        frame = Frame.from_atoms(Atoms("AuCl", positions=[[0, 0, 0], [2, 0, 0]]), "gold@0")
        message = (
            f"^gold@0: no Born charge of AuCl is known, only of {', '.join(dielectrics())}; "
            "name other charges, such as formal or eeq$"
        )
        with pytest.raises(TargetError, match=message):
            screened_charges(frame)

    def test_an_atom_of_another_element_is_refused(self):
        atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
        atoms.symbols[0] = "K"
        atoms.info["compound"] = "NaCl"
        with pytest.raises(TargetError, match=r"^salt@1: not all of its atoms are ions of NaCl$"):
            screened_charges(Frame.from_atoms(atoms, "salt@1"))
