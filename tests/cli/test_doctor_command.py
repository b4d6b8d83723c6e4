"""``mpprobe doctor``: right about what is here, and at work where little can be imported."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version

import pytest
from packaging.requirements import Requirement

import mpprobe
from mpprobe import doctor
from mpprobe.errors import optional_packages


@pytest.fixture
def quick(monkeypatch):
    """Nothing is imported; what the process that imports would say can be set."""
    seen = {"devices": [], "threads": {}, "failed": {}}
    monkeypatch.setattr(doctor, "_seen", lambda names: seen)
    return seen


@pytest.fixture(scope="module")
def here():
    """The whole answer on this machine."""
    return doctor.diagnose()


def test_versions_are_those_installed_and_fit(here):
    assert here["python"]["mpprobe"] == mpprobe.__version__
    packages = {p["name"]: p for p in here["packages"]}
    assert {"torch", "numpy", "ase", "typer"} <= set(packages)
    assert packages["torch"]["installed"] == version("torch")
    assert "<2.14" in packages["torch"]["supported"]
    assert not [p for p in packages.values() if p["state"] == "not supported"]
    if importlib.util.find_spec("mace"):
        assert packages["mace-torch"]["supported"] in optional_packages()["mace"]


def test_devices_threads_caches_and_models_are_there(here):
    import torch

    assert here["devices"][0]["name"] == "cpu"
    assert here["devices"][0]["memory"] > 1e8
    assert len(here["devices"]) == 1 + torch.cuda.device_count() + torch.backends.mps.is_available()
    assert 1 <= here["threads"]["allowed"] <= here["threads"]["here"]
    assert here["threads"]["torch"] >= 1
    assert all(c["free"] > 0 and c["bytes"] >= 0 for c in here["caches"])
    states = {m["name"]: m["state"] for m in here["models"]}
    assert set(states) == set(mpprobe.named_models())
    assert states["sevenn-0"] == "here"


def test_it_prints_one_screen_and_json(mpprobe_run, quick):
    code, out, err = mpprobe_run("doctor")
    assert (code, err) == (0, "")
    assert "Nothing needed is missing." in out
    assert len(out.splitlines()) < 50
    code, out, _ = mpprobe_run("doctor", "--json")
    assert code == 0
    assert json.loads(out)["problems"] == []


def test_the_cache_is_where_the_environment_says(mpprobe_run, quick, monkeypatch, tmp_path):
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "one").write_bytes(b"x" * 1234)
    monkeypatch.setenv("MPPROBE_CACHE_DIR", str(tmp_path))
    (cache,) = (c for c in doctor.diagnose()["caches"] if c["folder"] == str(tmp_path))
    assert cache["bytes"] == 1234


def test_packages_that_can_not_be_imported_are_problems(tmp_path):
    """In a process of its own where importing any of them fails."""
    for name in ("torch", "sevenn", "mace"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('blocked')")
    paths = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, "-c", "from mpprobe.cli import main; main()", "doctor", "--json"],
        capture_output=True, text=True, timeout=120,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert done.stderr == ""
    problems = json.loads(done.stdout)["problems"]
    for name in ("torch", "sevenn", "mace"):
        assert f"{name} can't be imported: ImportError: blocked" in problems


def test_a_needed_package_that_is_missing_or_of_a_wrong_version(mpprobe_run, quick, monkeypatch):
    def pretend(name):
        if name == "captum":
            raise PackageNotFoundError(name)
        return "2.14.1" if name == "torch" else version(name)

    monkeypatch.setattr(doctor, "version", pretend)
    code, out, _ = mpprobe_run("doctor")
    assert code == 3
    problems = [line for line in out.splitlines() if line.startswith("Problem: ")]
    assert len(problems) == 2
    assert 'captum is missing: pip install "captum>=0.8"' in problems[0]
    assert "torch 2.14.1 is not supported" in problems[1]
    assert "NOT SUPPORTED" in out


def test_a_missing_part_is_named_with_its_line_and_is_no_problem(mpprobe_run, quick, monkeypatch):
    without = {"featomic"}
    find = importlib.util.find_spec
    monkeypatch.setattr(doctor, "find_spec", lambda n: None if n in without else find(n))
    code, out, _ = mpprobe_run("doctor")
    assert code == 0
    assert f"soap: {optional_packages()['featomic']}" in out
    without |= {"sevenn", "mace"}
    code, out, _ = mpprobe_run("doctor")
    assert code == 3
    assert "Problem: no package of potentials is installed" in out
    assert "needs sevenn: sevenn-0" in out


def test_more_threads_than_cores_allowed_are_advised_against(quick, monkeypatch, mpprobe_run):
    monkeypatch.setattr(doctor, "cores_allowed", lambda: 2)
    quick["threads"] |= {"torch": 16, "numba": 2}
    found = doctor.diagnose()
    assert found["advice"] == [
        "torch takes 16 threads on 2 cores allowed: set OMP_NUM_THREADS=2",
    ]
    assert mpprobe_run("doctor").code == 0


def test_a_process_that_dies_while_importing_is_said(monkeypatch):
    monkeypatch.setattr(doctor, "_CHILD", "import os; os._exit(7)")
    (why,) = doctor._seen(["torch"])["failed"].values()
    assert "code 7" in why


def test_a_version_before_a_release_counts_as_in_range():
    assert doctor._package(Requirement("torch>=2.6"))["state"] == "ok"
    assert doctor._package(Requirement("nosuchpackage>=1"))["state"] == "missing"
