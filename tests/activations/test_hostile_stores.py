"""Stores from others: what their files name stays within their folder, and none crashes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import struct

import pytest

import mpprobe
from mpprobe.activations import Journal, Store, merge_stores
from mpprobe.activations.manifest import decode_manifest, encode_manifest
from mpprobe.errors import StoreError
from mpprobe.structures import as_frames


@pytest.fixture(scope="module")
def made(mace_file, ionic_cells, tmp_path_factory):
    potential = mpprobe.load(mace_file("8x0e"), trust_checkpoint=True, device="cpu")
    folder = tmp_path_factory.mktemp("made")
    frames = as_frames([atoms.copy() for atoms in ionic_cells])
    store = Store.create(folder, potential, frames, max_atoms=2, random_seeds=0)
    store.extract(potential)
    return store.folder


@pytest.fixture
def store(made, tmp_path):
    """A copy to be changed."""
    return shutil.copytree(made, tmp_path / "store")


def read_all(folder):
    """Everything that reads a store."""
    store = Store.open(folder)
    assert len(store.frames) == 3
    for layer in store.layers:
        assert len(store.activations()[layer.index].values[:]) == len(store.rows)
    return merge_stores([folder])


def refusal(folder):
    with pytest.raises(StoreError) as caught:
        read_all(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_as_it_was_made_it_is_read(store):
    read_all(store)


@pytest.mark.parametrize(
    "name", ["manifest.json", "structures.jsonl", "shards", "shards/00000.safetensors"]
)
def test_a_link_is_refused_wherever_it_points(name, store, tmp_path):
    """To the very same content outside, so that nothing else is wrong."""
    outside = tmp_path / "outside"
    (store / name).rename(outside)
    (store / name).symlink_to(outside)
    assert "is a link" in refusal(store)


NAMES = ["..", "../..", "../../evil", "/etc/evil", "a/../../b", ".hidden", "C:\\evil", "", "-",
         "\x00", "x" * 300, "~", "\x1b[2J", "..\u2215evil"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_no_name_of_a_model_leads_out_of_the_output(name, store, tmp_path):
    """The store's folder is named by its model, as its manifest says."""
    held = decode_manifest((store / "manifest.json").read_bytes())
    other = dataclasses.replace(held, model=dataclasses.replace(held.model, name=name[:200]))
    assert "/" not in other.folder_name
    assert not other.folder_name.startswith(".")
    (store / "manifest.json").write_bytes(encode_manifest(other))
    output = tmp_path / "output"
    for file in (store / "shards").iterdir():
        file.unlink()  # they bear the SHA-256 of the manifest that they were made with
    with pytest.raises(StoreError):
        merge_stores([store], output)
    assert not output.exists() or [*output.rglob("*")] == []
    assert (output / other.folder_name).resolve().parent == output.resolve()


def changed(manifest, **values):
    """A manifest of another configuration, whose SHA-256 is right."""
    held = json.loads(manifest)["configuration"] | values
    text = json.dumps(held, sort_keys=True, separators=(",", ":")).encode()
    return json.dumps({"sha256": hashlib.sha256(text).hexdigest(), "configuration": held}).encode()


MANIFESTS = {
    "more atoms than the structures have": lambda m: changed(m, shards=[[3, 10**9]]),
    "more than there can be": lambda m: changed(m, shards=[[3, 10**30]]),
    "none": lambda m: changed(m, shards=[]),
    "less than none": lambda m: changed(m, shards=[[3, -1]]),
    "other structures": lambda m: changed(m, structures="0" * 64),
    "shards that are paths": lambda m: changed(m, shards=[["../../x", "/etc/passwd"]]),
    "a number as text": lambda m: changed(m, max_atoms="x" * 10, shards="xx"),
    "kinds that are paths": lambda m: changed(m, kinds=["../../../etc/passwd"]),
    "kinds that no seed has": lambda m: changed(m, kinds=["model", "random weights 0"]),
    "seeds that are paths": lambda m: changed(
        m, kinds=["model", "random weights ../x"], random_weights_seeds=["../x"]
    ),
    "seeds as text": lambda m: changed(m, random_weights_seeds="01"),
    "a number of seeds": lambda m: changed(m, random_weights_seeds=5),
    "nested without end": lambda m: b"[" * 100_000 + b"]" * 100_000,
    "and in its place": lambda m: m.replace(b'"kinds": [', b'"kinds": [' + b"[" * 50_000),
    "a number of endless digits": lambda m: m.replace(b'"format": 2', b'"format": ' + b"1" * 9999),
    "binary": lambda m: bytes(range(256)),
    "empty": lambda m: b"",
    "not a number": lambda m: m.replace(b'"cutoff": ', b'"cutoff": NaN, "x": '),
}


@pytest.mark.parametrize("how", MANIFESTS)
def test_a_manifest_that_is_none(how, store):
    manifest = (store / "manifest.json").read_bytes()
    (store / "manifest.json").write_bytes(MANIFESTS[how](manifest))
    refusal(store)


HEADERS = {
    "longer than the file": b"\xff" * 8 + b"{}",
    "nested without end": b"[" * 200_000,
    "offsets beyond the file": b'{"model/layer-0":{"dtype":"F32","shape":[9,8],'
    b'"data_offsets":[0,99999999999]}}',
    "offsets that run backwards": b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}',
    "a shape of anything": b'{"a":{"dtype":"F32","shape":[4294967296,4294967296],'
    b'"data_offsets":[0,0]}}',
    "no JSON": b"\x00" * 64,
    "metadata that is none": b'{"__metadata__":{"mpprobe":"[[[["}}',
}


@pytest.mark.parametrize("how", HEADERS)
def test_a_shard_with_a_hostile_header(how, store):
    header = HEADERS[how]
    length = b"" if header.startswith(b"\xff") else struct.pack("<Q", len(header))
    (store / "shards" / "00000.safetensors").write_bytes(length + header)
    assert "is damaged" in refusal(store)


STRUCTURES = {
    "nested without end": b"[" * 100_000,
    "an array of any size": b'{"source":"s","compound":"c","domain":"d","group":"g","results":{},'
    b'"atoms":{"__ndarray__":[[999999999999999],"float64",[]]}}',
    "an object of another kind": b'{"atoms":{"__ase_objtype__":"os.system","x":1}}',
    "a constraint of another kind": b'{"source":"s","atoms":{"__ase_objtype__":"atoms",'
    b'"constraints":[{"name":"__import__","kwargs":{"name":"os"}}]}}',
    "something else": b'{"a":1}',
}


@pytest.mark.parametrize("how", STRUCTURES)
def test_structures_that_are_none(how, store):
    content = STRUCTURES[how] + b"\n"
    (store / "structures.jsonl").write_bytes(content)
    manifest = (store / "manifest.json").read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    (store / "manifest.json").write_bytes(changed(manifest, structures=digest))
    assert "holds what are no structures" in refusal(store)


@pytest.mark.parametrize("line", ["[" * 50_000, "[]", "1", "null", '{"name":[],"part":1}', "\x00"])
def test_a_journal_that_is_none(line, tmp_path):
    file = tmp_path / "parts.jsonl"
    file.write_text(json.dumps({"about": "x"}) + "\n" + line + "\n")
    journal = Journal(file, "x")
    assert journal.part("a", lambda: 1) == 1
