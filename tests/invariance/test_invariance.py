"""No command's numbers depend on how its structures are turned, numbered, shifted or cut out."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

import mpprobe
from explain.pair_sets import pair_set
from invariance.commands import COMMANDS
from invariance.transformations import TRANSFORMATIONS, as_it_is
from mpprobe.structures import Frame
from tolerances import TOLERANCES

MODELS = ("small MACE", "sevenn-0")
MAGNIFIED = "any of these five, magnified"
#: Commands that take no time, and those that take most.
SHORT, LONG = ("extract", "ood", "nonlocal"), ("explain", "response")
#: Commands that fit maps of whole layers to parts of the structures.
FITTED = ("probe", "erase", "attribute", "explain")


#: Compounds and their lattice constants, Å: those whose species both models know, and more.
COMMON = {"NaCl": 5.6, "MgO": 4.3, "NaO": 4.9}
MORE = {"NaCl": 5.6, "MgO": 4.3, "LiF": 4.1, "CaO": 4.9, "KCl": 6.3}


def crystals(n, compounds):
    """Rattled crystals, slabs and clusters, in which nothing is symmetric."""
    rng, frames = np.random.default_rng(0), []
    for k, (name, a) in zip(range(n), itertools.cycle(compounds.items()), strict=False):
        atoms = bulk(name, "rocksalt", a=a, cubic=True)
        atoms.positions += rng.normal(scale=0.15, size=atoms.positions.shape)
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.03 * rng.normal(size=(3, 3))))
        atoms.pbc = (True, True, k % 4 != 1)
        if k % 4 == 3:
            atoms.pbc, atoms.cell[:] = False, 0.0
        anions = np.isin(atoms.numbers, (8, 9, 17))
        atoms.arrays["charge_formal"] = np.where(anions, -1.0, 1.0)
        atoms.calc = SinglePointCalculator(
            atoms, energy=-3.0 * len(atoms) + rng.normal(),
            forces=rng.normal(size=(len(atoms), 3)),
        )  # fmt: skip
        atoms.info |= {"compound": name, "domain": "bulk" if k % 2 == 0 else "other"}
        frames.append(Frame.from_atoms(atoms, f"made@{k}"))
    return frames


def pairs():
    """A crystal at the edges of its cell, with one atom or two displaced."""
    host = bulk("NaCl", "rocksalt", a=5.64, cubic=True).repeat((3, 1, 1))
    host.positions += np.random.default_rng(1).normal(scale=0.05, size=host.positions.shape)
    host.arrays["charge_formal"] = np.where(host.numbers == 11, 1.0, -1.0)
    moves = [*(((i, k),) for i in (0, 9, 12) for k in (0, 1)), ((0, 0), (12, 0))]
    images = pair_set(host, moves, "slab")
    return [Frame.from_atoms(atoms, f"pairs@{k}") for k, atoms in enumerate(images)]


def given(model, command):
    """The structures; for fits so many that every part of a split has more atoms than features."""
    if command == "nonlocal":
        return pairs()
    if model == "sevenn-0" and command in FITTED:
        return crystals(45, MORE)
    return crystals(18 if command == "explain" else 12, COMMON)


@pytest.fixture(scope="module")
def potentials(mace_file):
    made = {}

    def potential(name):
        if name not in made:
            source = mace_file("8x0e+8x1o") if name == "small MACE" else name
            made[name] = mpprobe.load(source, dtype="float64", trust_checkpoint=True)
        return made[name]

    return potential


@pytest.fixture(scope="module")
def plain(potentials):
    """What each command gives for the structures as they are."""
    kept = {}

    def found(model, command):
        if (model, command) not in kept:
            described = as_it_is(given(model, command))
            kept[model, command] = COMMANDS[command](potentials(model), described)
        return kept[model, command]

    return found


def cases():
    """Every model, command and transformation; what takes longest is slow."""
    for model, command, change in itertools.product(MODELS, COMMANDS, TRANSFORMATIONS):
        quick = model == "small MACE" and (
            command in SHORT or (command not in LONG and change == "permutation")
        )
        yield pytest.param(model, command, change, marks=() if quick else pytest.mark.slow)


@pytest.mark.parametrize(("model", "command", "change"), list(cases()))
def test_only_the_description_changes(model, command, change, potentials, plain, record_property):
    before = plain(model, command)
    described = TRANSFORMATIONS[change](given(model, command))
    after = COMMANDS[command](potentials(model), described).back(described)
    kinds = ["same", "magnified", "atoms", "vectors"] + ["components"] * (change != "rotation")
    tried = 0
    for kind in kinds:
        named = MAGNIFIED if kind == "magnified" else change.replace("quarter turn", "rotation")
        tolerance = TOLERANCES[named]
        one, other = getattr(before, kind), getattr(after, kind)
        assert one.keys() == other.keys()
        for name, values in one.items():
            np.testing.assert_allclose(
                other[name], values, rtol=tolerance.relative, atol=tolerance.absolute,
                err_msg=f"{command}, {change}: {name}",
            )  # fmt: skip
            tried += np.size(values)
    assert tried
    record_property("tried", tried)
