"""Labels that a frame takes from its structure."""

import numpy as np
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


@pytest.mark.parametrize(
    ("held", "label"),
    [(0, "0"), (np.array([1, 2]), "1 2"), (np.eye(2, dtype=int), "1 0 0 1"), ("a\nb", "a b")],
)
def test_numbers_and_arrays_are_labels_too(held, label):
    """Groups numbered from 0, or as "1 2", which extended XYZ reads as an array."""
    frame = Frame.from_atoms(Atoms("Na", info={"group": held, "domain": held}), "in.xyz@3")
    assert (frame.group, frame.domain) == (label, label)


@pytest.mark.parametrize("held", [None, ""])
def test_no_label_is_none(held):
    frame = Frame.from_atoms(Atoms("Na", info={"group": held}), "in.xyz@3")
    assert frame.group == "in.xyz@3"
