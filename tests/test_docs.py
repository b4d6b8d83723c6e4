"""The documentation holds: its Python runs, its commands exist, its reference is whole.

The examples of a page run as they stand, one after the other; pages don't share variables.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import subprocess
import sys
import types
from pathlib import Path

import ase.build
import ase.io
import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
GUIDES = {path.relative_to(DOCS).as_posix(): path for path in sorted(DOCS.rglob("*.md"))}

#: Pages whose examples take longer than the default run has for them.
SLOW = {
    "attribution.md",
    "cluster.md",
    "explain.md",
    "howto/family.md",
    "interventions.md",
    "toys.md",
}


def blocks(path, language):
    text = path.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def run(examples, name, given):
    """Run examples in one namespace, and return it."""
    for number, example in enumerate(examples):
        exec(compile(example, f"{name}, example {number}", "exec"), given)
    return given


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    from mpprobe.targets import registry

    monkeypatch.setattr(registry, "_REGISTERED", dict(registry._REGISTERED))
    monkeypatch.chdir(tmp_path)


# What a page takes for granted


def structures_given(monkeypatch):
    atoms = ase.build.bulk("NaCl", "rocksalt", a=5.64)
    forces, charges = np.zeros((2, 3)), np.array([0.9, -0.9])
    return {"atoms": atoms, "energy": -1.0, "forces": forces, "charges": charges}


def cluster_given(monkeypatch):
    """Structures, and workers here in the place of those that a queue would start."""
    import mpprobe as mp

    class SLURMCluster:
        def __init__(self, **options):
            from distributed import LocalCluster

            self.local = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
            self.scheduler_address = self.local.scheduler_address

        def adapt(self, minimum_jobs, maximum_jobs):
            assert minimum_jobs <= maximum_jobs

    stand_in = types.SimpleNamespace(SLURMCluster=SLURMCluster)
    monkeypatch.setitem(sys.modules, "dask_jobqueue", stand_in)
    frames = mp.read("ionic", limit=20)
    ase.io.write("structures.extxyz", [frame.atoms for frame in frames])
    return {"__name__": "__main__"}


GIVEN = {"structures.md": structures_given, "cluster.md": cluster_given}


# What must have come out of it


def interventions(made, printed):
    potential, frame, output = made["potential"], made["frame"], made["output"]
    unedited = potential.run(potential.batch(frame), forces=True)
    assert (output.forces - unedited.forces).abs().max() > 1e-4
    assert set(made["found"].effects["edit"]) >= {"target", "random subspace"}
    assert "median" in printed


def structures(made, printed):
    written = ase.io.read("mine.extxyz")
    assert written.get_potential_energy() == -1
    np.testing.assert_allclose(written.arrays["bader_q"], [0.9, -0.9])
    assert written.info["xc"] == "PBE"


def explain(made, printed):
    assert {"partial correlation", "erasure"} <= set(made["found"].effects["question"])
    assert "p_corrected" in printed


def response(made, printed):
    assert made["rows"].shape == (1, 3, len(made["salt"]), 3)
    assert "strength" in printed


def attribution(made, printed):
    assert made["found"].relative_gap < 1e-3
    assert made["graph"].number_of_edges() > 0
    assert list(made["lens"]["layer"]) == [0, 1, 2, 3, 4, 5]
    assert "bonds" in printed


def toys(made, printed):
    assert "toy_charge" in made["atoms"].arrays
    assert set(made["found"].forces["domain"]) > {"crystal", "surface"}
    assert printed


def cluster(made, printed):
    made["cluster"].local.close()
    assert {"model", "random weights"} <= set(made["study"].scores["features"])


CHECKS = {
    f"{check.__name__}.md": check
    for check in (interventions, structures, explain, response, attribution, toys, cluster)
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name in SLOW else ())
        for name, path in GUIDES.items()
        if blocks(path, "python")
    ],
)
def test_examples_of_a_page_run(name, monkeypatch, capsys):
    given = GIVEN[name](monkeypatch) if name in GIVEN else {}
    made = run(blocks(GUIDES[name], "python"), name, given)
    if name in CHECKS:
        CHECKS[name](made, capsys.readouterr().out)


def test_checks_are_of_pages_that_are_there():
    assert {*CHECKS, *GIVEN, *SLOW} <= set(GUIDES)


def test_the_notebook_runs():
    cells = json.loads((ROOT / "examples/probe_sevennet.ipynb").read_text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert not any(cell.get("outputs") for cell in cells)  # they would grow old
    made = run(code, "probe_sevennet.ipynb", {})
    assert {"model", "random weights"} <= set(made["study"].scores["features"])


# Commands


def command_lines():
    """Every ``$ mpprobe`` line of the guides and the README, with where it is."""
    for path in [*GUIDES.values(), ROOT / "README.md"]:
        lines = [line for block in blocks(path, "console") for line in block.splitlines()]
        for line in lines:
            if line.startswith("$ mpprobe "):
                yield pytest.param(path, line, id=f"{path.name}: {line[2:50]}")


@pytest.mark.parametrize(("path", "line"), list(command_lines()))
def test_commands_have_flags_that_exist(path, line):
    """Parsed by the real options, and not run."""
    from typer.main import get_command

    from mpprobe.cli.app import app

    for block in blocks(path, "yaml"):  # the files that the commands read
        Path(re.match(r"# (\S+\.yaml)\n", block).group(1)).write_text(block)
    command, (_, *arguments) = get_command(app), shlex.split(line[2:], comments=True)
    while hasattr(command, "commands"):
        name, *arguments = arguments
        command = command.commands[name]
    command.make_context(name, arguments)


# The site


def hooks():
    pytest.importorskip("mkdocs", reason="needs mkdocs (pip install -e '.[docs]')")
    spec = importlib.util.spec_from_file_location("docs_hooks", DOCS / "hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_has_every_public_name():
    import mpprobe

    made = hooks()
    pages = "\n".join(made.room_page(room) for room in made.ROOMS)
    shown = set(re.findall(r"heading: mpprobe\.(\w+)$", pages, flags=re.MULTILINE))
    assert shown == {name for name in mpprobe.__all__ if name != "__version__"}


def test_every_option_is_on_the_page_of_its_command():
    made = hooks()
    page = made.command_page("probe", made.commands()["probe"])
    for option in made.commands()["probe"].params:
        assert max(option.opts, key=len) in page
    assert "## toy train" in made.command_page("toy", made.commands()["toy"])


@pytest.mark.slow
def test_the_site_builds_without_warnings_and_loads_nothing_from_elsewhere(tmp_path):
    pytest.importorskip("mkdocstrings", reason="needs mkdocs (pip install -e '.[docs]')")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    loaded = re.compile(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=\"?(?:https?:)?//")
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > 40
    assert not [page for page in pages if loaded.search(page.read_text(encoding="utf-8"))]


def test_the_stated_tolerances_are_those_of_the_tests():
    from tolerances import as_rows

    page = (DOCS / "numbers.md").read_text(encoding="utf-8")
    assert [line for line in page.splitlines() if " of the value |" in line] == as_rows()
