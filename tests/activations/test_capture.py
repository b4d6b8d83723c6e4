"""Node features of many structures: the same however they are batched and kept."""

import numpy as np
import pytest
import torch
from ase import Atoms

import mpprobe
from mpprobe.activations import extract, parse_layers, stream
from mpprobe.activations.capture import batches
from mpprobe.errors import ModelError
from mpprobe.structures import as_frames


@pytest.fixture(scope="module")
def mace(mace_file):
    return mpprobe.load(mace_file("8x0e+8x1o"), dtype="float64", trust_checkpoint=True)


@pytest.fixture(scope="module")
def cells(ionic_cells):
    """Structures of 8, 8, 5, 1 and 5 atoms."""
    crystal, slab, cluster = ionic_cells
    turned = cluster.copy()
    turned.rotate(40, (1, 2, 3))
    return [crystal, slab, cluster, Atoms("Na", cell=[3.5] * 3, pbc=True), turned]


@pytest.fixture(scope="module")
def one_by_one(mace, cells):
    """Features of each structure by itself, from the potential directly."""
    outputs = [mace.run(mace.batch(atoms), [0, 1, 2]).features for atoms in cells]
    return {t: torch.cat([features[t] for features in outputs]).numpy() for t in (0, 1, 2)}


class TestBatches:
    SIZES = (8, 8, 5, 1, 5)

    @pytest.mark.parametrize(
        ("max_atoms", "expected"),
        [
            (1, [[0], [1], [2], [3], [4]]),
            (7, [[0], [1], [2, 3], [4]]),
            (8, [[0], [1], [2, 3], [4]]),
            (16, [[0, 1], [2, 3, 4]]),
            (27, [[0, 1, 2, 3, 4]]),
            (10**6, [[0, 1, 2, 3, 4]]),
        ],
    )
    def test_consecutive_and_no_larger_than_allowed(self, cells, max_atoms, expected):
        assert list(batches(as_frames(cells), max_atoms)) == expected

    def test_of_nothing(self):
        assert list(batches([], 10)) == []


class TestExtract:
    @pytest.mark.parametrize("max_atoms", [1, 7, 13, 16, None, 1000])
    def test_the_batch_size_makes_no_difference(self, mace, cells, one_by_one, max_atoms):
        acts = extract(mace, cells, max_atoms=max_atoms)
        assert acts.layers == (0, 1, 2)
        for t, expected in one_by_one.items():
            np.testing.assert_allclose(acts[t].values, expected, atol=1e-12)

    def test_nor_does_where_they_are_kept(self, mace, cells, tmp_path):
        folder = tmp_path / "new" / "folder"
        mapped, held = extract(mace, cells, folder=folder), extract(mace, cells)
        assert sorted(p.name for p in folder.iterdir()) == [f"layer-{t}.npy" for t in (0, 1, 2)]
        for t in (0, 1, 2):
            assert isinstance(mapped[t].values, np.memmap)
            np.testing.assert_array_equal(mapped[t].values, held[t].values)
            np.testing.assert_array_equal(np.load(folder / f"layer-{t}.npy"), held[t].values)
            assert mapped[t].values.dtype == held[t].values.dtype == np.float64

    def test_a_crowd_and_a_lone_large_structure(self, sevenn_0, ionic_cells):
        """SevenNet-0 in float32, where batches may differ by rounding, and by no more."""
        large = ionic_cells[0].repeat((2, 2, 1))
        cells = [ionic_cells[2], large, *ionic_cells]
        alone = extract(sevenn_0, cells, "all", max_atoms=1)
        mixed = extract(sevenn_0, cells, "all", max_atoms=20)
        for t in range(6):
            assert alone[t].values.dtype == np.float32
            scale = np.abs(alone[t].values).max()
            np.testing.assert_allclose(mixed[t].values, alone[t].values, atol=1e-5 * scale)

    def test_one_structure_needs_no_list(self, mace, cells, one_by_one):
        acts = extract(mace, cells[0], 1)
        np.testing.assert_allclose(acts[1].values, one_by_one[1][:8], atol=1e-12)

    def test_structures_may_come_from_a_generator(self, mace, cells, one_by_one):
        acts = extract(mace, (atoms for atoms in cells), [1], max_atoms=8)
        np.testing.assert_allclose(acts[1].values, one_by_one[1], atol=1e-12)

    def test_only_the_layers_asked_for(self, mace, cells):
        acts = extract(mace, cells[:2], [2, 0])
        assert acts.layers == (0, 2)
        with pytest.raises(ModelError, match="layer 1 was not extracted; there are layers 0, 2"):
            acts[1]

    def test_rows_tell_frame_atom_and_species(self, mace, cells):
        rows = extract(mace, cells, 0).rows
        sizes = [len(atoms) for atoms in cells]
        assert len(rows) == sum(sizes)
        assert rows.frame.tolist() == [i for i, n in enumerate(sizes) for _ in range(n)]
        assert rows.atom.tolist() == [k for n in sizes for k in range(n)]
        assert rows.species.tolist() == [z for atoms in cells for z in atoms.numbers]

    def test_progress_is_told_batch_by_batch(self, mace, cells):
        told = []
        extract(mace, cells, 1, max_atoms=8, progress=lambda done, of: told.append((done, of)))
        assert told == [(8, 27), (16, 27), (22, 27), (27, 27)]

    def test_no_structures(self, mace):
        with pytest.raises(ModelError, match="no structures to take node features of"):
            extract(mace, [])


class TestStream:
    def test_the_parts_are_the_whole(self, mace, cells):
        whole = extract(mace, cells, [1, 2])
        parts = list(stream(mace, cells, [1, 2], max_atoms=8))
        assert len(parts) == 4
        for t in (1, 2):
            joined = np.concatenate([part[t].values for part in parts])
            np.testing.assert_allclose(joined, whole[t].values, atol=1e-12)
        for name in ("frame", "atom", "species"):
            joined = np.concatenate([getattr(part.rows, name) for part in parts])
            np.testing.assert_array_equal(joined, getattr(whole.rows, name))

    def test_nothing_runs_before_it_is_asked_for(self, mace, cells):
        broken = cells[0].copy()
        broken.symbols[0] = "Au"
        parts = stream(mace, [cells[0], broken], 1, max_atoms=8)
        assert next(parts).layers == (1,)
        with pytest.raises(ModelError, match="doesn't know Au"):
            next(parts)


class TestLayers:
    @pytest.mark.parametrize(
        ("asked", "given"),
        [
            ("all", (0, 1, 2)),
            ("ALL", (0, 1, 2)),
            (1, (1,)),
            ("1", (1,)),
            (np.int64(2), (2,)),
            ([2, 0, 2], (0, 2)),
            (("0", 1), (0, 1)),
            ([1, "all"], (0, 1, 2)),
            (np.arange(2), (0, 1)),
            (range(3), (0, 1, 2)),
        ],
    )
    def test_ways_to_ask(self, mace, asked, given):
        assert parse_layers(mace, asked) == given

    @pytest.mark.parametrize(
        ("asked", "complaint"),
        [
            (3, "layer 3: 8x0e_8x1o.model has layers 0 to 2"),
            ([0, -1], "layer -1: 8x0e_8x1o.model has layers 0 to 2"),
            ("last", "layer 'last': give a whole number, or all"),
            ("1.5", "layer '1.5': give a whole number, or all"),
            ([], "no layer chosen: give one or more, or all"),
        ],
    )
    def test_ways_that_are_refused(self, mace, cells, asked, complaint):
        with pytest.raises(ModelError) as caught:
            extract(mace, cells, asked)
        assert str(caught.value).startswith(complaint)
        assert "\n" not in str(caught.value)


class TestRefusals:
    def test_batches_of_nothing(self, mace, cells):
        with pytest.raises(ModelError, match="max_atoms 0: a batch needs at least one atom"):
            extract(mace, cells, max_atoms=0)

    def test_an_unknown_element_is_named_with_its_structure(self, mace, cells):
        strange = cells[2].copy()
        strange.symbols[1] = "Au"
        with pytest.raises(ModelError, match=r"structure@3: 8x0e_8x1o\.model doesn't know Au"):
            extract(mace, [*cells[:3], strange])

    def test_features_that_are_no_numbers_are_named_with_frame_and_atom(self, sevenn_0, cells):
        """Two atoms at one place: the direction from one to the other is not defined."""
        double = Atoms("NaCl2", positions=[[0, 0, 0], [2.5, 0, 0], [2.5, 0, 0]])
        for layer in (1, 4):
            with pytest.raises(ModelError) as caught:
                extract(sevenn_0, [cells[2], cells[3], double], layer, max_atoms=100)
            message = str(caught.value)
            assert message.startswith(f"structure@2: layer {layer} has node features that aren't")
            # By layer 4 it has spread to the first atom.
            assert f"at atom {1 if layer == 1 else 0}; check the structure" in message
            assert "\n" not in message
