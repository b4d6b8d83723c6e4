"""Joining parts of a store: strict, and whole or not at all."""

from __future__ import annotations

import shutil

import pytest

import mpprobe
from mpprobe.activations import Store, merge_stores, merging
from mpprobe.errors import StoreError
from mpprobe.structures import as_frames

MAX_ATOMS = 2


@pytest.fixture(scope="module")
def potential(mace_file):
    return mpprobe.load(mace_file("8x0e+8x1o"), trust_checkpoint=True, device="cpu")


@pytest.fixture(scope="module")
def made(potential, ionic_cells, tmp_path_factory):
    """A store made in one go, and the same in two parts: shards 0 and 2, and shard 1."""
    folder = tmp_path_factory.mktemp("stores")
    frames = as_frames([atoms.copy() for atoms in ionic_cells])
    for name, shards in (("whole", None), ("a", [0, 2]), ("b", [1])):
        store = Store.create(folder / name, potential, frames, max_atoms=MAX_ATOMS, random_seeds=0)
        store.extract(potential, shards)
    return folder


@pytest.fixture
def folder(made, tmp_path):
    """A copy of the three, to be damaged."""
    return shutil.copytree(made, tmp_path / "stores")


def content(folder) -> dict[str, bytes]:
    store = Store.open(folder).folder
    return {str(p.relative_to(store)): p.read_bytes() for p in store.rglob("*") if p.is_file()}


def refused(parts, output, *words) -> None:
    with pytest.raises(StoreError) as caught:
        merge_stores(parts, output)
    message = str(caught.value)
    assert "\n" not in message
    assert all(str(word) in message for word in words), message


def test_parts_become_the_store_of_one_run(folder):
    done = []
    store = merge_stores(
        [folder / "a", folder / "b"], folder / "out", progress=lambda *n: done.append(n)
    )
    assert store.missing() == ()
    assert store.folder.parent == folder / "out"
    assert content(folder / "out") == content(folder / "whole")
    assert done == [(1, 3), (2, 3), (3, 3)]
    assert [p.name for p in (folder / "out").iterdir()] == [store.folder.name]


def test_parts_may_hold_the_same_shard_twice(folder):
    merge_stores([folder / "a", folder / "whole", folder / "b"], folder / "out")
    assert content(folder / "out") == content(folder / "whole")


def test_a_shard_in_no_part_is_named(folder):
    refused([folder / "a"], folder / "out", "1 of 3 shards missing (1)")
    refused(
        [folder / "b", folder / "b"], folder / "out", "2 of 3 shards in none of the parts (0, 2)"
    )
    assert not (folder / "out").exists()


def test_without_an_output_the_parts_are_only_checked(folder):
    before = content(folder / "a")
    merge_stores([folder / "a", folder / "b"])
    assert content(folder / "a") == before
    refused([folder / "b"], None, "2 of 3 shards missing (0, 2)")


def test_one_store_in_its_own_place_is_checked_and_swept(folder):
    store = Store.open(folder / "whole")
    (store.folder / "shards" / ".part-1-0-00000.safetensors").write_bytes(b"half")
    assert merge_stores([folder / "whole"], folder / "whole").folder == store.folder
    assert content(folder / "whole").keys() == {
        "manifest.json", "structures.jsonl", "index.parquet",
        *(f"shards/0000{i}.safetensors" for i in range(3)),
    }  # fmt: skip


def test_a_store_that_is_there_is_not_replaced(folder):
    before = content(folder / "whole")
    parts = [folder / "a", folder / "b"]
    refused(parts, folder / "whole", Store.open(folder / "whole").folder, "already")
    refused(parts, folder / "a", "already")
    assert content(folder / "whole") == before


def test_a_damaged_shard_is_named(folder):
    path = Store.open(folder / "b").file(1).path
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    refused([folder / "a", folder / "b"], folder / "out", path, "damaged")
    # Nor is a damaged copy of a shard passed over because another part has a good one.
    refused([folder / "whole", folder / "b"], folder / "out", path, "damaged")


def test_a_shard_with_two_contents_is_named(folder):
    store = Store.open(folder / "b")
    values = store.read_shard(1)
    tensors = {f"model/layer-{t}": values[t].values * 1.0000001 for t in values.layers}
    store.file(1).write(tensors)  # whole, and another
    paths = [Store.open(folder / name).file(1).path for name in ("whole", "b")]
    refused([folder / "whole", folder / "b"], folder / "out", *paths, "differs")


def test_parts_of_different_configurations_are_named(folder, potential, ionic_cells):
    frames = as_frames(ionic_cells)
    Store.create(folder / "c", potential, frames, max_atoms=3, random_seeds=0)
    refused([folder / "a", folder / "c"], folder / "out", "max atoms (2 and 3)", "another")


def test_a_file_that_the_plan_does_not_know_is_named(folder):
    store = Store.open(folder / "whole")
    stray = store.folder / "shards" / "00003.safetensors"
    shutil.copy(store.file(0).path, stray)
    refused([folder / "whole"], folder / "out", stray, "no shard of this store")


def test_a_merge_that_is_cut_off_leaves_nothing(folder, monkeypatch):
    copied = []

    def copy(source, target):
        if len(copied) == 4:
            raise KeyboardInterrupt
        copied.append(copyfile(source, target))

    copyfile = shutil.copyfile
    monkeypatch.setattr(merging.shutil, "copyfile", copy)
    with pytest.raises(KeyboardInterrupt):
        merge_stores([folder / "a", folder / "b"], folder / "out")
    assert len(copied) == 4
    assert list((folder / "out").iterdir()) == []
