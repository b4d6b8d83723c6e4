"""Memory that runs out: one line with what to do, and nothing half-written."""

from __future__ import annotations

import sys

import ase.build
import ase.io
import pytest
from ase.calculators.singlepoint import SinglePointCalculator

import mpprobe
from faults.commands import content
from mpprobe.errors import OutOfMemoryError
from mpprobe.models.memory import enough_memory

#: What NumPy, torch on a CPU and torch on a GPU say.
SAID = (
    MemoryError("Unable to allocate 7.28 TiB for an array"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:114] err == 0. DefaultCPUAllocator: can't "
                 "allocate memory: you tried to allocate 8000000000000 bytes. Error code 12"),
    RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB"),
)  # fmt: skip


@pytest.fixture(scope="module")
def large_file(tmp_path_factory):
    """Four rattled crystals of 1,000 atoms, with charges and forces."""
    atoms = ase.build.bulk("NaCl", "rocksalt", a=5.64, cubic=True).repeat(5)
    atoms.set_array("charge_formal", 2.0 * (atoms.numbers == 11) - 1)
    atoms.calc = SinglePointCalculator(atoms, energy=0.0, forces=atoms.positions * 0)
    file = tmp_path_factory.mktemp("large") / "large.extxyz"
    images = [atoms.copy() for _ in range(4)]
    for k, image in enumerate(images):
        image.rattle(0.1, seed=k)  # copies would be one to a split
        image.calc = SinglePointCalculator(image, **atoms.calc.results)
    ase.io.write(file, images)
    return file


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("command", [
    "extract", *[pytest.param(c, marks=pytest.mark.slow) for c in ("ood", "probe")],
])  # fmt: skip
def test_a_batch_too_large_for_memory_is_named(
    made, large_file, tmp_path, command, record_property
):
    """The system itself refuses it, as under a limit of Slurm or ``ulimit -v``."""
    limit = {"limit_memory": ["mpprobe.models.potential.Potential.batch", 2**20]}
    own, made.files["FILE"] = made.files["FILE"], [str(large_file)]
    try:
        ended = made.run(command, tmp_path / "work", "--max-atoms", "9000", before=limit)
    finally:
        made.files["FILE"] = own
    assert ended.code == 2, ended.said
    batch = "a batch of 4,000 atoms doesn't fit into memory; take smaller ones with --max-atoms"
    assert ended.last in (
        f"mpprobe: {large_file}@0 to {large_file}@3: {batch}",
        # Where it is not the forward pass, but what is made of its results, that finds no room.
        "mpprobe: out of memory; take smaller batches with --max-atoms, or fewer structures",
    ), ended.said
    assert "Traceback" not in "\n".join(ended.said)
    assert not [name for name in content(tmp_path / "work") if name.endswith(".safetensors")]
    record_property("tried", 1)


@pytest.mark.parametrize("said", SAID)
def test_whoever_says_it_the_structures_are_named(said):
    several = pytest.raises(OutOfMemoryError, match=r"^a@0 to a@2: a batch of 5,000 atoms .*--max-")
    with several, enough_memory(["a@0", "a@1", "a@2"], 5000):
        raise said
    alone = pytest.raises(OutOfMemoryError, match=r"^a@0: 5,000 atoms, .* than there is;")
    with alone, enough_memory(["a@0"], 5000):
        raise said


def test_other_errors_are_left_alone():
    with pytest.raises(RuntimeError, match="shapes"), enough_memory(["a@0"], 5):
        raise RuntimeError("shapes differ")


def test_a_potential_says_it_for_what_it_runs(sevenn_0, ionic_cells, monkeypatch):
    def full(*arguments):
        raise SAID[1]

    batch = sevenn_0.batch(mpprobe.read("ionic", limit=2))
    monkeypatch.setattr(type(sevenn_0), "_site_energies", full)
    with pytest.raises(OutOfMemoryError, match=r"^ionic@\d+ to ionic@\d+: a batch of"):
        sevenn_0.run(batch)
