"""The shuffled target keeps what the kind tells, and random directions look at no target."""

from __future__ import annotations

import numpy as np
import pytest

from mpprobe.probes.controls import random_directions, shuffle_within_kinds
from mpprobe.probes.statistics import Statistics

KIND = np.random.default_rng(0).choice([8, 11, 12], size=500)


@pytest.mark.parametrize("shape", [(500,), (500, 3), (500, 3, 2)])
def test_every_kind_keeps_its_values_and_rows_stay_whole(shape):
    values = np.random.default_rng(1).normal(size=shape)
    shuffled = shuffle_within_kinds(values, KIND, seed=2)
    for k in (8, 11, 12):
        rows = np.flatnonzero(k == KIND)
        before, after = values[rows], shuffled[rows]
        assert sorted(map(repr, before.tolist())) == sorted(map(repr, after.tolist()))
        assert (before != after).any()


def test_nothing_of_the_order_is_left():
    values = np.arange(500.0)
    shuffled = shuffle_within_kinds(values, KIND)
    assert abs(np.corrcoef(values, shuffled)[0, 1]) < 0.15


def test_the_seed_decides():
    values = np.arange(500.0)
    first, again, other = (shuffle_within_kinds(values, KIND, seed=s) for s in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


# --- random directions -----------------------------------------------------------------------


def features(d=6, seed=0):
    """Correlated features on scales from 1e-2 to 1e2, with a large offset for each kind."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(500, d)) @ rng.normal(size=(d, d)) * np.logspace(-2, 2, d)
    offset = {k: 100 * rng.normal(size=d) * np.logspace(-2, 2, d) for k in (8, 11, 12)}
    return X + np.array([offset[k] for k in KIND])


def centred(X):
    X = X.copy()
    for k in (8, 11, 12):
        X[k == KIND] -= X[k == KIND].mean(axis=0)
    return X


def seen(X, kind=KIND):
    return Statistics.of(X, np.zeros((len(X), 1)), kind)


def test_they_are_isotropic_in_the_whitened_features():
    """Over many draws, u uᵀ is the inverse of the covariance within kinds."""
    X, draws = features(), 200_000
    drawn = random_directions(seen(X), draws, seed=3)
    covariance = centred(X).T @ centred(X) / len(X)
    values, vectors = np.linalg.eigh(covariance)
    white = (vectors * np.sqrt(values)) @ vectors.T @ drawn
    np.testing.assert_allclose(white @ white.T / draws, np.eye(6), atol=0.02)
    # And normal: the fourth moment is three times the square of the second.
    np.testing.assert_allclose((white**4).mean(axis=1), 3, atol=0.1)


def test_projections_of_whitened_rows_have_the_identity_as_their_covariance():
    """Dᵀ Σ D = Uᵀ U with U normal: two draws are as correlated as normal vectors are."""
    X = features()
    drawn = random_directions(seen(X), 50, seed=4)
    projected = centred(X) @ drawn
    normal = np.random.default_rng(4).normal(size=(6, 50))
    np.testing.assert_allclose(projected.T @ projected / 500, normal.T @ normal, atol=1e-9)


def test_mixing_the_channels_changes_nothing_that_they_can_see():
    """The mean of R² over directions is a share of 1/d of what all features read."""
    rng = np.random.default_rng(1)
    X = features()
    y = centred(X) @ (rng.normal(size=6) / np.logspace(-2, 2, 6)) + rng.normal(size=500)
    y = centred(y[:, None])[:, 0]
    best = np.linalg.lstsq(centred(X), y, rcond=None)[0]
    full = 1 - ((y - centred(X) @ best) ** 2).sum() / (y**2).sum()
    assert 0.3 < full < 0.95
    alike = X / np.logspace(-2, 2, 6)
    for mixed in (X, alike, alike @ rng.normal(size=(6, 6)), X @ np.diag(np.logspace(3, -3, 6))):
        read = centred(mixed) @ random_directions(seen(mixed), 20_000, seed=5)
        square = (read.T @ y) ** 2 / (read**2).sum(axis=0) / (y**2).sum()
        assert square.mean() == pytest.approx(full / 6, rel=0.03)


def test_directions_that_features_lack_are_not_drawn():
    """Of collinear and constant features only those that vary count."""
    X = features()
    padded = np.column_stack([X, X @ np.ones(6), np.full(500, 7.0), KIND])
    drawn = random_directions(seen(padded), 50, seed=4)
    assert np.isfinite(drawn).all()
    np.testing.assert_array_equal(drawn[-2:], 0)
    projected = centred(padded) @ drawn
    assert np.linalg.matrix_rank(projected, tol=1e-6) == 6
    # Still white: the squared length has the mean of six normal numbers' squares.
    long = centred(padded) @ random_directions(seen(padded), 50_000, seed=4)
    assert (long**2).mean() == pytest.approx(6, rel=0.02)


def test_no_target_and_no_kind_has_a_say():
    X = features()
    first = random_directions(Statistics.of(X, np.zeros((500, 1)), KIND), 5)
    other = random_directions(Statistics.of(X, KIND[:, None] * 1.0, KIND), 5)
    np.testing.assert_array_equal(first, other)
    moved = X + 50 * (KIND[:, None] == 11)
    np.testing.assert_allclose(random_directions(seen(moved), 5), first, rtol=1e-6)


def test_the_seed_decides_the_directions():
    whole = seen(features())
    first, again, other = (random_directions(whole, 3, seed=s) for s in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert first.shape == (6, 3)
