"""Every potential that can be had here keeps the public contract."""

import pytest

import mpprobe
from mpprobe.testing import check_potential

SEVENNETS = {
    "sevenn-0": {},
    "sevenn-0-22may2024": {},
    "sevenn-l3i5": {},
    "sevenn-mf-0": {"modal": "PBE"},
}


# By default each checkpoint in one dtype, and both for one of them: kernels compile for seconds.
QUICK = {
    ("sevenn-0", "float32"), ("sevenn-0", "float64"), ("sevenn-l3i5", "float32"),
    ("sevenn-mf-0", "float64"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        pytest.param(n, d, marks=() if (n, d) in QUICK else pytest.mark.slow)
        for n in SEVENNETS
        for d in ("float32", "float64")
    ],
)
def test_sevennet_checkpoints(name, dtype, ionic_cells):
    check_potential(mpprobe.load(name, dtype=dtype, **SEVENNETS[name]), ionic_cells)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("hidden", ["8x0e", "8x0e+8x1o", "8x0e+8x1o+8x2e"])
def test_mace_architectures(hidden, dtype, mace_file, ionic_cells):
    potential = mpprobe.load(mace_file(hidden), dtype=dtype, trust_checkpoint=True)
    assert potential.layers[1].irreps == hidden
    check_potential(potential, ionic_cells)


@pytest.mark.parametrize("name", ["random:sevenn-0:1"])
def test_random_weights(name, ionic_cells):
    check_potential(mpprobe.load(name), ionic_cells)


def test_random_mace(mace_file, ionic_cells):
    name = f"random:{mace_file('8x0e+8x1o')}"
    check_potential(mpprobe.load(name, trust_checkpoint=True), ionic_cells)
