"""What a probe reads of an atom, as a number to attribute: its weights are those within kinds."""

from __future__ import annotations

import numpy as np
import pytest

import mpprobe
from interventions.toy import SCALARS, Toy, salts
from mpprobe.activations.evaluate import Evaluator
from mpprobe.attribution import Decoded, attribute, fit_decoded
from mpprobe.errors import AttributionError
from mpprobe.probes.chosen import kinds
from mpprobe.probes.ridge import RidgeProbe

A, B = np.array([1.0, -0.5, 0.3, 0.2, -0.8, 0.4]), np.array([0.7, -0.4, 0.2, 0.1])
OF_KINDS = np.array([30.0, -20.0, 5.0, 70.0])


@pytest.fixture(scope="module")
def toy():
    return Toy(A, B)


@pytest.fixture(scope="module")
def x(toy):
    return Evaluator(toy, salts(14)).features([1])[1]


@pytest.fixture(scope="module")
def frames(x):
    found = salts(14)
    rng = np.random.default_rng(0)
    for frame, own in zip(found, np.split(x, 14), strict=True):
        noise = 0.1 * rng.normal(size=len(own))
        frame.atoms.arrays["noisy"] = own[:, :SCALARS] @ A + noise
    for frame, kind in zip(found, np.split(kinds(found), 14), strict=True):
        frame.atoms.arrays["moved"] = frame.atoms.arrays["noisy"] + OF_KINDS[kind]
    return found


@pytest.fixture(scope="module")
def read(toy, frames):
    return fit_decoded(toy, frames, "array:noisy", 3, 1)


def test_it_is_a_probe_within_kinds(x, frames, read):
    y = np.concatenate([f.atoms.arrays["noisy"] for f in frames])
    groups = np.unique([f.group for f in frames], return_inverse=True)[1]
    probe = RidgeProbe().partial_fit(
        x[:, :SCALARS], y[:, None], np.repeat(groups % 5, 8), kinds(frames)
    )
    np.testing.assert_allclose(read.weights[:SCALARS], probe.solve().coef[:, 0])
    np.testing.assert_array_equal(read.weights[SCALARS:], 0)
    assert (read.atom, read.layer, read.target) == (3, 1, "array:noisy")
    # The constants of the kinds are right in the mean.
    assert (x @ read.weights + read.intercept - y).mean() == pytest.approx(0, abs=1e-9)


def test_what_composition_tells_has_no_say(toy, frames, read):
    moved = fit_decoded(toy, frames, "array:moved", 3, 1)
    np.testing.assert_allclose(moved.weights, read.weights, atol=1e-9)
    assert moved.intercept != pytest.approx(read.intercept, abs=1)


def test_the_map_shares_it_out(toy, frames, read):
    found = attribute(toy, frames[0].atoms, read, 1, baseline="zero")
    own = toy.run(toy.batch(frames[0]), [1]).features[1].numpy()[3]
    np.testing.assert_allclose(found.values[3], read.weights * own, atol=1e-9)
    assert isinstance(read, Decoded)
    assert found.value == pytest.approx(read.weights @ own + read.intercept)


def test_one_group_is_refused(toy, frames):
    with pytest.raises(AttributionError, match="structures of two groups or more"):
        fit_decoded(toy, frames[:1], "array:noisy", 3, 1)


def test_the_penalty_is_chosen_by_groups_held_out(toy, frames):
    grouped = [mpprobe.Frame(f.atoms, f.source, f.compound, f.domain, "ab"[k % 2])
               for k, f in enumerate(frames)]  # fmt: skip
    two = fit_decoded(toy, grouped, "array:noisy", 3, 1)
    y = np.concatenate([f.atoms.arrays["noisy"] for f in frames])
    x = Evaluator(toy, frames).features([1])[1][:, :SCALARS]
    probe = RidgeProbe().partial_fit(x, y[:, None], np.repeat(np.arange(14) % 2, 8), kinds(frames))
    np.testing.assert_allclose(two.weights[:SCALARS], probe.solve().coef[:, 0])
