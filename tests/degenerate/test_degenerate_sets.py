"""Sets of structures of which something is missing: a result, or one line that says what is."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

import mpprobe
from degenerate.planted import Planted, labelled, salts
from mpprobe.activations.evaluate import evaluate
from mpprobe.attribution.study import make_attribution
from mpprobe.errors import MPProbeError
from mpprobe.explain import by_domain, force_errors
from mpprobe.explain.study import make_explaining
from mpprobe.interventions import make_erasing, make_steering
from mpprobe.probes.duplicates import kept_together
from mpprobe.probes.sources import CHOSEN, RANDOM_DIRECTION, SHUFFLED, WITH_LAYER, WITH_RANDOM
from mpprobe.report.attribution import write_attribution
from mpprobe.report.domains import write_force_errors
from mpprobe.report.erasing import write_erasing
from mpprobe.report.explaining import write_explained
from mpprobe.report.files import write_study
from mpprobe.report.steering import write_steered
from mpprobe.report.terminal import study_tables

QUICK = mpprobe.Settings(n_resamples=100, n_assignments=1, random_seeds=1)


def relabelled(frames, **labels):
    """Copies with labels that functions of number and frame give."""
    return [
        replace(frame, **{name: make(k, frame) for name, make in labels.items()})
        for k, frame in enumerate(frames)
    ]


def with_atoms(frames, change):
    """Copies whose atoms a function of number and atoms has changed."""
    made = []
    for k, frame in enumerate(frames):
        atoms = frame.atoms.copy()
        atoms.calc = frame.atoms.calc
        made.append(replace(frame, atoms=change(k, atoms)))
    return made


def of_one_species(k, atoms):
    atoms.numbers[:] = 11
    return atoms


def with_forces(k, atoms, forces):
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0, forces=forces)
    return atoms


def one_atom_cells(n=12):
    rng = np.random.default_rng(0)
    frames = []
    for k in range(n):
        name = ("Na", "K")[k % 2]
        atoms = bulk(name, "bcc", a=3.5 + 0.1 * rng.random())
        atoms.info |= {"compound": name, "domain": ("bulk", "surface")[k // 2 % 2]}
        frames.append(labelled(atoms, f"one@{k}", rng))
    return frames


def with_an_isolated_atom(frames):
    rng = np.random.default_rng(0)
    return [
        replace(labelled(cluster(frame.atoms), frame.source, rng), domain=frame.domain)
        for frame in frames
    ]


def cluster(atoms):
    return Atoms(atoms.numbers, atoms.positions) + Atoms("Na", [[30, 30, 30]])


BASE, THREE = salts(), salts(8, ("NaCl", "KF", "KCl"))
SETS = {
    "one species": with_atoms(BASE, of_one_species),
    "one compound": relabelled(BASE, compound=lambda k, f: "salt"),
    "each its own compound": relabelled(BASE, compound=lambda k, f: f"salt {k}"),
    "one group": relabelled(BASE, group=lambda k, f: "all"),
    "two groups": relabelled(BASE, group=lambda k, f: f"g{k % 2}"),
    "three groups": relabelled(BASE, group=lambda k, f: f"g{k % 3}"),
    "a group of nearly all": relabelled(BASE, group=lambda k, f: "most" if k > 2 else f"s{k}"),
    "one structure": BASE[:1],
    "two structures": BASE[:2],
    "two structures, again and again": [
        replace(BASE[k % 2], source=f"copy@{k}", group=f"copy@{k}") for k in range(12)
    ],
    "one atom a cell": one_atom_cells(),
    "an atom on its own": with_an_isolated_atom(BASE),
    "all in domain": relabelled(BASE, domain=lambda k, f: "bulk"),
    "none in domain": relabelled(BASE, domain=lambda k, f: "melt"),
    "one out of domain": relabelled(BASE, domain=lambda k, f: "melt" if k == 3 else "bulk"),
    "a species only out of domain": relabelled(
        THREE, domain=lambda k, f: "melt" if f.compound == "KF" else "bulk"
    ),
    "perfect crystals": [
        replace(f, atoms=labelled(bulk(f.compound, "rocksalt", a=5.5, cubic=True), f.source,
                                  np.random.default_rng(k)).atoms)
        for k, f in enumerate(THREE)
    ],
    "no force anywhere": with_atoms(
        THREE, lambda k, atoms: with_forces(k, atoms, np.zeros((len(atoms), 3)))
    ),
    "forces that are the model's": with_atoms(
        THREE,
        lambda k, atoms: with_forces(k, atoms, next(evaluate(Planted(), [THREE[k]]))[1]),
    ),
}  # fmt: skip

FEW = "needs at least 2 groups to hold out, got 1"
LITTLE = "too little is left to choose the penalty by"
SHARED = "every structure out of domain shares its group with one in domain"
#: What is refused, and what the line says; all else gives a result.
REFUSED = {
    ("one group", "probe"): FEW,
    ("one group", "erase"): FEW,
    ("one group", "explain"): FEW,
    ("one group", "attribute"): "give structures of two groups or more",
    ("two groups", "probe"): LITTLE,
    ("two groups", "erase"): LITTLE,
    ("two groups", "explain"): LITTLE,
    ("one structure", "probe"): FEW,
    ("one structure", "erase"): FEW,
    ("one structure", "explain"): "every structure is in domain",
    ("one structure", "attribute"): "give structures of two groups or more",
    ("two structures", "probe"): LITTLE,
    ("two structures", "erase"): LITTLE,
    ("two structures", "explain"): "every structure is in domain",
    ("two structures, again and again", "probe"): LITTLE,  # copies are kept together
    ("two structures, again and again", "erase"): LITTLE,
    ("two structures, again and again", "explain"): "every structure is in domain",
    ("all in domain", "explain"): "every structure is in domain",
    ("none in domain", "explain"): "no structure is in domain",
    ("one species", "erase"): "no feature is correlated|doesn't vary",
    ("one atom a cell", "probe"): "target 'field' is the same for every atom",
    ("perfect crystals", "probe"): "target 'field' is the same for every atom",
    ("perfect crystals", "erase"): "doesn't vary on these structures",
    ("perfect crystals", "steer"): "a probe reads nothing there",
    ("perfect crystals", "explain"): SHARED,  # which are copies
    ("three groups", "explain"): SHARED,
    **{
        (name, "explain"): "give 50 atoms of 3 compounds or more"
        for name in ("one species", "one compound", "a group of nearly all",
                     "one atom a cell", "an atom on its own", "one out of domain")
    },
}  # fmt: skip


def probe(frames, folder):
    study = mpprobe.probe(Planted(), frames, targets=["potential", "field"], settings=QUICK)
    list(study_tables(study, by_domain=True))
    write_study(study, folder / "out")
    kept, _ = kept_together(study.frames, Planted().cutoff)
    check_intervals(study.scores, kept)
    return {"scores": study.scores, "differences": study.differences,
            "conditional": study.conditional}  # fmt: skip


def check_intervals(scores, frames):
    """An interval is there where five groups are, and only there; never of no width by chance."""
    for _, row in scores.iterrows():
        own = {f.group for f in frames if row["subset"] in ("all", f.domain)}
        assert row["n_units"] == len(own)
        for name in ("r2", "r2_within", "mae"):
            known = np.isfinite([row[f"{name}_low"], row[f"{name}_high"]])
            assert known.all() == (len(own) >= 5 and np.isfinite(row[name])), (row, name)
        main_only = row["features"] in MAIN_ONLY
        assert np.isfinite(row["mae"]) != main_only
        assert np.isfinite(row["r2_within"]) or row["l"] == 1 or main_only or np.isfinite(row["r2"])


def erase(frames, folder):
    found = make_erasing(Planted(), frames, layers="all", settings=QUICK).run()
    write_erasing(found, folder / "out")
    assert found.erasures[found.erasures["edit"] == "target"]["r2_after"].max() < 1e-6
    return {"summary": found.summary, "erasures": found.erasures}


def steer(frames, folder):
    found = make_steering(Planted(), frames, layer=2, settings=QUICK).run()
    write_steered(found, folder / "out")
    return {"summary": found.summary, "distances": found.distances}


def ood(frames, folder):
    errors = force_errors(Planted(), frames)
    summary = by_domain(errors, n_resamples=100)
    write_force_errors(errors, summary, folder / "out")
    return {"structures": errors.structures, "summary": summary}


def attribute(frames, folder):
    plan = make_attribution(Planted(), frames[0], "potential:0", 1, train=frames, read=2)
    found = plan.run()
    write_attribution(found, folder / "out")
    return {"atoms": found.atoms, "channels": found.channels}


def explain(frames, folder):
    found = make_explaining(
        Planted(), frames, targets=["potential", "field"], draws=20, settings=QUICK
    ).run()
    write_explained(found, folder / "out")
    return {"effects": found.effects}


#: Controls whose main score alone is given, and within kinds there may be none.
MAIN_ONLY = {SHUFFLED, RANDOM_DIRECTION, CHOSEN, WITH_LAYER, WITH_RANDOM}
COMMANDS = ("probe", "erase", "steer", "ood", "attribute", "explain")


def cases():
    """Every command on every set; those that take longer than a second or so are slow."""
    for command, name in itertools.product(COMMANDS, SETS):
        quick = command in ("ood", "attribute") or (name, command) in REFUSED
        marks = () if quick and command != "explain" else pytest.mark.slow
        yield pytest.param(command, name, marks=marks, id=f"{command}: {name}")


@pytest.mark.parametrize(("command", "name"), list(cases()))
def test_a_result_or_one_line(command, name, tmp_path):
    refused = REFUSED.get((name, command))
    call = globals()[command]
    if refused is None:
        for table in call(SETS[name], tmp_path).values():
            assert not np.isinf(table.select_dtypes("number").astype(float)).to_numpy().any()
        return
    with pytest.raises(MPProbeError) as caught:
        call(SETS[name], tmp_path)
    assert re.search(refused, str(caught.value))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
