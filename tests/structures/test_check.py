"""Every check: what it finds, that it names file and frame, and what it leaves alone."""

import time
import tracemalloc

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.neighborlist import neighbor_list

from mpprobe.errors import StructureError
from mpprobe.structures import Frame, check, find_problems, read
from mpprobe.structures.check import closest_pair


def crystal():
    return bulk("NaCl", "rocksalt", a=5.64, cubic=True)


def frame(atoms):
    return Frame.from_atoms(atoms, "file.xyz@4")


def broken(change):
    atoms = crystal()
    change(atoms)
    return atoms


def nan_position(atoms):
    atoms.positions[3, 1] = np.nan


def infinite_cell(atoms):
    atoms.cell[2, 2] = np.inf


def no_cell(atoms):
    atoms.cell[:] = 0.0


def flat_cell(atoms):
    atoms.cell[1] = atoms.cell[0]


def thin_cell(atoms):
    atoms.cell[2, 2] = 0.1


def doubled(atoms):
    atoms.positions[1] = atoms.positions[0]


def across_the_boundary(atoms):
    atoms.positions[0] = (0.05, 0.0, 0.0)
    atoms.positions[5] = (5.60, 0.0, 5.64)


def one_direction(atoms):
    atoms.pbc = (False, True, False)


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        (nan_position, {}, ["positions of 1 atoms are NaN or infinite", "Cl (atom 3)"]),
        (infinite_cell, {}, ["cell holds NaN or infinity"]),
        (no_cell, {}, ["cell is zero, flat or thinner", "set pbc to F F F"]),
        (flat_cell, {}, ["cell is zero, flat or thinner"]),
        (thin_cell, {}, ["cell is zero, flat or thinner"]),
        (doubled, {}, ["Na (atom 0)", "Cl (atom 1)", "0.00 Å apart"]),
        (across_the_boundary, {}, ["Na (atom 0)", "Cl (atom 5)", "0.09 Å apart"]),
        (one_direction, {"needs_ewald": True}, ["periodic in one direction only", "0, 2 or 3"]),
        (len, {"species": ["Na"]}, ["the model does not know Cl"]),
        (len, {"species": [11, 19]}, ["the model does not know Cl"]),
        (len, {"cutoff": 2.0}, ["no two atoms are within the model's cutoff of 2 Å"]),
    ],
)
def test_each_problem_is_named_with_file_frame_and_mend(change, options, words):
    atoms = broken(change)
    with pytest.raises(StructureError) as error:
        check(frame(atoms), **options)
    message = str(error.value)
    assert message.startswith("file.xyz@4: ")
    assert "\n" not in message
    assert ";" in message  # what to do follows
    for word in words:
        assert word in message


def test_a_structure_without_atoms():
    with pytest.raises(StructureError, match=r"file\.xyz@4: it holds no atoms"):
        check(frame(Atoms()))


def test_an_atom_on_its_own_image():
    atoms = Atoms("Na", cell=[[0.29, 0, 0], [0, 5, 0], [0, 0.0, 5]], pbc=True)
    assert "thinner than 0.3 Å" in str(find_problems(atoms)[0])
    sheared = Atoms("Na", cell=[[9, 0, 0], [9, 0.31, 0], [0, 0, 5]], pbc=True)
    assert find_problems(sheared) == []


@pytest.mark.parametrize(
    "atoms",
    [
        crystal(),
        Atoms("Na"),
        Atoms("NaCl", positions=[[0, 0, 0], [2.4, 0, 0]]),
        Atoms("Na", cell=[4, 4, 4], pbc=True),
        Atoms("Na", cell=[4, 4, 0], pbc=(True, True, False)),
        broken(lambda a: setattr(a, "pbc", (True, False, True))),
        broken(lambda a: a.translate((100.0, -57.0, 3.0))),
    ],
)
def test_sound_structures_pass(atoms):
    check(atoms, species=["Na", "Cl"], needs_ewald=True)


def test_nan_in_other_arrays_is_left_alone():
    atoms = crystal()
    atoms.set_array("charge_dft", np.full(8, np.nan))
    check(atoms)


def test_all_problems_of_all_frames_are_listed_in_order():
    frames = [
        Frame.from_atoms(broken(change), f"f@{i}")
        for i, change in enumerate([len, doubled, len, nan_position])
    ]
    problems = find_problems(frames, species=["Na"])
    assert [p.source for p in problems] == ["f@0", "f@1", "f@1", "f@2", "f@3", "f@3"]
    with pytest.raises(StructureError, match=r"^f@0: .*\(3 more of the structures"):
        check(frames, species=["Na"])


def test_an_unknown_symbol_among_the_species_is_refused():
    with pytest.raises(StructureError, match="'Xx' is not an element"):
        check(crystal(), species=["Na", "Xx"])


@pytest.mark.parametrize("pbc", [(1, 1, 1), (1, 1, 0), (0, 1, 0), (0, 0, 0)])
@pytest.mark.parametrize("seed", range(5))
def test_the_closest_pair_agrees_with_ase(pbc, seed):
    rng = np.random.default_rng(seed)
    cell = 3.0 * np.eye(3) + rng.uniform(-1.5, 1.5, (3, 3))
    atoms = Atoms("H6", positions=rng.uniform(-9, 9, (6, 3)), cell=cell, pbc=pbc)
    i, j, d = neighbor_list("ijd", atoms, 2.5)
    found = closest_pair(atoms, 2.5)
    if len(d) == 0:
        assert found is None
    else:
        assert found[2] == pytest.approx(min(d), abs=1e-9)
        closest = d < min(d) + 1e-9  # several where atoms are closest to their own images
        assert found[:2] in set(zip(i[closest], j[closest], strict=True))


def test_input_is_not_changed():
    atoms = crystal()
    before = atoms.copy()
    check(atoms, species=["Na", "Cl"], cutoff=5.0, needs_ewald=True)
    assert atoms == before


def test_three_hundred_frames_take_a_moment():
    frames = read("ionic:all")
    start = time.process_time()
    check(frames, cutoff=5.0, needs_ewald=True)
    assert time.process_time() - start < 2.0


def test_a_thin_cell_full_of_atoms_takes_neither_time_nor_memory():
    """All images within the cutoff would be thirty million."""
    places = np.random.default_rng(0).random((500, 3))
    atoms = Atoms("H500", positions=0.31 * places, cell=[0.31] * 3, pbc=True)
    tracemalloc.start()
    (problem,) = find_problems(atoms, cutoff=6.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "apart; remove the double atom" in problem.message
    assert peak < 50e6
