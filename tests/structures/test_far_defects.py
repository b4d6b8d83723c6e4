"""Vacancies, dopants and surfaces beyond surroundings that stay."""

from __future__ import annotations

import sys
from pathlib import Path

import ase.build
import numpy as np
import pytest

import mpprobe
from mpprobe.errors import StructureError
from mpprobe.structures.far import far_atoms, watched_atoms
from mpprobe.structures.far_defects import far_defects

FOLDER = Path(__file__).parents[2] / "data" / "far"
KINDS = ("vacancies", "dopants", "surfaces")


def crystal(name, a, structure="rocksalt", charges=(1.0, -1.0), cells=(3, 3, 4)):
    atoms = ase.build.bulk(name, structure, a=a, cubic=True).repeat(cells)
    cation = atoms.numbers == atoms.numbers[0]
    atoms.set_array("charge_formal", np.where(cation, *charges))
    atoms.rattle(0.1, seed=0)
    return atoms


@pytest.fixture(scope="module")
def salt():
    return crystal("NaCl", 5.64)


def composition(atoms):
    return atoms.symbols.formula.count()


def surroundings(atoms):
    """Species, place and role of all atoms that are to stay."""
    near = ~far_atoms(atoms, np.flatnonzero(atoms.arrays["watched"]), atoms.info["fixed"])
    roles = atoms.arrays["watched"][near].tolist()
    places = atoms.positions[near].tolist()
    return sorted((z, *p, w) for z, p, w in zip(atoms.numbers[near], places, roles, strict=True))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shift", [0.0, 8.0, 15.0])
def test_surroundings_stay_and_all_is_neutral(salt, kind, shift):
    atoms = salt.copy()  # wherever the watched atoms are in the cell
    atoms.positions += shift
    atoms.wrap()
    draws = far_defects(atoms, watched_atoms(salt), 5.0, kind, draws=4, seed=2)
    assert [d.info["defect"] == "none" for d in draws] == [True, False, False, False]
    assert composition(draws[0]) == composition(salt)
    for draw in draws:
        assert surroundings(draw) == surroundings(draws[0])
        assert draw.arrays["charge_formal"].sum() == 0
        assert draw.info["within"] == "group"
    again = far_defects(atoms, watched_atoms(salt), 5.0, kind, draws=4, seed=2)
    assert draws == again


def test_a_vacancy_is_neutral_whatever_the_charges():
    atoms = crystal("CaF2", 5.463, "fluorite", (2.0, -1.0), (3, 3, 3))
    whole, defective = far_defects(atoms, watched_atoms(atoms), 5.0, "vacancies", draws=2)
    lost = {s: n - composition(defective)[s] for s, n in composition(whole).items()}
    assert lost == {"Ca": 1, "F": 2}


@pytest.mark.parametrize(
    ("name", "charge", "change"),
    [
        ("NaCl", 1.0, {"Na": -2, "Ca": 1}),
        ("MgO", 2.0, {"Mg": -2, "Li": 2, "O": -1}),
        ("CaF2", (2.0, -1.0), {"Ca": -1, "Na": 1, "F": -1}),
    ],
)
def test_dopants_are_compensated(name, charge, change):
    structure = "fluorite" if name == "CaF2" else "rocksalt"
    charges = (charge, -charge) if isinstance(charge, float) else charge
    atoms = crystal(name, 5.5, structure, charges, (3, 3, 3))
    whole, doped = far_defects(atoms, watched_atoms(atoms), 5.0, "dopants", draws=2)
    before, after = composition(whole), composition(doped)
    assert {
        s: after.get(s, 0) - before.get(s, 0)
        for s in before | after
        if after.get(s, 0) != before.get(s, 0)
    } == change


def test_surfaces_are_farther_than_the_radius(salt):
    watched = watched_atoms(salt)
    for slab in far_defects(salt, watched, 5.0, "surfaces", draws=6)[1:]:
        z = slab.positions[:, 2]
        own = z[slab.arrays["watched"] > 0]
        assert slab.pbc.tolist() == [True, True, False]
        assert slab.cell[2, 2] - np.ptp(z) == pytest.approx(14.0)
        # Half a layer beyond the last atoms is the surface.
        assert z.max() - own.max() > 5.0 - 1.41 - 0.4
        assert own.min() - z.min() > 5.0 - 1.41 - 0.4
        assert len(slab) % 36 == 0  # whole layers


@pytest.mark.parametrize(
    ("kind", "change", "said"),
    [
        ("holes", lambda a: a, "defect 'holes': choose one of vacancies, dopants, surfaces"),
        ("dopants", lambda a: a.arrays.pop("charge_formal"), "give the array charge_formal"),
        ("surfaces", lambda a: a.set_pbc((True, True, False)), "across the third cell vector"),
        ("surfaces", lambda a: a.rotate(30, "x", rotate_cell=True), "has to be along z"),
    ],
)
def test_what_can_not_be_is_one_line(salt, kind, change, said):
    atoms = salt.copy()
    change(atoms)
    with pytest.raises(StructureError, match=said) as caught:
        far_defects(atoms, [0], 5.0, kind, draws=2)
    assert "\n" not in str(caught.value)


def test_a_cell_too_low_for_a_surface_is_one_line():
    atoms = crystal("NaCl", 5.64, cells=(4, 4, 2))
    with pytest.raises(StructureError, match="no gap between layers lies farther than 5 Å"):
        far_defects(atoms, [0], 5.0, "surfaces", draws=2)


class TestTheSet:
    @pytest.mark.parametrize(
        ("series", "compound"), [("vacancies", "CsBr"), ("dopants", "CsCl"), ("surfaces", "SrO")]
    )
    def test_it_is_what_its_recipe_makes(self, monkeypatch, series, compound):
        monkeypatch.syspath_prepend(str(FOLDER))
        monkeypatch.delitem(sys.modules, "draws", raising=False)
        import draws

        own = [f.atoms for f in mpprobe.read(f"far:{series}") if f.compound == compound]
        for atoms, made in zip(own, draws.build(series, compound), strict=True):
            np.testing.assert_array_equal(atoms.numbers, made.numbers)
            np.testing.assert_array_equal(atoms.positions, made.positions)
            assert atoms.info["defect"] == made.info["defect"]

    @pytest.mark.parametrize("group", ["SrO-dopants-0", "SrO-surfaces-0", "CsCl-vacancies-0"])
    def test_layer_1_is_blind_and_layer_2_is_not(self, sevenn_0, group):
        frames = [f for f in mpprobe.read("far:all") if f.group == group][:2]
        acts = mpprobe.extract(sevenn_0, frames, layers=[1, 2])
        rows = [np.flatnonzero(acts.rows.frame == k) for k in (0, 1)]
        watched = [r[f.atoms.arrays["watched"] > 0] for r, f in zip(rows, frames, strict=True)]
        for layer, least, most in ((1, 0.0, 1e-5), (2, 1e-4, np.inf)):
            one, other = (np.asarray(acts[layer].values)[w] for w in watched)
            change = np.abs(one - other).max() / np.abs(one).max()
            assert least <= change < most, (layer, change)
