"""What the commands are tried on: a small MACE file, and structures of what it knows."""

from __future__ import annotations

from typing import NamedTuple

import ase.io
import pytest

import mpprobe
from mpprobe.cli import run


class Result(NamedTuple):
    """Exit code and what was printed where."""

    code: int
    out: str
    err: str


@pytest.fixture
def mpprobe_run(capsys):
    """Run the command line in this process."""

    def call(*arguments) -> Result:
        capsys.readouterr()
        code = run([str(a) for a in arguments])
        return Result(code, *capsys.readouterr())

    return call


@pytest.fixture(scope="session")
def model(mace_file):
    return mace_file("8x0e+8x1o")


@pytest.fixture(scope="session")
def structures(tmp_path_factory):
    """Twelve structures of three compounds and two domains, as a user's own file."""
    frames = mpprobe.read("ionic:strained,cluster")
    images = [f.atoms for f in frames if set(f.numbers) <= {8, 11, 12, 17}]
    file = tmp_path_factory.mktemp("structures") / "mine.extxyz"
    ase.io.write(file, images)
    return file


@pytest.fixture(scope="session")
def basic(model, structures):
    """The flags that every quick run needs."""
    return ("-m", model, "--trust-checkpoint", "-s", structures, "--resamples", 100,
            "--assignments", 1, "--random-seeds", 1)  # fmt: skip
