"""Labels that a frame takes from its structure."""

import pytest
from ase import Atoms

from mpprobe.structures import Frame, as_frames
from mpprobe.structures.frame import conventional_formula


@pytest.mark.parametrize(
    ("symbols", "formula"),
    [
        ("Cl4Na4", "NaCl"),
        ("O6Sr2Ti2", "SrTiO3"),
        ("O4Si2", "SiO2"),
        ("OH2", "H2O"),
        ("H3N", "NH3"),
        ("O2C", "CO2"),
        ("OC2H6", "C2H6O"),
        ("Si8", "Si"),
    ],
)
def test_formulas_are_reduced_and_written_as_chemists_do(symbols, formula):
    assert conventional_formula(Atoms(symbols)) == formula


def test_labels_default_to_formula_unlabelled_and_source():
    frame = Frame.from_atoms(Atoms("ClNa"), "a.xyz@2")
    assert (frame.compound, frame.domain, frame.group) == ("NaCl", "unlabelled", "a.xyz@2")


def test_labels_come_from_info():
    info = {"compound": "halite", "domain": "surface", "group": 7}
    frame = Frame.from_atoms(Atoms("ClNa", info=info), "a.xyz@2")
    assert (frame.compound, frame.domain, frame.group) == ("halite", "surface", "7")


def test_as_frames_passes_frames_through_and_numbers_structures():
    frame = Frame.from_atoms(Atoms("H"), "a.xyz@0")
    mixed = as_frames([frame, Atoms("He")])
    assert mixed[0] is frame
    assert mixed[1].source == "structure@1"
    assert len(as_frames(Atoms("He"))) == 1
