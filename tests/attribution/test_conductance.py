"""Conductance of later layers, and through which atoms influence goes."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk

from mpprobe.attribution import (
    Decoded,
    ForceComponent,
    SiteEnergy,
    conductance,
    influence,
    influence_through,
)
from mpprobe.errors import AttributionError


@pytest.fixture(scope="module")
def cell():
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    atoms.positions += np.random.default_rng(0).normal(scale=0.1, size=atoms.positions.shape)
    return atoms


def last(potential):
    return len(potential.layers) - 1


class TestConductance:
    def test_sevennet_has_no_way_past_a_layer(self, sevenn_0, cell):
        for found in conductance(sevenn_0, cell, SiteEnergy(3), 1):
            assert found.relative_gap < 0.01

    def test_of_a_site_energy_the_last_layer_has_that_atom_alone(self, potential, cell):
        found = conductance(potential, cell, SiteEnergy(3), 1)[-1]
        assert found.layer.index == last(potential)
        atoms = np.abs(found.values).sum(axis=1)
        assert np.flatnonzero(atoms).tolist() == [3]

    def test_of_a_linear_probe_it_is_how_far_the_features_go(self, potential, cell):
        """w·x: each feature's conductance is w times its change from the baseline's."""
        weights = np.random.default_rng(0).normal(size=potential.layer(2).dim)
        (found,) = conductance(potential, cell, Decoded(2, 2, weights), 1, baseline="zero")
        batch = potential.batch(cell)
        ends = [
            potential.run(batch, [2], {1: lambda x, k=k: k * x}, energies=False).features[2][2]
            for k in (1, 0)
        ]
        change = (weights * (ends[0] - ends[1]).numpy()).astype(float)
        np.testing.assert_allclose(found.values[2], change, atol=0.01 * np.abs(change).max())
        assert (np.delete(found.values, 2, axis=0) == 0).all()

    def test_what_has_none(self, potential, cell):
        with pytest.raises(AttributionError, match="a force comes through the derivatives"):
            conductance(potential, cell, ForceComponent(0, 0), 1)
        with pytest.raises(AttributionError, match="layer 2: isn't later than layer 2"):
            conductance(potential, cell, SiteEnergy(0), 2, [2])


class TestThrough:
    def test_the_parts_add_up_to_the_influence(self, potential, cell):
        whole = influence(potential, cell, SiteEnergy, [2]).derivatives[0]
        for layer in range(1, last(potential) + 1):
            parts = influence_through(potential, cell, SiteEnergy(2), layer)
            np.testing.assert_allclose(parts.sum(axis=0), whole, atol=1e-12)

    def test_of_a_probe_all_goes_through_the_atom_that_it_reads(self, potential, cell):
        weights = np.random.default_rng(0).normal(size=potential.layer(2).dim)
        parts = influence_through(potential, cell, Decoded(5, 2, weights), 2)
        sizes = np.abs(parts).sum(axis=(1, 2))
        assert sizes[5] > 0
        np.testing.assert_allclose(np.delete(sizes, 5), 0, atol=1e-12)
        early = influence_through(potential, cell, Decoded(5, 2, weights), 1)
        assert np.abs(early[[0, 1, 2]]).sum() > 0

    def test_a_part_is_the_derivative_with_the_other_ways_closed(self, potential, cell):
        """Frozen features of the other atoms leave the way through one, and past the layer."""
        import torch

        whole = influence_through(potential, cell, SiteEnergy(2), 1)
        batch = potential.batch(cell)
        batch.positions.requires_grad_()
        keep = torch.zeros(len(cell), 1, dtype=torch.float64)
        keep[4] = 1

        def freeze(x):
            return keep * x + (1 - keep) * x.detach()

        (value,) = SiteEnergy(2).values(potential, batch, {1: freeze})
        (slope,) = torch.autograd.grad(value, batch.positions)
        np.testing.assert_allclose(slope.numpy(), whole[4] + whole[-1], atol=1e-10)
