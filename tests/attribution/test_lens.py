"""The layer at which the energy is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import mpprobe
from interventions.toy import Curved, Toy, rattled, salts
from mpprobe.activations.evaluate import Evaluator
from mpprobe.attribution import energy_lens
from mpprobe.errors import AttributionError
from mpprobe.probes import Scorer, make_split
from mpprobe.probes.baselines import label_means
from mpprobe.probes.crossfit import cross_predict
from mpprobe.structures import Frame

A = np.array([1.0, -0.5, 0.3, 0.2, -0.8, 0.4])
SETTINGS = mpprobe.Settings(n_resamples=100)


def test_an_energy_that_is_linear_in_a_layer_is_known_there():
    found = energy_lens(Toy(A, np.zeros(4)), rattled(12), settings=SETTINGS)
    own = found[found["model"] == "trained"].set_index("layer")
    assert own.loc[1, "r2_within"] > 0.999
    assert set(found["readout"]) == {"fitted"}


class TestTwoReadouts:
    """Within kinds for R², of the whole for the error, both worked out without the lens."""

    @pytest.fixture(scope="class")
    @classmethod
    def salts(cls):
        """With a copy, which no probe may be tested on that has seen the first."""
        frames = salts(16)
        return [*frames, Frame.from_atoms(frames[2].atoms.copy(), "copy")]

    @pytest.fixture(scope="class")
    @classmethod
    def model(cls):
        return Curved(A, np.zeros(4))

    @pytest.fixture(scope="class")
    @classmethod
    def found(cls, model, salts):
        return energy_lens(model, salts, random_weights=False, settings=SETTINGS)

    def test_both_are_those_of_probes_held_out(self, model, salts, found):
        together = [*salts[:-1], replace(salts[-1], group=salts[2].group)]
        split = make_split("structure", together)
        run = Evaluator(model, salts).run(layers=[0, 1])
        y = run.site_energies[:, None]
        numbers = np.concatenate([f.numbers for f in salts])
        scorer = Scorer.from_frames(together, n_resamples=100)
        levels = label_means(y, scorer.kind, split)[:, 0]
        for layer, width in ((0, 1), (1, 6)):
            x = run.features[layer][:, :width]
            within = cross_predict(x, y, split, kinds=scorer.kind).predictions[:, 0]
            species = (numbers[:, None] == np.unique(numbers)).astype(float)
            whole = cross_predict(np.hstack([x, species]), y, split).predictions[:, 0]
            own = scorer.score(y[:, 0], within, levels=levels).r2_within
            row = found.set_index("layer").loc[layer]
            assert row["r2_within"] == pytest.approx(own.value)
            error = np.abs(y[:, 0] - whole)
            assert row["mae"] == pytest.approx(error.mean())
            assert not np.allclose(error.mean(), np.abs(y[:, 0] - within).mean(), rtol=1e-3)

    def test_copies_would_have_told(self, model, salts, found):
        """The table isn't that of a split which knows nothing of them."""
        apart = energy_lens(model, salts[:-1], random_weights=False, settings=SETTINGS)
        assert not np.allclose(apart["r2_within"], found["r2_within"])


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
    # The same for all atoms of a species: neither more nor less than the mean of the kind.
    assert table.loc[0, "r2_within"] == pytest.approx(0, abs=1e-9)


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
