"""The within estimator: fixed effects, Frisch, Waugh and Lovell, and what the kinds alone tell."""

from __future__ import annotations

import numpy as np
import pytest

from mpprobe.probes.controls import random_directions, shuffle_within_kinds
from mpprobe.probes.crossfit import accumulate, cross_predict
from mpprobe.probes.heldout import hold_out, levels_only, r2_within, slopes_refit
from mpprobe.probes.ridge import RidgeProbe, leave_one_out
from mpprobe.probes.splits import Fold, Split

N, D, KINDS, FOLDS = 600, 12, 10, 5
PENALTIES = (1e-6, 1e-3, 1e-1, 1e1)


@pytest.fixture(scope="module")
def rows():
    """Correlated features with an offset for each kind, in groups of ten for the folds."""
    rng = np.random.default_rng(0)
    kind = rng.permutation(np.arange(N) % KINDS)
    offset = 5 * rng.normal(size=(KINDS, D))
    x = rng.normal(size=(N, D)) @ rng.normal(size=(D, D)) + offset[kind]
    return rng, kind, x


def split_of(cells):
    """Every cell a fold of its own."""
    labels = range(int(cells.max()) + 1)

    def fold(k):
        train = tuple(c for c in labels if c != k)
        return Fold(train, leave_one_out(train), (str(k),), (k,))

    return Split("structure", cells, cells, tuple(fold(k) for k in labels), cells)


def by_structure():
    return split_of(np.arange(N) // 10 % FOLDS)


def by_kind(kind):
    return split_of(kind % FOLDS)


def demeaned(values, kind, rows):
    """Less the mean over those rows of each row's kind; of a kind not among them, its own."""
    out = np.array(values, dtype=float)
    for k in np.unique(kind):
        own = rows & (kind == k)
        out[kind == k] -= values[own if own.any() else kind == k].mean(axis=0)
    return out


def score(features, y, split, kind):
    """R² within kinds from the statistics of a fit by cross-validation."""
    from mpprobe.probes.crossfit import solve_folds
    from mpprobe.probes.heldout import ridge_refit

    probe = accumulate(features, y, split, kinds=kind)
    maps = solve_folds(probe, split, within=True)
    held = hold_out(probe, split, ridge_refit(maps), jackknife=False)
    return r2_within(held, hold_out(probe, split, levels_only, jackknife=False))[0]


@pytest.mark.parametrize("held_out", ["structures", "kinds"])
def test_it_is_ridge_on_demeaned_rows_with_the_penalty_of_least_error_within_kinds(rows, held_out):
    from sklearn.linear_model import Ridge

    rng, kind, x = rows
    y = x @ rng.normal(size=D) + 50 * rng.normal(size=KINDS)[kind] + 0.5 * rng.normal(size=N)
    split = by_structure() if held_out == "structures" else by_kind(kind)
    fit = cross_predict(x, y[:, None], split, kinds=kind, penalties=PENALTIES)

    def solve(train, alpha):
        z, t = demeaned(x, kind, train)[train], demeaned(y, kind, train)[train]
        scale = z.std(axis=0)
        return Ridge(alpha=alpha * len(z), fit_intercept=False).fit(z / scale, t).coef_ / scale

    for k, fold in enumerate(split.folds):
        train, test = split.training_rows(k), split.test == k
        errors = []
        for alpha in PENALTIES:
            left = np.zeros(N)
            for inner, validation in fold.inner:
                seen, new = np.isin(split.cells, inner), np.isin(split.cells, validation)
                coef = solve(seen, alpha)
                # Known kinds are measured from their mean in training, others from their own.
                left[new] = demeaned(y - x @ coef, kind, seen | (new & ~np.isin(kind, kind[seen])))[
                    new
                ]
            left = demeaned(left, kind, train)[train]
            errors.append(left @ left)
        best = PENALTIES[int(np.argmin(errors))]
        assert fit.maps[k].penalty[0] == pytest.approx(best)
        assert fit.maps[k].error[0] == pytest.approx(min(errors), rel=1e-8)
        coef = solve(train, best)
        np.testing.assert_allclose(fit.maps[k].coef[:, 0], coef, rtol=0, atol=1e-8)
        expected = y[test] - demeaned(y - x @ coef, kind, train)[test]
        found = fit.predictions[test, 0]
        off = expected - found  # of kinds not trained on, a constant of the kind is free
        known = np.isin(kind[test], kind[train])
        assert np.abs(off[known]).max(initial=0) < 1e-8
        assert np.abs(demeaned(off, kind[test], ~known)[~known]).max(initial=0) < 1e-8


def test_without_penalty_it_is_the_fixed_effects_fit_of_statsmodels(rows):
    import statsmodels.api as sm

    rng, kind, x = rows
    y = x @ rng.normal(size=D) + 20 * rng.normal(size=KINDS)[kind] + rng.normal(size=N)
    dummies = (kind[:, None] == np.arange(KINDS)).astype(float)
    expected = sm.OLS(y, np.hstack([x, dummies])).fit().params
    found = RidgeProbe().partial_fit(x, y[:, None], 0, kind).solve(penalty=1e-13)
    np.testing.assert_allclose(found.coef[:, 0], expected[:D], atol=1e-8)
    levels = found.predict(np.zeros((KINDS, D)), np.arange(KINDS))[:, 0]
    np.testing.assert_allclose(levels, expected[D:], atol=1e-7)


def test_with_covariates_it_is_ridge_with_a_penalty_on_the_others_only(rows):
    rng, kind, x = rows
    y = x @ rng.normal(size=D) + 3 * rng.normal(size=KINDS)[kind] + rng.normal(size=N)
    alpha, free = 0.3, 4
    found = RidgeProbe(covariates=free).partial_fit(x, y[:, None], 0, kind).solve(penalty=alpha)
    everything = np.ones(N, dtype=bool)
    z, t = demeaned(x, kind, everything), demeaned(y, kind, everything)
    scale = z.std(axis=0)
    z = z / scale
    penalty = np.diag(np.where(np.arange(D) < free, 0.0, alpha * N))
    expected = np.linalg.solve(z.T @ z + penalty, z.T @ t) / scale
    np.testing.assert_allclose(found.coef[:, 0], expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("held_out", ["structures", "kinds"])
def test_a_target_that_is_composition_only_scores_nothing_and_nothing_below(rows, held_out):
    rng, kind, x = rows
    y = 100 * rng.normal(size=KINDS)[kind] + 1e-3 * rng.normal(size=N)
    split = by_structure() if held_out == "structures" else by_kind(kind)
    assert abs(score(x, y[:, None], split, kind)[0]) < 0.02


@pytest.mark.parametrize("held_out", ["structures", "kinds"])
def test_a_signal_within_kinds_is_found_under_a_thousand_times_more_composition(rows, held_out):
    rng, kind, x = rows
    signal = x @ rng.normal(size=D)
    inside = demeaned(signal, kind, np.ones(N, dtype=bool))
    y = inside / inside.std() + 0.1 * rng.normal(size=N)
    composition = rng.normal(size=KINDS)[kind]
    y = y + 1000 * composition / composition.std()
    split = by_structure() if held_out == "structures" else by_kind(kind)
    assert score(x, y[:, None], split, kind)[0] > 0.98
    # What fitting the whole target makes of it.
    whole = cross_predict(x, y[:, None], split).predictions[:, 0]
    left = demeaned(y - whole, kind, np.ones(N, dtype=bool))
    assert 1 - (left**2).sum() / (demeaned(y, kind, np.ones(N, dtype=bool)) ** 2).sum() < 0.9


def test_features_that_are_the_kind_alone_read_nothing(rows):
    rng, kind, _ = rows
    x = rng.normal(size=(KINDS, D))[kind]
    y = rng.normal(size=KINDS)[kind] + rng.normal(size=N)
    assert score(x, y[:, None], by_structure(), kind)[0] == pytest.approx(0, abs=1e-12)


def test_shuffled_targets_and_random_directions_score_nothing(rows):
    rng, kind, x = rows
    y = (x @ rng.normal(size=D) + 50 * rng.normal(size=KINDS)[kind])[:, None]
    split = by_structure()
    shuffled = np.concatenate([shuffle_within_kinds(y, kind, seed) for seed in range(10)], axis=1)
    assert abs(score(x, shuffled, split, kind).mean()) < 0.02
    draws = 200
    probe = accumulate(x, np.tile(y, draws), split, kinds=kind)
    drawn = random_directions(probe.statistics(), draws)
    held = hold_out(probe, split, slopes_refit(drawn, 1), jackknife=False)
    levels = hold_out(probe, split, levels_only, jackknife=False)
    # One of twelve directions is expected to hold a twelfth of what all hold.
    assert r2_within(held, levels)[0].mean() == pytest.approx(1 / D, abs=0.02)


def test_kinds_cost_their_number_times_the_width_and_rows_nothing(rows):
    rng, kind, x = rows
    y = rng.normal(size=(N, 1))
    probe = RidgeProbe().partial_fit(x, y, 0, kind)
    sizes = {name: value.size for name, value in vars(probe.cells[0]).items()}
    for _ in range(3):
        probe.partial_fit(x, y, 0, kind)
    assert {name: value.size for name, value in vars(probe.cells[0]).items()} == sizes
    assert sizes["mean_x"] == KINDS * D
    assert sizes["xx"] == D * D
    assert sum(sizes.values()) < D * D + 2 * D + KINDS * (D + 4) + 10
