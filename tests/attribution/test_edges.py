"""Messages scaled edge by edge, and numbers shared out among them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase.build import bulk

from interventions.toy import PointCharges
from mpprobe.attribution import (
    Decoded,
    ForceComponent,
    SiteEnergy,
    TotalEnergy,
    attribute_edges,
)
from mpprobe.errors import AttributionError, ModelError


@pytest.fixture(scope="module")
def cell():
    atoms = bulk("NaCl", "rocksalt", a=5.64)
    atoms.positions[1] += (0.1, -0.2, 0.15)
    return atoms


def scales(potential, batch):
    return torch.ones(len(potential.layers) - 1, batch.edge_index.shape[1], dtype=torch.float64)


class TestScaledMessages:
    def test_one_changes_nothing(self, potential, cell):
        batch = potential.batch(cell)
        fast, before = potential.fast, potential.run(batch).energies
        with potential.scaled_messages(scales(potential, batch)):
            assert not potential.fast
            torch.testing.assert_close(potential.run(batch).energies, before, rtol=1e-10, atol=0)
        assert potential.fast == fast

    def test_without_messages_atoms_know_only_their_species(self, potential):
        atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
        atoms.positions += np.random.default_rng(0).normal(scale=0.2, size=(8, 3))
        batch = potential.batch(atoms)
        with potential.scaled_messages(0 * scales(potential, batch)):
            energies = potential.run(batch).site_energies.numpy()
        for z in (11, 17):
            own = energies[atoms.numbers == z]
            np.testing.assert_allclose(own, own[0], rtol=1e-12)
        assert energies[0] != energies[1]

    def test_a_message_reaches_its_receiver_alone(self, potential, cell):
        """Cut in the last layer: it is the receiver's energy that changes, no other's."""
        batch = potential.batch(cell)
        before = potential.run(batch).site_energies
        cut = scales(potential, batch)
        cut[-1, batch.edge_index[potential.receiver] == 1] = 0
        with potential.scaled_messages(cut):
            after = potential.run(batch).site_energies
        assert (after - before).abs().gt(1e-9).tolist() == [False, True]

    def test_hooks_come_off_after_an_error(self, potential, cell):
        batch = potential.batch(cell)
        before = potential.run(batch).energies
        with (
            pytest.raises(KeyboardInterrupt),
            potential.scaled_messages(0 * scales(potential, batch)),
        ):
            raise KeyboardInterrupt
        assert torch.equal(potential.run(batch).energies, before)

    def test_a_family_without_messages_says_so(self, cell):
        with pytest.raises(ModelError, match="messages can't be scaled"):
            attribute_edges(PointCharges(), cell, TotalEnergy())


class TestAttribution:
    @pytest.mark.parametrize("scalar", [TotalEnergy(), SiteEnergy(1), ForceComponent(0, 2)])
    def test_it_is_complete(self, potential, cell, scalar):
        found = attribute_edges(potential, cell, scalar)
        assert found.relative_gap < 1e-4
        edges = found.by_edge()
        assert edges["value"].sum() == pytest.approx(found.value - found.baseline_value, rel=1e-4)
        assert len(edges) == found.values.size
        assert edges["distance"].between(1, potential.cutoff).all()

    def test_only_messages_on_the_way_to_the_atom_count(self, potential, cell):
        found = attribute_edges(potential, cell, SiteEnergy(1))
        into = found.receiver == 1
        assert (found.values[-1, into] != 0).all()
        assert (found.values[-1, ~into] == 0).all()
        assert (found.values[0, ~into] != 0).any()

    def test_later_messages_than_what_is_read_add_nothing(self, potential, cell):
        weights = np.random.default_rng(0).normal(size=potential.layer(1).dim)
        found = attribute_edges(potential, cell, Decoded(0, 1, weights))
        assert (found.values[0, found.receiver == 0] != 0).any()
        assert (found.values[0, found.receiver != 0] == 0).all()
        assert (found.values[1:] == 0).all()

    def test_atoms_send_and_receive_all_of_it(self, potential, cell):
        found = attribute_edges(potential, cell, TotalEnergy())
        table = found.by_atom()
        for name in ("sent", "received"):
            assert table[name].sum() == pytest.approx(found.values.sum())

    def test_an_atom_that_is_not_there(self, potential, cell):
        with pytest.raises(AttributionError, match="there is no atom 2"):
            attribute_edges(potential, cell, SiteEnergy(2))
