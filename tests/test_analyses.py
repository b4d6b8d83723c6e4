"""Every script has a quick mode and says what it writes; what is committed is in the manifest."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

import mpprobe as mp
from mpprobe.models.trust import file_sha256
from mpprobe.provenance import structures_sha256
from mpprobe.report.domains import domain_figure, domain_readings
from mpprobe.report.far_field import far_readings
from mpprobe.report.figures import layer_profile, save
from mpprobe.report.lens import lens_figure
from mpprobe.report.model_profiles import model_profiles, profile_readings
from mpprobe.report.transfer import transfer_figure

FOLDER = Path(__file__).parents[1] / "analyses"
SCRIPTS = sorted(p for p in FOLDER.glob("*.py") if p.stem not in ("common", "__main__"))
KINDS = ("figures", "tables", "readings")
OUTPUTS = {p.name for p in FOLDER.iterdir() if p.suffix in (".png", ".pdf", ".csv", ".txt")}
MANIFEST = json.loads((FOLDER / "manifest.json").read_text(encoding="utf-8"))
#: Figures and readings that are made from one committed table.
DRAWN = {
    "layer_profile": layer_profile,
    "layer_profiles": model_profiles,
    "domain_transfer": transfer_figure,
    "far_field": model_profiles,
    "force_errors": domain_figure,
    "energy_lens": lens_figure,
}
#: Scripts without results: what they found is withdrawn (docs/toys.md), or not made yet.
WITHOUT = {"toy_sweep"}


def files_of(entry):
    return {name: digest for kind in KINDS for name, digest in entry[kind].items()}


def table(name):
    return pd.read_csv(FOLDER / f"{name}.csv")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.stem)
def test_a_script_offers_quick_and_names_its_outputs(script):
    tree = ast.parse(script.read_text(encoding="utf-8"))
    doc = ast.get_docstring(tree)
    assert f"python analyses/{script.name}" in doc
    assert "--quick" in doc
    for file in () if script.stem in WITHOUT else files_of(MANIFEST[script.stem]):
        assert Path(file).stem in doc, f"{file} is not in the docstring"
    modules = [n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
    modules += [a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names]
    roots = {module.partition(".")[0] for module in modules}
    assert roots <= {"__future__", "common", "mpprobe", "ase", "numpy", "pandas",
                     "collections", "dataclasses", "functools", "pathlib"}  # fmt: skip
    assert not any(part.startswith("_") for m in modules[1:] for part in m.split(".")
                   if m != "__future__")  # fmt: skip


def test_every_script_is_in_the_manifest_and_in_the_readme():
    names = {script.stem for script in SCRIPTS}
    assert set(MANIFEST) == names - WITHOUT
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)`", readme, flags=re.MULTILINE)) == names


def test_the_manifest_names_every_committed_output_with_its_hash():
    named = {}
    for entry in MANIFEST.values():
        assert entry["mode"] == "full"
        assert entry["settings"]["seed"] == 0
        assert not named.keys() & files_of(entry).keys()
        named |= files_of(entry)
    assert named.keys() == OUTPUTS
    for name, digest in named.items():
        assert file_sha256(FOLDER / name) == digest, f"{name} is not what its script made"


@pytest.mark.parametrize("name", ["dft", "pairs"])
def test_results_are_of_the_structures_that_are_bundled(name):
    current = structures_sha256(mp.read(name))
    used = {k: e["structures"][name]["sha256"] for k, e in MANIFEST.items()
            if name in e["structures"]}  # fmt: skip
    assert used
    assert set(used.values()) == {current}, f"rerun {', '.join(used)}"


@pytest.mark.parametrize("name", DRAWN)
def test_a_committed_figure_is_what_its_table_draws(name, tmp_path):
    """Pixel by pixel but for the six digits that the table keeps."""
    drawn_by = MANIFEST[name]["versions"]["matplotlib"]
    if drawn_by != mpl.__version__:
        pytest.skip(f"drawn by matplotlib {drawn_by}, and here is {mpl.__version__}")
    image, _ = save(DRAWN[name](table(name)), tmp_path / f"{name}.png")
    new, old = (mpl.image.imread(f) for f in (image, FOLDER / f"{name}.png"))
    assert new.shape == old.shape
    assert np.mean(np.abs(new - old).max(axis=2) > 0.1) < 1e-3


@pytest.mark.parametrize(("name", "read"), [
    ("far_field", lambda: far_readings(table("far_field"), {"rattled": 1, "rattled-10": 2})),
    ("force_errors", lambda: domain_readings(table("force_errors"))),
    ("layer_profiles", lambda: profile_readings(
        table("layer_profiles"), table("layer_profiles_differences"))),
])  # fmt: skip
def test_committed_readings_are_what_the_table_says(name, read):
    assert (FOLDER / f"{name}.txt").read_text(encoding="utf-8").splitlines() == read()


@pytest.mark.slow
def test_all_scripts_run_in_quick_mode(tmp_path):
    """In a copy, so that nothing in the checkout changes."""
    folder = tmp_path / "analyses"
    folder.mkdir()
    for script in FOLDER.glob("*.py"):
        (folder / script.name).write_text(script.read_text(encoding="utf-8"), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(folder), "--quick"], capture_output=True, text=True, timeout=1200
    )
    assert done.returncode == 0, done.stderr
    made = json.loads((folder / "quick" / "manifest.json").read_text(encoding="utf-8"))
    skipped = set(re.findall(r"^(\w+): skipped", done.stderr, flags=re.MULTILINE))
    assert set(made) | skipped == {script.stem for script in SCRIPTS}
    for name, entry in made.items():
        assert entry["mode"] == "quick"
        assert name in WITHOUT or files_of(entry).keys() == files_of(MANIFEST[name]).keys()
        for file, digest in files_of(entry).items():
            assert file_sha256(folder / "quick" / file) == digest
