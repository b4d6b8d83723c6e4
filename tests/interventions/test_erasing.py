"""Erasing a target from a whole model: what is used is missed, what isn't isn't."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from ase.calculators.singlepoint import SinglePointCalculator

import mpprobe
from interventions.toy import Toy, rattled
from mpprobe.activations.evaluate import Evaluator
from mpprobe.errors import InterventionError
from mpprobe.interventions import block_columns, block_rows, erase, fit_erasure
from mpprobe.interventions.effects import IN_DOMAIN, OUT_OF_DOMAIN
from mpprobe.interventions.erasing import RANDOM, SPECIES, TARGET
from mpprobe.models.controls import RANDOM_WEIGHTS, TRAINED
from mpprobe.probes import make_split
from mpprobe.probes.crossfit import cross_predict

A, B = np.array([1.0, -0.5, 0.3, 0.2, -0.8, 0.4]), np.array([0.7, -0.4, 0.2, 0.1])
SETTINGS = mpprobe.Settings(n_resamples=200)


def known(frames, toy, weights):
    """The frames with an array that is weights·s, and with the toy's own forces as reference."""
    made = []
    for frame in frames:
        atoms = frame.atoms.copy()
        batch = toy.batch(frame)
        x = toy.run(batch, [1], energies=False).features[1].numpy()
        atoms.arrays["known"] = x[:, :6] @ weights
        forces = toy.run(batch, forces=True).forces.numpy()
        atoms.calc = SinglePointCalculator(atoms, forces=forces, energy=0.0)
        made.append(mpprobe.Frame.from_atoms(atoms, frame.source))
    return made


@pytest.fixture(scope="module")
def toy():
    return Toy(A, 0 * B)


@pytest.fixture(scope="module")
def frames(toy):
    return known(rattled(14), toy, A)


@pytest.fixture(scope="module")
def used(toy, frames):
    return erase(toy, frames, layers=1, target="array:known", part="whole", settings=SETTINGS)


def summary_of(found, model=TRAINED):
    own = found.summary[found.summary["model"] == model]
    return own.set_index(["domain", "measure"])


class TestWhatIsUsed:
    def test_nothing_is_left_of_the_forces(self, used):
        table = summary_of(used)
        for domain in (IN_DOMAIN, OUT_OF_DOMAIN):
            assert table.loc[(domain, "relative_change"), "value"] == pytest.approx(1, abs=1e-6)
            row = table.loc[(domain, "mae_change")]
            assert row["p"] < 0.5  # of six features, random subspaces take what is used too
            assert row["low"] > 0
            assert row["median"] < row["value"]

    def test_what_was_there_before_is_no_measure_of_an_edit(self, used):
        measures = set(used.summary["measure"])
        assert "mae_before" not in measures
        assert {"change", "mae_after", "mae_change"} <= measures

    def test_the_error_was_nothing_before(self, used):
        own = used.effects[(used.effects["edit"] == TARGET) & (used.effects["model"] == TRAINED)]
        np.testing.assert_allclose(own["mae_before"], 0, atol=1e-10)
        np.testing.assert_allclose(own["mae_after"], own["change"], atol=1e-10)

    def test_nothing_is_read_any_more(self, toy, frames, used):
        own = used.erasures[used.erasures["edit"] == TARGET]
        assert own["r2_before"].iloc[0] == pytest.approx(1)
        assert (own["r2_after"] < 1e-10).all()
        # By a map of the whole target, refitted on structures held out.
        columns = block_columns(toy.layer(1), 0)
        x = block_rows(Evaluator(toy, frames).features([1])[1], columns)
        y = np.concatenate([f.atoms.arrays["known"] for f in frames])[:, None]
        split = make_split("structure", frames)
        before, after = (
            cross_predict(rows[:, :, 0], y, split).predictions
            for rows in (x, fit_erasure(1, columns, x, y).apply(x))
        )
        assert ((y - before) ** 2).sum() < 0.01 * y.var() * len(y)
        assert ((y - after) ** 2).sum() > 0.95 * y.var() * len(y)

    def test_nothing_is_read_within_kinds_any_more(self, toy, frames):
        within = erase(toy, frames, layers=1, target="array:known", settings=SETTINGS)
        own = within.erasures[within.erasures["edit"] == TARGET]
        assert own["r2_before"].iloc[0] == pytest.approx(1)
        assert (own["r2_after"] < 1e-10).all()
        decoding = within.decoding.set_index("model").loc[TRAINED]
        assert decoding["before"] > 0.99
        assert decoding["after"] < 0.05

    def test_every_control_is_there(self, used):
        counts = used.effects.groupby(["model", "edit"])["draw"].nunique()
        assert set(used.effects["edit"]) == {TARGET, RANDOM, SPECIES}
        assert set(used.effects["model"]) == {TRAINED, RANDOM_WEIGHTS}
        assert counts[TRAINED, RANDOM] == counts[RANDOM_WEIGHTS, RANDOM] == 20


def test_what_is_not_used_is_not_missed(toy, frames):
    x = np.concatenate([f.atoms.arrays["known"] for f in frames])
    features = np.concatenate(
        [toy.run(toy.batch(f), [1], energies=False).features[1].numpy()[:, :6] for f in frames]
    )
    covariance = np.cov(features.T)
    other = np.random.default_rng(1).normal(size=6)
    other -= A * (A @ covariance @ other) / (A @ covariance @ A)
    assert abs(np.corrcoef(features @ other, x)[0, 1]) < 1e-10
    found = erase(toy, known(frames, toy, other), layers=1, target="array:known", part="whole",
                  random_weights=False, settings=SETTINGS)  # fmt: skip
    table = summary_of(found)
    assert table.loc[("all", "change"), "value"] < 1e-8
    assert table.loc[("all", "change"), "p"] == 1


def test_the_same_seed_gives_the_same_table(toy, frames, used):
    again = erase(toy, frames, layers=1, target="array:known", part="whole", settings=SETTINGS)
    for name in ("effects", "summary", "erasures", "decoding"):
        pd.testing.assert_frame_equal(getattr(used, name), getattr(again, name))
    other = erase(toy, frames, layers=1, target="array:known", part="whole",
                  settings=mpprobe.Settings(n_resamples=200, seed=1))  # fmt: skip
    assert not other.summary["median"].equals(used.summary["median"])


@pytest.fixture(scope="module")
def mace(mace_file):
    return mpprobe.load(mace_file("8x0e+8x1o"), dtype="float64", trust_checkpoint=True)


@pytest.fixture(scope="module")
def ionic():
    frames = mpprobe.read("ionic:strained,cluster")
    return [f for f in frames if set(f.numbers) <= {8, 11, 12, 17}]


@pytest.mark.parametrize(("target", "part"), [("potential", "species"), ("field", "whole")])
def test_a_real_model_at_several_layers(mace, ionic, target, part):
    """No reference forces here, so that errors are absent and not zero."""
    found = erase(mace, ionic, layers="all", target=target, part=part,
                  settings=mpprobe.Settings(n_resamples=100, in_domain=("strained",)))  # fmt: skip
    own = found.erasures[found.erasures["edit"] == TARGET]
    layers = own[own["model"] == TRAINED]["layer"].tolist()
    assert layers == ([1, 2] if target == "potential" else [1])
    assert (own["r2_after"] < 1e-8).all()
    assert "mae_change" not in set(found.summary["measure"])
    assert found.effects["mae_after"].isna().all()
    assert set(found.summary["domain"]) == {
        "strained", "cluster", IN_DOMAIN, OUT_OF_DOMAIN, "all",
    }  # fmt: skip
    random = found.effects[found.effects["edit"] == RANDOM]
    assert (random["change"] > 0).all()


class TestRefusals:
    def test_too_few_draws(self, toy, frames):
        with pytest.raises(InterventionError, match="at least 20"):
            erase(toy, frames, layers=1, draws=5)

    def test_a_layer_without_vectors(self, toy, frames):
        with pytest.raises(InterventionError, match="layer 0 has no l = 1 features"):
            erase(toy, frames, layers=0, target="field")

    def test_no_structures(self, toy):
        with pytest.raises(InterventionError, match="give structures"):
            erase(toy, [], layers=1)
