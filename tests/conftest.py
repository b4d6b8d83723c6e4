"""What several test rooms share: structures, potentials, small MACE files."""

import importlib.util
import os
from pathlib import Path

# Before torch is imported: threads that wait in a busy loop slow a shared machine to a crawl.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import ase.build
import numpy as np
import pytest
from ase import Atoms

import mpprobe

DATA = Path(__file__).parent / "data"
SHARED = Path(__file__).parents[1].parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data():
    """The public reference data beside the checkout, where there is any."""
    if not SHARED.is_dir():
        pytest.skip("needs the public reference data in ../shared/data")
    return SHARED


@pytest.fixture(scope="session")
def ionic_cells():
    """A rattled crystal, a slab and a cluster of Na and Cl, small and without symmetry."""
    crystal = ase.build.bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    crystal.rattle(0.1, seed=1)
    slab = crystal.copy()
    slab.rattle(0.05, seed=2)
    slab.pbc = (True, True, False)
    cluster = Atoms(numbers=crystal.numbers[:5], positions=crystal.positions[:5])
    return [crystal, slab, cluster]


@pytest.fixture(scope="session")
def sevenn_0():
    return mpprobe.load("sevenn-0")


@pytest.fixture(scope="session")
def mace_file(tmp_path_factory):
    """Paths of small MACE models saved whole, by hidden irreps: real modules, random weights."""
    import torch

    from mpprobe.models.mace import _mace_imported

    spec = importlib.util.spec_from_file_location("golden", DATA / "make_mace_golden.py")
    with _mace_imported():
        golden = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(golden)
    folder = tmp_path_factory.mktemp("mace")

    def path(hidden: str) -> Path:
        file = folder / f"{hidden.replace('+', '_')}.model"
        if not file.exists():
            with _mace_imported(), torch.random.fork_rng(devices=[]):
                torch.manual_seed(np.frombuffer(hidden.encode(), np.uint8).sum().item())
                torch.save(golden.small_mace(hidden), file)
        return file

    return path


@pytest.fixture(scope="module", params=["sevenn-0", "mace"])
def potential(request, mace_file):
    """One of each family in float64."""
    name = request.param if request.param != "mace" else mace_file("8x0e+8x1o")
    return mpprobe.load(name, dtype="float64", trust_checkpoint=True)
