"""The neighbour graph against ASE's own neighbour list, in the shapes that go wrong."""

import ase.build
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.neighborlist import primitive_neighbor_list

from mpprobe.models.graph import build_batch, neighbour_list, split_batch

CUTOFF = 4.0


def skewed():
    cell = [[4.0, 0.0, 0.0], [5.5, 4.2, 0.0], [-3.0, 2.0, 5.0]]
    return Atoms("NaCl2", scaled_positions=RNG.uniform(size=(3, 3)), cell=cell, pbc=True)


def tiny():
    """One atom whose cutoff sphere reaches over many cells."""
    return Atoms("Cu", cell=[[0, 1.8, 1.8], [1.8, 0, 1.8], [1.8, 1.8, 0]], pbc=True)


def left_handed():
    atoms = skewed()
    atoms.set_cell(atoms.cell.array[[1, 0, 2]])
    return atoms


def slab(free):
    """A slab whose third lattice vector is what a file may hold for a direction without images."""
    atoms = ase.build.fcc111("Al", (2, 2, 3), vacuum=None)
    atoms.rattle(0.1, seed=1)
    cell = atoms.cell.array.copy()
    cell[2] = free
    atoms.set_cell(cell)
    atoms.pbc = (True, True, False)
    return atoms


def slab_along_y():
    atoms = skewed()
    atoms.pbc = (True, False, True)
    return atoms


def wire():
    atoms = skewed()
    atoms.pbc = (False, False, True)
    return atoms


def far_cluster():
    """A molecule far from the origin, in a cell that doesn't hold it."""
    atoms = ase.build.molecule("CH3CH2OH")
    atoms.positions += (310.0, -75.0, 1200.0)
    atoms.cell = np.eye(3) * 2.0
    return atoms


def outside_the_cell():
    atoms = skewed()
    atoms.positions += RNG.integers(-3, 4, (3, 3)) @ atoms.cell.array
    return atoms


RNG = np.random.default_rng(0)
STRUCTURES = {
    "skewed": skewed(),
    "tiny": tiny(),
    "left-handed": left_handed(),
    "slab, free vector zero": slab((0, 0, 0)),
    "slab, free vector short": slab((0, 0, 1.0)),
    "slab, free vector slanted": slab((3.0, -2.0, 7.0)),
    "slab, free vector in the plane": slab((1.0, 1.0, 0.0)),
    "slab along y": slab_along_y(),
    "wire": wire(),
    "cluster far away": far_cluster(),
    "atoms outside the cell": outside_the_cell(),
    "two atoms out of reach": Atoms("Na2", positions=[[0, 0, 0], [0, 0, CUTOFF + 1e-6]]),
    "a lone atom": Atoms("Na"),
}


@pytest.fixture(params=STRUCTURES.values(), ids=STRUCTURES)
def atoms(request):
    return request.param


def pairs(i, j, shifts):
    return sorted(zip(i.tolist(), j.tolist(), *np.asarray(shifts, int).T.tolist(), strict=True))


def brute_force(atoms, cutoff=CUTOFF):
    """All pairs by trying every image: the definition, without cells or wrapping."""
    reach = [range(-12, 13) if periodic else range(1) for periodic in atoms.pbc]
    images = np.array(np.meshgrid(*reach, indexing="ij")).reshape(3, -1).T
    found = []
    for image in images:
        vectors = atoms.positions[None] - atoms.positions[:, None] + image @ atoms.cell.array
        near = np.linalg.norm(vectors, axis=-1) < cutoff
        if not image.any():
            np.fill_diagonal(near, False)
        found += [(int(i), int(j), *map(int, image)) for i, j in np.argwhere(near)]
    return sorted(found)


def test_pairs_are_those_of_brute_force(atoms):
    assert pairs(*neighbour_list(atoms, CUTOFF)) == brute_force(atoms)


# ASE takes no flat cell, not even where a vector stands for a direction without images.
@pytest.mark.parametrize("name", [n for n in STRUCTURES if "in the plane" not in n])
def test_pairs_are_those_of_ase(name):
    atoms = STRUCTURES[name]
    cell = atoms.cell.complete()
    expected = primitive_neighbor_list("ijS", atoms.pbc, cell, atoms.positions, CUTOFF)
    assert pairs(*neighbour_list(atoms, CUTOFF)) == pairs(*expected)


def test_every_pair_is_there_both_ways(atoms):
    batch = build_batch([atoms], CUTOFF)
    start, end = batch.edge_index
    there = pairs(start, end, batch.unit_shifts)
    back = pairs(end, start, -batch.unit_shifts)
    assert there == back


def test_edge_vectors_point_from_i_to_the_image_of_j(atoms):
    batch = build_batch([atoms], CUTOFF)
    start, end = batch.edge_index.numpy()
    expected = (
        atoms.positions[end] - atoms.positions[start] + batch.unit_shifts.numpy() @ atoms.cell.array
    )
    np.testing.assert_allclose(batch.edge_vectors().numpy(), expected, atol=1e-12)
    assert (batch.edge_vectors().norm(dim=1) < CUTOFF).all()


def test_a_batch_joins_the_single_graphs():
    structures = list(STRUCTURES.values())
    batch = build_batch(structures, CUTOFF)
    sizes = [len(a) for a in structures]
    assert batch.n_frames == len(structures)
    assert batch.n_atoms == sum(sizes)
    assert torch.bincount(batch.frame).tolist() == sizes
    start, end = batch.edge_index
    assert (batch.frame[start] == batch.frame[end]).all()
    first = 0
    for i, atoms in enumerate(structures):
        here = batch.frame[start] == i
        single = build_batch([atoms], CUTOFF)
        assert torch.equal(batch.edge_index[:, here] - first, single.edge_index)
        assert torch.equal(batch.edge_vectors()[here], single.edge_vectors())
        first += len(atoms)


def test_to_changes_lengths_and_leaves_indices():
    batch = build_batch([skewed()], CUTOFF).to(torch.device("cpu"), torch.float32)
    assert {batch.positions.dtype, batch.shifts.dtype, batch.cells.dtype} == {torch.float32}
    assert {batch.numbers.dtype, batch.edge_index.dtype, batch.frame.dtype} == {torch.int64}


def test_structures_are_not_changed(atoms):
    before = atoms.copy()
    build_batch([atoms], CUTOFF)
    assert before == atoms


class TestSplitting:
    def test_the_parts_hold_every_structure_once_and_in_order(self, ionic_cells):
        batch = build_batch([*ionic_cells, Atoms("Ne", positions=[[0, 0, 0]]), *ionic_cells], 4.0)
        for n in (1, 2, 3, 20):
            parts = split_batch(batch, n)
            assert 1 <= len(parts) <= n
            assert torch.equal(torch.cat([p.positions for p in parts]), batch.positions)
            assert torch.equal(torch.cat([p.edge_vectors() for p in parts]), batch.edge_vectors())
            assert torch.equal(torch.cat([p.cells for p in parts]), batch.cells)
            assert sum(part.n_frames for part in parts) == batch.n_frames
            for part in parts:
                assert part.frame[0] == 0
                assert part.edge_index.numel() == 0 or part.edge_index.max() < part.n_atoms

    def test_they_are_of_about_equal_size(self, ionic_cells):
        parts = split_batch(build_batch([ionic_cells[0]] * 20, 4.0), 4)
        assert [part.n_frames for part in parts] == [5] * 4

    def test_one_structure_stays_whole(self, ionic_cells):
        batch = build_batch(ionic_cells[:1], 4.0)
        (part,) = split_batch(batch, 8)
        assert part is batch
