"""Force constants of distant atoms, against references whose law is known."""

from __future__ import annotations

import numpy as np
import pytest

import mpprobe
from explain.pair_sets import chain, coulomb, pair_set
from mpprobe.errors import StructureError, TargetError
from mpprobe.explain import by_distance, by_part, nonlocal_forces
from mpprobe.targets.dielectric import dielectrics, screened_charges

SINGLES = [((i, k),) for i in range(6) for k in range(3)]
DOUBLES = [((1, 0), (10, 0)), ((1, 1), (10, 1)), ((1, 0), (5, 0))]
PARTS = {"e_coulomb": 1.5, "e_kinetic": -0.7, "e_xc": 0.2}


@pytest.fixture(scope="module")
def mace(mace_file):
    return mpprobe.load(mace_file("8x0e+8x1o"), dtype="float64", trust_checkpoint=True)


@pytest.fixture(scope="module")
def found(mace):
    singles = [*SINGLES, ((10, 0),), ((10, 1),)]
    images = pair_set(chain(), [*singles, *DOUBLES], parts=PARTS)
    return nonlocal_forces(mace, images, charges="formal")


def test_point_charges_follow_a_reference_of_point_charges(found):
    table = by_distance(found, n_resamples=200)
    assert list(table["domain"]) == ["chain"] * 3 + ["all"] * 3
    assert list(table["from"][:3]) == [1, 2, 3]
    for column in ("point_slope", "point_slope_low", "point_correlation"):
        np.testing.assert_allclose(table[column], 1)
    # A random-weight model knows nothing of charges.
    assert not (table["correlation"].abs() > 0.9).any()
    assert (table["n_displaced"] == len(SINGLES) + 2).all()


def test_a_screened_reference_has_that_slope(mace):
    images = pair_set(chain(), SINGLES, reference=lambda atoms: coulomb(atoms, 0.25))
    table = by_distance(nonlocal_forces(mace, images, charges="formal"), n_resamples=200)
    np.testing.assert_allclose(table["point_slope"], 4)
    np.testing.assert_allclose(table["point_correlation"], 1)


def test_the_models_own_forces_as_reference(mace):
    def own(atoms):
        output = mace.run(mace.batch(atoms), forces=True)
        return float(output.energies[0]), output.forces.numpy()

    images = pair_set(chain(8), [((1, 0),), ((5, 0),), ((1, 0), (5, 0))], reference=own)
    found = nonlocal_forces(mace, images, charges="formal")
    table = by_distance(found)
    np.testing.assert_allclose(table["slope"][table["to"].notna()], 1)
    assert (table["model_rms"][table["to"].isna()] == 0).all()  # nothing that far
    (pair,) = found.pairs.to_dict("records")
    assert pair["K_model"] == pytest.approx(pair["K_reference"])
    # From energies too, to second order in the displacement.
    assert pair["K_energy"] == pytest.approx(pair["K_reference"], rel=1e-2)


def test_mixed_differences_split_the_energy(found):
    pairs = found.pairs
    assert (found.atoms["cutoffs"] > 1).all()
    assert len(pairs) == len(DOUBLES)
    np.testing.assert_allclose(pairs["K_reference"], pairs["K_energy"], rtol=2e-3)
    np.testing.assert_allclose(pairs["K_point charges"], pairs["K_reference"])
    for key, share in PARTS.items():
        part = pairs[f"K_{key.removeprefix('e_')}"]
        np.testing.assert_allclose(part, share * pairs["K_energy"], rtol=1e-6)
    np.testing.assert_allclose(pairs["K_kinetic + xc"], -0.5 * pairs["K_energy"], rtol=1e-6)
    # Na and Cl nine places apart along the chain: unlike charges, positive along it.
    first = pairs.iloc[0]
    assert first["species"] == "Cl-Na"
    assert first["K_reference"] > 0
    distance = first["distance"]
    assert first["K_reference"] == pytest.approx(2 * 14.399645 / distance**3, rel=0.01)
    assert pairs.iloc[1]["K_reference"] < 0  # and negative across it


def test_every_part_has_a_row(found):
    table = by_part(found, n_resamples=100)
    assert list(table["part"]) == [
        "reference", "coulomb", "kinetic", "kinetic + xc", "point charges",
    ]  # fmt: skip
    by_name = table.set_index("part")
    assert by_name.loc["kinetic", "correlation"] == pytest.approx(
        -by_name.loc["coulomb", "correlation"]
    )
    assert np.isnan(table["slope_low"]).all()  # three pairs are too few


def test_parts_that_are_not_there_are_left_out(mace):
    images = pair_set(chain(), [((1, 0),), ((10, 0),), ((1, 0), (10, 0))])
    found = nonlocal_forces(mace, images, charges="formal")
    assert np.isnan(found.pairs["K_kinetic"]).all()
    assert list(by_part(found)["part"]) == ["reference", "point charges"]


def test_nothing_crosses_a_gap(mace):
    """No way through the graph: exactly zero, and no part of the summary over domains."""
    images = pair_set(chain(gap=6.0), SINGLES, "gap") + pair_set(chain(), SINGLES)
    found = nonlocal_forces(mace, images, charges="formal")
    cut = found.atoms[found.atoms["steps"].isna()]
    assert set(cut["domain"]) == {"gap"}
    assert (cut["watched"] >= 7).all()
    assert np.abs(cut[["model_x", "model_y", "model_z"]].to_numpy()).max() < 1e-12
    assert np.abs(cut[["reference_x", "reference_y", "reference_z"]].to_numpy()).max() > 1e-3


def test_nothing_is_felt_beyond_twice_the_reach(found, mace):
    """Each site sees as far as the last layer's reach, and two atoms meet at a site between."""
    atoms = found.atoms
    far = atoms["steps"] > 2 * (len(mace.layers) - 1)
    assert far.any()
    k = np.abs(atoms[["model_x", "model_y", "model_z"]].to_numpy()).max(axis=1)
    assert k[far].max() < 1e-12
    assert k[~far].max() > 1e-6


def test_screened_charges_are_of_the_published_size(ionic_cells):
    frame = mpprobe.Frame.from_atoms(ionic_cells[0], "cell")
    charges = screened_charges(frame)
    known = dielectrics()["NaCl"]
    assert charges.sum() == pytest.approx(0)
    assert charges.max() ** 2 == pytest.approx(known.charge**2 / known.constant)
    mixed = ionic_cells[0].copy()
    mixed.symbols[0] = "Li"
    mixed.info["compound"] = "NaCl"
    with pytest.raises(TargetError, match="not all of its atoms are ions of NaCl"):
        screened_charges(mpprobe.Frame.from_atoms(mixed, "mixed"))


class TestRefusals:
    def test_a_group_of_one(self, mace):
        with pytest.raises(StructureError, match="the only structure of group"):
            nonlocal_forces(mace, pair_set(chain(), []), charges="formal")

    def test_three_displaced(self, mace):
        images = pair_set(chain(), [((0, 0), (3, 0), (6, 0))])
        with pytest.raises(StructureError, match="moves 3 atoms"):
            nonlocal_forces(mace, images, charges="formal")

    def test_other_atoms(self, mace):
        images = pair_set(chain(), []) + pair_set(chain(12), [((0, 0),)])[1:]
        with pytest.raises(StructureError, match="other atoms or another cell"):
            nonlocal_forces(mace, images, charges="formal")

    def test_no_published_charges(self, mace):
        images = pair_set(chain(), SINGLES[:1])
        for atoms in images:
            atoms.info["compound"] = "unheard of"
        with pytest.raises(TargetError, match="no Born charge of unheard of"):
            nonlocal_forces(mace, images)
