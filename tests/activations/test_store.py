"""The store: what goes in comes out, to the bit; what is damaged or foreign is named, not read."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import pickle
import shutil

import numpy as np
import pandas as pd
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms

import mpprobe
from mpprobe.activations import (
    MODEL,
    RANDOM_WEIGHTS,
    Activations,
    LayerFeatures,
    Store,
    filling,
    merge_stores,
    random_kind,
)
from mpprobe.activations.manifest import BATCHES, SHARD_BYTES, SHARDS, configure, plan_shards
from mpprobe.activations.stored_frames import decode_frames, encode_frames
from mpprobe.errors import ModelError, StoreError, StructureError
from mpprobe.files import replacing
from mpprobe.structures import Frame, as_frames

LAYERS = (0, 2, 3)
MAX_ATOMS = 2  # shards of 8 atoms: each of the three structures is one


@pytest.fixture(scope="module")
def potential(mace_file):
    """A small MACE with two layers of scalars and vectors; each seed's weights are drawn once."""
    potential = mpprobe.load(mace_file("8x0e+8x1o"), trust_checkpoint=True, device="cpu")
    potential.randomised = functools.cache(potential.randomised)
    return potential


@pytest.fixture(scope="module")
def frames(ionic_cells):
    return as_frames([atoms.copy() for atoms in ionic_cells])


@pytest.fixture(scope="module")
def original(potential, frames, tmp_path_factory):
    store = create(tmp_path_factory.mktemp("store"), potential, frames)
    store.extract(potential)
    return store


def create(folder, potential, frames, **options) -> Store:
    """A store with one random-weights model, unless the options say otherwise."""
    return Store.create(
        folder, potential, frames, **{"max_atoms": MAX_ATOMS, "random_seeds": 1} | options
    )


@pytest.fixture
def store(original, tmp_path):
    """A copy of the store, to be damaged."""
    shutil.copytree(original.folder, tmp_path / original.folder.name)
    return Store.open(tmp_path)


def direct(potential, frames):
    """The features without a store, in the same batches."""
    return mpprobe.extract(potential, frames, max_atoms=MAX_ATOMS)


def same(one: Activations, other: Activations) -> bool:
    return all(np.array_equal(one[t].values, other[t].values) for t in one.layers)


def refused(call, *words, error=StoreError) -> str:
    with pytest.raises(error) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message
    return message


# What goes in comes out


@pytest.fixture(scope="module")
def seeded(potential, frames, tmp_path_factory):
    """A store with random-weights models of the seeds 3 and 4."""
    store = create(tmp_path_factory.mktemp("seeds"), potential, frames, random_seeds=2, seed=3)
    store.extract(potential)
    return store


def test_the_features_are_those_of_the_model_and_of_each_seed(seeded, potential, frames):
    assert seeded.missing() == ()
    assert seeded.configuration.random_weights_seeds == (3, 4)
    assert seeded.kinds == (MODEL, "random weights 3", "random weights 4")
    expected = {MODEL: direct(potential, frames)}
    for seed in (3, 4):
        expected[random_kind(seed)] = direct(potential.randomised(seed), frames)
    for kind in seeded.kinds:
        found = [one for one in seeded.kinds if same(expected[one], seeded.activations(kind))]
        assert found == [kind]
        shard = seeded.shards[1]
        part = seeded.read_shard(shard.number, kind)
        assert np.array_equal(part[2].values, expected[kind][2].values[shard.rows])


def test_a_store_of_some_seeds_is_told_by_its_manifest(seeded):
    again = Store.open(seeded.folder)
    assert again.configuration == seeded.configuration
    assert again.configuration.folder_name == seeded.folder.name


@pytest.mark.parametrize(("start", "stop"), [(0, 21), (0, 1), (7, 9), (8, 16), (5, 20), (20, 40)])
def test_rows_are_read_across_shards(original, potential, frames, start, stop):
    whole, values = direct(potential, frames)[1].values, original.activations()[1].values
    assert values.shape == whole.shape
    assert values.dtype == whole.dtype
    assert np.array_equal(values[start:stop], whole[start:stop])
    assert np.array_equal(values[start:stop, 3:5], whole[start:stop, 3:5])


@pytest.mark.parametrize("l", [0, 1])
def test_a_block_stays_on_disk_until_its_rows_are_asked_for(original, potential, frames, l):
    whole, block = direct(potential, frames)[1].block(l), original.activations()[1].block(l)
    assert not isinstance(block, np.ndarray)
    assert block.shape == whole.shape == (21, 8, 2 * l + 1)
    assert np.array_equal(block[6:18], whole[6:18])
    assert np.array_equal(np.asarray(block), whole)


def test_blocks_that_lie_apart_are_read_together(original):
    stored = original.activations()[1]
    layer = mpprobe.models.potential.Layer(1, "4x0e+8x1o+4x0e", 1.0)
    assert layer.dim == stored.layer.dim
    block = LayerFeatures(layer, stored.values).block(0)
    expected = LayerFeatures(layer, np.asarray(stored.values)).block(0)
    assert np.array_equal(block[3:19], expected[3:19])


def test_features_on_disk_travel_by_name(original):
    block = original.activations()[2].block(0)
    sent = pickle.dumps(block)
    assert len(sent) < 2000
    assert np.array_equal(pickle.loads(sent)[:], block[:])
    again = pickle.loads(pickle.dumps(original))
    assert again.configuration == original.configuration
    assert same(again.activations(), original.activations())


def test_features_on_disk_are_read_by_slices_only(original):
    values = original.activations()[1].values
    for rows in (3, [1, 2], slice(None, None, 2)):
        with pytest.raises(TypeError, match="slices"):
            values[rows]


def test_a_shard_in_memory(original, potential, frames):
    whole = direct(potential, frames)
    for shard in original.shards:
        part = original.read_shard(shard.number)
        assert np.array_equal(part[1].values, whole[1].values[shard.rows])
        assert np.array_equal(part.rows.frame, whole.rows.frame[shard.rows])
        assert np.array_equal(part.rows.species, whole.rows.species[shard.rows])


def test_the_model_is_known_without_its_weights(original, potential):
    model = Store.open(original.folder).model
    assert model.name == potential.name
    assert model.cutoff == potential.cutoff
    assert model.species == potential.species
    assert model.layers == potential.layers
    assert model.provenance == potential.provenance


def test_layers_not_asked_for_are_not_stored(potential, frames, tmp_path):
    store = create(tmp_path, potential, frames, layers=2)
    store.extract(potential)
    acts = store.activations()
    assert acts.layers == (0, 2)
    assert mpprobe.activations.parse_layers(store.model, "all") == (0, 2)
    refused(lambda: store.model.layer(1), "layer 1", "layers 0, 2", error=ModelError)
    assert np.array_equal(acts[2].values[:], direct(potential, frames)[2].values)


def test_frames_come_back_to_the_bit():
    frame = mpprobe.read("ionic", limit=1)[0]
    atoms = frame.atoms.copy()
    rng = np.random.default_rng(0)
    atoms.positions += rng.normal(size=(len(atoms), 3)) * 1e-9
    atoms.arrays["my_charge"] = rng.normal(size=len(atoms)).astype(np.float32)
    atoms.arrays["site"] = np.array([f"s{i}" for i in range(len(atoms))])
    atoms.info |= {"note": "µ, \n \u2028 x", "tensor": rng.normal(size=(3, 3)), "n": 3, "list": [1]}
    atoms.set_constraint(FixAtoms([0, 2]))
    forces = rng.normal(size=(len(atoms), 3))
    atoms.calc = SinglePointCalculator(atoms, energy=-1 / 3, forces=forces)
    given = [Frame(atoms, "a@0", "NaCl", "bulk", "g"), frame]
    back = decode_frames(encode_frames(given))
    for one, other in zip(given, back, strict=True):
        assert other.source == one.source
        assert (other.compound, other.domain, other.group) == (one.compound, one.domain, one.group)
        assert other.atoms.arrays.keys() == one.atoms.arrays.keys()
        for name, values in one.atoms.arrays.items():
            assert other.atoms.arrays[name].dtype == values.dtype
            assert np.array_equal(other.atoms.arrays[name], values)
        assert np.array_equal(other.atoms.cell.array, one.atoms.cell.array)
        assert np.array_equal(other.atoms.pbc, one.atoms.pbc)
        assert other.atoms.info.keys() == one.atoms.info.keys()
    assert back[0].atoms.info["note"] == atoms.info["note"]
    assert np.array_equal(back[0].atoms.info["tensor"], atoms.info["tensor"])
    assert np.array_equal(back[0].atoms.constraints[0].index, [0, 2])
    assert back[0].atoms.get_potential_energy() == -1 / 3
    assert np.array_equal(back[0].atoms.get_forces(apply_constraint=False), forces)
    assert encode_frames(back) == encode_frames(given)


def test_what_is_no_data_is_refused(frames):
    atoms = frames[0].atoms.copy()
    atoms.info["thing"] = object()
    frame = Frame.from_atoms(atoms, "mine@7")
    refused(lambda: encode_frames([frame]), "mine@7", "remove it")


def test_the_index_says_which_atom_each_row_is(original, frames):
    index = pd.read_parquet(original.folder / "index.parquet")
    rows = mpprobe.activations.Rows.of(frames)
    assert np.array_equal(index["frame"], rows.frame)
    assert np.array_equal(index["atom"], rows.atom)
    assert np.array_equal(index["species"], rows.species)
    assert index["compound"].tolist() == [frames[i].compound for i in rows.frame]
    acts = original.activations()
    row = index.iloc[13]
    shard = original.read_shard(row["shard"])
    assert np.array_equal(shard[1].values[row["row"]], acts[1].values[13:14][0])


# Configuration


def test_the_folder_follows_from_the_configuration_alone(original, potential, frames, tmp_path):
    store = create(tmp_path, potential, frames)
    assert store.folder.name == original.folder.name
    assert store.configuration == original.configuration


def test_whatever_decides_the_content_decides_the_folder(potential, frames):
    other = [Frame(f.atoms, f.source, f.compound, "surface", f.group) for f in frames]
    variants = [
        configure(potential, frames, max_atoms=2),
        configure(potential, frames, max_atoms=3),
        configure(potential, frames, [1], max_atoms=2),
        configure(potential, frames, max_atoms=2, dtype_store="float16"),
        configure(potential, frames, max_atoms=2, seed=1),
        *(configure(potential, frames, max_atoms=2, random_seeds=n) for n in (0, 1, 2)),
        configure(potential, frames[::-1], max_atoms=2),
        configure(potential, frames[:2], max_atoms=2),
        configure(potential, other, max_atoms=2),
        configure(potential.randomised(0), frames, max_atoms=2),
        configure(potential.randomised(1), frames, max_atoms=2),
    ]
    assert len({v.sha256 for v in variants}) == len(variants)
    # Without random weights their seed decides nothing.
    without = [configure(potential, frames, random_seeds=0, seed=s) for s in (0, 1)]
    assert without[0] == without[1]


def test_five_seeds_by_default(potential, frames, tmp_path):
    seeds = (0, 1, 2, 3, 4)
    for made in (configure(potential, frames), Store.create(tmp_path, potential, frames)):
        configuration = getattr(made, "configuration", made)
        assert configuration.random_weights_seeds == seeds
        assert configuration.kinds == (MODEL, *(f"{RANDOM_WEIGHTS} {seed}" for seed in seeds))


def test_no_seeds_leave_the_model_alone(potential, frames):
    none = configure(potential, frames, random_seeds=0)
    assert (none.kinds, none.random_weights_seeds) == ((MODEL,), ())
    assert none.n_bytes * 6 == configure(potential, frames).n_bytes


def test_a_potential_with_random_weights_gets_no_others(potential, frames):
    configuration = configure(potential.randomised(0), frames)
    assert (configuration.kinds, configuration.random_weights_seeds) == ((MODEL,), ())


@pytest.mark.parametrize(
    ("options", "error", "word"),
    [
        ({"dtype_store": "float64"}, StoreError, "float64"),
        ({"max_atoms": 0}, ModelError, "max_atoms 0"),
        ({"layers": "7"}, ModelError, "layer 7"),
        ({"random_seeds": -1}, StoreError, "random_seeds -1"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(potential, frames, options, error, word):
    refused(lambda: configure(potential, frames, **options), word, error=error)


def test_structures_are_checked_before_a_store_is_begun(potential, frames, tmp_path):
    refused(lambda: Store.create(tmp_path, potential, []), "no structures")
    gold = frames[0].atoms.copy()
    gold.numbers[:] = 79
    refused(lambda: Store.create(tmp_path, potential, gold), "Au", error=StructureError)
    assert list(tmp_path.iterdir()) == []


def sized(sizes) -> list[Frame]:
    from ase import Atoms

    return as_frames([Atoms(f"H{n}") for n in sizes])


@pytest.mark.parametrize("atom_bytes", [1000, 200_000])
@pytest.mark.parametrize("scale", [1, 20])
def test_shards_are_whole_consecutive_structures_of_a_bounded_size(atom_bytes, scale):
    sizes = np.random.default_rng(0).integers(1, 50 * scale, 500)
    sizes[7] = 10_000  # larger than any shard may be
    plan = plan_shards(sized(sizes), 100, atom_bytes)
    counts = np.array([n for n, _ in plan])
    atoms = np.array([n for _, n in plan])
    assert counts.sum() == len(sizes)
    assert np.array_equal(np.add.reduceat(sizes, np.cumsum(counts) - counts), atoms)
    wanted = max(-(-sizes.sum() // SHARDS), BATCHES * 100)
    limit = min(wanted, SHARD_BYTES // atom_bytes)
    assert all(n <= limit for n, k in zip(atoms, counts, strict=True) if k > 1)
    # No shard could have taken the next one's first structure.
    first = sizes[(np.cumsum(counts) - counts)]
    assert (atoms[:-1] + first[1:] > limit).all()


# Another precision


def test_float16_halves_the_space_and_rounds(potential, frames, tmp_path, original):
    store = create(tmp_path, potential, frames, dtype_store="float16")
    store.extract(potential)
    assert store.configuration.n_bytes * 2 == original.configuration.n_bytes
    values, whole = store.activations()[2].values[:], direct(potential, frames)[2].values
    assert values.dtype == np.float16
    assert np.array_equal(values, whole.astype(np.float16))


def test_features_too_large_for_float16_are_named(potential, frames, tmp_path, monkeypatch):
    def large(*args, **options):
        for part in mpprobe.stream(*args, **options):
            part[2].values[3] *= 1e9
            yield part

    monkeypatch.setattr(filling, "stream", large)
    store = create(tmp_path, potential, frames, dtype_store="float16")
    refused(lambda: store.extract(potential), "structure@0", "layer 2", "atom 3", "float32")
    assert store.missing() == (0, 1, 2)


def test_double_precision_is_stored_in_single(mace_file, frames, tmp_path):
    file = mace_file("8x0e+8x1o")
    double = mpprobe.load(file, trust_checkpoint=True, dtype="float64", device="cpu")
    store = create(tmp_path, double, frames, random_seeds=0)
    store.extract(double)
    whole = direct(double, frames)[2].values
    assert whole.dtype == np.float64
    assert np.array_equal(store.activations()[2].values[:], whole.astype(np.float32))


# Resuming


def bytes_of(store) -> dict:
    return {p.relative_to(store.folder): p.read_bytes() for p in store.folder.rglob("*.*")}


def test_only_what_is_missing_is_made_again(store, original, potential):
    store.file(1).path.unlink()
    assert store.missing() == (1,)
    refused(store.activations, "1 of 3 shards missing (1)")
    before = [store.file(i).path.stat().st_ino for i in (0, 2)]
    done = []
    store.extract(potential, progress=lambda n, total: done.append((n, total)))
    assert [store.file(i).path.stat().st_ino for i in (0, 2)] == before
    assert bytes_of(store) == bytes_of(original)
    assert done[-1] == (42, 42)
    assert done == sorted(done)


def test_a_share_of_the_shards(potential, frames, tmp_path):
    store = create(tmp_path, potential, frames)
    store.extract(potential, [2])
    assert store.missing() == (0, 1)
    store.extract(potential, [0, 2])
    assert store.missing() == (1,)


def test_many_seeds_stopped_anywhere_end_in_the_same_store(potential, frames, tmp_path):
    """Five seeds, stopped in the midst of every shard, under way with one seed or another."""
    whole, stopped = (create(tmp_path / n, potential, frames, random_seeds=5) for n in "ab")
    whole.extract(potential)

    def stop_after(n):
        left = [n]

        def count(done, total):
            assert total == 6 * len(whole.rows)
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt

        return count

    # Each of the three shards is six batches. What is whole is reported once, and never made again.
    for n in (0, 2, 5, 6 + 3, 1 + 6 + 4):
        with pytest.raises(KeyboardInterrupt):
            stopped.extract(potential, progress=stop_after(n))
    assert stopped.missing() == (2,)
    stopped.extract(potential)
    assert bytes_of(stopped) == bytes_of(whole)


def test_parts_with_many_seeds_are_joined(potential, frames, tmp_path):
    parts = [create(tmp_path / n, potential, frames, random_seeds=2) for n in "ab"]
    for part, shards in zip(parts, ([0, 2], [1]), strict=True):
        part.extract(potential, shards)
    store = merge_stores([part.folder for part in parts], tmp_path / "out")
    for kind in store.kinds:
        assert np.array_equal(
            store.activations(kind)[1].values[7:9],
            direct(_model(potential, kind), frames)[1].values[7:9],
        )


def _model(potential, kind):
    return potential if kind == MODEL else potential.randomised(int(kind.split()[-1]))


def test_each_random_weights_model_is_built_once_and_only_if_needed(
    potential, frames, tmp_path, monkeypatch
):
    built = []

    def randomised(seed):
        built.append(seed)
        return made(seed)

    made = potential.randomised
    monkeypatch.setattr(potential, "randomised", randomised)
    store = create(tmp_path, potential, frames, random_seeds=2)
    assert built == []
    store.extract(potential)
    assert built == [0, 1]
    store.extract(potential)
    assert built == [0, 1]


def test_leftovers_go_when_the_store_is_finished_and_not_before(potential, frames, tmp_path):
    store = create(tmp_path, potential, frames)
    leftover = store.folder / "shards" / ".part-1-0123456789ab-00001.safetensors"
    leftover.write_bytes(b"half")
    store.extract(potential, [0, 1])
    assert leftover.exists()
    store.extract(potential)
    assert [p.name for p in store.folder.rglob(".*")] == []


def test_a_live_process_bears_being_swept(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"whole")
    with replacing(file) as part:
        part.write_bytes(b"whole")
        part.unlink()  # as another process does that sees the whole file in place
    assert file.read_bytes() == b"whole"
    file.unlink()

    def vanish():
        with replacing(file) as part:
            part.write_bytes(b"whole")
            part.unlink()

    refused(vanish, str(file), "can't be written")


@pytest.mark.parametrize("change", ["weights", "random", "dtype"])
def test_another_potential_is_refused(store, potential, mace_file, change):
    store.file(1).path.unlink()
    other, word = {
        "weights": lambda: (mpprobe.load(mace_file("8x0e"), trust_checkpoint=True), "sha256"),
        "random": lambda: (potential.randomised(3), "random weights seed"),
        "dtype": lambda: (
            mpprobe.load(mace_file("8x0e+8x1o"), trust_checkpoint=True, dtype="float64"),
            "model dtype (torch.float32 and torch.float64)",
        ),
    }[change]()
    refused(lambda: store.extract(other), word, str(store.folder))
    assert store.missing() == (1,)


def test_a_folder_that_cannot_be_written_is_named(potential, frames, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    refused(lambda: Store.create(tmp_path / "file", potential, frames), "file", "can't be written")


# Damage


def flip(path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 0x10
    path.write_bytes(content)


def header_end(path) -> int:
    return 8 + int.from_bytes(path.read_bytes()[:8], "little")


DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "header length": lambda path: flip(path, 0),
    "first value": lambda path: flip(path, header_end(path)),
    "last value": lambda path: flip(path, -1),
    "other file": lambda path: path.write_bytes(b"not a shard" * 1000),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_shard_is_named_and_never_read(store, original, potential, damage):
    path = store.file(1).path
    DAMAGES[damage](path)
    refused(lambda: store.check_shard(1), str(path), "is damaged")
    read = {}
    for kind in store.kinds:
        acts = store.activations(kind)
        for t in acts.layers:
            with contextlib.suppress(StoreError):
                read[kind, t] = acts[t].values[8:16]
            # The other shards are as good as before.
            assert np.array_equal(acts[t].values[:8], original.activations(kind)[t].values[:8])
    assert len(read) < 2 * len(acts.layers)
    for (kind, t), values in read.items():  # parts of the file that are whole
        assert np.array_equal(values, original.activations(kind)[t].values[8:16])
    told = []
    store.extract(potential, notify=told.append)
    (line,) = told
    assert str(path) in line
    assert line.endswith("making it again")
    assert bytes_of(store) == bytes_of(original)
    assert np.array_equal(acts[2].values[:], original.activations(kind)[2].values[:])


def test_a_flipped_bit_anywhere_in_the_header_is_noticed(store):
    path = store.file(1).path
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for position in rng.choice(header_end(path), 60, replace=False).tolist():
        flip(path, position)
        refused(lambda: store.check_shard(1), str(path))
        path.write_bytes(whole)
    store.check_shard(1)


def test_a_shard_of_another_store_is_named_and_left_alone(store, potential, frames, tmp_path):
    other = create(tmp_path / "b", potential, frames, seed=1)
    other.extract(potential, [1])
    path = store.file(1).path
    shutil.copy(other.file(1).path, path)
    before = path.read_bytes()
    for call in (
        lambda: store.check_shard(1),
        lambda: store.activations()[1].values[7:9],
        lambda: store.read_shard(1),
        lambda: store.extract(potential),
    ):
        refused(call, str(path), "another store", other.configuration.sha256[:16])
    assert path.read_bytes() == before


def test_a_shard_under_another_number_is_named(store, potential):
    shutil.copy(store.file(0).path, store.file(1).path)
    message = refused(lambda: store.activations()[1].values[:], str(store.file(1).path))
    assert "holds shard 0 and should hold shard 1" in message
    refused(lambda: store.extract(potential), "should hold shard 1")


def test_a_damaged_manifest_is_named(store):
    path = store.folder / "manifest.json"
    whole = path.read_text()
    for damaged in ("", whole[:-10], whole.replace("float32", "float16"), "[]", '{"sha256": ""}'):
        path.write_text(damaged)
        refused(lambda: Store.open(store.folder), str(path), "damaged")
    manifest = json.loads(whole)
    manifest["configuration"]["format"] = 99
    path.write_text(json.dumps(manifest))
    refused(lambda: Store.open(store.folder), "format 99")


def test_a_store_of_the_first_format_is_refused(store):
    """It had one seed or none, and called its kind ``random weights``."""
    path = store.folder / "manifest.json"
    held = json.loads(path.read_text())["configuration"]
    held |= {"kinds": [MODEL, RANDOM_WEIGHTS], "random_weights_seed": 0, "format": 1}
    del held["random_weights_seeds"]
    text = json.dumps(held, sort_keys=True, separators=(",", ":"))
    manifest = {"sha256": hashlib.sha256(text.encode()).hexdigest(), "configuration": held}
    path.write_text(json.dumps(manifest))
    refused(
        lambda: Store.open(store.folder), str(path),
        "is of format 1, and this release reads format 2; extract again",
    )  # fmt: skip


def test_damaged_structures_are_named(store):
    path = store.folder / "structures.jsonl"
    path.write_bytes(path.read_bytes().replace(b"NaCl", b"KCl"))
    refused(lambda: store.frames, str(path), "damaged")
    path.unlink()
    refused(lambda: store.frames, str(path), "can't be read")


def test_beginning_a_store_again_mends_what_describes_it(store, potential, original, frames):
    (store.folder / "index.parquet").unlink()
    (store.folder / "manifest.json").write_text("half")
    create(store.folder.parent, potential, frames)
    assert bytes_of(store) == bytes_of(original)


# Opening


def test_opening_names_what_is_missing(store, tmp_path, potential, frames):
    refused(lambda: Store.open(tmp_path / "nowhere"), "nowhere", "no store is here")
    assert Store.open(tmp_path).folder == store.folder
    Store.create(tmp_path, potential, frames, max_atoms=3)
    refused(lambda: Store.open(tmp_path), "several stores", store.folder.name)


def test_features_that_are_not_stored_are_refused(potential, frames, tmp_path):
    store = create(tmp_path, potential, frames, random_seeds=0)
    store.extract(potential)
    for call in (store.activations, lambda kind: store.read_shard(0, kind)):
        for kind in (RANDOM_WEIGHTS, random_kind(0)):
            refused(lambda call=call, kind=kind: call(kind), kind, "only of model")
    with pytest.raises(ModelError, match="layer 5"):
        store.activations()[5]
