"""What the commands are tried on: a small MACE file, and structures of what it knows."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import ase.io
import pytest

import mpprobe
from mpprobe.cli import run
from mpprobe.probes.baselines import soap


class Result(NamedTuple):
    """Exit code and what was printed where."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="module", autouse=True)
def short_soap():
    """SOAP vectors of 32 numbers: what is tried here doesn't turn on their length."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mpprobe.probes.sources.soap", partial(soap, width=32))
        yield


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
