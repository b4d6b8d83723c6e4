"""The examples of docs/ run as they stand, one page after the other's variables forgotten."""

from __future__ import annotations

import re
from pathlib import Path

import ase.build
import ase.io
import numpy as np
import pytest

DOCS = Path(__file__).parents[1] / "docs"


def page(name, **given):
    """Run a page's Python, block after block, and return its variables."""
    text = (DOCS / name).read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    assert blocks
    for number, block in enumerate(blocks):
        exec(compile(block, f"{name}, example {number}", "exec"), given)
    return given


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_interventions(capsys):
    made = page("interventions.md")
    potential, frame, output = made["potential"], made["frame"], made["output"]
    unedited = potential.run(potential.batch(frame), forces=True)
    assert (output.forces - unedited.forces).abs().max() > 1e-4
    assert set(made["found"].effects["edit"]) >= {"target", "random subspace"}
    assert "median" in capsys.readouterr().out


def test_structures():
    atoms = ase.build.bulk("NaCl", "rocksalt", a=5.64)
    page(
        "structures.md",
        atoms=atoms,
        energy=-1.0,
        forces=np.zeros((2, 3)),
        charges=np.array([0.9, -0.9]),
    )
    written = ase.io.read("mine.extxyz")
    assert written.get_potential_energy() == -1
    np.testing.assert_allclose(written.arrays["bader_q"], [0.9, -0.9])
    assert written.info["xc"] == "PBE"


def test_explain(capsys):
    made = page("explain.md")
    assert {"partial correlation", "erasure"} <= set(made["found"].effects["question"])
    assert "p_corrected" in capsys.readouterr().out


def test_response(capsys):
    made = page("response.md")
    assert made["rows"].shape == (1, 3, len(made["salt"]), 3)
    assert "strength" in capsys.readouterr().out


def test_attribution(capsys):
    made = page("attribution.md")
    assert made["found"].relative_gap < 1e-3
    assert made["graph"].number_of_edges() > 0
    assert list(made["lens"]["layer"]) == [0, 1, 2, 3, 4, 5]
    assert "bonds" in capsys.readouterr().out


@pytest.mark.slow
def test_toys(capsys):
    made = page("toys.md")
    assert "toy_charge" in made["atoms"].arrays
    assert set(made["found"].forces["domain"]) > {"crystal", "surface"}
    assert capsys.readouterr().out
