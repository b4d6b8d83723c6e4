"""The package as others get it: the wheel, its metadata, the pins, the README's examples."""

from __future__ import annotations

import email
import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import mpprobe
from mpprobe.errors import _INSTALL
from mpprobe.models.registry import all_families

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def run(*command, **options):
    done = subprocess.run(
        [str(c) for c in command], capture_output=True, text=True, timeout=600, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from the checkout."""
    if importlib.util.find_spec("build") is None:
        pytest.skip("needs the package build (pip install -e '.[dev]')")
    folder = tmp_path_factory.mktemp("wheel")
    # Without hatchling here, build downloads it into an environment of its own.
    here = importlib.util.find_spec("hatchling") is not None
    flags = ["--no-isolation", "--skip-dependency-check"] if here else []
    run(sys.executable, "-m", "build", "--wheel", *flags, "--outdir", folder, ROOT)
    (file,) = folder.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        return email.message_from_string(archive.read(name).decode("utf-8"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Run Python where only the wheel's mpprobe can be imported, in another folder."""
    place = tmp_path_factory.mktemp("site")
    pip = ("-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check")
    run(sys.executable, *pip, "--target", place, wheel)
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    environment = os.environ | {"PYTHONPATH": str(place)}

    def python(*arguments):
        return run(sys.executable, *arguments, cwd=elsewhere, env=environment)

    where = python("-c", "import mpprobe; print(mpprobe.__file__)")
    assert Path(where.strip()).is_relative_to(place)
    return python, place


# The wheel


def test_the_wheel_holds_the_package_with_its_data_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {f"mpprobe/data/{s}.extxyz.gz" for s in ("ionic", "far", "dft")} <= set(names)
    sources = {p.relative_to(ROOT / "src").as_posix() for p in (ROOT / "src").rglob("*.py")}
    assert sources <= set(names)
    rest = {n for n in names if not n.startswith("mpprobe/") and ".dist-info/" not in n}
    assert not rest
    assert not [n for n in names if "test_" in n or "conftest" in n or "__pycache__" in n]


def test_the_wheel_reads_its_own_structures(installed):
    python, place = installed
    code = (
        "import mpprobe as mp; from mpprobe.structures import builtin_sets; "
        "print(builtin_sets()['ionic'].path); print(len(mp.read('ionic')))"
    )
    path, number = python("-c", code).split()
    assert path == str(place / "mpprobe" / "data" / "ionic.extxyz.gz")
    assert int(number) == len(mpprobe.read("ionic"))


def test_the_wheel_has_a_command(installed):
    python, place = installed
    code = "import sys; from mpprobe.cli import run; sys.exit(run(['models']))"
    assert "sevenn-0" in python("-c", code)
    assert python(place / "bin" / "mpprobe", "--version").split() == [
        "mpprobe", mpprobe.__version__,
    ]  # fmt: skip


# Metadata


def test_metadata_say_what_it_is(metadata):
    assert metadata["Name"] == "mpprobe"
    assert metadata["Version"] == mpprobe.__version__ == importlib.metadata.version("mpprobe")
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata.get_payload().strip() == README.strip()


def test_the_extras_are_there(metadata):
    assert {"sevenn", "mace", "soap", "all"} <= set(metadata.get_all("Provides-Extra"))


def requirements(metadata):
    return [Requirement(text) for text in metadata.get_all("Requires-Dist")]


def test_every_direct_dependency_is_pinned_to_a_version_it_allows(metadata):
    pins = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            pin = Requirement(line)
            pins[canonicalize_name(pin.name)] = str(pin.specifier).removeprefix("==")
    checked = 0
    for requirement in requirements(metadata):
        name = canonicalize_name(requirement.name)
        if name == "mpprobe" or importlib.util.find_spec(name.replace("-", "_")) is None:
            checked += name in pins
            continue
        assert name in pins, f"{name} is not in constraints.txt"
        assert requirement.specifier.contains(pins[name]), f"{requirement} against {pins[name]}"
        checked += 1
    assert checked > 20
    assert f"mace-torch=={pins['mace-torch']}" in _INSTALL["mace"]
    assert f"mace-torch=={pins['mace-torch']}" in README


def test_families_extras_and_install_lines_belong_together(metadata):
    extras = set(metadata.get_all("Provides-Extra"))
    for family in all_families():
        assert family.package in _INSTALL, f"no install line for {family.package}"
        assert family.package in README.lower()
    for line in _INSTALL.values():
        (extra,) = re.findall(r'pip install "mpprobe\[(\w+)\]"', line)
        assert extra in extras
        assert f"mpprobe[{extra}]" in README


def test_rooms_import_only_from_rooms_to_their_left():
    pytest.importorskip("importlinter", reason="needs import-linter (pip install -e '.[dev]')")
    code = (
        "import sys; from importlinter.cli import lint_imports; "
        "sys.exit(lint_imports(config_filename='pyproject.toml', no_cache=True))"
    )
    assert "1 kept, 0 broken" in run(sys.executable, "-c", code, cwd=ROOT)


# The README


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("number", range(len(blocks("python"))))
def test_examples_of_the_readme_run(number, monkeypatch, capsys, tmp_path):
    from mpprobe import structures
    from mpprobe.targets import registry

    read = structures.read

    def read_few(*args, limit=None, **options):
        return read(*args, limit=min(limit or 6, 6), **options)

    monkeypatch.setattr(structures, "read", read_few)
    monkeypatch.setattr(registry, "_REGISTERED", dict(registry._REGISTERED))
    monkeypatch.chdir(tmp_path)
    exec(compile(blocks("python")[number], f"README.md, example {number}", "exec"), {})
    assert capsys.readouterr().out.strip()


def test_the_readme_has_examples():
    assert len(blocks("python")) >= 2


def test_the_readme_shows_every_command():
    from typer.main import get_command

    from mpprobe.cli.app import app

    shown = [re.findall(r"^\$ mpprobe (\w+)", block, re.MULTILINE) for block in blocks("console")]
    assert {name for names in shown for name in names} >= set(get_command(app).commands)


def test_the_readme_states_every_exit_code():
    stated = re.search(r"\*\*Exit codes\*\*:(.*?)(\n- |\n\n)", README, flags=re.DOTALL).group(1)
    assert {int(n) for n in re.findall(r"\b(\d+)\b", stated)} == {0, 1, 2, 3, 4, 129, 130, 143}
