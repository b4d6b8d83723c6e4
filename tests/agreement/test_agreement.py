"""One study of SevenNet-0 computed in many ways: every column agrees to the stated tolerances."""

from __future__ import annotations

import contextlib

import numpy as np
import pandas as pd
import pytest
import torch
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

import mpprobe
from mpprobe.explain import by_domain, force_errors
from mpprobe.interventions import make_erasing
from mpprobe.interventions.erasing import RANDOM
from mpprobe.response import make_response
from mpprobe.structures import Frame
from tolerances import TOLERANCES

SETTINGS = mpprobe.Settings(n_resamples=100)
LAYERS = [1, 3]


@pytest.fixture(scope="module")
def frames():
    """Twelve small clusters and strained crystals of as many compounds, with made-up forces."""
    rng, found = np.random.default_rng(0), []
    for frame in mpprobe.read("ionic:strained,cluster"):
        if len(frame) >= 20 or len(found) == 12:
            continue
        atoms = frame.atoms.copy()
        forces = rng.normal(size=(len(atoms), 3))
        atoms.calc = SinglePointCalculator(atoms, energy=-3.0 * len(atoms), forces=forces)
        found.append(Frame.from_atoms(atoms, frame.source))
    return found


@contextlib.contextmanager
def threads(n):
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def probe(potential, frames, max_atoms=None):
    study = mpprobe.probe(
        potential, frames, layers=LAYERS, targets=["potential", "field"],
        splits=["structure", "compound"], settings=SETTINGS, max_atoms=max_atoms,
    )  # fmt: skip
    return {"scores": study.scores, "differences": study.differences}


def ood(potential, frames, max_atoms=None):
    errors = force_errors(potential, frames, max_atoms=max_atoms)
    return {"structures": errors.structures, "domains": by_domain(errors, n_resamples=100)}


def erase(potential, frames, max_atoms=None):
    """Without what hangs on the draw of subspaces in the eigenbasis of the features."""
    plan = make_erasing(potential, frames, layers=2, random_weights=False, settings=SETTINGS)
    found = plan.run(max_atoms=max_atoms)
    effects = found.effects[found.effects["edit"] != RANDOM].drop(columns="draw")
    return {"effects": effects, "erasures": found.erasures, "decoding": found.decoding}


def response(potential, frames, max_atoms=None):
    """Of one crystal, which is one batch whatever its limit."""
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    atoms.rattle(0.1, seed=1)
    atoms.arrays["charge_formal"] = np.where(atoms.numbers == 11, 1.0, -1.0)
    plan = make_response(
        potential, atoms, atoms=[0, 1], nearest=2.5, random_weights=False, settings=SETTINGS
    )
    return {"pairs": plan.run().pairs}


COMMANDS = {"probe": probe, "ood": ood, "erase": erase, "response": response}
ALL = [pytest.param(c, marks=pytest.mark.slow) if c in ("probe", "erase") else c for c in COMMANDS]


@pytest.fixture(scope="module")
def usual(sevenn_0, frames):
    """What each command gives as it is called by default, with two threads."""
    kept = {}

    def found(command):
        if command not in kept:
            with threads(2):
                kept[command] = COMMANDS[command](sevenn_0, frames)
        return kept[command]

    return found


def furthest(one, other, tolerance):
    """How far tables are apart, in tolerances: (what, where) at most one where they agree."""
    worst = (0.0, "")
    n = 0
    for name, table in one.items():
        pd.testing.assert_frame_equal(
            table.select_dtypes(exclude="number"), other[name].select_dtypes(exclude="number")
        )
        for column in table.select_dtypes("number"):
            a, b = (t[column].to_numpy(float) for t in (table, other[name]))
            assert (np.isnan(a) == np.isnan(b)).all(), f"{name}: {column}"
            apart = np.nan_to_num(np.abs(a - b))
            bound = tolerance.absolute + tolerance.relative * np.nan_to_num(np.abs(a))
            worst = max(worst, (float((apart / bound).max()), f"{name}: {column}"))
            n += len(a)
    return worst, n


def check(record, before, after, tolerance):
    (worst, where), n = furthest(before, after, TOLERANCES[tolerance])
    record("tried", n)
    record("furthest", f"{worst:.2g} of the tolerance at {where}")
    assert worst <= 1, (worst, where)


@pytest.mark.parametrize("command", ALL)
@pytest.mark.parametrize("max_atoms", [1, 40, 100_000])
def test_batches(command, max_atoms, sevenn_0, frames, usual, record_property):
    with threads(2):
        found = COMMANDS[command](sevenn_0, frames, max_atoms)
    check(record_property, usual(command), found, "batches, threads, workers")


@pytest.mark.parametrize("command", ALL)
def test_one_thread(command, sevenn_0, frames, usual, record_property):
    with threads(1):
        found = COMMANDS[command](sevenn_0, frames)
    check(record_property, usual(command), found, "batches, threads, workers")


@pytest.mark.parametrize("command", ALL)
def test_the_plain_path(command, frames, usual, record_property):
    plain = mpprobe.load("sevenn-0", fast=False)
    check(record_property, usual(command), COMMANDS[command](plain, frames), "fused or plain path")


@pytest.mark.parametrize("command", ALL)
def test_float64(command, frames, usual, record_property):
    exact = mpprobe.load("sevenn-0", dtype="float64")
    found = COMMANDS[command](exact, frames)
    check(record_property, usual(command), found, "float32 or float64")


@pytest.mark.slow
def test_a_store(sevenn_0, frames, usual, record_property, tmp_path):
    store = mpprobe.Store.create(tmp_path, sevenn_0, frames, [0, *LAYERS], max_atoms=30)
    store.extract(sevenn_0)
    study = mpprobe.probe(
        store, layers=LAYERS, targets=["potential", "field"], splits=["structure", "compound"],
        settings=SETTINGS,
    )  # fmt: skip
    found = {"scores": study.scores, "differences": study.differences}
    check(record_property, usual("probe"), found, "store")


@pytest.mark.gpu
@pytest.mark.parametrize("command", ALL)
def test_cuda(command, frames, usual, record_property):
    found = COMMANDS[command](mpprobe.load("sevenn-0", device="cuda"), frames)
    check(record_property, usual(command), found, "CPU or CUDA")


class TestWhatIsWrongIsSeen:
    """The widest of these tolerances is narrow enough to tell another model from this one."""

    widest = TOLERANCES["float32 or float64"]

    @pytest.mark.parametrize("command", ALL)
    def test_a_layer_changed_by_a_hundredth(self, command, frames, usual):
        other = mpprobe.load("sevenn-0", fast=False)
        other.module.get_parameter("0_self_interaction_2.linear.weight").data *= 1.01
        found = COMMANDS[command](other, frames)
        assert furthest(usual(command), found, self.widest)[0][0] > 10

    @pytest.mark.slow
    def test_another_seed_of_random_weights(self, frames):
        tables = [ood(mpprobe.load(f"random:sevenn-0:{k}"), frames) for k in range(2)]
        for table in (t for pair in tables for t in pair.values()):
            table["model"] = "random"
        assert furthest(*tables, self.widest)[0][0] > 100
