"""``mpprobe extract``: what it makes, says and refuses."""

from __future__ import annotations

import json

import numpy as np
import pytest

import mpprobe
from mpprobe.activations import MODEL, Store

SHARES = 3


@pytest.fixture
def extract(mpprobe_run, model, structures):
    """Run the command on a few of the structures, in several shards."""

    def call(*arguments, seeds=0):
        return mpprobe_run(
            "extract", "-m", model, "--trust-checkpoint", "-s", structures, "--device", "cpu",
            "--limit", 4, "--max-atoms", 4, "--random-seeds", seeds, *arguments,
        )  # fmt: skip

    return call


def test_it_makes_a_store_and_says_where(extract, tmp_path, model, structures):
    result = extract("-o", tmp_path, "--seed", 3, seeds=2)
    assert result.code == 0
    store = Store.open(tmp_path)
    n = len(store.shards)
    assert result.out == f"{store.folder}: {n} of {n} shards done\n"
    assert n > 2
    assert store.missing() == ()
    assert store.kinds == (MODEL, "random weights 3", "random weights 4")
    frames = mpprobe.read(structures, limit=4, seed=3)
    assert [f.source for f in store.frames] == [f.source for f in frames]
    assert "model and 2 random-weights models; 4 structures" in result.err
    assert f"{n} shards" in result.err
    assert "node features of 8x0e_8x1o.model" in result.err


def test_the_same_command_resumes(extract, tmp_path):
    extract("-o", tmp_path, "-q")
    store = Store.open(tmp_path)
    stamps = [store.file(s.number).path.stat().st_mtime_ns for s in store.shards]
    store.file(1).path.unlink()
    damaged = store.file(0).path
    damaged.write_bytes(damaged.read_bytes()[:-1])
    result = extract("-o", tmp_path, "--json")
    assert result.code == 0
    assert json.loads(result.out) == {
        "store": str(store.folder), "shards": len(store.shards), "missing": [],
    }  # fmt: skip
    (line,) = [x for x in result.err.splitlines() if "damaged" in x]
    assert str(damaged) in line
    again = [store.file(s.number).path.stat().st_mtime_ns for s in store.shards]
    assert [a == b for a, b in zip(stamps, again, strict=True)] == [False, False] + [True] * (
        len(stamps) - 2
    )


def test_tasks_share_one_folder(extract, tmp_path, monkeypatch):
    said = []
    for i in range(SHARES):
        # As sbatch --array=1-5:2 sets them.
        for name, value in (("COUNT", SHARES), ("ID", 1 + 2 * i), ("MIN", 1), ("MAX", 5)):
            monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", str(value))
        result = extract("-o", tmp_path)
        assert result.code == 0
        said += [x for x in result.err.splitlines() if x.startswith("task ")]
        assert ("missing" in result.out) == (i < SHARES - 1)
    store = Store.open(tmp_path)
    assert [x.split(":")[0] for x in said] == [f"task {i + 1} of {SHARES}" for i in range(SHARES)]
    atoms = [int(x.split(", ")[1].split()[0].replace(",", "")) for x in said]
    assert sum(atoms) == sum(s.n_rows for s in store.shards)
    assert store.missing() == ()


@pytest.mark.slow
def test_workers_make_the_same_features(extract, tmp_path):
    extract("-o", tmp_path / "serial", "-q")
    result = extract("-o", tmp_path / "dask", "--workers", 2)
    assert result.code == 0, result.err
    assert "2 Dask worker threads" in result.err
    serial, dask = Store.open(tmp_path / "serial"), Store.open(tmp_path / "dask")
    assert dask.configuration == serial.configuration
    assert sorted(p.name for p in dask.folder.rglob("*")) == sorted(
        p.name for p in serial.folder.rglob("*")
    )
    for layer in serial.layers:
        np.testing.assert_allclose(
            dask.activations(MODEL)[layer.index].values[:],
            serial.activations(MODEL)[layer.index].values[:],
            rtol=1e-5, atol=1e-6,
        )  # fmt: skip


def test_the_plain_path_is_another_store(extract, tmp_path):
    for flag in ("--fast", "--no-fast"):
        assert extract("-o", tmp_path / flag, flag, "-q").code == 0
    fast, plain = (Store.open(tmp_path / flag) for flag in ("--fast", "--no-fast"))
    assert fast.model.provenance["path"] == "fused"
    assert plain.model.provenance["path"] == "reference"
    assert fast.configuration.sha256 != plain.configuration.sha256
    for layer in fast.layers:
        np.testing.assert_allclose(
            fast.activations(MODEL)[layer.index].values[:],
            plain.activations(MODEL)[layer.index].values[:],
            rtol=1e-4, atol=1e-5,
        )  # fmt: skip


def test_a_task_too_many_has_nothing_to_do(extract, tmp_path):
    result = extract("-o", tmp_path, "--n-shards", 99, "--shard-index", 98)
    assert result.code == 0
    assert "task 99 of 99: 0 of" in result.err
    assert Store.open(tmp_path).missing()


def test_five_seeds_by_default(mpprobe_run, model, structures):
    result = mpprobe_run(
        "extract", "-m", model, "--trust-checkpoint", "-s", structures, "--limit", 4, "--dry-run"
    )
    assert result.code == 0
    assert "model and 5 random-weights models" in result.err


def test_without_random_weights(extract, tmp_path):
    flags = ("-l", 1, "--dtype-store", "float16")
    assert extract("-o", tmp_path, *flags).code == 0
    store = Store.open(tmp_path)
    assert store.kinds == (MODEL,)
    assert [layer.index for layer in store.layers] == [0, 1]
    assert store.dtype == "float16"


def test_a_dry_run_names_the_store_and_writes_nothing(extract, tmp_path):
    result = extract("-o", tmp_path / "out", "--dry-run", "--n-shards", 2, "--shard-index", 0)
    assert result.code == 0
    assert result.out == ""
    assert "task 1 of 2" in result.err
    assert not (tmp_path / "out").exists()
    assert extract("-o", tmp_path / "out", "-q").code == 0
    assert Store.open(tmp_path / "out").folder.name in result.err


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--dtype-store", "float64"], "float64"),
        (["--n-shards", "4"], "--shard-index"),
        (["--n-shards", "4", "--shard-index", "4"], "the last is 3"),
        (["-l", "9"], "layer 9"),
    ],
)
def test_mistakes_are_one_line(extract, tmp_path, arguments, word):
    result = extract("-o", tmp_path / "out", *arguments)
    assert result.code == 2
    assert result.out == ""
    assert word in result.err.splitlines()[-1]
    assert result.err.count("mpprobe: ") == 1
    assert not (tmp_path / "out").exists()


def test_fewer_than_no_seeds_are_refused(extract, tmp_path):
    result = extract("-o", tmp_path / "out", seeds=-1)
    assert result.code == 2
    assert "--random-seeds" in result.err
    assert not (tmp_path / "out").exists()


def test_a_file_in_place_of_the_folder_is_named(extract, tmp_path):
    (tmp_path / "out").write_text("")
    result = extract("-o", tmp_path / "out")
    assert result.code == 2
    assert "can't be written" in result.err
