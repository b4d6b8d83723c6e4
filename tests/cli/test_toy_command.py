"""``mpprobe toy``: structures of a world, and a model trained there and judged."""

from __future__ import annotations

import json

import ase.io
import numpy as np
import pandas as pd
import pytest

import mpprobe
from mpprobe.toys import CHARGE, DOMAINS


def test_make_writes_labelled_structures(mpprobe_run, tmp_path):
    file = tmp_path / "world.extxyz"
    result = mpprobe_run(
        "toy", "make", file, "-w", "equilibrated", "--domain", "crystal", "--domain", "cluster",
        "-n", 2,
    )  # fmt: skip
    assert result.code == 0, result.err
    read = ase.io.read(file, ":")
    assert [a.info["domain"] for a in read] == ["crystal"] * 2 + ["cluster"] * 2
    for atoms in read:
        assert abs(atoms.arrays[CHARGE].sum()) < 1e-6
        assert atoms.get_forces().shape == (len(atoms), 3)
    again = mpprobe_run("toy", "make", file, "-w", "band")
    assert again.code == 2
    assert "pass --overwrite" in again.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("make", "x.extxyz", "-w", "flat"), "choose fixed"),
        (("make", "x.extxyz", "-w", "fixed", "--domain", "bulk"), "choose among crystal"),
        (("train", "-w", "flat", "-o", "out"), "choose fixed"),
        (("train", "-w", "fixed", "--family", "nequip", "-o", "out"), "sevenn or mace"),
        (("train", "-w", "fixed", "--cutoff", 0, "-o", "out"), "cutoff: give more than zero"),
    ],
)
def test_mistakes_are_one_line(mpprobe_run, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    result = mpprobe_run("toy", *arguments)
    assert result.code == 2
    assert len(result.err.splitlines()) == 1
    assert said in result.err
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("toy") / "out"


@pytest.mark.slow
def test_train_ends_with_errors_by_domain_and_a_profile(mpprobe_run, folder):
    result = mpprobe_run(
        "toy", "train", "-w", "equilibrated", "-t", 2, "--channels", 4, "--cutoff", 4, "-n", 6,
        "--epochs", 2, "--test-structures", 5, "--resamples", 100, "-o", folder,
    )  # fmt: skip
    assert result.code == 0, result.err
    for text in ("Forces by domain", "layer by layer", "array:toy_charge", "outside from",
                 "force constants beyond the cutoff"):  # fmt: skip
        assert text in result.out
    held = json.loads((folder / "results.json").read_text())
    assert len(held["training"]["history"]) == 2
    forces = pd.read_csv(folder / "forces.csv")
    assert list(forces["domain"]) == [*DOMAINS, "all"]
    assert (forces["relative"] > 0).all()
    assert not folder.with_name("out.unfinished").exists()
    assert len(mpprobe.load(str(folder / "model.pth")).layers) == 3
    assert (folder / "toy.png").exists()


@pytest.mark.slow
def test_a_sweep_and_its_report(mpprobe_run, tmp_path):
    output = tmp_path / "sweep"
    call = (
        "toy", "sweep", "-w", "fixed", "-t", 1, "-t", 2, "--channels", 4, "--cutoff", 4, "-n", 6,
        "--epochs", 1, "--jobs", 2, "-o", output,
    )  # fmt: skip
    assert mpprobe_run(*call, "--dry-run").code == 0
    result = mpprobe_run(*call)
    assert result.code == 0, result.err
    models = pd.read_csv(output / "models.csv")
    assert list(models["layers"]) == [1, 2]
    assert np.isfinite(models["relative:outside"]).all()
    assert (tmp_path / "sweep-models").is_dir()
    again = mpprobe_run("toy", "report", output, "-o", tmp_path / "report")
    assert again.code == 0, again.err
    assert "does l matter?" in again.out or "2 models" in again.out


def test_a_report_without_a_sweep_is_one_line(mpprobe_run, tmp_path):
    result = mpprobe_run("toy", "report", tmp_path, "-o", tmp_path / "report")
    assert result.code == 2
    assert "has no models.csv" in result.err
