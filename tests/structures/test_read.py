"""Reading: formats, slices, globs, built-in sets, limits, and what is said when it fails."""

import re
from collections import Counter
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from mpprobe.errors import StructureError
from mpprobe.structures import Frame, read, stratified


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two trajectories, told apart by the cell's length, and some other formats."""
    folder = tmp_path_factory.mktemp("files")
    run = [bulk("NaCl", "rocksalt", a=5.0 + i / 10, cubic=True) for i in range(6)]
    ase.io.write(folder / "run.xyz", run, format="extxyz")
    ase.io.write(folder / "run2.xyz", run[:2], format="extxyz")
    ase.io.write(folder / "run.traj", run)
    ase.io.write(folder / "one.cif", run[3])
    ase.io.write(folder / "POSCAR", run[3])
    return folder


def lengths(frames):
    return [round(float(f.atoms.cell[0, 0]), 3) for f in frames]


def indices(frames):
    return [int(f.source.rpartition("@")[2]) for f in frames]


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        ("", [0, 1, 2, 3, 4, 5]),
        ("@:", [0, 1, 2, 3, 4, 5]),
        ("@2", [2]),
        ("@-1", [5]),
        ("@:2", [0, 1]),
        ("@-2:", [4, 5]),
        ("@1:5:2", [1, 3]),
        ("@::-2", [5, 3, 1]),
        ("@1:-3", [1, 2]),
    ],
)
@pytest.mark.parametrize("name", ["run.xyz", "run.traj"])
def test_slices_keep_the_index_in_the_whole_file(folder, name, index, expected):
    frames = read(f"{folder / name}{index}")
    assert indices(frames) == expected
    assert lengths(frames) == pytest.approx([5.0 + i / 10 for i in expected])
    assert all(f.source.startswith(str(folder / name)) for f in frames)


@pytest.mark.parametrize("name", ["one.cif", "POSCAR", "one.cif@0", "POSCAR@-1", "one.cif@:3"])
def test_formats_of_one_structure(folder, name):
    (frame,) = read(folder / name)
    assert indices([frame]) == [0]
    assert frame.compound == "NaCl"
    assert lengths([frame]) == pytest.approx([5.3])


def test_globs_take_files_in_order_each_sliced(folder):
    frames = read(f"{folder}/*.xyz@:1")
    assert [Path(f.source).name for f in frames] == ["run.xyz@0", "run2.xyz@0"]
    assert len(read(f"{folder}/run*.xyz")) == 8


def test_several_specs_in_the_order_given(folder):
    frames = read([folder / "one.cif", f"{folder}/run.xyz@1"])
    assert [Path(f.source).name for f in frames] == ["one.cif@0", "run.xyz@1"]


def test_arrays_info_and_reference_results_are_kept(tmp_path):
    atoms = Atoms("NaCl", positions=[[0, 0, 0], [2.4, 0, 0]], info={"domain": "cluster", "x": 1.5})
    atoms.set_array("charge_dft", np.array([0.9, -0.9]))
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0, forces=np.ones((2, 3)))
    ase.io.write(tmp_path / "a.xyz", atoms, format="extxyz")
    (frame,) = read(tmp_path / "a.xyz")
    assert frame.domain == "cluster"
    assert frame.atoms.info["x"] == 1.5
    assert frame.atoms.arrays["charge_dft"].tolist() == [0.9, -0.9]
    assert frame.atoms.get_forces().tolist() == np.ones((2, 3)).tolist()


def test_a_name_holding_an_at_sign_is_read_whole(folder, tmp_path):
    odd = tmp_path / "run@2.xyz"
    odd.write_bytes((folder / "run.xyz").read_bytes())
    assert len(read(odd)) == 6
    assert indices(read(f"{odd}@3")) == [3]
    assert len(read(f"{tmp_path}/run@*.xyz")) == 6


def test_builtin_names_win_unless_a_path_is_given(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("ionic").write_bytes((folder / "POSCAR").read_bytes())
    assert len(read("ionic:melt,surface")) > 1
    with pytest.raises(StructureError, match="can't be read"):
        read("./ionic")  # no format is guessed from that name, so it was the file
    with pytest.raises(StructureError, match="can't be read"):
        read(Path("ionic"))


def test_parts_of_a_builtin_set():
    everything = read("ionic:all")
    assert indices(everything) == list(range(len(everything)))
    default = read("ionic")
    assert {f.source for f in default} < {f.source for f in everything}
    slabs = read("ionic:surface")
    assert [f.source for f in slabs] == [f.source for f in everything if f.domain == "surface"]
    both = read("ionic:surface,cluster")
    assert Counter(f.domain for f in both) == Counter(
        f.domain for f in everything if f.domain in ("surface", "cluster")
    )


def test_domains_are_filtered():
    frames = read("ionic", domains=["bulk", "cluster"])
    assert {f.domain for f in frames} == {"bulk", "cluster"}
    assert {f.domain for f in read("ionic", domains="bulk")} == {"bulk"}


def test_a_limit_is_reproducible_and_even():
    frames = read("ionic:all")
    chosen = stratified(frames, 30, seed=3)
    again = stratified(frames, 30, seed=3)
    other = stratified(frames, 30, seed=4)
    assert [f.source for f in chosen] == [f.source for f in again]
    assert [f.source for f in chosen] != [f.source for f in other]
    assert indices(chosen) == sorted(indices(chosen))
    domains = Counter(f.domain for f in chosen)
    assert domains.keys() == {f.domain for f in frames}
    assert max(domains.values()) - min(domains.values()) <= 1
    assert max(Counter(f.compound for f in chosen).values()) <= 3
    assert len(stratified(frames, 10**6)) == len(frames)


def test_read_applies_the_limit(folder):
    assert len(read(folder / "run.xyz", limit=4)) == 4
    assert indices(read(folder / "run.xyz", limit=4, seed=1)) == indices(
        read(folder / "run.xyz", limit=4, seed=1)
    )


def test_unlabelled_frames_can_be_limited():
    frames = [Frame.from_atoms(Atoms("H"), f"a@{i}") for i in range(9)]
    assert len(stratified(frames, 5)) == 5


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("ionik", ["ionik", "did you mean ionic?"]),
        ("ionik:all", ["did you mean ionic?"]),
        ("ionic:surfaces", ["'surfaces'", "did you mean surface?", "default, all, bulk"]),
        ("{folder}/run22.xyz", ["run22.xyz", "did you mean run2.xyz?"]),
        ("{folder}/nothing*.xyz", ["nothing*.xyz", "no file matches"]),
        ("{folder}", ["this is a folder"]),
        ("{folder}/run.xyz@a", ["'a' is no index or slice"]),
        ("{folder}/run.xyz@", ["'' is no index or slice"]),
        ("{folder}/run.xyz@1:2:0", ["'1:2:0' is no index or slice"]),
        ("{folder}/run.xyz@1:2:3:4", ["'1:2:3:4' is no index or slice"]),
        ("{folder}/run.xyz@6", ["run.xyz@6: there is no such frame", "holds 6"]),
        ("{folder}/run.xyz@-7", ["run.xyz@-7: there is no such frame", "holds 6"]),
        ("{folder}/run.xyz@9:", ["run.xyz: no structures in that slice"]),
        ("{folder}/nowhere/run.xyz", ["nowhere/run.xyz: no such file"]),
    ],
)
def test_what_can_not_be_found_is_said_in_one_line(folder, spec, words):
    with pytest.raises(StructureError) as error:
        read(spec.format(folder=folder))
    for word in words:
        assert word in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.toml", "[project]\n"),
        ("a.xyz", '2\nLattice="1 0"\nNa 0 0 0\n'),
        ("a.xyz", "2\n\nNa 0 0 0\nCl zero 0 0\n"),
        ("a.cif", "not a cif\n"),
        ("POSCAR", "NaCl\nnonsense\n"),
        ("a.traj", "no trajectory"),
        ("empty.xyz", ""),
        ("a.extxyz.gz", "not gzipped"),
    ],
)
def test_unreadable_files_are_named_in_one_line(tmp_path, name, content):
    file = tmp_path / name
    file.write_text(content)
    with pytest.raises(StructureError) as error:
        read(file)
    assert re.match(rf"{re.escape(str(file))}(@\d+)?: ", str(error.value))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.xyz", "1\n\nNa 0 0 0\n\n1\n\nCl 0 0 0\n", "a.xyz@1: an empty line stands where"),
        ("a.xyz", "1\n\nNa 0 0 0\nCl 0 0 0\n", "a.xyz@1: the number of atoms should stand"),
        ("a.xyz", "1\n\nNa 0 0 0\n-1\n\n", "a.xyz@1: the number of atoms should stand"),
        ("a.xyz", "999999999\n\nNa 0 0 0\n", "a.xyz@0: declares 999999999 atoms, and the file"),
        ("a.xyz", "1\nProperties=species:S:1:pos:R:999999999\nNa 0 0 0\n", "columns are declared"),
        ("POSCAR", "x\n1\n4 0 0\n0 4 0\n0 0 4\nNa\n999999999\nDirect\n0 0 0\n", "line 7 declares"),
        ("POSCAR", "x\n1\n4 0 0\n0 4 0\n0 0 4\nNa Cl\n2 -1\nDirect\n0 0 0\n", "declares 2 + -1"),
        ("a.cif", "{cif}", "can't be read whole (Wrong number 13 of tokens, expected 7"),
    ],
)
def test_what_ase_takes_without_a_word_or_for_granted_is_refused(
    folder, tmp_path, name, content, said
):
    """Frames behind an empty line, numbers that aren't true, rows that it leaves out."""
    cif = (folder / "one.cif").read_text()
    row = next(line for line in cif.splitlines() if line.split()[:1] == ["Cl"])
    file = tmp_path / name
    file.write_text(
        content.replace("{cif}", cif.replace(row, " ".join(row.split()[:-1]) + "\n" + row))
    )
    with pytest.raises(StructureError, match=re.escape(said)):
        read(file)


def test_a_trailing_empty_line_is_fine(tmp_path):
    (tmp_path / "a.xyz").write_text("1\n\nNa 0 0 0\n\n  \n")
    assert len(read(tmp_path / "a.xyz")) == 1


def test_what_ase_warns_of_names_the_file(folder, tmp_path):
    text = (folder / "one.cif").read_text()
    (tmp_path / "a.cif").write_text("#\\#CIF_2.0\n" + text)
    with pytest.warns(UserWarning, match=r"a\.cif: CIF v2\.0 file format detected"):
        read(tmp_path / "a.cif")


def test_nothing_given_or_left_is_an_error():
    with pytest.raises(StructureError, match="no structures given"):
        read([])
    with pytest.raises(StructureError, match=r"'bulky' \(did you mean bulk\?\)"):
        read("ionic", domains="bulky")
    with pytest.raises(StructureError, match="limit 0"):
        read("ionic:melt", limit=0)
