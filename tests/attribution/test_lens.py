"""The layer at which the energy is known."""

from __future__ import annotations

import numpy as np
import pytest

import mpprobe
from interventions.toy import Toy, rattled
from mpprobe.attribution import energy_lens
from mpprobe.errors import AttributionError

A = np.array([1.0, -0.5, 0.3, 0.2, -0.8, 0.4])
SETTINGS = mpprobe.Settings(n_resamples=100)


def test_an_energy_that_is_linear_in_a_layer_is_known_there():
    found = energy_lens(Toy(A, np.zeros(4)), rattled(12), settings=SETTINGS)
    own = found[found["model"] == "trained"].set_index("layer")
    assert own.loc[1, "r2_within"] > 0.999
    assert set(found["readout"]) == {"fitted"}


@pytest.fixture(scope="module")
def frames():
    return [f for f in mpprobe.read("ionic:strained") if set(f.numbers) <= {8, 11, 12, 17}][:12]


def test_sevennet_ends_where_its_readout_is_linear():
    frames = [f for f in mpprobe.read("ionic") if set(f.numbers) <= {8, 11, 12, 17}]
    potential = mpprobe.load("sevenn-0")
    found = energy_lens(potential, frames, random_weights=False, settings=SETTINGS)
    table = found.set_index("layer")
    assert list(table.index) == [0, 1, 2, 3, 4, 5]
    assert (table["r2_within_low"] <= table["r2_within_high"]).all()
    assert table.loc[5, "r2_within"] > 0.99999
    assert table.loc[0, "r2_within"] < 0.1


def test_maces_own_readouts_add_up(mace_file, frames):
    potential = mpprobe.load(mace_file("8x0e+8x1o"), trust_checkpoint=True)
    batch = potential.batch(frames[:3])
    parts = potential.layer_energies(batch)
    assert list(parts) == [0, 1, 2]
    total = potential.run(batch).site_energies
    np.testing.assert_allclose(sum(parts.values()).numpy(), total.numpy(), atol=1e-6)
    for z in potential.species:  # what is left is of the species alone
        own = parts[0][batch.numbers == z]
        assert own.numel() == 0 or (own - own[0]).abs().max() < 1e-5
    assert parts[1].std() > 0
    found = energy_lens(potential, frames, settings=SETTINGS)
    own = found[(found["readout"] == "model's own") & (found["model"] == "trained")]
    assert list(own["layer"]) == [0, 1, 2]
    assert own["mae"].iloc[-1] < 1e-6
    assert own["r2_within"].iloc[-1] == pytest.approx(1)
    assert {"trained", "random weights"} == set(found["model"])


def test_sevennet_has_one_readout(sevenn_0, frames):
    assert sevenn_0.layer_energies(sevenn_0.batch(frames[:1])) == {}


def test_nothing_is_refused():
    with pytest.raises(AttributionError, match="give structures"):
        energy_lens(Toy(A, np.zeros(4)), [])
