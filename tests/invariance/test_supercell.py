"""A repeated crystal is the same crystal: what belongs to an atom belongs to all its images."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk

import mpprobe
from mpprobe.activations.evaluate import Evaluator
from mpprobe.interventions import block_columns, block_rows, fit_erasure
from mpprobe.probes.baselines import neighbour_vectors, radial_densities, soap
from mpprobe.response import force_constants, unit_charge_constants
from mpprobe.structures import Frame
from mpprobe.targets import get_target
from tolerances import TOLERANCES

TIMES = (2, 1, 2)
N = int(np.prod(TIMES))


@pytest.fixture(scope="module", params=[True, False], ids=["crystal", "slab"])
def cells(request):
    """A rattled cell of eight atoms, and the same repeated."""
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    atoms.rattle(0.1, seed=3)
    atoms.arrays["charge_formal"] = np.where(atoms.numbers == 11, 1.0, -1.0)
    times = TIMES
    if not request.param:
        atoms.pbc, times = (True, True, False), (2, 2, 1)
    return [Frame.from_atoms(a, name) for a, name in ((atoms, "one"), (atoms * times, "many"))]


@pytest.fixture(
    scope="module", params=["small MACE", pytest.param("sevenn-0", marks=pytest.mark.slow)]
)
def potential(request, mace_file):
    name = mace_file("8x0e+8x1o") if request.param == "small MACE" else request.param
    return mpprobe.load(name, dtype="float64", trust_checkpoint=True)


def same(one, many, record):
    """Each value of the small cell at every image of its atom."""
    tolerance = TOLERANCES["supercell"]
    expected = np.tile(one, (N, *[1] * (np.ndim(one) - 1)))
    np.testing.assert_allclose(many, expected, rtol=tolerance.relative, atol=tolerance.absolute)
    record("tried", np.size(many))


def test_features(potential, cells, record_property):
    one, many = (mpprobe.extract(potential, cell) for cell in cells)
    for t in one.layers:
        same(one[t].values, many[t].values, record_property)


def test_energies_and_forces_as_they_are_and_without_a_subspace(potential, cells, record_property):
    layer, columns = 1, block_columns(potential.layer(1), 0)
    runs = [Evaluator(potential, [cell]) for cell in cells]
    x = block_rows(runs[0].features([layer])[layer], columns)
    concept = np.concatenate(get_target("potential").values([cells[0]]))[:, None]
    for edits in (None, {layer: fit_erasure(layer, columns, x, concept)}):
        one, many = (run.run(edits) for run in runs)
        same(one.forces, many.forces, record_property)
        same(one.site_energies, many.site_energies, record_property)
        assert many.energies[0] == pytest.approx(N * one.energies[0], rel=1e-9)


def test_force_constants_add_up_over_images(potential, cells, record_property):
    one, many = (force_constants(potential, cell, [0, 1]) for cell in cells)
    summed = many.reshape(2, 3, N, len(cells[0]), 3).sum(axis=2)
    tolerance = TOLERANCES["supercell"]
    np.testing.assert_allclose(summed, one, rtol=tolerance.relative, atol=tolerance.absolute)
    record_property("tried", summed.size)


@pytest.mark.parametrize("target", ["potential", "field", "charge:formal", "potential:shell-1"])
def test_targets(target, cells, record_property):
    one, many = (np.concatenate(get_target(target).values([cell], 4.0)) for cell in cells)
    same(one, many, record_property)


@pytest.mark.parametrize("describe", [soap, radial_densities, neighbour_vectors])
def test_local_descriptors(describe, cells, record_property):
    one, many = (describe([cell], 4.0) for cell in cells)
    same(one, many, record_property)


def test_force_constants_of_unit_charges(cells, record_property):
    """An atom's own images are other atoms in the larger cell, so that only others are compared."""
    one, many = (unit_charge_constants(cell, [0]) for cell in cells)
    summed = many.reshape(1, 3, N, len(cells[0]), 3).sum(axis=2)
    np.testing.assert_allclose(summed[:, :, 1:], one[:, :, 1:], rtol=1e-5, atol=1e-5)
    record_property("tried", summed[:, :, 1:].size)
