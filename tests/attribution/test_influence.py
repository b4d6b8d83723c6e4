"""Influence of atoms on each other: derivatives, their decay, and the graph."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

import mpprobe
from interventions.toy import PointCharges
from mpprobe.attribution import Decoded, SiteEnergy, influence, influence_graph
from mpprobe.errors import AttributionError


@pytest.fixture(scope="module")
def cell():
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True).repeat((2, 1, 1))
    atoms.positions += np.random.default_rng(0).normal(scale=0.1, size=atoms.positions.shape)
    return atoms


def numbers(potential, scalar, atoms):
    batch = potential.batch(atoms)
    return np.array([scalar(i).values(potential, batch)[0].item() for i in range(len(atoms))])


def test_derivatives_match_finite_differences(potential, cell):
    weights = np.random.default_rng(1).normal(size=potential.layer(1).dim)
    for scalar in (SiteEnergy, lambda i: Decoded(i, 1, weights)):
        found = influence(potential, cell, scalar)
        step = 1e-4
        for j, axis in ((0, 0), (7, 2)):
            ends = []
            for sign in (1, -1):
                moved = cell.copy()
                moved.positions[j, axis] += sign * step
                ends.append(numbers(potential, scalar, moved))
            slope = (ends[0] - ends[1]) / (2 * step)
            np.testing.assert_allclose(found.derivatives[:, j, axis], slope, atol=2e-6)


def test_site_energies_add_up_to_forces_and_moving_all_does_nothing(potential, cell):
    found = influence(potential, cell, SiteEnergy)
    forces = potential.run(potential.batch(cell), forces=True).forces.numpy()
    np.testing.assert_allclose(found.derivatives.sum(axis=0), -forces, atol=1e-9)
    np.testing.assert_allclose(found.derivatives.sum(axis=1), 0, atol=1e-9)


def test_it_ends_with_the_reach(mace_file):
    """A chain: layer t sees t bonds, and a site energy as many as there are layers."""
    potential = mpprobe.load(mace_file("8x0e+8x1o"), dtype="float64", trust_checkpoint=True)
    spacing = 0.7 * potential.cutoff  # only nearest neighbours are within the cutoff
    chain = Atoms("NaCl" * 4, [(spacing * i, 0.3 * (i % 3), 0) for i in range(8)])
    found = influence(potential, chain, SiteEnergy, atoms=[0])
    reach = len(potential.layers) - 1
    np.testing.assert_array_equal(found.bonds[0], np.arange(8))
    assert (found.sizes[0, 1 : reach + 1] > 0).all()
    np.testing.assert_array_equal(found.sizes[0, reach + 1 :], 0)
    weights = np.random.default_rng(0).normal(size=potential.layer(1).dim)
    early = influence(potential, chain, lambda i: Decoded(i, 1, weights), atoms=[0])
    np.testing.assert_array_equal(early.sizes[0, 2:], 0)
    table = found.by_bonds().set_index("bonds")
    assert table["share"].sum() == pytest.approx(1)
    assert (table["share"] == 0).sum() == 7 - reach


def test_point_charges_fall_off_as_they_should():
    """∂E_i/∂r_j = −q_i q_j/2r², and the other term of the toy is nothing so far away."""
    atoms = Atoms("NaCl", [(0, 0, 0), (15, 0, 0)])
    found = influence(PointCharges(), atoms, SiteEnergy)
    expected = 0.5 * 14.399645 / 15**2
    np.testing.assert_allclose(found.derivatives[0, 1], [expected, 0, 0], rtol=1e-5, atol=1e-12)
    assert found.by_distance(5.0)["distance"].tolist() == [15.0]


def test_the_graph_has_the_same_numbers(potential, cell):
    found = influence(potential, cell, SiteEnergy)
    graph = influence_graph(found)
    assert graph.number_of_nodes() == len(cell)
    assert graph.nodes[1]["species"] == cell.symbols[1]
    assert not any(i == j for i, j in graph.edges)
    for j, i, edge in graph.edges(data=True):
        assert edge["weight"] == found.sizes[i, j]
        assert edge["bonds"] == found.bonds[i, j]
    fewer = influence_graph(found, least=0.5)
    assert 0 < fewer.number_of_edges() < graph.number_of_edges()
    assert min(e["weight"] for *_, e in fewer.edges(data=True)) > 0.5 * max(
        e["weight"] for *_, e in graph.edges(data=True)
    )


def test_an_atom_that_is_not_there(potential, cell):
    with pytest.raises(AttributionError, match="there is no atom 16"):
        influence(potential, cell, SiteEnergy, atoms=[16])
