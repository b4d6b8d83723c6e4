"""Splits: nothing held out is trained on, at any level."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms

from mpprobe.errors import ProbeError
from mpprobe.probes.splits import CELLS, SPLITS, make_split
from mpprobe.structures.frame import Frame

SEEDS = range(6)
FORMULAS = ["NaCl", "MgO", "K2O", "CaF2", "SrTiO3", "ZnS", "LiF", "KBr", "AlN", "Al2O3", "CsCl"]
DOMAINS = ["bulk", "strained", "surface", "cluster", "vacancy"]


def frame(formula, i, group=None, domain="bulk"):
    return Frame(Atoms(formula), f"made@{i}", formula, domain, group or f"g{i}")


def random_frames(seed, n=60):
    """Binary and ternary compounds in random groups and domains."""
    rng = np.random.default_rng(seed)
    frames = []
    for i in range(n):
        formula = str(rng.choice(FORMULAS))
        group = f"{formula}-{rng.integers(4)}"
        frames.append(frame(formula, i, group, str(rng.choice(DOMAINS))))
    return frames


def on_atoms(frames, name):
    return np.repeat([getattr(f, name) for f in frames], [len(f) for f in frames])


def cases(name):
    """Every fold, and every inner fold, of many random splits: (labels, train, test) rows."""
    for seed in SEEDS:
        for n_folds in (2, 3, 5):
            frames = random_frames(seed)
            split = make_split(name, frames, n_folds=n_folds, seed=seed)
            for k, fold in enumerate(split.folds):
                yield frames, split, split.training_rows(k), split.test == k
                for train, validation in fold.inner:
                    assert set(train) | set(validation) <= set(fold.train)
                    rows = np.isin(split.cells, train), np.isin(split.cells, validation)
                    yield frames, split, *rows


@pytest.mark.parametrize("name", SPLITS)
def test_a_split_has_its_name(name):
    assert make_split(name, random_frames(0), n_folds=3).name == name


def test_no_group_is_on_both_sides():
    for frames, _, train, test in cases("structure"):
        group = on_atoms(frames, "group")
        assert train.any()
        assert test.any()
        assert not set(group[train]) & set(group[test])


def test_no_compound_is_on_both_sides():
    for frames, _, train, test in cases("compound"):
        compound = on_atoms(frames, "compound")
        assert train.any()
        assert test.any()
        assert not set(compound[train]) & set(compound[test])


def test_no_structure_with_a_tested_element_is_trained_on():
    for seed in SEEDS:
        frames = random_frames(seed)
        split = make_split("element", frames, seed=seed)
        numbers = np.concatenate([f.numbers for f in frames])
        structure = np.repeat(np.arange(len(frames)), [len(f) for f in frames])
        for k, fold in enumerate(split.folds):
            inner = [(np.isin(split.cells, a), np.isin(split.cells, b)) for a, b in fold.inner]
            for train, test in [(split.training_rows(k), split.test == k), *inner]:
                assert train.any()
                assert test.any()
                with_tested = np.isin(structure, structure[np.isin(numbers, numbers[test])])
                assert not (train & with_tested).any()
            assert set(fold.held_out) == set(
                np.concatenate([f.atoms.symbols for f in frames])[split.test == k]
            )


def test_domain_trains_in_domain_only_and_tests_the_rest_on_all_of_it():
    for seed in SEEDS:
        frames = random_frames(seed)
        split = make_split("domain", frames, seed=seed)
        inside = np.isin(on_atoms(frames, "domain"), ["bulk", "strained"])
        group = on_atoms(frames, "group")
        last = len(split.folds) - 1
        shared = ~inside & np.isin(group, group[inside])
        np.testing.assert_array_equal(split.training_rows(last), inside)
        np.testing.assert_array_equal(split.test == last, ~inside & ~shared)
        assert 0 < shared.sum() < (~inside).sum()
        assert (split.cells[~inside] == -1).all()
        within = [frame for frame in frames if frame.domain in ("bulk", "strained")]
        by_structure = make_split("structure", within, seed=seed)
        np.testing.assert_array_equal(split.test[inside], by_structure.test)
        for k in range(last):
            train, test = split.training_rows(k), split.test == k
            assert inside[train].all()
            assert inside[test].all()
            assert not set(group[train]) & set(group[test])
        assert set(split.folds[-1].held_out) == {"surface", "cluster", "vacancy"}


def left_out(name, frames):
    """Atoms of structures out of domain that share a group with one in domain."""
    inside = np.isin(on_atoms(frames, "domain"), ["bulk", "strained"])
    group = on_atoms(frames, "group")
    return (name == "domain") & ~inside & np.isin(group, group[inside])


@pytest.mark.parametrize("name", SPLITS)
def test_every_atom_is_tested_once_and_never_on_its_own_training_set(name):
    for seed in SEEDS:
        frames = random_frames(seed)
        split = make_split(name, frames, seed=seed)
        np.testing.assert_array_equal(split.scored, ~left_out(name, frames))
        assert split.test.max() == len(split.folds) - 1
        for k in range(len(split.folds)):
            assert not (split.training_rows(k) & (split.test == k)).any()


@pytest.mark.parametrize("name", SPLITS)
def test_a_seed_decides_the_split(name):
    frames = random_frames(0)
    first, again, *others = (make_split(name, frames, seed=s) for s in (0, 0, 1, 2, 3))
    np.testing.assert_array_equal(first.cells, again.cells)
    np.testing.assert_array_equal(first.test, again.test)
    np.testing.assert_array_equal(first.test, make_split(name, frames).test)
    assert first.folds == again.folds
    assert any((first.test != other.test).any() for other in others)


def test_folds_by_structure_are_balanced_and_every_compound_is_in_each():
    frames = [frame(c, f"{c}{i}") for c in ("NaCl", "MgO", "Al2O3") for i in range(10)]
    split = make_split("structure", frames)
    for compound in ("NaCl", "MgO", "Al2O3"):
        rows = on_atoms(frames, "compound") == compound
        assert len(set(np.bincount(split.test[rows], minlength=5))) == 1


def test_folds_are_balanced_by_atoms_and_not_by_structures():
    sizes = [16] * 3 + [2] * 24
    frames = [replace(frame("NaCl" * n, i), compound="NaCl") for i, n in enumerate(sizes)]
    for seed in SEEDS:
        split = make_split("structure", frames, n_folds=2, seed=seed)
        assert np.bincount(split.test).tolist() == [96, 96]
        assert sizes_of_parts(split) == [[32] * 3] * 2


def sizes_of_parts(split):
    """Atoms that each inner fold of each fold leaves out; cells of one part are left out as one."""
    return [
        [int(np.isin(split.cells, validation).sum()) for _, validation in fold.inner]
        for fold in split.folds
    ]


def test_fewer_folds_where_there_are_fewer_compounds():
    frames = [frame(c, f"{c}{i}") for c in ("NaCl", "MgO", "KBr") for i in range(4)]
    split = make_split("compound", frames, n_folds=5)
    assert sorted(f.held_out for f in split.folds) == [("KBr",), ("MgO",), ("NaCl",)]


@pytest.mark.parametrize(("n_folds", "n_parts"), [(2, 6), (3, 6), (4, 4), (5, 5)])
def test_few_folds_are_cut_into_parts_to_choose_the_penalty_by(n_folds, n_parts):
    frames = [frame("NaCl", i) for i in range(60)]
    for seed in SEEDS:
        split = make_split("structure", frames, n_folds=n_folds, seed=seed)
        left = n_parts - n_parts // n_folds
        assert sizes_of_parts(split) == [[120 // n_parts] * left] * n_folds
        # Parts are the same for every fold: of two folds, one leaves out what the other does.
        parts = {validation for fold in split.folds for _, validation in fold.inner}
        assert len(parts) == n_parts


@pytest.mark.parametrize("name", ["structure", "compound"])
@pytest.mark.parametrize("n_folds", [2, 3, 4, 5, 10])
def test_cells_are_whole_units_and_at_most_forty(name, n_folds):
    frames = [frame(f"Na{n}Cl", f"{n}-{i}") for n in range(1, 61) for i in range(3)]
    for seed in SEEDS:
        split = make_split(name, frames, n_folds=n_folds, seed=seed)
        unit = on_atoms(frames, "group" if name == "structure" else "compound")
        for one in np.unique(unit):
            assert len(set(split.cells[unit == one])) == 1
            assert len(set(split.unit[unit == one])) == 1
        assert len(np.unique(split.unit)) == len(np.unique(unit))
        n_cells = len(np.unique(split.cells))
        assert 30 < n_cells <= CELLS == 40
        # Alike in atoms: none is larger than twice the mean.
        assert np.bincount(split.cells).max() < 2 * len(split.cells) / n_cells


@pytest.mark.parametrize("name", SPLITS)
def test_every_unit_is_in_one_fold_and_the_folds_know_their_cells(name):
    for seed in SEEDS:
        frames = random_frames(seed)
        split = make_split(name, frames, seed=seed)
        for one in np.unique(split.unit[split.scored]):
            assert len(set(split.test[split.scored & (split.unit == one)])) == 1
        for k, fold in enumerate(split.folds):
            tested = tuple(np.unique(split.cells[split.test == k]).tolist())
            last = name == "domain" and k == len(split.folds) - 1
            assert fold.test == (() if last or name == "element" else tested)
            assert not set(fold.test) & set(fold.train)
        assert split.by_cells == (name in ("structure", "compound"))


@pytest.mark.parametrize("name", ["structure", "compound", "domain"])
@pytest.mark.parametrize("n_folds", [4, 5])
def test_inner_folds_leave_out_a_whole_fold_each(name, n_folds):
    for seed in SEEDS:
        split = make_split(name, random_frames(seed), n_folds=n_folds, seed=seed)
        tests = [fold.test for fold in split.folds if fold.test]
        for fold in split.folds:
            assert [validation for _, validation in fold.inner] == [
                test for test in tests if set(test) <= set(fold.train)
            ]
            for train, validation in fold.inner:
                assert set(train) | set(validation) == set(fold.train)
                assert not set(train) & set(validation)


def test_compounds_that_share_a_group_are_held_out_together():
    """As copies of one structure under two names, and what is linked over a third."""
    names = ["a", "b", "c", "d", "e", "f"]
    frames = [frame("NaCl", f"{n}{i}") for n in names for i in range(4)]
    frames = [replace(f, compound=f.group[1]) for f in frames]
    linked = {0: "ab", 4: "ab", 5: "bc", 8: "bc"}
    frames = [replace(f, group=linked.get(i, f.group)) for i, f in enumerate(frames)]
    for seed in SEEDS:
        split = make_split("compound", frames, seed=seed)
        compound, group = on_atoms(frames, "compound"), on_atoms(frames, "group")
        assert len(split.folds) == 4
        assert len(set(split.test[np.isin(compound, ["a", "b", "c"])])) == 1
        assert len(np.unique(split.unit)) == 4
        assert sorted(set(compound)) == sorted(c for f in split.folds for c in f.held_out)
        for k in range(4):
            assert not set(group[split.training_rows(k)]) & set(group[split.test == k])


def test_structures_out_of_domain_are_not_tested_if_one_of_their_group_is_trained_on():
    frames = [frame("NaCl", i) for i in range(8)]
    frames += [frame("NaCl", 8 + i, f"g{i}", "surface") for i in (0, 1)]
    frames += [frame("NaCl", 12 + i, domain="surface") for i in range(3)]
    split = make_split("domain", frames)
    surface = on_atoms(frames, "domain") == "surface"
    assert (split.test[surface] == [-1] * 4 + [len(split.folds) - 1] * 6).all()
    assert (split.cells[surface] == -1).all()
    assert split.folds[-1].held_out == ("surface",)


def test_assignments_differ_and_the_first_is_that_of_the_seed():
    frames = random_frames(0)
    for name in SPLITS:
        plain = make_split(name, frames, seed=3)
        several = [make_split(name, frames, seed=3, assignment=a) for a in range(4)]
        again = make_split(name, frames, seed=3, assignment=2)
        np.testing.assert_array_equal(several[0].test, plain.test)
        np.testing.assert_array_equal(several[2].test, again.test)
        np.testing.assert_array_equal(several[2].cells, again.cells)
        for one, other in itertools.pairwise(several):
            assert (one.test != other.test).any()
            np.testing.assert_array_equal(one.unit, other.unit)
            assert len(one.folds) == len(other.folds)


def test_one_compound_left_to_train_on_chooses_its_penalty_by_structures():
    frames = [frame(c, f"{c}{i}") for c in ("NaCl", "MgO") for i in range(4)]
    split = make_split("compound", frames)
    group = on_atoms(frames, "group")
    for fold in split.folds:
        assert len(fold.inner) == 3
        for train, validation in fold.inner:
            rows = np.isin(split.cells, train), np.isin(split.cells, validation)
            assert not set(group[rows[0]]) & set(group[rows[1]])


def test_folds_of_elements_are_balanced_by_atoms():
    sizes = {"LiF": 12, "NaF": 4, "KF": 4, "RbF": 4}
    frames = [replace(frame(c * n, c), compound=c) for c, n in sizes.items()]
    for seed in SEEDS:
        split = make_split("element", frames, n_folds=2, seed=seed)
        assert np.bincount(split.test[split.scored]).tolist() == [12, 12]


def test_an_element_in_every_structure_is_not_tested():
    frames = [frame(c, i) for i, c in enumerate(["MgO", "CaO", "SrO", "BaO", "ZnO", "BeO"])]
    split = make_split("element", frames)
    symbols = np.concatenate([f.atoms.symbols for f in frames])
    np.testing.assert_array_equal(split.scored, symbols != "O")


@pytest.mark.parametrize(
    ("name", "frames", "message"),
    [
        ("atom", [frame("NaCl", 0)], "unknown split"),
        ("structure", [], "no structure"),
        ("structure", [frame("NaCl", 0, "one"), frame("NaCl", 1, "one")], "at least 2 groups"),
        ("structure", [frame("NaCl", 0), frame("NaCl", 1)], "too little is left"),
        ("compound", [frame("NaCl", i) for i in range(9)], "at least 2 compounds"),
        ("element", [frame("NaCl", i) for i in range(9)], "at least 2 elements"),
        ("element", [frame("NaCl", 0), frame("KCl", 1), frame("NaK", 2)], "left to train on"),
        ("domain", [frame("NaCl", i) for i in range(9)], "every structure is in domain"),
        ("domain", [frame("NaCl", i, domain="unlabelled") for i in range(9)], "unlabelled"),
        (
            "domain",
            [frame("NaCl", i, f"g{i % 5}", d) for i in range(10) for d in ("bulk", "surface")],
            "group",
        ),
    ],
)
def test_mistakes_are_named(name, frames, message):
    with pytest.raises(ProbeError, match=message):
        make_split(name, frames, n_folds=2)


def test_one_fold_is_no_split():
    with pytest.raises(ProbeError, match="at least 2 folds"):
        make_split("structure", random_frames(0), n_folds=1)
