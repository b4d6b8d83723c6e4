"""Blocks by order and parity: e3nn's own layout, and vectors that turn with the structure."""

import numpy as np
import pytest
import torch
from ase import Atoms
from e3nn import o3

import mpprobe
from mpprobe.activations import LayerFeatures, Rows, extract, stream
from mpprobe.errors import ModelError
from mpprobe.models.potential import Layer
from mpprobe.structures import as_frames

ANGLES = torch.tensor([0.4, 1.1, 2.3], dtype=torch.float64)


@pytest.fixture(scope="module", params=["sevenn_0", "8x0e+8x1o+8x2e"])
def potential(request):
    if request.param == "sevenn_0":
        return request.getfixturevalue("sevenn_0")
    path = request.getfixturevalue("mace_file")(request.param)
    return mpprobe.load(path, dtype="float64", trust_checkpoint=True)


@pytest.fixture(scope="module")
def acts(potential, ionic_cells):
    return extract(potential, ionic_cells)


def turned(cells, turn):
    """The same structures, turned as a whole."""
    result = [atoms.copy() for atoms in cells]
    for atoms in result:
        atoms.set_cell(atoms.cell.array @ turn.T)
        atoms.positions = atoms.positions @ turn.T
    return result


class TestBlocks:
    def test_they_are_e3nn_s_slices(self, acts):
        for t in acts.layers:
            values = acts[t].values
            irreps = o3.Irreps(acts[t].layer.irreps)
            for (mul, ir), part in zip(irreps, irreps.slices(), strict=True):
                expected = values[:, part].reshape(len(values), mul, ir.dim)
                np.testing.assert_array_equal(acts[t].block(ir.l), expected)

    def test_vectors_turn_with_the_structure(self, potential, acts, ionic_cells):
        """Their components are Cartesian x, y, z: v(R structure) = R v(structure)."""
        turn = o3.angles_to_matrix(*ANGLES).numpy()
        again = extract(potential, turned(ionic_cells, turn), 1)[1].block(l=1)
        before = acts[1].block(l=1)
        assert np.abs(again - before).max() > 1e-3
        np.testing.assert_allclose(again, before @ turn.T, atol=2e-5 * np.abs(before).max())

    def test_scalars_do_not_turn(self, potential, acts, ionic_cells):
        turn = o3.angles_to_matrix(*ANGLES).numpy()
        again = extract(potential, turned(ionic_cells, turn), 1)[1].block(l=0)
        before = acts[1].block(l=0)
        np.testing.assert_allclose(again, before, atol=2e-5 * np.abs(before).max())

    def test_second_order_turns_as_e3nn_says(self, potential, acts, ionic_cells):
        turn = o3.angles_to_matrix(*ANGLES).numpy()
        again = extract(potential, turned(ionic_cells, turn), 1)[1].block(l=2)
        before = acts[1].block(l=2)
        matrix = o3.Irrep("2e").D_from_angles(*ANGLES).numpy()
        np.testing.assert_allclose(again, before @ matrix.T, atol=2e-5 * np.abs(before).max())

    def test_an_order_that_is_not_there(self, acts):
        last = acts.layers[-1]
        with pytest.raises(ModelError) as caught:
            acts[last].block(l=1)
        irreps = acts[last].layer.irreps
        assert str(caught.value) == f"layer {last} has no l = 1 features; its irreps are {irreps}"

    def test_a_parity_that_is_not_there(self, acts):
        with pytest.raises(ModelError, match="has no l = 0 features of parity o; its irreps are"):
            acts[1].block(l=0, p="o")

    def test_both_parities_one_after_the_other(self):
        """As SevenNet trained with parity has them: 2x1o+1x1e beside scalars of both kinds."""
        layer = Layer(1, "2x0e+1x0o+2x1o+1x1e", 5.0)
        values = np.arange(2 * layer.dim, dtype=float).reshape(2, layer.dim)
        features = LayerFeatures(layer, values)
        assert [str(b) for b in features.blocks(1)] == ["2x1o", "1x1e"]
        np.testing.assert_array_equal(features.block(0)[..., 0], values[:, :3])
        np.testing.assert_array_equal(features.block(0, "o")[..., 0], values[:, 2:3])
        np.testing.assert_array_equal(features.block(1, "e")[:, 0], values[:, 9:12])
        both = features.block(1)
        np.testing.assert_array_equal(both[:, :2], features.block(1, "o"))
        np.testing.assert_array_equal(both[:, 2:], features.block(1, "e"))

    def test_blocks_of_a_memory_map_are_views(self, potential, ionic_cells, tmp_path):
        values = extract(potential, ionic_cells[0], 1, folder=tmp_path)[1]
        assert np.shares_memory(values.block(l=1), values.values)


class TestRows:
    def test_values_come_apart_by_structure(self, ionic_cells):
        frames = as_frames(ionic_cells)
        rows = Rows.of(frames)
        positions = np.concatenate([atoms.positions for atoms in ionic_cells])
        for part, atoms in zip(rows.split(positions), ionic_cells, strict=True):
            np.testing.assert_array_equal(part, atoms.positions)

    def test_of_a_later_part_too(self, potential, ionic_cells):
        """Rows of a part count its structures from where they stand in the whole."""
        *_, last = stream(potential, ionic_cells, 0, max_atoms=8)
        assert set(last.rows.frame) == {2}
        (species,) = last.rows.split(last.rows.species)
        np.testing.assert_array_equal(species, ionic_cells[2].numbers)

    def test_of_a_single_atom(self):
        rows = Rows.of(as_frames(Atoms("Na")))
        assert [a.tolist() for a in rows.split(np.array([7.0]))] == [[7.0]]
