"""``mpprobe ood``: what it prints, writes and refuses."""

from __future__ import annotations

import json

import ase.io
import numpy as np
import pandas as pd
import pytest
from ase.calculators.singlepoint import SinglePointCalculator


@pytest.fixture(scope="module")
def referenced(structures, tmp_path_factory):
    """The user's structures with forces and energies of some other calculation."""
    rng = np.random.default_rng(0)
    images = ase.io.read(structures, ":")
    for atoms in images:
        forces = rng.normal(size=(len(atoms), 3))
        atoms.calc = SinglePointCalculator(atoms, energy=-len(atoms), forces=forces)
        atoms.info["xc"] = "PBE"
    file = tmp_path_factory.mktemp("referenced") / "mine.extxyz"
    ase.io.write(file, images)
    return file


@pytest.fixture
def ood(mpprobe_run, model, referenced, tmp_path):
    def call(*arguments, output=tmp_path / "out"):
        return mpprobe_run(
            "ood", "-m", model, "--trust-checkpoint", "-s", referenced, "--resamples", 100,
            "-o", output, *arguments,
        )  # fmt: skip

    return call


def test_the_table_the_files_and_what_they_say(ood, tmp_path, model):
    result = ood("-m", f"random:{model}:1")
    assert result.code == 0
    assert "strained" in result.out
    assert "force MAE" in result.out
    assert result.out.count("• ") == 2  # a line a model
    folder = tmp_path / "out"
    assert {p.name for p in folder.iterdir()} == {
        "results.json", "by_domain.csv", "structures.csv", "atoms.csv", "config.yaml",
        "force_errors.png", "force_errors.pdf",
    }  # fmt: skip
    by_domain = pd.read_csv(folder / "by_domain.csv")
    assert len(by_domain) == 2 * 3  # two models; two domains and all
    assert len(pd.read_csv(folder / "structures.csv")) == 2 * 12
    held = json.loads((folder / "results.json").read_text())
    assert held.keys() == {"command", "readings", "scores", "provenance"}
    assert held["scores"][0]["force_mae"] == pytest.approx(by_domain["force_mae"][0])


def test_json_is_what_the_file_holds(ood, tmp_path):
    result = ood("--json", "-q")
    assert result.err == ""
    assert json.loads(result.out) == json.loads((tmp_path / "out" / "results.json").read_text())


def test_results_are_only_replaced_when_asked(ood):
    assert ood("-q").code == 0
    again = ood("-q")
    assert again.code == 2
    assert "--overwrite" in again.err
    assert ood("-q", "--overwrite").code == 0


def test_a_dry_run_writes_nothing(ood, tmp_path):
    assert ood("--dry-run").code == 0
    assert not (tmp_path / "out").exists()


def test_structures_without_forces_are_one_line(ood, structures, tmp_path):
    result = ood("-s", structures)
    assert result.code == 2
    assert len(result.err.splitlines()) == 1
    assert "no reference forces" in result.err
    assert not (tmp_path / "out").exists()


def test_the_fidelity_is_that_of_the_structures(mpprobe_run, referenced, structures, tmp_path):
    arguments = ("ood", "-m", "sevenn-mf-0", "--limit", 1, "--dry-run", "-o", tmp_path / "out")
    result = mpprobe_run(*arguments, "-s", referenced)
    assert result.code == 0
    assert "sevenn-mf-0: fidelity PBE, the functional of the structures" in result.err
    images = ase.io.read(referenced, ":1")
    images[0].info["xc"] = "LDA"
    ase.io.write(tmp_path / "lda.extxyz", images)
    other = mpprobe_run(*arguments, "-s", tmp_path / "lda.extxyz")
    assert other.code == 2
    assert "--modal" in other.err
    assert mpprobe_run(*arguments, "-s", tmp_path / "lda.extxyz", "--modal", "R2SCAN").code == 0
