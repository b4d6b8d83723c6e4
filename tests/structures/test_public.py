"""Public sets of reference data are labelled as they mean it."""

from __future__ import annotations

from collections import Counter

import ase.build
import ase.io
import numpy as np
import pytest

import mpprobe
from mpprobe.errors import StructureError
from mpprobe.explain import by_domain, force_errors
from mpprobe.structures import read, stratified


def test_kinds_of_one_set_are_domains_and_runs_are_groups(shared_data):
    frames = read(shared_data / "mlearn_elements.extxyz.gz@:270")  # all of lithium
    domains = Counter(f.domain for f in frames)
    assert domains.keys() == {"dynamics", "strained", "vacancy", "surface"}
    group = {}
    for frame in frames:  # a run is of one element and one kind
        assert group.setdefault(frame.group, (frame.compound, frame.domain)) == (
            frame.compound, frame.domain,
        )  # fmt: skip
    assert len(domains) < len(group) < len(frames)


def test_trajectories_stay_together(shared_data):
    frames = read(shared_data / "mptrj_random_1k.extxyz.gz@:50")
    assert {f.domain for f in frames} == {"mptrj"}
    assert all(f.atoms.info["mptrj_traj_id"] in f.group for f in frames)


@pytest.mark.parametrize(
    ("file", "domain"),
    [
        ("random_tp", "random-TP"), ("phonon_supercells_bec", "bulk"),
        ("spice_dipeptides_mbis", "molecule"), ("lobster_crystals", "bulk"),
    ],
)  # fmt: skip
def test_structures_of_others_stand_alone(file, domain, shared_data):
    frames = read(shared_data / f"{file}.extxyz.gz@:20")
    assert {f.domain for f in frames} == {domain}
    assert [f.group for f in frames] == [f.source for f in frames]


def test_what_the_user_names_goes_first(shared_data):
    frames = read(shared_data / "mlearn_elements.extxyz.gz@:3", labels={"domain": "split"})
    assert {f.domain for f in frames} <= {"training", "test"}


def test_other_units_are_refused(tmp_path):
    atoms = ase.build.bulk("NaCl", "rocksalt", a=5.64)
    atoms.info["forces_unit"] = "Ha/Bohr"
    file = tmp_path / "atomic.extxyz"
    ase.io.write(file, atoms)
    with pytest.raises(StructureError, match="forces_unit is Ha/Bohr, and eV/A is needed") as error:
        read(file)
    assert f"{file}@0" in str(error.value)


def test_units_and_signs_are_those_of_the_model(shared_data, sevenn_0):
    """SevenNet-0 on its own training domain: small errors, no sign or unit wrong."""
    frames = stratified(read(shared_data / "mptrj_random_1k.extxyz.gz@:150"), 30, seed=1)
    frames = [f for f in frames if set(f.numbers.tolist()) <= set(sevenn_0.species)]
    row = by_domain(force_errors(sevenn_0, frames)).set_index("domain").loc["mptrj"]
    assert 0.01 < row["force_mae"] < 0.1
    assert 0.5 < row["slope"] < 1.5  # another unit would be a factor of 14 or more
    assert row["angle"] < 40
    assert np.isfinite(row["force_mae_low"])


def test_a_metal_that_it_knows(shared_data):
    frames = stratified(read(shared_data / "mlearn_elements.extxyz.gz@:270"), 8)
    table = by_domain(force_errors(mpprobe.load("sevenn-0"), frames))
    assert set(table["domain"]) == {"dynamics", "strained", "vacancy", "surface", "all"}
    assert table["force_mae"].max() < 0.5
