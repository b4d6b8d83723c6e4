"""Targets by name: what names mean, what is refused, and what users add."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import bulk

from mpprobe.errors import TargetError
from mpprobe.structures import Frame
from mpprobe.targets import (
    constant_within_species,
    get_target,
    register_target,
    registry,
    site_field,
    site_potential,
    target_names,
)
from mpprobe.targets.target import rounding

IONIC = Path(__file__).parents[2] / "data" / "ionic" / "ionic.extxyz.gz"
EVERY_IONIC_TARGET = (
    "charge:formal", "charge:eeq", "potential", "potential@eeq", "potential:shell-1",
    "potential:shell-3", "potential:beyond", "field", "field@eeq",
)  # fmt: skip


def salt(seed=0, **arrays):
    atoms = bulk("NaCl", "rocksalt", 5.64, cubic=True)
    atoms.rattle(0.1, seed=seed)
    atoms.set_array("charge_formal", np.where(atoms.numbers == 11, 1, -1))
    for name, values in arrays.items():
        atoms.set_array(name, np.asarray(values))
    return Frame.from_atoms(atoms, f"salt.xyz@{seed}")


def trivial_given_species(values, frames, resolution=0.0):
    numbers = np.concatenate([frame.numbers for frame in frames])
    return constant_within_species(np.concatenate(values), numbers, resolution)


@pytest.fixture
def user_targets(monkeypatch):
    monkeypatch.setattr(registry, "_REGISTERED", {})


class TestNames:
    @pytest.mark.parametrize(
        ("typed", "canonical", "unit", "l"),
        [
            ("charge:eeq", "charge:eeq", "e", 0),
            ("Charge:Formal", "charge:formal", "e", 0),
            ("charge:dft", "charge:dft", "e", 0),
            ("potential", "potential", "V", 0),
            ("potential@formal", "potential", "V", 0),
            (" POTENTIAL@EEQ ", "potential@eeq", "V", 0),
            ("potential@Bader_Q", "potential@Bader_Q", "V", 0),
            ("potential:dft", "potential:dft", "V", 0),
            ("potential:shell-1", "potential:shell-1", "V", 0),
            ("potential:shell-2", "potential:shell-2", "V", 0),
            ("potential:shell-02@eeq", "potential:shell-2@eeq", "V", 0),
            ("potential:beyond@dft", "potential:beyond@dft", "V", 0),
            ("field", "field", "V/Å", 1),
            ("Field@EEQ", "field@eeq", "V/Å", 1),
            ("array:MyThing", "array:MyThing", "as given", 0),
            ("Array:forces", "array:forces", "eV/Å", 0),
        ],
    )
    def test_canonical_name_unit_and_l(self, typed, canonical, unit, l):
        target = get_target(typed)
        assert (target.name, target.unit, target.l) == (canonical, unit, l)
        assert get_target(canonical).name == canonical
        assert "\n" not in target.description

    @pytest.mark.parametrize(
        ("typed", "hint"),
        [
            ("potental", "did you mean 'potential'"),
            ("charge:egg", "did you mean 'charge:eeq'"),
            ("fild@eeq", "did you mean 'field@eeq'"),
            ("potential:shell2", "did you mean 'potential:shell-1'"),
            ("potential:shell-0", "count from 1"),
            ("potential@", "lacks its charges"),
            ("charge:eeq@dft", "takes no charges"),
            ("potential:dft@eeq", "takes no charges"),
            ("array:", "lacks the name"),
            ("colour", "there are charge:"),
        ],
    )
    def test_what_is_wrong_is_said_with_the_mend(self, typed, hint):
        with pytest.raises(TargetError, match=hint) as caught:
            get_target(typed)
        assert "\n" not in str(caught.value)

    def test_every_listed_pattern_leads_to_a_target(self):
        for info in target_names():
            name = info.name.replace("[@CHARGES]", "@eeq").replace("-K", "-2")
            target = get_target(name)
            assert target.unit == info.unit
            assert info.l in (target.l, None)

    def test_the_list_says_what_each_is(self, user_targets):
        found = {info.name: (info.unit, info.l) for info in target_names()}
        assert found == {
            "charge:formal": ("e", 0),
            "charge:eeq": ("e", 0),
            "charge:dft": ("e", 0),
            "potential:dft": ("V", 0),
            "potential[@CHARGES]": ("V", 0),
            "potential:shell-K[@CHARGES]": ("V", 0),
            "potential:beyond[@CHARGES]": ("V", 0),
            "field[@CHARGES]": ("V/Å", 1),
            "array:NAME": ("as given", None),
        }
        assert all(len(info.description) > 20 for info in target_names())

    def test_the_list_needs_nothing_heavy(self):
        code = (
            "import sys, mpprobe.targets as t; t.target_names(); t.get_target('field@eeq');"
            "sys.exit(any(m in sys.modules for m in ('torch', 'torchpme', 'dftd4', 'sklearn')))"
        )
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class TestValues:
    def test_the_charges_are_those_of_the_suffix(self):
        frame = salt(mine=np.linspace(-1, 1, 8))
        for name, charges in {
            "potential": frame.atoms.arrays["charge_formal"],
            "potential@eeq": get_target("charge:eeq").values([frame])[0],
            "potential@mine": frame.atoms.arrays["mine"],
        }.items():
            np.testing.assert_allclose(
                get_target(name).values([frame])[0], site_potential(frame, charges)
            )

    def test_the_field_is_a_vector(self):
        frame = salt()
        (field,) = get_target("field").values(frame)
        np.testing.assert_allclose(field, site_field(frame, frame.atoms.arrays["charge_formal"]))
        assert field.shape == (8, 3)

    def test_targets_travel_to_other_processes(self):
        frame = salt()
        for name in ("charge:eeq", "potential:shell-2@eeq", "field", "array:mine"):
            target = get_target(name)
            copy = pickle.loads(pickle.dumps(target))
            assert copy.name == name
            if name != "array:mine":
                np.testing.assert_array_equal(copy.values(frame, 5.0), target.values(frame, 5.0))

    def test_an_array_of_vectors_has_l_1_when_its_frames_are_given(self):
        frame = salt(push=np.ones((8, 3)))
        target = get_target("array:push", frames=[frame])
        assert target.l == 1
        np.testing.assert_array_equal(target.values([frame])[0], np.ones((8, 3)))
        with pytest.raises(TargetError, match=r"salt.xyz@0: .*shape \(8, 3\)"):
            get_target("array:push").values([frame])

    @pytest.mark.parametrize("shape", [(8, 2), (8, 3, 3)])
    def test_an_array_of_another_shape_is_refused(self, shape):
        with pytest.raises(TargetError, match=r"salt\.xyz@0: the array 'odd' has shape"):
            get_target("array:odd", frames=[salt(odd=np.ones(shape))])

    def test_what_is_not_finite_names_frame_and_atom(self):
        frames = [salt(x=np.ones(8)), salt(seed=1, x=[1, 1, 1, np.nan, 1, 1, 1, 1])]
        with pytest.raises(TargetError, match=r"salt\.xyz@1: .*not finite at atom 3"):
            get_target("array:x").values(frames)


class TestTrivialGivenTheSpecies:
    def test_formal_charges_are_and_potentials_are_not(self):
        frames = [salt(0), salt(1)]
        for name, trivial in (("charge:formal", True), ("charge:eeq", False), ("field", False)):
            assert trivial_given_species(get_target(name).values(frames), frames) is trivial

    def test_one_mixed_valence_is_enough(self):
        mixed = np.where(salt().numbers == 11, 1.0, -1.0)
        mixed[0] = 2.0
        frames = [salt(0, charge=mixed), salt(1, charge=np.round(mixed))]
        values = get_target("array:charge").values(frames)
        assert not trivial_given_species(values, frames)
        assert trivial_given_species([v.clip(-1, 1) for v in values], frames)

    def test_nothing_everywhere_is(self):
        assert trivial_given_species([np.zeros(8)], [salt()])
        lone = Frame.from_atoms(salt().atoms[:1], "salt.xyz@0")
        assert trivial_given_species([np.ones(1)], [lone])

    def test_a_vector_that_is_the_same_everywhere_is(self):
        values = np.tile([1.0, 2.0, 3.0], (8, 1))
        assert trivial_given_species([values], [salt()])
        values[2, 1] += 1e-3
        assert not trivial_given_species([values], [salt()])
        values[:, 2] = 1e5  # whose millionth is larger than that
        assert not trivial_given_species([values], [salt()])

    def test_rounding_is_of_the_largest_value(self):
        assert rounding(np.array([1.0, -2.0])) == 1e-9 * 2
        assert rounding(np.array([1.0, -2.0]), 1e-3) == 1e-3

    def test_rounding_of_electrostatic_sums_is_no_variation(self):
        crystal = bulk("NaCl", "rocksalt", 5.64, cubic=True)
        crystal.set_array("charge_formal", np.where(crystal.numbers == 11, 1, -1))
        frames = [Frame.from_atoms(crystal, "salt.xyz@0")]
        target = get_target("field")
        values = target.values(frames)
        assert trivial_given_species(values, frames, target.resolution)
        assert not trivial_given_species(values, frames)

    def test_last_digits_of_a_large_number_are_no_variation(self):
        frames = [salt(0), salt(1)]
        values = [1e8 + 1e-7 * np.arange(8), np.full(8, 1e8)]
        assert trivial_given_species(values, frames)
        assert not trivial_given_species([v - 1e8 for v in values], frames)


@pytest.mark.usefixtures("user_targets")
class TestUserTargets:
    def test_a_function_becomes_a_target(self):
        @register_target("Height", unit="Å")
        def height(frame, cutoff):
            """Height over the lowest atom.

            More about it.
            """
            return frame.atoms.positions[:, 2] - frame.atoms.positions[:, 2].min()

        target = get_target("height")
        assert (target.name, target.unit, target.l) == ("height", "Å", 0)
        (info,) = [info for info in target_names() if info.name == "height"]
        assert (info.unit, info.l) == ("Å", 0)
        assert info.description == target.description == "Height over the lowest atom."
        assert target.description == "Height over the lowest atom."
        assert target.values(salt())[0].min() == 0
        assert "height" in [info.name for info in target_names()]
        with pytest.raises(TargetError, match="did you mean 'height'"):
            get_target("heigt")

    def test_one_without_a_docstring_says_where_it_is_from(self):
        register_target("plain", unit="")(lambda frame, cutoff: frame.numbers)
        target = get_target("plain")
        assert target.description == "registered by the user"
        assert target.values(salt())[0].dtype == np.float64

    def test_the_cutoff_reaches_it(self):
        @register_target("reach", unit="Å", l=1, needs_cutoff=True)
        def reach(frame, cutoff):
            return np.full((len(frame), 3), cutoff)

        assert (get_target("reach").values(salt(), 5.0)[0] == 5.0).all()
        with pytest.raises(TargetError, match="cutoff"):
            get_target("reach").values(salt())

    def test_a_wrong_shape_is_refused(self):
        register_target("wrong", unit="")(lambda frame, cutoff: np.ones((len(frame), 3)))
        with pytest.raises(TargetError, match=r"salt.xyz@0: .*shape \(8, 3\), not \(8,\)"):
            get_target("wrong").values(salt())

    @pytest.mark.parametrize(
        "name", ["potential", "Charge:EEQ", "potential:shell-3", "array:x", "mine@eeq", " "]
    )
    def test_built_in_names_are_not_taken(self, name):
        with pytest.raises(TargetError, match="can't name a new target"):
            register_target(name, unit="e")

    def test_only_numbers_and_vectors(self):
        with pytest.raises(TargetError, match="l = 2"):
            register_target("tensor", unit="e", l=2)


@pytest.mark.skipif(not IONIC.exists(), reason="the set of ionic structures is not made yet")
class TestIonicSet:
    @pytest.mark.parametrize("most", [2, pytest.param(1000, marks=pytest.mark.slow)])
    def test_every_target_is_finite_on_it(self, most):
        by_domain = defaultdict(list)
        for i, atoms in enumerate(ase.io.read(IONIC, index=":")):
            frame = Frame.from_atoms(atoms, f"ionic@{i}")
            by_domain[frame.domain].append(frame)
        frames = [frame for domain in by_domain.values() for frame in domain[:most]]
        assert {int(frame.atoms.pbc.sum()) for frame in frames} == {0, 2, 3}
        for name in EVERY_IONIC_TARGET:
            values = np.concatenate(get_target(name).values(frames, cutoff=5.0))
            assert values.std() > 0
