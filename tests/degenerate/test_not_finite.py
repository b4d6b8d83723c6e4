"""NaN and infinity are named with structure and layer, whatever the command they come up in."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase.calculators.singlepoint import SinglePointCalculator

import mpprobe
from degenerate.planted import Planted, salts
from explain.pair_sets import chain, pair_set
from mpprobe.activations.evaluate import Evaluator
from mpprobe.attribution import (
    SiteEnergy,
    attribute,
    conductance,
    energy_lens,
    influence,
    influence_through,
)
from mpprobe.attribution.study import make_attribution
from mpprobe.errors import MPProbeError, StructureError
from mpprobe.explain import encoding_errors, force_errors, nonlocal_forces
from mpprobe.explain.study import make_explaining
from mpprobe.interventions import make_erasing, make_steering
from mpprobe.response import force_constants, make_response, pair_shares

QUICK = mpprobe.Settings(n_resamples=100, n_assignments=1, random_seeds=1)
LAYER = 2


@pytest.fixture(scope="module")
def frames():
    return salts(8, ("NaCl", "KF", "KCl"))


@pytest.fixture(scope="module")
def spoilt(frames):
    """The first feature of layer 2 above which it is spoilt; structure and atom of the first."""
    acts = mpprobe.extract(Planted(), frames, layers=LAYER)
    first = acts[LAYER].values[:, 0]
    level = first[: 2 * len(frames[0])].max() + 1e-6
    row = int((first > level).argmax())
    assert row > 2 * len(frames[0])  # not in the first structures
    return level, acts.rows.frame[row], acts.rows.atom[row]


def bad(value, level):
    return Planted({LAYER: lambda x: torch.where(x[:, :1] > level, value * x.abs(), x)})


COMMANDS = {
    "probe": lambda p, f: mpprobe.probe(p, f, settings=QUICK),
    "extract": lambda p, f: mpprobe.extract(p, f),
    "ood": lambda p, f: force_errors(p, f),
    "erase": lambda p, f: make_erasing(p, f, layers=1, settings=QUICK).run(),
    "steer": lambda p, f: make_steering(p, f, layer=1, settings=QUICK).run(),
    "explain": lambda p, f: make_explaining(p, f, draws=20, settings=QUICK).run(),
    "encoding": lambda p, f: encoding_errors(p, f, settings=QUICK),
    "lens": lambda p, f: energy_lens(p, f, settings=QUICK),
}
ONE_STRUCTURE = {
    "attribute energy": lambda p, f: make_attribution(p, f, "energy", 1).run(),
    "attribute map": lambda p, f: attribute(p, f, SiteEnergy(0), 1),
    "attribute force": lambda p, f: make_attribution(p, f, "force:0:x", 2).run(),
    "conductance": lambda p, f: conductance(p, f, SiteEnergy(0), 1),
    "influence": lambda p, f: influence(p, f, SiteEnergy),
    "influence through": lambda p, f: influence_through(p, f, SiteEnergy(0), 1),
    "response": lambda p, f: make_response(p, f, nearest=2.0, settings=QUICK).run(),
    "force constants": lambda p, f: force_constants(p, f),
    "pair shares": lambda p, f: pair_shares(p, f, [(0, 1)], np.eye(3)[:1]),
    "patch": lambda p, f: mpprobe.patch(p, f, f, layer=1, atoms=[0]),
}


@pytest.mark.parametrize("value", [np.nan, np.inf], ids=["nan", "inf"])
@pytest.mark.parametrize("command", COMMANDS)
def test_the_structure_and_layer_of_bad_features_are_named(command, value, frames, spoilt):
    with pytest.raises(MPProbeError) as caught:
        COMMANDS[command](bad(value, spoilt[0]), frames)
    check_message(str(caught.value), frames[spoilt[1]].source, spoilt[2])


@pytest.mark.parametrize("value", [np.nan, np.inf], ids=["nan", "inf"])
@pytest.mark.parametrize("command", ONE_STRUCTURE)
def test_the_layer_is_named_where_there_is_one_structure(command, value, frames, spoilt):
    frame = frames[spoilt[1]]
    with pytest.raises(MPProbeError) as caught:
        ONE_STRUCTURE[command](bad(value, spoilt[0]), frame)
    check_message(str(caught.value), frame.source, spoilt[2])


def check_message(said, source, atom):
    assert said.startswith(f"{source}: "), said
    assert f"layer {LAYER} " in said
    assert f"atom {atom}" in said
    assert "\n" not in said


def test_an_edit_that_spoils_is_named(frames):
    with pytest.raises(MPProbeError, match=r"made@0: .*from the edited layer 1 on \(atom 0\)"):
        Evaluator(Planted(), frames).run({1: lambda x: x / 0.0})


def test_what_goes_wrong_after_the_last_layer_is_said(frames):
    potential = Planted()
    potential.scalar = potential.scalar * np.inf
    with pytest.raises(MPProbeError, match=r"made@0: .*the node features of every layer are"):
        force_errors(potential, frames)


@pytest.mark.parametrize("fast", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize("command", ["extract", "ood", "erase", "response", "attribute"])
def test_one_weight_of_a_real_model(command, fast, ionic_cells):
    potential = mpprobe.load("sevenn-0", fast=fast)
    weight = potential.module.get_parameter("2_self_interaction_2.linear.weight")
    weight.data[0] = np.nan
    cells = [atoms.copy() for atoms in ionic_cells[:2] * 2]
    for k, atoms in enumerate(cells):
        atoms.rattle(0.1, seed=k)  # copies would be one to a split
        atoms.calc = SinglePointCalculator(atoms, forces=np.zeros((len(atoms), 3)))
        atoms.arrays["charge_formal"] = np.where(atoms.numbers == 11, 1.0, -1.0)
    work = {
        "extract": lambda: mpprobe.extract(potential, cells),
        "ood": lambda: force_errors(potential, cells),
        "erase": lambda: make_erasing(potential, cells, layers=1, settings=QUICK).run(),
        "response": lambda: make_response(potential, cells[0], nearest=3.0, settings=QUICK).run(),
        "attribute": lambda: make_attribution(potential, cells[0], "energy", 1).run(),
    }[command]
    with pytest.raises(MPProbeError, match=r"structure@0: .*layer 3 .*atom 0"):
        work()


@pytest.mark.parametrize("value", [np.nan, np.inf], ids=["nan", "inf"])
@pytest.mark.parametrize("command", ["ood", "erase", "steer", "explain", "nonlocal"])
def test_bad_reference_forces_are_named(command, value, frames):
    if command == "nonlocal":
        images = pair_set(chain(), [((0, 0),), ((1, 0),)])
        images[2].calc.results["forces"][3, 1] = value
        with pytest.raises(StructureError, match=r"structure@2: .*finite"):
            nonlocal_forces(Planted(), images, charges="formal")
        return
    given = list(frames)
    atoms = given[3].atoms.copy()
    forces = given[3].atoms.get_forces()
    forces[3, 1] = value
    atoms.calc = SinglePointCalculator(atoms, forces=forces)
    given[3] = replace(given[3], atoms=atoms)
    with pytest.raises(StructureError, match=r"made@3: .*finite"):
        COMMANDS[command](Planted(), given)
