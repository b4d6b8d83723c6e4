"""Features and targets of which nothing is left: what is right is known, or computed plainly."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mpprobe.interventions import Whitening, fit_erasure
from mpprobe.interventions.erasing import linear_r2
from mpprobe.probes.controls import random_directions
from mpprobe.probes.crossfit import apply_maps, cross_predict
from mpprobe.probes.heldout import slopes_refit
from mpprobe.probes.scores import Scorer
from mpprobe.probes.splits import make_split
from mpprobe.structures import Frame
from mpprobe.targets import constant_within_species

GRID = np.logspace(-6, 3, 10)
RNG = np.random.default_rng(5)


@pytest.fixture(scope="module")
def frames():
    formulas = ["Na4Cl4", "Mg3O3", "K5Br5", "Ca2F4"]
    return [Frame(Atoms(f), f"made@{i}", f, "bulk", f"g{i}") for i, f in enumerate(formulas * 6)]


@pytest.fixture(scope="module")
def rows(frames):
    n = sum(map(len, frames))
    X = RNG.normal(size=(n, 6))
    return X, X @ RNG.normal(size=6) + 0.3 * RNG.normal(size=n)


def repeated(X):
    return np.column_stack([X, X[:, 0], 2 * X[:, 1] - X[:, 2]])


#: What is done to the features, and which columns a plain fit is given of it (those that vary).
FEATURES = {
    "as they are": lambda X: X,
    "some twice": repeated,
    "one constant": lambda X: np.column_stack([X, np.full(len(X), 3.7)]),
    "one constant to rounding": lambda X: np.column_stack([X, 3.7 + 1e-9 * X[:, 0]]),
    "some zero": lambda X: np.column_stack([X, np.zeros((len(X), 3))]),
    "one of rank one": lambda X: np.outer(X[:, 0], np.arange(1, 6)),
    "more channels than atoms": lambda X: X @ np.random.default_rng(0).normal(size=(6, 400)),
    "tiny": lambda X: 1e-30 * X,
    "huge": lambda X: 1e30 * X,
    "of all sizes": lambda X: X * np.logspace(-12, 12, 6),
    "with a large offset": lambda X: X + 1e5,
}


@pytest.mark.parametrize("name", FEATURES)
@pytest.mark.parametrize("split", ["structure", "compound"])
def test_the_probe_is_scikit_learns(name, split, frames, rows):
    X, y = FEATURES[name](rows[0]), rows[1]
    made = make_split(split, frames)
    fit = cross_predict(X, y[:, None], made, penalties=GRID)
    seen = X[:, :6] if name == "one constant to rounding" else X
    for k in range(len(made.folds)):
        train, test = made.training_rows(k), made.test == k
        model = make_pipeline(StandardScaler(), Ridge(fit.penalties[k, 0] * train.sum()))
        expected = model.fit(seen[train], y[train]).predict(seen[test])
        np.testing.assert_allclose(fit.predictions[test, 0], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("value", [0.0, 2.5])
def test_constant_features_give_the_mean_of_the_training_set(value, frames, rows):
    X, y = np.full_like(rows[0], value), rows[1]
    split = make_split("structure", frames)
    fit = cross_predict(X, y[:, None], split)
    directions, probe = random_directions(fit.probe.statistics(), 3), fit.probe.of_outputs([0] * 3)
    refit = slopes_refit(directions, 1)
    maps = [refit(k, probe.statistics(fold.train)) for k, fold in enumerate(split.folds)]
    drawn = apply_maps(X, maps, split)
    for k in range(len(split.folds)):
        mean = y[split.training_rows(k)].mean()
        np.testing.assert_allclose(fit.predictions[split.test == k], mean, rtol=1e-12)
        np.testing.assert_allclose(drawn[split.test == k], mean, rtol=1e-12)


@pytest.mark.parametrize(("factor", "offset"), [(1.0, 1e8), (1e-12, 0.0), (1e12, 0.0), (1e-3, 1e5)])
def test_scale_and_offset_of_the_target_change_no_score(factor, offset, frames, rows):
    """An offset of 1e8 leaves a signal of one some eight digits, and a sum of squares none."""
    X, y = rows
    scorer, split = Scorer.from_frames(frames, n_resamples=100), make_split("structure", frames)
    moved = factor * y + offset
    plain, other = (cross_predict(X, v[:, None], split, penalties=GRID) for v in (y, moved))
    tolerance = max(1e-9, 1e-14 * abs(offset) / factor)
    np.testing.assert_array_equal(other.penalties, plain.penalties)
    found = (other.predictions - offset) / factor
    np.testing.assert_allclose(found, plain.predictions, atol=tolerance)
    first, second = (
        scorer.score(v, fit.predictions[:, 0]) for v, fit in ((y, plain), (moved, other))
    )
    for metric in ("r2", "r2_within"):
        one, two = getattr(first, metric), getattr(second, metric)
        assert one.value > 0.5
        assert two.value == pytest.approx(one.value, abs=tolerance)
        assert two.interval() == pytest.approx(one.interval(), abs=tolerance)
    assert second.mae.value == pytest.approx(factor * first.mae.value, rel=10 * tolerance)


def kinds_of(frames):
    return np.concatenate([f.numbers for f in frames])


def test_a_target_that_does_not_vary_within_one_fold_is_scored_in_all(frames, rows):
    """The atoms of one fold's structures all have one value; the fit of another is on the rest."""
    X, y = rows[0], rows[1].copy()
    split = make_split("structure", frames)
    y[split.test == 0] = 1.25
    fit = cross_predict(X, y[:, None], split, penalties=GRID)
    whole = Scorer.from_frames(frames, n_resamples=100).score(y, fit.predictions[:, 0])
    assert np.isfinite(whole.r2.interval()).all()
    within = Scorer.from_frames(frames, n_resamples=100).score(
        y, fit.predictions[:, 0], split.test == 0
    )
    assert np.isnan(within.r2.value)
    assert np.isfinite(within.mae.value)


def test_training_targets_all_the_same_are_predicted(frames, rows):
    y = np.where(make_split("structure", frames).test == 0, rows[1], 4.0)
    split = make_split("structure", frames)
    fit = cross_predict(rows[0], y[:, None], split, penalties=GRID)
    np.testing.assert_allclose(fit.predictions[split.test == 0], 4.0, rtol=1e-12)


@pytest.mark.parametrize("offset", [0.0, 1e8])
def test_no_variance_is_told_from_little(offset, frames):
    """Rounding of values and sums has no R², a signal far above it has; whatever the offset."""
    species = kinds_of(frames).astype(float)
    scorer = Scorer.from_frames(frames, n_resamples=100)
    noise = RNG.normal(size=len(species))
    resolution = max(offset, species.max()) * 1e-9
    for y, defined in ((species + offset + 1e-3 * resolution * noise, False),
                       (species + offset + 1e3 * resolution * noise, True)):  # fmt: skip
        scores = scorer.score(y, y + 1e-4 * noise)
        assert np.isfinite(scores.r2.value)
        assert np.isfinite(scores.r2_within.value) == defined
    constant = np.full(len(species), offset + 0.1) + 1e-3 * resolution * noise
    assert np.isnan(scorer.score(constant, constant).r2.value)


def test_vectors_that_vanish_in_a_domain_have_no_score_there(frames):
    """As the field at the sites of a perfect crystal, which is rounding of its sum."""
    n = sum(map(len, frames))
    y = RNG.normal(size=(n, 3))
    some = np.arange(n) < n // 2
    y[some] *= 1e-11
    scorer = Scorer.from_frames(frames, n_resamples=100)
    perfect, rattled = (scorer.score(y, np.zeros_like(y), rows) for rows in (some, ~some))
    assert np.isnan(perfect.r2.value)
    assert rattled.r2.value == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("values", "resolution", "trivial"),
    [
        (lambda z, e: z, 0.0, True),
        (lambda z, e: 1e-12 * z, 0.0, True),
        (lambda z, e: 1e-12 * (z + 0.1 * e), 0.0, False),  # a tiny unit is no rounding
        (lambda z, e: 1e8 + z + 0.04 * e, 0.0, True),  # nine digits don't tell it from rounding
        (lambda z, e: 1e8 + 10 * (z + e), 0.0, False),
        (lambda z, e: z + 1e-7 * e, 1e-6, True),
        (lambda z, e: 1e-9 * e, 1e-6, True),
    ],
)
def test_trivial_is_relative_to_the_spread_and_to_rounding(values, resolution, trivial, frames):
    z = kinds_of(frames).astype(float)
    e = np.random.default_rng(1).uniform(-1, 1, len(z))
    assert constant_within_species(values(z / 10, e), z, resolution) is trivial


@pytest.mark.parametrize("name", ["some twice", "one of rank one", "some zero", "tiny", "huge"])
def test_nothing_is_read_after_an_erasure(name, rows):
    """What is left of features of low rank is rounding, in which a fit would find what it likes."""
    x, concept = FEATURES[name](rows[0])[..., None], rows[1][:, None]
    erasure = fit_erasure(1, np.arange(x.shape[1])[:, None], x, concept)
    assert linear_r2(x, concept) > 0.01
    assert linear_r2(erasure.apply(x), concept, before=x) < 1e-9
    assert 0 < Whitening.of(x).removed(erasure) <= 1 + 1e-9
