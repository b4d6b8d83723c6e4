"""Errors of what is decoded beside errors of forces, on a model whose features are known."""

from __future__ import annotations

import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator

import mpprobe
from interventions.toy import Toy, rattled
from mpprobe.errors import ProbeError, StructureError
from mpprobe.explain import encoding_errors
from mpprobe.explain.encoding import TARGETS

A, B = np.array([1.0, -0.5, 0.3, 0.2, -0.8, 0.4]), np.array([0.7, -0.4, 0.2, 0.1])
SETTINGS = mpprobe.Settings(in_domain=("bulk",))


@pytest.fixture(scope="module")
def toy():
    return Toy(A, B)


@pytest.fixture(scope="module")
def frames(toy):
    """Crystals in domain and slabs out of it; the reference is 0.1 eV/Å off along x."""
    made = []
    for frame in rattled(16):
        atoms = frame.atoms.copy()
        output = toy.run(toy.batch(frame), [1], forces=True)
        x = output.features[1].numpy()
        atoms.arrays["known"] = x[:, :6] @ A
        atoms.arrays["unknown"] = np.random.default_rng(len(made)).normal(size=len(atoms))
        atoms.arrays["along"] = x[:, 6:].reshape(len(x), 4, 3)[:, 1]
        forces = output.forces.numpy() + np.array([0.1, 0, 0])
        atoms.calc = SinglePointCalculator(atoms, forces=forces)
        made.append(mpprobe.Frame.from_atoms(atoms, frame.source))
    return made


@pytest.fixture(scope="module")
def found(toy, frames):
    targets = ["array:known", "array:unknown", "array:along"]
    return encoding_errors(toy, frames, targets=targets, settings=SETTINGS)


def test_what_the_features_hold_is_decoded_out_of_domain_too(found, frames):
    atoms = found.atoms
    assert len(atoms) == sum(map(len, frames))
    spread = np.std(np.concatenate([f.atoms.arrays["known"] for f in frames]))
    for inside in (True, False):
        own = atoms[atoms["in_domain"] == inside]
        assert own["error:array:known"].max() < 1e-3 * spread
        assert own["error:array:along"].max() < 1e-3
        assert own["error:array:unknown"].mean() > 0.5
    layers = found.layers[found.layers["model"] == "trained"].set_index("target")
    assert (layers["layer"] == 1).all()
    assert layers.loc["array:known", "r2"] > 0.999
    assert layers.loc["array:unknown", "r2"] < 0.3


def test_force_errors_are_those_of_the_reference(found, frames):
    np.testing.assert_allclose(found.atoms["force_error"], 0.1)
    reference = np.concatenate([f.atoms.get_forces() for f in frames])
    np.testing.assert_allclose(found.atoms["force"], np.linalg.norm(reference, axis=1))
    assert set(found.atoms["domain"]) == {"bulk", "surface"}


def test_slabs_are_farther_from_the_cloud_of_crystals(found):
    distance = found.atoms.groupby("in_domain")["distance"].median()
    assert np.isfinite(found.atoms["distance"]).all()
    assert distance[False] > 2 * distance[True]


def test_an_atom_is_not_its_own_neighbour(toy, frames):
    """Twins of one group count no more than if they weren't there."""
    twins = [*frames, *(mpprobe.Frame(f.atoms, f"{f.source}'", f.compound, f.domain, f.group)
                        for f in frames)]  # fmt: skip
    once, twice = (
        encoding_errors(toy, given, targets=["array:known"], settings=SETTINGS).atoms["distance"]
        for given in (frames, twins)
    )
    inside = np.concatenate([np.full(len(f), f.domain == "bulk") for f in frames])
    assert twice[: len(once)][inside].min() > 0
    # Twins of others do count, so that of five neighbours some are pairs: nearer, not at zero.
    assert (twice[: len(once)][inside] <= once[inside] + 1e-9).all()


def test_a_real_model(frames):
    potential = mpprobe.load("sevenn-0")
    found = encoding_errors(potential, frames[:10], settings=SETTINGS)
    assert list(found.layers["target"]) == ["potential", "charge:eeq", "field"] * 2
    assert found.layers["layer"].between(1, 5).all()
    columns = [f"{kind}:{target}" for kind in ("error", "control") for target in TARGETS]
    values = found.atoms[["force_error", "distance", *columns]]
    assert np.isfinite(values.to_numpy()).all()
    assert (found.atoms["error:field"] != found.atoms["control:field"]).all()


def test_random_weights_can_be_left_out(toy, frames):
    found = encoding_errors(toy, frames, targets=["array:known"], settings=SETTINGS,
                            random_weights=False)  # fmt: skip
    assert set(found.layers["model"]) == {"trained"}
    assert not [c for c in found.atoms.columns if c.startswith("control:")]


class TestRefusals:
    def test_nothing_in_domain(self, toy, frames):
        outside = [f for f in frames if f.domain != "bulk"]
        with pytest.raises(ProbeError, match="no structure is in domain"):
            encoding_errors(toy, outside, targets=["array:known"], settings=SETTINGS)

    def test_no_target(self, toy, frames):
        with pytest.raises(ProbeError, match="at least one target"):
            encoding_errors(toy, frames, targets=[])

    def test_no_reference(self, toy):
        with pytest.raises(StructureError, match="no reference forces"):
            encoding_errors(toy, rattled(4), targets=["potential"])
