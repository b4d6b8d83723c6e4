"""``mpprobe steer`` and ``mpprobe patch``: what they print, write and refuse."""

from __future__ import annotations

import json

import ase.io
import pandas as pd
import pytest

from mpprobe.report.steering import steering_figure, steering_readings


@pytest.fixture
def steer(mpprobe_run, model, structures, tmp_path):
    def call(*arguments):
        return mpprobe_run(
            "steer", "-m", model, "--trust-checkpoint", "-s", structures, "--resamples", 100,
            "--layer", 1, "-o", tmp_path / "out", *arguments,
        )  # fmt: skip

    return call


def test_steer_prints_and_writes(steer, tmp_path):
    result = steer("--dose", -1, "--json", "-q")
    assert result.code == 0
    assert result.err == ""
    folder = tmp_path / "out"
    held = json.loads((folder / "results.json").read_text())
    assert json.loads(result.out) == held
    assert held.keys() == {"command", "readings", "summary", "doses", "distances", "provenance"}
    assert held["provenance"]["doses"] == [-1, 1]
    assert {p.name for p in folder.iterdir()} == {
        "results.json", "doses.csv", "atoms.csv", "distances.csv", "summary.csv", "config.yaml",
        "steering.png", "steering.pdf",
    }  # fmt: skip
    again = steer("--overwrite", "--no-random-weights", "-t", "field", "--delta", 0.25)
    assert "one atom is shifted by 0.25 V/Å" in again.out
    for text in ("Steering field at layer 1", "By dose", "Who feels it", "no more than"):
        assert text in again.out
    doses = pd.read_csv(folder / "doses.csv")
    assert len(doses) == (4 + 20) * len(set(doses["domain"]))


def test_steer_refuses_in_one_line(steer, tmp_path):
    for arguments, said in ((("--dose", 0), "other than zero"), (("--part", "species"), "within")):
        result = steer(*arguments)
        assert result.code == 2
        assert len(result.err.splitlines()) == 1
        assert said in result.err
    assert steer("--dry-run").code == 0
    assert not (tmp_path / "out").exists()


def test_readings_and_figure_of_steering(model, structures):
    import mpprobe

    potential = mpprobe.load(model, trust_checkpoint=True)
    found = mpprobe.steer(potential, mpprobe.read(structures), layer=1, random_weights=False,
                          settings=mpprobe.Settings(n_resamples=100))  # fmt: skip
    for low, high, p, said in ((-1, 1, 0.5, "not told from nothing"), (1, 2, 0.5, "no more than"),
                               (1, 2, 0.04, "in the direction of point charges")):  # fmt: skip
        found.__dict__["summary"] = found.summary.assign(value=abs(high), low=low, high=high, p=p)
        assert said in steering_readings(found)[0]
    assert len(steering_figure(found).axes) == 3


@pytest.fixture
def two(structures, tmp_path):
    """Two structures of the same ions, differently strained."""
    images = [a for a in ase.io.read(structures, ":") if a.info["domain"] == "strained"]
    first = images[0]
    other = next(a for a in images[1:] if (a.numbers == first.numbers).all())
    for name, atoms in (("a", first), ("b", other)):
        ase.io.write(tmp_path / f"{name}.extxyz", atoms)
    return tmp_path


def test_patch_prints_and_writes(mpprobe_run, model, structures, two):
    arguments = (
        "patch", "-m", model, "--trust-checkpoint", "--source", two / "a.extxyz",
        "--into", two / "b.extxyz", "-a", 0, "-a", 1, "-l", 1, "-o", two / "out",
    )  # fmt: skip
    result = mpprobe_run(*arguments, "-t", "potential", "-s", structures)
    assert result.code == 0
    for text in ("layer 1, atoms 0, 1", "target's subspace", "random subspaces bring"):
        assert text in result.out
    held = json.loads((two / "out" / "results.json").read_text())
    assert held["provenance"]["atoms"] == [0, 1]
    assert len(held["summary"]) == 1 + 1 + 20
    assert (two / "out" / "patch.png").exists()
    refused = mpprobe_run(*arguments[:-1], two / "other", "-a", 999)
    assert refused.code == 2
    assert "has atoms 0 to" in refused.err
    several = mpprobe_run(*arguments[:5], structures, *arguments[6:-1], two / "other")
    assert several.code == 2
    assert "choose one" in several.err
