"""Rows in files: every slice is that of the array, and little is sent to another process."""

from __future__ import annotations

import pickle
import tempfile

import numpy as np
import pytest

from mpprobe.activations import LayerFeatures
from mpprobe.models.potential import Layer
from mpprobe.probes.rows import BlockRows, JoinedRows, RowFiles, write_rows


@pytest.fixture
def whole():
    return np.random.default_rng(0).normal(size=(30, 7)).astype(np.float32)


@pytest.fixture
def stored(whole, tmp_path):
    """The same rows in four files of 1 to 14 rows."""
    paths = [tmp_path / f"{i}.npy" for i in range(4)]
    for path, part in zip(paths, np.split(whole, [9, 10, 24]), strict=True):
        write_rows(path, part)
    return RowFiles.of(paths)


def test_every_slice_is_that_of_the_array(whole, stored):
    assert stored.shape == whole.shape
    assert len(stored) == len(whole)
    for start in range(31):
        for stop in range(start, 33):
            np.testing.assert_array_equal(stored[start:stop], whole[start:stop])
    np.testing.assert_array_equal(stored[:], whole)
    np.testing.assert_array_equal(stored[-5:], whole[-5:])
    assert stored[20:10].shape == (0, 7)


def test_what_one_file_holds_is_not_copied(stored):
    for first, last in zip(stored.starts, stored.starts[1:], strict=False):
        assert isinstance(stored[first:last], np.memmap)
    assert not isinstance(stored[:10], np.memmap)


def test_a_handle_is_small_however_many_rows_it_stands_for(tmp_path):
    path = tmp_path / "rows.npy"
    np.save(path, np.zeros((100_000, 10)))
    there = pickle.dumps(RowFiles.of([path]))
    assert len(there) < 1000
    assert pickle.loads(there)[99_990:].shape == (10, 10)


@pytest.mark.parametrize("order", [0, 1])
def test_blocks_are_cut_out_as_from_the_whole_layer(tmp_path, order):
    layer = Layer(1, "3x0e+2x1o+2x0e+1x1o", 5.0)
    values = np.random.default_rng(0).normal(size=(12, layer.dim))
    np.save(tmp_path / "layer.npy", values)
    features = LayerFeatures(layer, values)
    expected = features.block(l=order)
    expected = expected[:, :, 0] if order == 0 else expected
    rows = BlockRows(RowFiles.of([tmp_path / "layer.npy"]), tuple(features.blocks(l=order)))
    assert rows.shape == expected.shape
    np.testing.assert_array_equal(rows[3:8], expected[3:8])


@pytest.mark.parametrize("columns", [(), (3,)])
def test_joined_rows_lie_beside_each_other(tmp_path, columns):
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(20, width, *columns)) for width in (4, 1, 7)]
    arrays[1] = arrays[1].astype(np.float32)
    np.save(tmp_path / "stored.npy", arrays[0])
    joined = JoinedRows((RowFiles.of([tmp_path / "stored.npy"]), *arrays[1:]))
    expected = np.concatenate(arrays, axis=1)
    assert joined.shape == expected.shape
    for rows in (slice(0, 20), slice(3, 8), slice(15, 99), slice(4, 4)):
        np.testing.assert_array_equal(joined[rows], expected[rows])
    assert joined[:].dtype == np.float64  # no digit of the wider is lost
    assert len(pickle.dumps(JoinedRows((joined.parts[0],)))) < 1000


def test_files_are_there_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "rows.npy"
    write_rows(path, np.ones(3))

    def full(file, values):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OSError, match="disk full"):
        write_rows(path, np.zeros(3))
    np.testing.assert_array_equal(np.load(path), np.ones(3))
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_unfinished_lies_beside_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "another file system"))
    write_rows(tmp_path / "rows.npy", np.eye(3))
    np.testing.assert_array_equal(np.load(tmp_path / "rows.npy"), np.eye(3))
    assert [path.name for path in tmp_path.iterdir()] == ["rows.npy"]
