"""``mpprobe merge``: parts made by separate tasks become one store."""

from __future__ import annotations

import json
import shutil

import pytest

from mpprobe.activations import Store
from mpprobe.cli import run


@pytest.fixture(scope="module")
def made(model, structures, tmp_path_factory):
    """Two parts of a store, each made by its own task in its own folder."""
    folder = tmp_path_factory.mktemp("parts")
    for i in range(2):
        code = run([
            "extract", "-m", str(model), "--trust-checkpoint", "-s", str(structures), "--limit",
            "3", "--max-atoms", "4", "--random-seeds", "0", "--n-shards", "2", "--shard-index",
            str(i), "-o", str(folder / f"part{i}"), "--device", "cpu", "-q",
        ])  # fmt: skip
        assert code == 0
    return folder


@pytest.fixture
def parts(made, tmp_path):
    folder = shutil.copytree(made, tmp_path / "parts")
    return [folder / "part0", folder / "part1"]


def test_parts_are_joined(mpprobe_run, parts, tmp_path):
    result = mpprobe_run("merge", *parts, "-o", tmp_path / "whole")
    assert result.code == 0
    store = Store.open(tmp_path / "whole")
    assert store.missing() == ()
    assert result.out.startswith(f"{store.folder}: complete, {len(store.shards)} shards of ")
    assert Store.open(parts[0]).missing()


def test_without_an_output_it_only_checks(mpprobe_run, parts):
    result = mpprobe_run("merge", *parts, "--json")
    assert result.code == 0
    store = Store.open(parts[0])
    n_atoms = sum(s.n_rows for s in store.shards)
    assert json.loads(result.out) == {"store": None, "shards": len(store.shards), "atoms": n_atoms}
    assert "only checked" in result.err
    assert store.missing()


def test_what_is_missing_is_one_line(mpprobe_run, parts, tmp_path):
    result = mpprobe_run("merge", parts[0], "-o", tmp_path / "whole", "-q")
    missing = Store.open(parts[0]).missing()
    assert result.code == 2
    assert result.out == ""
    assert result.err.count("\n") == 1
    assert str(missing[0]) in result.err
    assert "extract" in result.err
    assert not (tmp_path / "whole").exists()


def test_no_store_and_no_part_are_mistakes(mpprobe_run, tmp_path):
    assert mpprobe_run("merge").code == 2
    result = mpprobe_run("merge", tmp_path)
    assert result.code == 2
    assert "no store is here" in result.err
