"""Structures that are the same around some atoms and drawn anew farther away."""

from __future__ import annotations

import sys
from pathlib import Path

import ase.build
import numpy as np
import pytest
from ase import Atoms

import mpprobe
from mpprobe.errors import StructureError
from mpprobe.structures.check import close_atoms
from mpprobe.structures.far import far_atoms, far_draws, watched_atoms

FOLDER = Path(__file__).parents[2] / "data" / "far"


@pytest.fixture(scope="module")
def crystal():
    atoms = ase.build.bulk("NaCl", "rocksalt", a=5.64, cubic=True).repeat(3)
    atoms.rattle(0.1, seed=0)
    return atoms


@pytest.fixture(scope="module")
def shipped():
    return mpprobe.read("far:all")


def distances(atoms, watched):
    return np.stack([atoms.get_distances(i, range(len(atoms)), mic=True) for i in watched])


class TestWatchedAtoms:
    def test_they_are_one_of_each_species_and_neighbours(self, crystal):
        watched = watched_atoms(crystal)
        assert sorted(crystal.numbers[watched]) == [11, 17]
        assert distances(crystal, watched)[0, watched[1]] < 3.2

    def test_the_first_is_of_the_rarest_species_near_the_middle(self):
        atoms = Atoms("Cl3NaCl", positions=[[k, 0, 0] for k in (0, 1, 2, 9, 4)])
        assert watched_atoms(atoms).tolist() == [3, 4]


class TestDraws:
    def test_what_is_within_the_radius_stays_and_all_else_moves(self, crystal):
        watched = watched_atoms(crystal)
        near = distances(crystal, watched).min(axis=0) <= 5.0
        assert 10 < near.sum() < len(crystal) / 2
        for atoms in far_draws(crystal, watched, 5.0, draws=3, seed=1):
            np.testing.assert_array_equal(atoms.positions[near], crystal.positions[near])
            assert (atoms.positions[~near] != crystal.positions[~near]).all(axis=1).all()
            assert distances(atoms, watched).min(axis=0)[~near].min() > 5.0
            assert np.flatnonzero(atoms.arrays["watched"]).tolist() == watched.tolist()
            assert (atoms.info["fixed"], atoms.info["within"]) == (5.0, "group")

    def test_displacements_have_the_amplitude(self, crystal):
        draws = far_draws(crystal, [0], 5.0, draws=20, amplitude=0.1)
        far = far_atoms(crystal, [0], 5.0)
        moved = np.stack([d.positions[far] - crystal.positions[far] for d in draws])
        assert moved.std() == pytest.approx(0.1, rel=0.02)
        assert abs(moved.mean()) < 0.003

    def test_the_seed_decides(self, crystal):
        one, again, other = (
            far_draws(crystal, [0], 5.0, draws=1, seed=s)[0].positions for s in (3, 3, 4)
        )
        np.testing.assert_array_equal(one, again)
        assert (one != other).any()

    def test_atoms_stay_apart(self, crystal):
        shortest = crystal.get_all_distances(mic=True)[~np.eye(len(crystal), dtype=bool)].min()
        for atoms in far_draws(crystal, [0], 5.0, draws=3, amplitude=0.5):
            apart = atoms.get_all_distances(mic=True)[~np.eye(len(atoms), dtype=bool)]
            assert apart.min() > 0.75 * shortest

    def test_nothing_beyond_the_radius_is_one_line(self, crystal):
        with pytest.raises(StructureError, match="no atom lies farther than 20 Å from those"):
            far_draws(crystal, [0], 20.0, draws=1)

    @pytest.mark.parametrize("watched", [[], [-1], [0, 216]])
    def test_watched_atoms_that_are_none_are_one_line(self, crystal, watched):
        with pytest.raises(StructureError, match="give indices from 0 to 215"):
            far_draws(crystal, watched, 5.0, draws=1)

    def test_displacements_that_can_not_be_are_one_line(self, crystal):
        with pytest.raises(StructureError, match="displacements of 9 Å bring atoms closer than"):
            far_draws(crystal, [0], 5.0, draws=1, amplitude=9.0)


def test_close_atoms_are_those_of_all_pairs(crystal):
    distance = crystal.get_all_distances(mic=True) + 99 * np.eye(len(crystal))
    for radius in (2.4, 2.6, 2.8):
        expected = distance.min(axis=1) < radius
        np.testing.assert_array_equal(close_atoms(crystal, radius), expected)
    assert not close_atoms(crystal, 0.0).any()


class TestTheSet:
    def test_surroundings_are_the_same_in_a_group(self, shipped):
        groups = {}
        for frame in shipped:
            groups.setdefault(frame.group, []).append(frame.atoms)
        assert len(groups) > 90
        for name, members in groups.items():
            assert len(members) >= 6, name
            near = []
            for atoms in members:
                watched = np.flatnonzero(atoms.arrays["watched"])
                own = ~far_atoms(atoms, watched, atoms.info["fixed"])
                rows = zip(
                    atoms.numbers[own].tolist(), atoms.positions[own].tolist(),
                    atoms.arrays["watched"][own].tolist(), strict=True,
                )  # fmt: skip
                near.append(sorted((z, *p, w) for z, p, w in rows))
            assert all(other == near[0] for other in near), name

    def test_two_surroundings_of_near_have_one_far_field(self, shipped):
        near = [f for f in shipped if f.domain == "near"]
        for compound in {f.compound for f in near}:
            one, other = (
                [f.atoms for f in near if f.group == f"{compound}-near-{k}"] for k in (0, 1)
            )
            for a, b in zip(one, other, strict=True):
                same = (a.positions == b.positions).all(axis=1)
                assert 0.3 < same.mean() < 0.95
                assert not same[a.arrays["watched"] > 0].any()

    def test_the_first_of_vacancies_is_whole_and_the_others_are_neutral(self, shipped):
        members = [f.atoms for f in shipped if f.group == "NaCl-vacancies-0"]
        assert [len(m) - len(members[0]) for m in members] == [0] + [-2] * (len(members) - 1)
        assert all(m.arrays["charge_formal"].sum() == 0 for m in members)

    def test_it_is_what_its_recipe_makes(self, shipped, monkeypatch):
        monkeypatch.syspath_prepend(str(FOLDER))
        import draws

        for series, compound in (("rattled", "CsCl"), ("near", "CsCl"), ("vacancies", "KCl")):
            own = [f.atoms for f in shipped if f.domain == series and f.compound == compound]
            for atoms, made in zip(own, draws.build(series, compound), strict=True):
                np.testing.assert_array_equal(atoms.positions, made.positions)
                np.testing.assert_array_equal(atoms.arrays["watched"], made.arrays["watched"])

    @pytest.mark.slow
    def test_the_file_is_byte_for_byte_what_its_recipe_makes(self, monkeypatch):
        monkeypatch.syspath_prepend(str(FOLDER))
        monkeypatch.setattr(sys, "argv", ["draws.py", "--check"])
        import draws

        assert draws.main() == 0

    @pytest.mark.parametrize(
        ("group", "blind", "seeing"), [("CsCl-rattled-0", 1, 2), ("CsCl-rattled-10-0", 2, 3)]
    )
    def test_layers_whose_reach_is_fixed_are_blind(self, sevenn_0, shipped, group, blind, seeing):
        frames = [f for f in shipped if f.group == group][:2]
        acts = mpprobe.extract(sevenn_0, frames, layers=[blind, seeing])
        rows = [np.flatnonzero(acts.rows.frame == k) for k in (0, 1)]
        watched = [r[f.atoms.arrays["watched"] > 0] for r, f in zip(rows, frames, strict=True)]
        for layer, least, most in ((blind, 0.0, 1e-5), (seeing, 1e-4, np.inf)):
            one, other = (np.asarray(acts[layer].values)[w] for w in watched)
            change = np.abs(one - other).max() / np.abs(one).max()
            assert least <= change < most, layer
