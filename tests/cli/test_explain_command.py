"""``mpprobe explain``: what it prints, writes and refuses, and that it goes on where it stopped."""

from __future__ import annotations

import json

import ase.io
import numpy as np
import pandas as pd
import pytest

import mpprobe
from mpprobe.cli import INTERRUPTED
from mpprobe.interventions.effects import Effects


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """Structures of three compounds with reference forces, half of them called out of domain."""
    images = []
    for k, frame in enumerate(mpprobe.read("ionic:strained")):
        if not set(frame.numbers) <= {8, 11, 12, 17} or len(frame) > 64:
            continue
        atoms = frame.atoms.copy()
        atoms.info |= {"compound": frame.compound, "group": f"g{k}",
                       "domain": "surface" if k % 2 else "bulk"}  # fmt: skip
        rng = np.random.default_rng(k)
        atoms.arrays["forces"] = rng.normal(size=(len(atoms), 3))
        images.append(atoms)
    file = tmp_path_factory.mktemp("explain") / "mine.extxyz"
    ase.io.write(file, images)
    return file


@pytest.fixture
def explain(mpprobe_run, model, labelled, tmp_path):
    def call(*arguments):
        return mpprobe_run(
            "explain", "-m", model, "--trust-checkpoint", "-s", labelled, "--resamples", 100,
            "--draws", 20, "--in-domain", "bulk", "-o", tmp_path / "out", *arguments,
        )  # fmt: skip

    return call


def test_the_table_the_paragraph_and_the_files(explain, tmp_path):
    result = explain("-t", "potential", "-t", "field")
    assert result.code == 0, result.err
    for text in ("What goes with the force errors", "partial correlation", "mixed model",
                 "held-out domain", "erasure", "potential, random weights", "distance",
                 "Comparisons: ", "force error out of domain"):  # fmt: skip
        assert text in result.out
    folder = tmp_path / "out"
    assert {p.name for p in folder.iterdir()} == {
        "results.json", "effects.csv", "domains.csv", "random.csv", "erasures.csv", "decoding.csv",
        "atoms.csv", "layers.csv", "config.yaml", "explained.png", "explained.pdf",
    }  # fmt: skip
    held = json.loads((folder / "results.json").read_text())
    assert held["provenance"]["targets"] == ["potential", "field"]
    assert held["readings"][0] in result.out
    assert len(pd.read_csv(folder / "effects.csv")) == len(held["effects"])
    assert not (tmp_path / "out.unfinished").exists()


@pytest.mark.slow
def test_a_run_that_was_interrupted_goes_on_to_the_same_bytes(explain, tmp_path, monkeypatch):
    arguments = ("-t", "potential", "--json", "--no-progress")
    whole = explain(*arguments)
    calls, rows = [], Effects.rows

    def stop(self, edited):
        calls.append(edited)
        if len(calls) == 12:
            raise KeyboardInterrupt
        return rows(self, edited)

    monkeypatch.setattr(Effects, "rows", stop)
    result = explain(*arguments, "--overwrite")
    assert result.code == INTERRUPTED
    assert (tmp_path / "out" / "results.json").exists()  # the earlier result stands
    calls.clear()
    monkeypatch.setattr(Effects, "rows", lambda self, e: calls.append(e) or rows(self, e))
    again = explain(*arguments, "--overwrite")
    assert again.code == 0
    assert "going on: 9 parts" in again.err  # eleven less those of the target and the species
    assert len(calls) == 13
    assert again.out == whole.out
    assert not (tmp_path / "out.unfinished").exists()


@pytest.mark.slow
def test_structures_without_reference_forces_are_left_out_when_asked(explain, labelled, tmp_path):
    images = ase.io.read(labelled, ":")
    for atoms in images[:2]:
        atoms.calc = None  # where ASE keeps the forces that it reads
    ase.io.write(tmp_path / "some.extxyz", images)
    arguments = ("-t", "potential", "-s", f"{tmp_path}/some.extxyz@:2")
    stopped = explain(*arguments)
    assert stopped.code == 2
    assert "no reference forces" in stopped.err
    result = explain(*arguments, "--on-error", "skip")
    assert result.code == 4, result.err
    table = pd.read_csv(tmp_path / "out" / "failures.csv")
    assert list(table["stage"]) == ["reference", "reference"]
    assert f"2 of {len(images) + 2} structures were left out: see failures.csv" in result.out


def test_a_dry_run_writes_nothing(explain, tmp_path):
    assert explain("--dry-run").code == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-t", "potentail"), "no target 'potentail'"),
        (("-s", "ionic:surface"), "no reference forces"),
    ],
)
def test_what_can_not_be_explained_is_one_line(explain, tmp_path, arguments, said):
    result = explain(*arguments)
    assert result.code == 2
    assert len(result.err.splitlines()) == 1
    assert said in result.err
    assert list(tmp_path.iterdir()) == []
