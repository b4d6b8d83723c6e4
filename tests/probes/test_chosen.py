"""Which atoms count, and what they are compared with."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest

import mpprobe
from interventions.toy import Layered, salts
from mpprobe.errors import ProbeError
from mpprobe.probes.baselines import (
    Weights,
    local_electrostatics,
    neighbour_vectors,
    radial_densities,
    soap,
)
from mpprobe.probes.chosen import chosen_atoms, kinds, resolved_atoms, resolved_within
from mpprobe.probes.rows import TakenRows
from mpprobe.provenance import structures_sha256

SETTINGS = mpprobe.Settings(
    n_folds=3, n_resamples=20, in_domain=("bulk",), n_assignments=2, random_seeds=1
)
ONCE = replace(SETTINGS, n_assignments=1)
A, B = np.array([1.0, -0.5, 0.3, 0.2, -0.8, 0.4]), np.array([0.7, -0.4, 0.2, 0.1])
probe = partial(mpprobe.probe, targets=["potential", "field"], splits="compound")


@pytest.fixture(scope="module")
def frames():
    """Of two compounds; in each structure three atoms are marked, and groups are of four."""
    frames = []
    for k, frame in enumerate(salts(12)):
        atoms = frame.atoms.copy()
        atoms.calc = None
        atoms.arrays["mark"] = np.isin(np.arange(len(atoms)), [0, 1, 3 + k % 4]).astype(int)
        group = f"{frame.compound}-{k // 4}"
        frames.append(replace(frame, atoms=atoms, group=group, source=f"made@{k}"))
    return frames


@pytest.fixture(scope="module")
def toy():
    return Layered(A, B)


class TestKinds:
    @pytest.mark.parametrize(
        ("within", "label"),
        [("kind", lambda f: f.compound), ("structure", lambda f: f.source),
         ("group", lambda f: f.group)],
    )  # fmt: skip
    def test_they_are_species_with_one_label(self, frames, within, label):
        expected = [(label(f), z) for f in frames for z in f.numbers]
        names = {pair: k for k, pair in enumerate(sorted(set(expected)))}
        found = kinds(frames, within)
        assert len(set(zip(found, expected, strict=True))) == len(set(found)) == len(names)

    def test_of_an_array_they_are_its_values(self, frames):
        marks = np.concatenate([f.atoms.arrays["mark"] for f in frames])
        numbers = np.concatenate([f.numbers for f in frames])
        found = kinds(frames, "array:mark")
        pairs = set(zip(marks.tolist(), numbers.tolist(), strict=True))
        assert len(set(zip(found, marks, numbers, strict=True))) == len(set(found)) == len(pairs)

    def test_what_all_structures_say_is_the_default(self, frames):
        said = [replace(f, atoms=f.atoms.copy()) for f in frames]
        assert resolved_within(None, said) == "kind"
        assert resolved_atoms(None, said) == "all"
        for frame in said:
            frame.atoms.info["within"] = "group"
            frame.atoms.arrays["watched"] = frame.atoms.arrays["mark"]
        assert resolved_within(None, said) == "group"
        assert resolved_within("kind", said) == "kind"
        assert resolved_atoms(None, said) == "array:watched"
        assert resolved_within(None, [*said, frames[0]]) == "kind"
        assert resolved_atoms(None, [*said, frames[0]]) == "all"

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ({"within": "species"}, "within 'species': choose kind, structure, group, or array:"),
            ({"within": "array:no"}, "made@0: no array 'no' with one value an atom"),
            ({"within": "array:positions"}, "made@0: no array 'positions' with one value"),
            ({"atoms": "array:no"}, "made@0: no array 'no' with one value an atom"),
            ({"atoms": "0,99"}, r"made@0: atoms \[0, 99\], but it has 0 to 7"),
            ({"atoms": "first"}, "atoms 'first': give all, array:NAME, or indices"),
            ({"n_cutoffs": 0}, "within 0 cutoffs: give one or more"),
        ],
    )
    def test_what_can_not_be_is_one_line(self, frames, toy, given, said):
        with pytest.raises(ProbeError, match=said):
            mpprobe.make_plan(toy, frames, settings=replace(SETTINGS, **given))

    def test_no_atom_is_none(self, frames):
        empty = [replace(f, atoms=f.atoms.copy()) for f in frames]
        for frame in empty:
            frame.atoms.arrays["mark"][:] = 0
        with pytest.raises(ProbeError, match="no atom is chosen in any structure"):
            chosen_atoms(empty, "array:mark")


@pytest.mark.parametrize("describe", [soap, radial_densities, neighbour_vectors])
def test_descriptors_of_some_atoms_are_those_rows(frames, describe):
    masks = chosen_atoms(frames, "array:mark")
    some = describe(frames, 5.0, chosen=masks)
    np.testing.assert_allclose(some, describe(frames, 5.0)[np.concatenate(masks)], atol=1e-12)


@pytest.mark.parametrize("l", [0, 1])
def test_charge_weighted_sums_of_some_atoms_are_those_rows(frames, l):
    masks = chosen_atoms(frames, "array:mark")
    weights = Weights("formal charges", [f.atoms.arrays["charge_formal"] for f in frames])
    some = local_electrostatics(frames, 5.0, weights, l, chosen=masks)
    whole = local_electrostatics(frames, 5.0, weights, l)
    np.testing.assert_allclose(some, whole[np.concatenate(masks)], atol=1e-12)


def test_rows_taken_are_read_in_any_slice():
    whole = np.random.default_rng(0).normal(size=(1000, 2, 3))
    index = np.sort(np.random.default_rng(1).choice(1000, 40, replace=False))
    taken = TakenRows(whole, index)
    assert taken.shape == (40, 2, 3)
    for rows in (slice(0, 40), slice(3, 9), slice(39, 80), slice(5, 5)):
        np.testing.assert_array_equal(taken[rows], whole[index[rows]])


@pytest.fixture(scope="module")
def some(toy, frames):
    return probe(toy, frames, settings=replace(SETTINGS, atoms="array:mark"))


class TestStudies:
    def test_only_atoms_that_count_are_rows(self, some, frames, toy):
        marks = np.concatenate([f.atoms.arrays["mark"] for f in frames]) > 0
        whole = probe(toy, frames, settings=ONCE)
        assert len(some.rows) == marks.sum()
        for name, values in some.true.items():
            np.testing.assert_array_equal(values, whole.true[name][marks])
        assert (some.scores.loc[some.scores["subset"] == "all", "n_atoms"] == marks.sum()).all()

    def test_arrays_of_all_atoms_are_empty_for_the_others(self, some, frames):
        for frame, values in zip(frames, some.on_atoms(some.true["field"]), strict=True):
            assert values.shape == (len(frame), 3)
            assert (np.isfinite(values).all(axis=1) == frame.atoms.arrays["mark"]).all()

    def test_indices_are_the_same_in_every_structure(self, frames):
        for frame, mask in zip(frames, chosen_atoms(frames, "5,0"), strict=True):
            assert np.flatnonzero(mask).tolist() == [0, 5]
            assert len(mask) == len(frame)

    def test_every_atom_named_is_all(self, toy, frames):
        one, other = (
            probe(toy, frames, targets="potential", settings=replace(ONCE, atoms=atoms))
            for atoms in ("all", "0,1,2,3,4,5,6,7")
        )
        pd.testing.assert_frame_equal(one.scores, other.scores, rtol=0, atol=1e-12)

    def test_a_store_gives_the_same(self, some, toy, frames, tmp_path):
        store = mpprobe.Store.create(tmp_path, toy, frames, random_seeds=1)
        store.extract(toy)
        stored = probe(store, settings=replace(SETTINGS, atoms="array:mark"))
        # The store is of single precision.
        pd.testing.assert_frame_equal(
            stored.scores[["features", "r2", "mae", "n_atoms"]],
            some.scores[["features", "r2", "mae", "n_atoms"]], rtol=1e-3, atol=1e-3,
        )  # fmt: skip

    def test_the_settings_that_were_used_are_recorded(self, some):
        settings = some.provenance["settings"]
        assert (settings["within"], settings["atoms"]) == ("kind", "array:mark")
        assert some.provenance["structures"]["sha256"] == structures_sha256(some.frames)

    def test_within_groups_what_the_group_fixes_is_nothing(self, toy, frames):
        """A target that depends on the group alone is read by no layer and no control."""
        marked = [replace(f, atoms=f.atoms.copy()) for f in frames]
        names = sorted({f.group for f in frames})
        rng = np.random.default_rng(0)
        for frame in marked:
            level = names.index(frame.group) + 0.0 * frame.numbers
            frame.atoms.arrays["level"] = level
            frame.atoms.arrays["both"] = level + 0.01 * rng.normal(size=len(frame))
        study = mpprobe.probe(
            toy, marked, targets=["array:level", "array:both"], splits="compound",
            settings=replace(ONCE, within="group"),
        )  # fmt: skip
        # Twelve sums without penalty are no control on so few atoms.
        rows = study.scores[~study.scores["features"].str.startswith("local electrostatics")]
        found = rows.set_index("target")["r2_within"]
        assert (found["array:level"].dropna() == 0).all()
        # Noise within groups of a hundredth of the levels between them, which nothing tells.
        assert found["array:both"].dropna().abs().max() < 0.2

    def test_controls_see_as_many_cutoffs_as_asked(self, toy, frames):
        study = probe(toy, frames, settings=replace(ONCE, n_cutoffs=2))
        names = set(study.scores["features"])
        assert {"SOAP, 2 cutoffs", "radial densities, 2 cutoffs", "neighbour vectors, 2 cutoffs",
                "local electrostatics, 2 cutoffs"} <= names  # fmt: skip
        rows = study.scores[study.scores["subset"] == "all"].set_index(["target", "features"])
        near, far = (
            rows.loc[("potential", f"local electrostatics{end}"), "width"]
            for end in ("", ", 2 cutoffs")
        )
        assert (near, far) == (12, 24)
