"""On a GPU the same numbers come out as on the CPU (run with -m gpu where there is one)."""

import pytest

import mpprobe
from mpprobe.testing import check_potential


@pytest.mark.gpu
def test_cuda_keeps_the_contract_and_agrees_with_the_cpu(sevenn_0, ionic_cells):
    gpu = mpprobe.load("sevenn-0", device="cuda")
    check_potential(gpu, ionic_cells)
    layers = range(len(gpu.layers))
    on_cpu = sevenn_0.run(sevenn_0.batch(ionic_cells), layers=layers, forces=True)
    on_gpu = gpu.run(gpu.batch(ionic_cells), layers=layers, forces=True)
    assert on_gpu.forces.cpu().numpy() == pytest.approx(on_cpu.forces.numpy(), abs=1e-4)
    for t in layers:
        expected = on_cpu.features[t].numpy()
        scale = abs(expected).max()
        assert on_gpu.features[t].cpu().numpy() == pytest.approx(expected, abs=1e-4 * scale)
