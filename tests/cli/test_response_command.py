"""``mpprobe response``: what it prints, writes and refuses."""

from __future__ import annotations

import json

import ase.io
import numpy as np
import pandas as pd
import pytest
from ase.build import bulk

import mpprobe
from mpprobe.report.response import correlation, response_figure, response_readings
from mpprobe.response import response as study


@pytest.fixture(scope="module")
def salts(tmp_path_factory):
    """Two salts and a metal-like domain in small cells, as a user's own file."""
    images = []
    for name, charge, a in (("NaCl", 1.0, 5.64), ("MgO", 2.0, 4.21)):
        atoms = bulk(name, "rocksalt", a=a, cubic=True).repeat((3, 1, 1))
        cation = atoms.numbers == atoms.numbers[0]
        atoms.arrays["charge_formal"] = np.where(cation, charge, -charge)
        atoms.info |= {"compound": name, "domain": "bulk"}
        images.append(atoms)
    metal = images[0].copy()
    del metal.arrays["charge_formal"]
    metal.info |= {"compound": "metal", "domain": "metal"}
    file = tmp_path_factory.mktemp("response") / "salts.extxyz"
    ase.io.write(file, [*images, metal])
    return file


@pytest.fixture
def respond(mpprobe_run, model, salts, tmp_path):
    def call(*arguments):
        return mpprobe_run(
            "response", "-m", model, "--trust-checkpoint", "-s", salts, "--resamples", 100,
            "--no-metals", "--beyond", 5, "-o", tmp_path / "out", *arguments,
        )  # fmt: skip

    return call


def test_the_tables_the_files_and_what_they_say(respond, tmp_path):
    result = respond("--shares")
    assert result.code == 0, result.err
    for text in ("as those of charges", "Along the first lattice vector", "On which sites",
                 "• NaCl", "• MgO", "• metal", "random weights", "of K sits"):  # fmt: skip
        assert text in result.out
    folder = tmp_path / "out"
    assert {p.name for p in folder.iterdir()} == {
        "results.json", "pairs.csv", "axis.csv", "shells.csv", "fits.csv", "shares.csv",
        "config.yaml", "response.png", "response.pdf", "shares.png", "shares.pdf",
    }  # fmt: skip
    held = json.loads((folder / "results.json").read_text())
    assert held["provenance"]["nearest"] == 5
    assert len(pd.read_csv(folder / "fits.csv")) == len(held["fits"])
    shares = pd.read_csv(folder / "shares.csv")[["on the two", "between", "elsewhere"]]
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-6)
    assert not (tmp_path / "out.unfinished").exists()


def test_json_is_what_the_file_holds(respond, tmp_path):
    result = respond("--json", "-q", "--no-random-weights")
    assert result.err == ""
    assert json.loads(result.out) == json.loads((tmp_path / "out" / "results.json").read_text())


def test_a_crystal_is_built_and_metals_a_model_knows_stand_beside_it(mpprobe_run, model, tmp_path):
    result = mpprobe_run("response", "-m", model, "--trust-checkpoint", "--compound", "NaCl",
                         "-o", tmp_path / "out", "--dry-run")  # fmt: skip
    assert result.code == 0
    assert "doesn't know Al, Cu: no metal as the control" in result.err
    assert "1 structures of 360 atoms" in result.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--beyond", 50), "no two atoms are farther apart than 50 Å"),
        (("--atom", 99), "there is no atom 99"),
        (("-s", "dft:metal"), "the model does not know Al"),
    ],
)
def test_what_can_not_be_compared_is_one_line(respond, tmp_path, arguments, said):
    result = respond(*arguments)
    assert result.code == 2
    assert len(result.err.splitlines()) == 1
    assert said in result.err
    assert list(tmp_path.iterdir()) == []


def test_a_compound_that_is_not_there(mpprobe_run, model, tmp_path):
    result = mpprobe_run("response", "-m", model, "--trust-checkpoint", "--compound", "NaCI",
                         "-o", tmp_path / "out")  # fmt: skip
    assert result.code == 2
    assert "compound 'NaCI': choose among LiF" in result.err


class TestReadings:
    @pytest.fixture(scope="class")
    @classmethod
    def found(cls, model, salts):
        potential = mpprobe.load(model, trust_checkpoint=True)
        settings = mpprobe.Settings(n_resamples=100)
        return study(potential, mpprobe.read(salts), nearest=5.0, settings=settings)

    def law(self, found, monkeypatch, **values):
        monkeypatch.setitem(found.__dict__, "fits", found.fits.assign(**values))
        return response_readings(found)

    def test_a_law_is_said_with_its_share_of_what_is_published(self, found, monkeypatch):
        lines = self.law(found, monkeypatch, strength=0.4, strength_low=0.3, strength_high=0.5,
                         residual=0.1, exponent=3.1, exponent_low=2.9,
                         exponent_high=3.2, published=0.8)  # fmt: skip
        assert lines[0].startswith(
            "NaCl (salts.extxyz@0): Z*²/ε 0.40 [0.30, 0.50], 0.50 of the published 0.80; exponent "
            "3.10 [2.90, 3.20]"
        )

    @pytest.mark.parametrize(
        "values", [{"strength_low": -0.1, "residual": 0.1}, {"strength_low": 0.1, "residual": 0.9}]
    )
    def test_what_is_none_is_called_none(self, found, monkeypatch, values):
        lines = self.law(found, monkeypatch, strength=0.4, strength_high=0.5, **values)
        assert all("no Coulomb law" in line for line in lines[:3])

    def test_the_correlation_is_over_compounds(self, found, monkeypatch):
        whole = found.fits[found.fits["all"] & (found.fits["model"] == "trained")].iloc[[0] * 6]
        published = np.array([0.4, 0.5, 0.6, 0.9, 1.2, 1.4])
        table = whole.assign(published=published, strength=0.5 * published,
                             compound=list("abcdef"))  # fmt: skip
        monkeypatch.setitem(found.__dict__, "fits", table)
        r, low, high, n = correlation(found)
        assert n == 6
        assert r == pytest.approx(1)
        assert low == pytest.approx(1)
        assert high == pytest.approx(1)
        assert "the median of their ratio is 0.50" in response_readings(found)[-1]
        assert len(response_figure(found).axes) == 2
        formal, x = np.array([1, 1, 1, 2, 2, 2]), np.array([0.4, 0.5, 0.6, 0.4, 0.5, 0.6])
        table = table.assign(formal=formal, published=formal**2 * x,
                             strength=formal**2 * (0.8 - x))  # fmt: skip
        monkeypatch.setitem(found.__dict__, "fits", table)
        assert correlation(found)[0] > 0.5
        assert correlation(found, formal=True)[0] == pytest.approx(-1)
        again = table.assign(compound="a", published=published)
        monkeypatch.setitem(found.__dict__, "fits", again)
        assert correlation(found)[3] == 1
