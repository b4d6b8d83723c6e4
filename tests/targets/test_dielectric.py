"""The table of published Born charges and dielectric constants."""

from __future__ import annotations

import numpy as np
import pytest
from ase.formula import Formula

import mpprobe
from mpprobe.targets.dielectric import dielectrics


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
