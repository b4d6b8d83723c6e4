"""``mpprobe nonlocal``: what it prints, writes and refuses."""

from __future__ import annotations

import json

import ase.io
import pandas as pd
import pytest

from explain.pair_sets import chain, pair_set
from mpprobe.explain import by_distance, by_part, nonlocal_forces
from mpprobe.report.nonlocal_forces import nonlocal_figure, nonlocal_readings

SINGLES = [((i, k),) for i in range(3) for k in range(3)]
PARTS = {"e_coulomb": 1.5, "e_kinetic": -0.7, "e_xc": 0.2}


@pytest.fixture(scope="module")
def images():
    pair = [((5, 0),), ((1, 0), (5, 0))]
    return pair_set(chain(), [*SINGLES, *pair], parts=PARTS) + pair_set(
        chain(gap=6.0), SINGLES[:3], "gap"
    )


@pytest.fixture
def command(mpprobe_run, model, images, tmp_path):
    file = tmp_path / "mine.extxyz"
    ase.io.write(file, images)

    def call(*arguments):
        return mpprobe_run(
            "nonlocal", "-m", model, "--trust-checkpoint", "-s", file, "--charges", "formal",
            "--resamples", 100, "-o", tmp_path / "out", *arguments,
        )  # fmt: skip

    return call


def test_the_tables_the_files_and_what_they_say(command, tmp_path, model):
    result = command("-m", f"random:{model}:1")
    assert result.code == 0
    for text in ("Force constants of distant atoms", "Pair by pair", "against each part",
                 "no way from atom to atom: the model's largest force constant is 0 meV/Å²",
                 "too small"):  # fmt: skip
        assert text in result.out
    folder = tmp_path / "out"
    assert {p.name for p in folder.iterdir()} == {
        "results.json", "by_distance.csv", "by_part.csv", "atoms.csv", "pairs.csv", "config.yaml",
        "nonlocal_forces.png", "nonlocal_forces.pdf",
    }  # fmt: skip
    held = json.loads((folder / "results.json").read_text())
    assert held.keys() == {"command", "readings", "by_distance", "by_part", "pairs", "provenance"}
    assert len(held["pairs"]) == len(pd.read_csv(folder / "pairs.csv")) == 2
    assert "kinetic + xc" in set(pd.read_csv(folder / "by_part.csv")["part"])


def test_json_is_what_the_file_holds(command, tmp_path):
    result = command("--json", "-q")
    assert result.err == ""
    assert json.loads(result.out) == json.loads((tmp_path / "out" / "results.json").read_text())


def test_a_dry_run_writes_nothing(command, tmp_path):
    assert command("--dry-run").code == 0
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        (slice(1), "the only structure of group"),
        (slice(1, 12), "moves 3 atoms"),
    ],
)
def test_a_set_that_is_not_of_pairs_is_one_line(mpprobe_run, model, images, tmp_path, chosen, said):
    ase.io.write(tmp_path / "other.extxyz", images[chosen])
    result = mpprobe_run("nonlocal", "-m", model, "--trust-checkpoint", "--charges", "formal",
                         "-s", tmp_path / "other.extxyz", "-o", tmp_path / "out")  # fmt: skip
    assert result.code == 2
    assert len(result.err.splitlines()) == 1
    assert said in result.err
    assert not (tmp_path / "out").exists()


def test_a_reading_claims_no_more_than_its_interval(images, sevenn_0):
    found = nonlocal_forces(sevenn_0, images[: len(SINGLES) + 1], charges="formal")
    distances = by_distance(found, n_resamples=100)
    for low, high, said in ((-0.1, 0.2, "not told from nothing"), (0.5, 1.2, "not told from the"),
                            (0.2, 0.8, "too small"), (1.1, 1.4, "too large")):  # fmt: skip
        forced = distances.assign(slope_low=low, slope_high=high)
        assert all(said in line for line in nonlocal_readings(found, forced, by_part(found)))
    forced = distances.assign(slope_low=float("nan"))
    lines = nonlocal_readings(found, forced, by_part(found))
    assert all("no claim" in line for line in lines)


def test_the_figure_shows_every_pair(images, mace_file):
    import mpprobe

    mace = mpprobe.load(mace_file("8x0e+8x1o"), trust_checkpoint=True)
    found = nonlocal_forces(mace, images, charges="formal")
    scatter, pairs = nonlocal_figure(found).axes
    assert {line.get_label() for line in scatter.get_lines()} >= {"chain", "gap"}
    assert [t.get_text() for t in pairs.get_xticklabels()] == ["chain Cl-Cl 11.2 Å"]
