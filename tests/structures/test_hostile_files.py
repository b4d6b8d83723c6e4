"""Structure files that would run something, ask a server or fill the memory when they are read."""

import bz2
import contextlib
import gzip
import lzma
import os
import pickle
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from ase import Atoms
from ase.io.formats import ioformats

from mpprobe.errors import StructureError
from mpprobe.structures import guard, read


class Evil:
    def __init__(self, canary):
        self.canary = str(canary)

    def __reduce__(self):
        return os.mkdir, (self.canary,)


ENDINGS = sorted(
    {ending for form in ioformats.values() for ending in (form.name, *form.extensions)}
    | {"pckl", "pickle", "pkl", "npy", "npz", "mysql", "postgresql", "aselmdb", "mariadb"}
)
NAMES = sorted({glob.replace("*", "x").replace("?", "x") for form in ioformats.values()
                for glob in form.globs if "[" not in glob})  # fmt: skip
MAGIC = sorted({magic.replace(b"*", b"") for form in ioformats.values() for magic in form.magic})


@pytest.fixture
def nothing_else(monkeypatch):
    """No socket and no process."""

    def refuse(*args, **kwargs):
        raise SystemExit("asked a server or another program")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(subprocess, "Popen", refuse)
    monkeypatch.setattr(os, "system", refuse)


def late(*args):
    raise TimeoutError("a reader that doesn't end")


@pytest.fixture
def ended():
    """Some of ASE's readers look for an end for ever where there is none."""
    before = signal.signal(signal.SIGALRM, late)
    yield lambda seconds: signal.setitimer(signal.ITIMER_REAL, seconds)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.slow
@pytest.mark.usefixtures("nothing_else")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["pickle", "older pickle", "script"])
def test_no_format_of_ase_runs_what_is_in_a_file(
    kind, tmp_path, record_property, monkeypatch, ended
):
    canary, tried = tmp_path / "canary", 0
    content = {
        "pickle": pickle.dumps(Evil(canary)),
        "older pickle": pickle.dumps(Evil(canary), 0),
        "script": f"__import__('os').mkdir({str(canary)!r})\n".encode(),
    }[kind]
    monkeypatch.chdir(tmp_path)  # names that begin in some ways are addresses to ASE
    names = [*(f"x.{ending}" for ending in ENDINGS), *NAMES, "postgresql", "mysql.xyz",
             "postgres:a@b", "mariadb"]  # fmt: skip
    files = [*((name, content) for name in names), *(("x", magic + content) for magic in MAGIC)]
    for name, held in files:
        (tmp_path / name).write_bytes(held)
        ended(2.0)
        with contextlib.suppress(StructureError):  # some formats take anything
            read(str(Path(name)))
        ended(0)
        assert not canary.exists()
        (tmp_path / name).unlink()
        tried += 1
    record_property("tried", tried)


@pytest.mark.parametrize("name", ["x.mysql", "x.postgresql"])
def test_servers_are_not_asked(name, tmp_path):
    (tmp_path / name).write_text("x")
    with pytest.raises(StructureError, match=r"the address of a (mysql|postgresql) server"):
        read(str(tmp_path / name))


def test_other_programs_are_not_started(tmp_path):
    (tmp_path / "x.cell").write_text("%BLOCK lattice_abc\n")
    with pytest.raises(StructureError, match="by starting castep"):
        read(str(tmp_path / "x.cell"))


@pytest.mark.parametrize("name", ["postgres_data.extxyz", "mysql.extxyz", "mariadb"])
def test_a_file_that_is_called_like_one_is_read(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Atoms("Na").write(name, format="extxyz")
    if "." in name:
        assert len(read(name)) == 1


PACKERS = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}


@pytest.mark.parametrize("ending", PACKERS)
@pytest.mark.parametrize("name", ["x.extxyz", "x.cif", "POSCAR"])
def test_a_file_that_unpacks_to_far_more_is_refused(ending, name, tmp_path, monkeypatch):
    monkeypatch.setattr(guard, "MOST_UNPACKED", 1 << 20)
    path = tmp_path / f"{name}.{ending}"
    path.write_bytes(PACKERS[ending](b"9\n" + b" " * (1 << 24)))
    with pytest.raises(StructureError, match="unpacks to more than"):
        read(str(path))


@pytest.mark.parametrize("ending", PACKERS)
def test_structures_that_repeat_are_read(ending, tmp_path):
    """They compress well, to less than a hundredth."""
    path = tmp_path / f"x.extxyz.{ending}"
    frame = b'2\nLattice="5 0 0 0 5 0 0 0 5"\nNa 0 0 0\nCl 2.5 0 0\n'
    path.write_bytes(PACKERS[ending](frame * 300))
    assert len(read(str(path))) == 300
