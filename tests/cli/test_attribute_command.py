"""``mpprobe attribute``: what it prints, writes and refuses."""

from __future__ import annotations

import json

import ase.io
import networkx as nx
import numpy as np
import pandas as pd
import pytest
from ase.build import bulk

from mpprobe.attribution import ForceComponent, SiteEnergy, TotalEnergy, parse_number
from mpprobe.errors import AttributionError


@pytest.fixture(scope="module")
def salt(tmp_path_factory):
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    atoms.positions += np.random.default_rng(0).normal(scale=0.1, size=atoms.positions.shape)
    file = tmp_path_factory.mktemp("attribute") / "salt.extxyz"
    ase.io.write(file, atoms)
    return file


@pytest.fixture
def attribute(mpprobe_run, model, salt, structures, tmp_path):
    def call(*arguments):
        return mpprobe_run(
            "attribute", "-m", model, "--trust-checkpoint", "-s", salt, "--train", structures,
            "-o", tmp_path / "out", *arguments,
        )  # fmt: skip

    return call


@pytest.mark.parametrize("number", ["energy", "site:2", "force:1:y", "potential:3"])
def test_the_tables_the_files_and_what_they_say(attribute, tmp_path, number):
    result = attribute("-n", number, "-l", 1)
    assert result.code == 0, result.err
    for text in ("Atoms that add most (of 8)", "random weights", "attributions leave", "baseline:"):
        assert text in result.out
    folder = tmp_path / "out"
    assert {p.name for p in folder.iterdir()} == {
        "results.json", "atoms.csv", "channels.csv", "checks.csv", "config.yaml",
        "attribution.png", "attribution.pdf", "structure.extxyz",
    }  # fmt: skip
    held = json.loads((folder / "results.json").read_text())
    assert held["provenance"]["number"] == number
    checks = pd.read_csv(folder / "checks.csv").set_index("model")
    atoms = pd.read_csv(folder / "atoms.csv")
    for name, own in atoms.groupby("model"):
        gap = checks.loc[name, "value"] - checks.loc[name, "baseline_value"] - own["total"].sum()
        assert gap == pytest.approx(checks.loc[name, "gap"], abs=1e-9)
    written = ase.io.read(folder / "structure.extxyz")
    trained = atoms[atoms["model"] == "trained"]
    np.testing.assert_allclose(
        written.arrays["mpprobe_attribution"], trained["total"], rtol=1e-6, atol=1e-8
    )
    assert ("potential" in number) == ("train_sha256" in held["provenance"])


def test_more_of_it(attribute, tmp_path):
    result = attribute("-n", "site:2", "-l", 1, "--also", "edges", "--also", "layers",
                       "--also", "graph")  # fmt: skip
    assert result.code == 0, result.err
    for text in ("messages add", "on the way", "squared influence", "influence through"):
        assert text in result.out
    folder = tmp_path / "out"
    edges, through = (pd.read_csv(folder / f"{name}.csv") for name in ("edges", "through"))
    checks = pd.read_csv(folder / "checks.csv")
    messages = checks[checks["over"] == "messages"].set_index("model")
    for name, own in edges.groupby("model"):
        row = messages.loc[name]
        assert own["value"].sum() == pytest.approx(row["value"] - row["baseline_value"], rel=1e-3)
    np.testing.assert_allclose(through.groupby(["model", "layer"])["share"].sum(), 1, rtol=1e-4)
    graph = nx.read_graphml(folder / "influence-trained.graphml")
    assert len(graph) == 8
    assert {"layers.png", "influence.png", "layers.csv", "bonds.csv"} <= {
        p.name for p in folder.iterdir()
    }


def test_methods_and_json(attribute, tmp_path):
    result = attribute("-n", "site:0", "-l", 1, "--method", "atom ablation", "--baseline", "zero",
                       "--no-random-weights", "--json", "-q")  # fmt: skip
    assert result.err == ""
    held = json.loads(result.out)
    assert held == json.loads((tmp_path / "out" / "results.json").read_text())
    assert any("shares evenly" in line for line in held["readings"])
    assert {row["model"] for row in held["atoms"]} == {"trained"}


def test_a_dry_run_writes_nothing(attribute, tmp_path):
    assert attribute("-n", "energy", "-l", 1, "--dry-run").code == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-n", "sites:1:x", "-l", 1), "write energy, site:ATOM"),
        (("-n", "site:8", "-l", 1), "there is no atom 8"),
        (("-n", "energy", "-l", 7), "layer 7"),
        (("-n", "potentail:1", "-l", 1), "no target 'potentail'"),
        (("-n", "field:1", "-l", 1), "is a vector"),
        (("-n", "potential:1", "-l", 2, "--read", 1), "doesn't depend on later ones"),
        (("-n", "energy", "-l", 1, "--method", "magic"), "choose one of integrated gradients"),
        (("-n", "energy", "-l", 1, "--also", "nodes"), "choose among edges, layers, graph"),
        (("-n", "energy", "-l", 1, "--also", "graph"), "no atom's number"),
        (("-n", "force:0:x", "-l", 1, "--also", "layers"), "derivatives of all layers"),
    ],
)
def test_what_can_not_be_explained_is_one_line(attribute, tmp_path, arguments, said):
    result = attribute(*arguments)
    assert result.code == 2
    assert len(result.err.splitlines()) == 1
    assert said in result.err
    assert list(tmp_path.iterdir()) == []


def test_names_of_numbers():
    assert parse_number("energy") == TotalEnergy()
    assert parse_number("site:12") == SiteEnergy(12)
    assert parse_number("force:3:z") == ForceComponent(3, 2)
    assert parse_number("charge:eeq:4") == ("charge:eeq", 4)
    for wrong in ("force:3", "force:3:w", "site:x", "", "energy:"):
        with pytest.raises(AttributionError):
            parse_number(wrong)
