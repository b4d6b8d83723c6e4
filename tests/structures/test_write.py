"""Writing: what goes in comes out, nothing is changed, and nothing half-written stays."""

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from mpprobe.errors import StructureError
from mpprobe.structures import Frame, read, write_extxyz


@pytest.fixture
def frames():
    molecule = Atoms("NaCl", positions=[[0, 0, 0], [2.4, 0, 0]], info={"domain": "cluster"})
    molecule.set_array("charge_dft", np.array([0.9, -0.9]))
    molecule.calc = SinglePointCalculator(molecule, energy=-3.0, forces=np.ones((2, 3)))
    atom = Atoms("Na", cell=[4, 4, 4], pbc=True)
    return [Frame.from_atoms(a, f"in.xyz@{i}") for i, a in enumerate((molecule, atom))]


@pytest.mark.parametrize("name", ["out.xyz", "out.extxyz.gz", "new/folder/out.xyz"])
def test_what_goes_in_comes_out(tmp_path, frames, name):
    potential = [np.array([1.25, -2.5]), np.array([0.5])]
    field = [np.arange(6.0).reshape(2, 3), np.ones((1, 3))]
    path = tmp_path / name
    write_extxyz(path, frames, {"potential:shell-2": potential, "field": field})
    back = read(path)
    for i, frame in enumerate(back):
        arrays = frame.atoms.arrays
        assert arrays["mpprobe_potential_shell_2"].tolist() == potential[i].tolist()
        assert arrays["mpprobe_field"].reshape(-1, 3).tolist() == field[i].tolist()
        assert frame.atoms.info["mpprobe_source"] == f"in.xyz@{i}"
        assert frame.atoms.positions.tolist() == frames[i].atoms.positions.tolist()
        assert frame.atoms.pbc.tolist() == frames[i].atoms.pbc.tolist()
    assert back[0].atoms.arrays["charge_dft"].tolist() == [0.9, -0.9]
    assert back[0].atoms.get_potential_energy() == -3.0
    assert back[0].domain == "cluster"


def test_vectors_and_tensors_of_a_structure_come_out(tmp_path):
    info = {"dipole_dft": np.array([0.5, -1.0, 2.0]), "virial": np.arange(9.0).reshape(3, 3),
            "weights": [1, 2], "relaxed": True, "steps": 0, "note": ""}  # fmt: skip
    write_extxyz(tmp_path / "a.xyz", [Frame.from_atoms(Atoms("Na", info=info), "a@0")])
    (back,) = read(tmp_path / "a.xyz")
    for name in ("dipole_dft", "virial", "weights", "relaxed", "steps"):
        np.testing.assert_array_equal(back.atoms.info[name], info[name])
    assert "note" not in back.atoms.info  # an empty text can't be read back


def test_the_input_is_not_changed(tmp_path, frames):
    write_extxyz(tmp_path / "a.xyz", frames, {"x": [np.ones(2), np.ones(1)]})
    assert set(frames[0].atoms.arrays) == {"numbers", "positions", "charge_dft"}
    assert frames[0].atoms.info == {"domain": "cluster"}
    assert frames[0].atoms.calc is not None


def test_results_of_a_live_calculator_are_dropped(tmp_path):
    atoms = Atoms("Cu", calculator=EMT())
    atoms.get_potential_energy()
    atoms.positions += 1.0
    write_extxyz(tmp_path / "a.xyz", [Frame.from_atoms(atoms, "a@0")])
    assert ase.io.read(tmp_path / "a.xyz").calc is None


def test_an_earlier_result_is_replaced(tmp_path, frames):
    first, second = tmp_path / "a.xyz", tmp_path / "b.xyz"
    write_extxyz(first, frames, {"x": [np.ones(2), np.ones(1)]})
    write_extxyz(second, read(first), {"mpprobe_x": [np.full((2, 3), 5.0), np.full((1, 3), 5.0)]})
    assert read(second)[0].atoms.arrays["mpprobe_x"].tolist() == [[5.0] * 3] * 2


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": [np.ones(2)]}, ["array 'x'", "1 given for 2 structures"]),
        ({"x": [np.ones(3), np.ones(1)]}, ["in.xyz@0", "shape (3,)", "(2, k)"]),
        ({"x": [np.ones((2, 3)), np.ones((1, 3, 3))]}, ["in.xyz@1", "shape (1, 3, 3)"]),
        ({"x": [np.ones((2, 0)), np.ones((1, 0))]}, ["in.xyz@0", "shape (2, 0)"]),
        ({"x": [np.float64(1.0), np.ones(1)]}, ["in.xyz@0", "shape ()"]),
        ({"x": [np.array(["a", "b"]), np.ones(1)]}, ["in.xyz@0", "give real numbers"]),
        ({"a:b": [np.ones(2), np.ones(1)], "a b": [np.ones(2), np.ones(1)]}, ["mpprobe_a_b"]),
    ],
)
def test_wrong_arrays_are_refused_and_nothing_is_written(tmp_path, frames, arrays, words):
    with pytest.raises(StructureError) as error:
        write_extxyz(tmp_path / "a.xyz", frames, arrays)
    for word in words:
        assert word in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file(tmp_path, frames, monkeypatch):
    path = tmp_path / "a.xyz"
    path.write_text("old")

    def full_disk(file, *args, **kwargs):
        file.write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ase.io, "write", full_disk)
    with pytest.raises(StructureError, match=r"a\.xyz: can't be written \(No space left"):
        write_extxyz(path, frames)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.xyz"]


def test_no_frames_or_no_place_are_errors(tmp_path, frames):
    with pytest.raises(StructureError, match="no structures to write"):
        write_extxyz(tmp_path / "a.xyz", [])
    (tmp_path / "file").write_text("")
    with pytest.raises(StructureError, match="can't be written"):
        write_extxyz(tmp_path / "file" / "a.xyz", frames)
