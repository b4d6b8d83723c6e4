"""Pauling's scale as chemists know it."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.data import atomic_numbers

from mpprobe.probes.electronegativity import PAULING, electronegativities
from mpprobe.structures.frame import as_frames

KNOWN = {
    "H": 2.20, "Li": 0.98, "C": 2.55, "N": 3.04, "O": 3.44, "F": 3.98, "Na": 0.93, "Mg": 1.31,
    "Si": 1.90, "S": 2.58, "Cl": 3.16, "K": 0.82, "Ca": 1.00, "Ti": 1.54, "Fe": 1.83, "Zn": 1.65,
    "As": 2.18, "Br": 2.96, "Kr": 3.00, "Rb": 0.82, "Zr": 1.33, "Mo": 2.16, "Ag": 1.93,
    "I": 2.66, "Cs": 0.79, "Ba": 0.89, "La": 1.10, "Lu": 1.27, "Hf": 1.30, "W": 2.36, "Au": 2.54,
    "Pb": 2.33, "Bi": 2.02, "Fr": 0.70, "U": 1.38, "Pu": 1.28,
}  # fmt: skip


def scale(symbols):
    return electronegativities(as_frames(Atoms(symbols))[0])


def test_they_are_those_of_tables():
    np.testing.assert_allclose(scale(list(KNOWN)), list(KNOWN.values()))


def test_they_rise_to_fluorine():
    for period in (["Li", "Be", "B", "C", "N", "O", "F"], ["Na", "Mg", "Al", "Si", "P", "S", "Cl"]):
        assert (np.diff(scale(period)) > 0).all()
    for group in (["F", "Cl", "Br", "I"], ["O", "S", "Se", "Te"], ["Li", "Na", "K", "Cs"]):
        assert (np.diff(scale(group)) < 0).all()
    assert np.nanargmax(PAULING) == atomic_numbers["F"]


@pytest.mark.parametrize("symbol", ["He", "Ne", "Ar", "X", "Am", "Og"])
def test_an_element_without_one_has_the_mean_of_the_others(symbol):
    assert scale([symbol, "O"]).tolist() == [pytest.approx(np.nanmean(PAULING)), 3.44]
    assert 1.6 < np.nanmean(PAULING) < 1.9


def test_all_others_have_one():
    without = [z for z in range(1, 95) if not np.isfinite(PAULING[z])]
    assert without == [atomic_numbers[s] for s in ("He", "Ne", "Ar")]
