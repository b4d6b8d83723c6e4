"""``mpprobe probe`` from a store, by workers, and what is refused."""

from __future__ import annotations

import json
import shutil

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal, assert_series_equal

import mpprobe
from mpprobe.cli import run
from mpprobe.probes.baselines import soap


@pytest.fixture(scope="module")
def potential(model):
    return mpprobe.load(model, trust_checkpoint=True)


@pytest.fixture(scope="module")
def make_store(potential, structures, tmp_path_factory):
    """Make a store of the common structures; keywords as for :meth:`Store.create`."""

    def make(random_seeds=1, **options):
        store = mpprobe.Store.create(
            tmp_path_factory.mktemp("store"), potential, mpprobe.read(structures),
            random_seeds=random_seeds, **options,
        )  # fmt: skip
        store.extract(potential)
        return store

    return make


@pytest.fixture(scope="module")
def store(make_store):
    return make_store()


def scores(folder):
    return pd.read_csv(folder / "scores.csv")


QUICK = ("--resamples", 100, "--assignments", 1)


def test_a_store_gives_the_table_of_its_model(mpprobe_run, basic, store, tmp_path):
    flags = ("-l", 1, "-t", "potential", "-t", "field", "-q")
    direct = mpprobe_run("probe", *basic, *flags, "-o", tmp_path / "direct")
    stored = mpprobe_run(
        "probe", "--store", store.folder.parent, *QUICK, *flags, "-o", tmp_path / "stored"
    )
    assert (direct.code, stored.code) == (0, 0), stored.err
    assert_frame_equal(scores(tmp_path / "stored"), scores(tmp_path / "direct"), rtol=0, atol=1e-6)
    record = json.loads((tmp_path / "stored/results.json").read_text(encoding="utf-8"))
    model = record["provenance"]["model"]
    assert model["sha256"] == store.model.provenance["sha256"]
    assert record["provenance"]["store"]["sha256"] == store.configuration.sha256
    assert record["provenance"]["store"]["dtype"] == "float32"


def test_neither_the_model_nor_the_structures_are_needed(
    mpprobe_run, make_store, structures, tmp_path, monkeypatch
):
    whole = make_store()
    kept = shutil.move(whole.folder, tmp_path / "kept")
    monkeypatch.setattr("mpprobe.models.load", None)
    monkeypatch.setattr("mpprobe.cli.given.read", None)
    result = mpprobe_run("probe", "--store", kept, "-l", 2, *QUICK, "-o", tmp_path / "out")
    assert result.code == 0, result.err
    assert f"features from {kept}, stored as float32\n" in result.err
    assert "layer 2; 12 structures" in result.err


def test_layers_are_those_stored(mpprobe_run, make_store, tmp_path):
    some = make_store(layers=[2])
    result = mpprobe_run("probe", "--store", some.folder, *QUICK, "-q", "-o", tmp_path / "out")
    assert result.code == 0, result.err
    own = scores(tmp_path / "out").query("features == 'model' and subset == 'all'")
    assert own["layer"].tolist() == [0, 2]
    other = mpprobe_run("probe", "--store", some.folder, "-l", 1, "--dry-run")
    assert other.code == 2
    assert "holds layers 0, 2" in other.err


def test_what_a_store_lacks_or_has_rounded_is_said(mpprobe_run, make_store, tmp_path):
    half = make_store(dtype_store="float16", random_seeds=0)
    flags = ("-l", 1, *QUICK, "-o", tmp_path / "out")
    result = mpprobe_run("probe", "--store", half.folder, *flags)
    assert result.code == 0, result.err
    assert "stored as float16, rounded to about three digits" in result.err
    assert "the store has no features of random weights" in result.err
    assert "random weights" not in set(scores(tmp_path / "out")["features"])
    record = json.loads((tmp_path / "out/results.json").read_text(encoding="utf-8"))
    assert record["provenance"]["store"]["dtype"] == "float16"


def test_an_incomplete_store_is_refused(mpprobe_run, make_store, tmp_path):
    store = make_store(max_atoms=8)
    store.file(1).path.unlink()
    result = mpprobe_run("probe", "--store", store.folder, *QUICK, "-o", tmp_path / "out")
    assert result.code == 2
    assert f"1 of {len(store.shards)} shards are missing" in result.err
    assert result.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_damaged_shard_is_named_and_nothing_is_written(mpprobe_run, make_store, tmp_path):
    store = make_store()
    path = store.file(0).path
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    result = mpprobe_run("probe", "--store", store.folder, *QUICK, "-q", "-o", tmp_path / "out")
    assert result.code == 2
    assert str(path) in result.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        ((), ("give --model", "or --store")),
        (("-m", "sevenn-0", "--store", "{store}"), ("--model and --store",)),
        (("--store", "{store}", "-s", "ionic"), ("--structures: no effect with --store",)),
        (("--store", "{store}", "--limit", 3, "--dtype", "float64"), ("--limit, --dtype: no",)),
        (("--store", "no/such"), ("no/such: no store is here",)),
        (("--store", "{store}", "--executor", "slurm"), ("slurm: choose one of serial, dask",)),
        (("--store", "{store}", "--scheduler", "tcp://a:1", "--workers", 2),
         ("--workers starts workers here",)),
    ],
)  # fmt: skip
def test_what_contradicts_itself_is_refused(mpprobe_run, store, tmp_path, flags, parts):
    flags = [str(f).format(store=store.folder) for f in flags]
    result = mpprobe_run("probe", *flags, "-o", tmp_path / "out")
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1), result.err
    for part in parts:
        assert part in result.err


def test_the_command_line_wins_over_a_configuration(mpprobe_run, basic, store, tmp_path):
    config = tmp_path / "mine.yaml"
    config.write_text(f"model: {basic[1]}\nlimit: 4\nlayer: 1\n")
    stored = mpprobe_run("probe", "-c", config, "--store", store.folder, "--dry-run")
    assert stored.code == 0, stored.err
    assert "12 structures" in stored.err
    config.write_text(f"store: {store.folder}\nlayer: 1\n")
    computed = mpprobe_run("probe", "-c", config, *basic, "--limit", 6, "--dry-run")
    assert computed.code == 0, computed.err
    assert "6 structures" in computed.err


def test_a_stored_configuration_gives_the_same_results(mpprobe_run, store, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    flags = ("--store", store.folder, "-l", 1, *QUICK, "-q")
    assert mpprobe_run("probe", *flags, "-o", one).code == 0
    again = mpprobe_run("probe", "-c", one / "config.yaml", "-o", two)
    assert again.code == 0, again.err
    assert (two / "scores.csv").read_bytes() == (one / "scores.csv").read_bytes()


@pytest.mark.slow
def test_workers_give_the_same_table(mpprobe_run, store, tmp_path, monkeypatch):
    pytest.importorskip("distributed", reason='needs Dask (pip install "mpprobe[scale]")')
    monkeypatch.setattr("mpprobe.probes.sources.soap", soap)  # as the workers have it
    flags = ("--store", store.folder, "-l", 1, *QUICK)
    assert mpprobe_run("probe", *flags, "-q", "-o", tmp_path / "here").code == 0
    result = mpprobe_run("probe", *flags, "--workers", 2, "-o", tmp_path / "there")
    assert result.code == 0, result.err
    assert "2 Dask worker threads on this machine\n" in result.err
    here, there = scores(tmp_path / "here"), scores(tmp_path / "there")
    codes = [table.pop("code_length") for table in (there, here)]  # in which errors are divided by
    assert_frame_equal(there, here, rtol=0, atol=1e-9)
    assert_series_equal(*codes, rtol=0, atol=1e-7)


def test_python_takes_a_store_where_it_takes_a_potential(store):
    study = mpprobe.probe(
        store, layers=1, settings=mpprobe.Settings(n_resamples=100, n_assignments=1)
    )
    assert study.layers == (1,)
    with pytest.raises(mpprobe.MPProbeError, match="a store has its own structures"):
        mpprobe.probe(store, store.frames)
    assert run(["probe", "--store", str(store.folder), "--dry-run", "-q"]) == 0
