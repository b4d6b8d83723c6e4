"""``import mpprobe`` is quick, and every public name is there when it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import mpprobe

ROOMS = ("activations", "cli", "errors", "models", "probes", "report", "structures", "targets")


@pytest.mark.parametrize("name", mpprobe.__all__)
def test_public_names_resolve(name):
    value = getattr(mpprobe, name)
    assert value is getattr(mpprobe, name)
    assert name == "__version__" or value.__doc__, "public, but without a docstring"


def test_public_names_are_listed():
    assert dir(mpprobe) == sorted(mpprobe.__all__)
    assert len(set(mpprobe.__all__)) == len(mpprobe.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'mpprobe' has no attribute 'prob'"):
        mpprobe.prob  # noqa: B018 - the look-up is what fails
    assert not hasattr(mpprobe, "Prob")


@pytest.mark.parametrize(
    ("statement", "allowed"),
    [
        ("import mpprobe", set()),
        ("import mpprobe.cli, mpprobe.errors, mpprobe.report", set()),
        ("import mpprobe.models; mpprobe.models.named_models()", set()),
        ("import mpprobe.structures, mpprobe.targets", {"numpy", "ase", "scipy"}),
    ],
)
def test_importing_loads_nothing_that_is_not_needed_yet(statement, allowed):
    heavy = {
        "torch", "e3nn", "sevenn", "mace", "numpy", "scipy", "ase", "pandas", "sklearn", "dftd4",
        "matplotlib", "seaborn", "featomic", "torchpme", "typer", "rich",
    }  # fmt: skip
    code = f"import sys; {statement}; print(*sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) <= allowed


def test_importtime_shows_no_torch():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import mpprobe"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    assert "mpprobe" in imported
    assert not {name for name in imported if name.split(".")[0] in {"torch", "numpy", "ase"}}


def test_every_error_is_one_of_the_family_with_a_documented_code():
    from mpprobe import errors

    kinds = [k for k in vars(errors).values() if isinstance(k, type) and issubclass(k, Exception)]
    assert len(kinds) > 5
    assert all(issubclass(kind, mpprobe.MPProbeError) for kind in kinds)
    assert {kind.exit_code for kind in kinds} == {2, 3}
