"""A study by Dask workers gives the table of this process, also where workers are killed."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
from pandas.testing import assert_frame_equal

import mpprobe
from mpprobe.errors import ProbeError, TargetError
from mpprobe.probes import Settings
from mpprobe.targets import registry

pytestmark = pytest.mark.slow  # workers start for a minute; test_executor.py has some by default

QUICK = Settings(n_resamples=100, n_assignments=2, random_seeds=2)
ASKED = {"targets": ["potential", "field"], "settings": QUICK, "max_atoms": 8}


@pytest.fixture(scope="module")
def few():
    """Twelve structures of what the small MACE models know."""
    frames = mpprobe.read("ionic:strained,cluster")
    return [f for f in frames if set(f.numbers) <= {8, 11, 12, 17}]


@pytest.fixture(scope="module")
def mace(mace_file):
    return mpprobe.load(mace_file("8x0e+8x1o"), trust_checkpoint=True)


@pytest.fixture(scope="module")
def here(mace, few):
    """The study in this process."""
    return mpprobe.probe(mace, few, **ASKED)


def assert_same(there, here, tolerance=1e-6):
    for table in ("scores", "differences", "conditional"):
        one, other = getattr(there, table), getattr(here, table)
        assert_frame_equal(one, other, rtol=tolerance, atol=tolerance)


@pytest.fixture(scope="module")
def store(mace, few, tmp_path_factory):
    """The features of the same structures on disk, in several shards."""
    store = mpprobe.Store.create(
        tmp_path_factory.mktemp("store"), mace, few, max_atoms=8, random_seeds=2
    )
    store.extract(mace)
    assert len(store.shards) > 3
    return store


def test_a_store_is_probed_by_workers_too(two_workers, store, here):
    assert_same(mpprobe.probe(store, **ASKED, executor=two_workers), here)


def test_killed_workers_change_nothing(two_workers, mace, few, here, tmp_path, capfd):
    """One is killed while features are computed, one while probes are fitted."""
    killed, last = [], {}

    def kill(what, done, total):
        last[what] = done, total
        stage = what.split()[0]
        if stage in ("node", "probing") and stage not in killed:
            killed.append(stage)
            os.kill(next(iter(two_workers.client.run(os.getpid).values())), signal.SIGKILL)

    there = mpprobe.probe(mace, few, **ASKED, executor=two_workers, folder=tmp_path, progress=kill)
    assert killed == ["node", "probing"]
    # A worker has one thread, in which the same float32 messages are summed in another order.
    assert_same(there, here, tolerance=1e-5)
    assert capfd.readouterr().err == ""
    n_atoms = sum(len(f) for f in few)
    assert last[f"node features of {mace.name}"] == (n_atoms, n_atoms)
    assert last["target field"] == (12, 12)
    assert list(tmp_path.iterdir()) == []


def test_a_users_own_target_goes_along(two_workers, store, monkeypatch):
    monkeypatch.setattr(registry, "_REGISTERED", {})

    @mpprobe.register_target("height", unit="Å")
    def height(frame, cutoff):
        return frame.atoms.positions[:, 2]

    both = [
        mpprobe.probe(store, layers=1, targets="height", settings=QUICK, **options)
        for options in ({}, {"executor": two_workers})
    ]
    assert_same(*both)


def test_what_a_structure_lacks_is_the_same_line(two_workers, mace, few):
    with pytest.raises(TargetError, match=r"\.xyz|ionic|extxyz") as error:
        mpprobe.probe(mace, few, targets="charge:dft", settings=QUICK, executor=two_workers)
    assert "\n" not in str(error.value)


def test_a_potential_that_workers_cannot_load_is_refused_before_any_work(two_workers, mace, few):
    def progress(*call):
        raise AssertionError("work has begun")

    stranger = mace.randomised(0)
    stranger.recipe = None
    with pytest.raises(ProbeError, match=r"workers can load only what mpprobe\.load gave"):
        mpprobe.probe(stranger, few, settings=QUICK, executor=two_workers, progress=progress)


class Blind:
    """Workers that don't see this machine's files."""

    in_process = False

    def map(self, function, items):
        return (False for _ in items)


def test_a_folder_that_workers_do_not_see_is_named(mace, few, tmp_path):
    with pytest.raises(ProbeError, match=rf"^{tmp_path}.*not every worker sees this folder"):
        mpprobe.probe(mace, few, settings=QUICK, executor=Blind(), folder=tmp_path)
    assert np.array_equal(list(tmp_path.iterdir()), [])
