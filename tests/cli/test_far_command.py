"""``mpprobe far``: what it writes, what probe makes of it, and what it refuses."""

from __future__ import annotations

import ase.build
import ase.io
import numpy as np
import pytest

import mpprobe


@pytest.fixture(scope="module")
def crystals(tmp_path_factory):
    images = []
    for name, a in (("NaCl", 5.64), ("KF", 5.35), ("KCl", 6.29)):
        atoms = ase.build.bulk(name, "rocksalt", a=a, cubic=True).repeat((3, 3, 2))
        atoms.rattle(0.1, seed=1)
        atoms.set_array("charge_formal", np.where(atoms.numbers == atoms.numbers[0], 1.0, -1.0))
        images.append(atoms)
    file = tmp_path_factory.mktemp("far") / "mine.extxyz"
    ase.io.write(file, images)
    return file


def test_draws_of_each_structure_are_a_group(mpprobe_run, crystals, tmp_path):
    file = tmp_path / "far.extxyz.gz"
    result = mpprobe_run("far", file, "-s", crystals, "--draws", 3, "--fixed", 4.5)
    assert result.code == 0, result.err
    assert result.err == f"written to {file}: 9 structures, 3 of each of 3\n"
    frames = mpprobe.read(str(file))
    assert [f.group for f in frames] == [
        f"{name}-far-{i}" for i, name in enumerate(("NaCl", "KF", "KCl")) for _ in range(3)
    ]
    for frame in frames:
        assert frame.domain == "far"
        assert frame.atoms.arrays["watched"].sum() == 2
        assert frame.atoms.info["within"] == "group"
    again = mpprobe_run("far", file, "-s", crystals, "--draws", 3)
    assert again.code == 2
    assert "is there already; choose another name, or pass --overwrite" in again.err


def test_probe_counts_the_watched_atoms_within_groups(mpprobe_run, crystals, tmp_path):
    file = tmp_path / "far.extxyz"
    flags = ("--atoms", "0,1", "-q", "--draws", 4)
    assert mpprobe_run("far", file, "-s", crystals, *flags).code == 0
    result = mpprobe_run("probe", "-m", "sevenn-0", "-s", file, "--dry-run", "-o", tmp_path / "out")
    assert result.code == 0, result.err
    assert "atoms that count: array:watched\n" in result.err
    assert "fitted and scored: species in a group of structures\n" in result.err
    frame = mpprobe.read(str(file))[0]
    assert np.flatnonzero(frame.atoms.arrays["watched"]).tolist() == [0, 1]


def test_only_formal_charges_are_kept_of_what_was_computed(mpprobe_run, crystals, tmp_path):
    atoms = ase.io.read(crystals)
    atoms.set_array("site_pot", np.arange(float(len(atoms))))
    atoms.info["xc"] = "PBE"
    ase.io.write(tmp_path / "computed.extxyz", atoms)
    file = tmp_path / "far.extxyz"
    result = mpprobe_run("far", file, "-s", tmp_path / "computed.extxyz", "--draws", 2, "-q")
    assert result.code == 0, result.err
    for frame in mpprobe.read(str(file)):
        assert set(frame.atoms.arrays) == {"numbers", "positions", "charge_formal", "watched"}
        assert "xc" not in frame.atoms.info
        assert frame.atoms.info["mpprobe_source"] == f"{tmp_path}/computed.extxyz@0"
        np.testing.assert_array_equal(frame.atoms.arrays["charge_formal"],
                                      atoms.arrays["charge_formal"])  # fmt: skip


def test_a_structure_that_can_not_be_used_is_named(mpprobe_run, crystals, tmp_path):
    atoms = ase.io.read(crystals)
    atoms.positions[3] = np.nan
    ase.io.write(tmp_path / "bad.extxyz", atoms)
    result = mpprobe_run("far", tmp_path / "far.extxyz", "-s", tmp_path / "bad.extxyz")
    assert result.code == 2
    assert "bad.extxyz@0: positions of 1 atoms are NaN or infinite" in result.err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--fixed", 20), "@0: no atom lies farther than 20 Å from those watched"),
        (("--amplitude", 9), "@0: displacements of 9 Å bring atoms closer than"),
        (("--atoms", "0,999"), "@0: atoms [0, 999], but it has 0 to 143"),
        (("--draws", 1), "--draws"),
    ],
)
def test_what_can_not_be_is_one_line_and_nothing_is_written(
    mpprobe_run, crystals, tmp_path, flags, said
):
    result = mpprobe_run("far", tmp_path / "far.extxyz", "-s", crystals, *flags)
    assert result.code == 2
    assert said in result.err
    assert list(tmp_path.iterdir()) == []
