"""Features of one structure in another: what must come over, and what can't."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import mpprobe
from interventions.toy import Toy, rattled
from mpprobe.activations.evaluate import Evaluator
from mpprobe.errors import InterventionError
from mpprobe.interventions import Patch, block_columns, block_rows, fit_erasure, patch
from mpprobe.interventions.erasing import RANDOM
from mpprobe.interventions.patch import EVERYTHING, SUBSPACE

A, B = np.array([1.0, -0.5, 0.3, 0.2, -0.8, 0.4]), np.array([0.7, -0.4, 0.2, 0.1])


@pytest.fixture(scope="module")
def frames():
    return rattled(8)


@pytest.fixture(scope="module")
def toy():
    return Toy(A, B)


def test_in_the_last_layer_the_whole_site_energy_comes_over(toy, frames):
    found = patch(toy, frames[0], frames[2], layer=1, atoms=[1, 4])
    own = found.atoms[found.atoms["patched"]]
    np.testing.assert_allclose(own["after"], own["source"])
    others = found.atoms[~found.atoms["patched"]]
    np.testing.assert_allclose(others["after"], others["into"])
    (row,) = found.summary.to_dict("records")
    assert row["patch"] == EVERYTHING
    assert row["share"] == pytest.approx(1)
    assert row["energy_change"] == pytest.approx((own["source"] - own["into"]).sum())
    assert (own["distance"] == 0).all()
    assert (others["distance"] > 2).all()


def test_the_subspace_that_the_energy_depends_on_brings_all(frames):
    linear = Toy(A, 0 * B)
    images = []
    for frame in frames:
        atoms = frame.atoms.copy()
        features = linear.run(linear.batch(frame), [1], energies=False).features[1].numpy()
        atoms.arrays["known"] = features[:, :6] @ A
        images.append(mpprobe.Frame.from_atoms(atoms, frame.source))
    found = patch(linear, frames[0], frames[2], layer=1, atoms=[1], target="array:known",
                  part="whole", structures=images)  # fmt: skip
    rows = found.summary.set_index("patch")
    assert rows.loc[SUBSPACE, "share"] == pytest.approx(1)
    assert len(rows.loc[RANDOM]) == 20
    assert np.median(rows.loc[RANDOM, "share"]) < 0.9


def test_what_an_erasure_leaves_is_left(toy, frames):
    columns = block_columns(toy.layer(1), 0)
    features = Evaluator(toy, frames).features([1])[1]
    erasure = fit_erasure(1, columns, block_rows(features, columns), features[:, :1])
    values = features[8:10]
    edited = Patch(np.array([0, 3]), values, erasure)(torch.as_tensor(features[:8])).numpy()
    np.testing.assert_array_equal(edited[[1, 2]], features[[1, 2]])
    np.testing.assert_array_equal(edited[[0, 3], 6:], features[[0, 3], 6:])
    own, before = (torch.as_tensor(f) for f in (edited[[0, 3]], features[[0, 3]]))
    np.testing.assert_allclose(erasure(own).numpy(), erasure(before).numpy(), atol=1e-10)
    taken = torch.as_tensor(values)
    np.testing.assert_allclose(own - erasure(own), taken - erasure(taken), atol=1e-10)


def test_a_structure_patched_with_itself_stays(sevenn_0, frames):
    found = patch(sevenn_0, frames[0], frames[0], layer=3, atoms=range(8))
    (row,) = found.summary.to_dict("records")
    assert row["energy_change"] == pytest.approx(0, abs=1e-5)
    assert row["force_change"] == 0
    assert np.isnan(row["share"])


@pytest.mark.parametrize(
    ("atoms", "options", "said"),
    [
        ([], {}, "no atom to patch"),
        ([8], {}, "has atoms 0 to 7"),
        ([0], {"target": "potential"}, "give the structures"),
        ([0], {"target": "potential", "draws": 2}, "at least 20"),
    ],
)
def test_refusals(toy, frames, atoms, options, said):
    with pytest.raises(InterventionError, match=said):
        patch(toy, frames[0], frames[2], layer=1, atoms=atoms, **options)


def test_another_species(toy, frames):
    other = frames[2].atoms.copy()
    other.numbers = other.numbers[::-1]
    with pytest.raises(InterventionError, match="atom 0 is Cl"):
        patch(toy, frames[0], other, layer=1, atoms=[0])
