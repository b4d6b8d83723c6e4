"""``mpprobe erase``: what it prints, writes and refuses."""

from __future__ import annotations

import json

import ase.io
import numpy as np
import pandas as pd
import pytest

import mpprobe
from mpprobe.cli.loading import with_forces
from mpprobe.interventions import effects
from mpprobe.report.erasing import erasing_figure, erasing_readings
from mpprobe.targets.reference import reference_of


@pytest.fixture
def erase(mpprobe_run, model, structures, tmp_path):
    def call(*arguments):
        return mpprobe_run(
            "erase", "-m", model, "--trust-checkpoint", "-s", structures, "--resamples", 100,
            "--in-domain", "strained", "-o", tmp_path / "out", *arguments,
        )  # fmt: skip

    return call


def test_the_tables_the_files_and_what_they_say(erase, tmp_path):
    result = erase("--layer", 1, "--no-random-weights")
    assert result.code == 0
    for text in ("What was erased", "What it does to the forces", "What a probe reads of potential",
                 "trained, in domain: erasing potential", "random subspaces do"):  # fmt: skip
        assert text in result.out
    assert "cluster" not in result.out
    folder = tmp_path / "out"
    assert {p.name for p in folder.iterdir()} == {
        "results.json", "effects.csv", "summary.csv", "erasures.csv", "decoding.csv",
        "config.yaml", "erasing.png", "erasing.pdf",
    }  # fmt: skip
    held = json.loads((folder / "results.json").read_text())
    assert held.keys() == {"command", "readings", "summary", "erasures", "decoding", "provenance"}
    assert held["provenance"]["draws"] == 20
    assert len(pd.read_csv(folder / "effects.csv")) == (1 + 1 + 20) * 5


def test_json_is_what_the_file_holds_and_domains_are_shown_when_asked(erase, tmp_path):
    arguments = ("--layer", 1, "--no-random-weights", "-t", "field", "--part", "whole")
    result = erase(*arguments, "--json", "-q")
    assert result.err == ""
    assert json.loads(result.out) == json.loads((tmp_path / "out" / "results.json").read_text())
    again = erase(*arguments, "-v", "--overwrite")
    assert "cluster" in again.out


def test_forces_of_another_name_are_the_reference(erase, structures, tmp_path):
    images = ase.io.read(structures, ":")
    for atoms in images:
        atoms.arrays["forces_xtb"] = np.ones((len(atoms), 3))
    ase.io.write(tmp_path / "named.extxyz", images)
    arguments = ("--layer", 1, "--no-random-weights", "-s", tmp_path / "named.extxyz")
    result = erase(*arguments, "--forces", "forces_xtb", "--dry-run")
    assert result.code == 2  # the structures of the fixture, given too, have none
    assert "no reference forces" in result.err
    frames = with_forces(mpprobe.read(tmp_path / "named.extxyz"), "forces_xtb")
    assert (reference_of(frames[0]).forces == 1).all()


def test_a_dry_run_writes_nothing(erase, tmp_path):
    assert erase("--dry-run").code == 0
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--layer", 0, "-t", "field"), "layer 0 has no l = 1 features"),
        (("--part", "half"), "choose one of within, species, whole"),
        (("--layer", 7), "layer 7"),
        (("-t", "potentail"), "no target 'potentail'"),
    ],
)
def test_what_can_not_be_erased_is_one_line(erase, tmp_path, arguments, said):
    result = erase(*arguments)
    assert result.code == 2
    assert len(result.err.splitlines()) == 1
    assert said in result.err
    assert not (tmp_path / "out").exists()


class TestReadings:
    @pytest.fixture(scope="class")
    @classmethod
    def found(cls, model, structures):
        from mpprobe.interventions import erase

        potential = mpprobe.load(model, trust_checkpoint=True)
        settings = mpprobe.Settings(n_resamples=100, in_domain=("strained",))
        return erase(potential, mpprobe.read(structures), layers=1, random_weights=False,
                     settings=settings)  # fmt: skip

    @pytest.mark.parametrize(
        ("p", "said"), [(0.01, "more than random"), (0.2, "no more than random")]
    )
    def test_they_go_by_p(self, found, monkeypatch, p, said):
        monkeypatch.setitem(found.__dict__, "summary", found.summary.assign(p=p))
        lines = [line for line in erasing_readings(found) if "erasing" in line]
        assert len(lines) == 2
        assert all(f": {said} subspaces do" in line for line in lines)

    def test_repair_is_said_where_a_later_layer_reads_it_again(self, found, monkeypatch):
        held = found.decoding.assign(before_low=0.2)
        for low, said in ((0.1, "repaired"), (-0.1, "no longer reads")):
            monkeypatch.setitem(found.__dict__, "decoding", held.assign(after_low=low))
            assert said in erasing_readings(found)[-1]

    def test_the_figure_shows_every_draw(self, found):
        left, right = erasing_figure(found).axes
        drawn = {line.get_label(): len(line.get_xdata()) for line in left.get_lines()}
        assert drawn["random subspace"] == 20 * drawn["potential"]
        assert drawn["potential"] == len(set(found.effects["domain"]))
        assert effects.IN_DOMAIN in {t.get_text() for t in left.get_xticklabels()}
        assert right.get_xlabel() == "layer"
