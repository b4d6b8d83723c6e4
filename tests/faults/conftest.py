"""Small input for every command, and the process that runs them with faults."""

from __future__ import annotations

import os
import shutil
import subprocess

import ase.io
import pytest
import yaml

import mpprobe
from faults.commands import Faults, empty_disk
from mpprobe.structures.read import stratified


@pytest.fixture(scope="session")
def small_file(tmp_path_factory):
    """Twelve structures of at most twelve atoms with reference forces, of three domains."""
    frames = stratified([frame for frame in mpprobe.read("dft") if len(frame) <= 12], 12)
    file = tmp_path_factory.mktemp("input") / "small.extxyz"
    ase.io.write(file, [frame.atoms for frame in frames])
    return file


@pytest.fixture(scope="session")
def faults(small_file):
    """The process that runs commands, with faults or without."""
    if not hasattr(os, "fork"):
        pytest.skip("needs POSIX processes")
    runner = Faults({"FILE": [str(small_file)]})
    yield runner
    runner.close()


@pytest.fixture(scope="session")
def made(faults, tmp_path_factory):
    """What other commands take: parts of a store, a store, results, a sweep, and a study."""
    folder = tmp_path_factory.mktemp("made")

    def make(command, name, *more):
        ended = faults.run(command, folder / name, *more)
        assert ended.code == 0, ended.said
        return str(folder / name / "out")

    parts = [make("extract", f"part-{k}", "--n-shards", "2", "--shard-index", str(k))
             for k in range(2)]  # fmt: skip
    study = folder / "study.yaml"
    steps = [{"extract": {"layer": [1], "random-seeds": 0, "max-atoms": 24}}, {"ood": {}}]
    shared = {"model": "sevenn-0", "device": "cpu", "structures": faults.files["FILE"][0],
              "resamples": 100}  # fmt: skip
    study.write_text(yaml.safe_dump({"steps": steps, "shared": shared, "output": "out"}))
    faults.files |= {"PARTS": parts, "STUDY": [str(study)]}
    faults.files |= {"STORE": [make("merge", "store")], "RUN": [make("ood", "run")]}
    return faults


@pytest.fixture(scope="session")
def swept(made, tmp_path_factory):
    """Besides, the folder of a sweep of toys, which takes a while."""
    folder = tmp_path_factory.mktemp("swept")
    ended = made.run("toy sweep", folder)
    assert ended.code == 0, ended.said
    made.files["SWEEP"] = [str(folder / "out")]
    return made


@pytest.fixture
def disk(tmp_path):
    """Mount a disk of a given size, for this test only."""
    mounted = []

    def mount(size):
        path = tmp_path / f"disk-{len(mounted)}"
        if os.name != "posix" or not shutil.which("mount") or not empty_disk(path, size):
            pytest.skip("this user may mount no disk")
        mounted.append(path)
        return path

    yield mount
    for path in mounted:
        subprocess.run(["umount", "-l", path], check=True)
