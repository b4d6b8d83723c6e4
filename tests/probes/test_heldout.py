"""Held-out scores from statistics alone are those of predictions, refitted row by row."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from ase import Atoms
from sklearn.linear_model import Ridge

from mpprobe.probes.baselines import label_means
from mpprobe.probes.chosen import kinds
from mpprobe.probes.controls import random_directions, shuffle_within_kinds
from mpprobe.probes.crossfit import accumulate, apply_maps, cross_predict, solve_folds
from mpprobe.probes.heldout import (
    HeldOut,
    chosen_by_fold,
    code_lengths,
    hold_out,
    levels_only,
    r2_within,
    ridge_refit,
    slopes_refit,
    solved_maps,
)
from mpprobe.probes.ridge import PENALTIES
from mpprobe.probes.scores import Jackknife, Scorer
from mpprobe.probes.splits import make_split
from mpprobe.structures.frame import Frame

D, T = 8, 3
SPLIT_NAMES = ["structure", "compound"]
# Well inside what is offered, so that round-off decides nothing.
GRID = np.logspace(-4, 2, 7)


@pytest.fixture(scope="module")
def frames():
    """Six compounds in sixty groups, and one of which there is one structure only."""
    formulas = ["Na4Cl4", "Mg3O3", "K5Br5", "Ca2F4", "Zn4S4", "Na6F6"] * 10 + ["Cs3Cl3"]
    return [Frame(Atoms(f), f"made@{i}", f, "bulk", f"g{i}") for i, f in enumerate(formulas)]


@pytest.fixture(scope="module")
def kind(frames):
    return kinds(frames)


@pytest.fixture(scope="module")
def rows(kind):
    """Correlated features with an offset for each kind, and targets from clean to noise."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(D, D))
    X = rng.normal(size=(len(kind), D)) @ mixing + 5 * rng.normal(size=(99, D))[kind]
    signal = X @ np.linalg.solve(mixing, rng.normal(size=(D, T)))
    noise = rng.normal(size=signal.shape) * [0.3, 3.0, 100.0]
    return X, signal + noise + 20 * rng.normal(size=(99, T))[kind]


@pytest.fixture(scope="module")
def vectors(kind):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(len(kind), D, 3)) * np.logspace(-1, 1, D)[:, None]
    Y = np.einsum("ncm,ct->nmt", X, rng.normal(size=(D, T)))
    return X, Y + rng.normal(size=Y.shape) * [0.5, 20.0, 100.0]


@pytest.fixture(scope="module")
def scorer(frames):
    return Scorer.from_frames(frames, n_resamples=0)


@pytest.fixture(scope="module")
def many():
    """Twelve hundred atoms of six compounds, in structures of eight."""
    frames = [
        Frame(Atoms(f), str(i), f, "bulk", str(i))
        for i, f in enumerate(["Na4Cl4", "Mg4O4", "K4Br4", "Zn4S4", "Li4F4", "Na4F4"] * 25)
    ]
    kind = kinds(frames)
    rng = np.random.default_rng(0)
    return frames, kind, rng.normal(size=(len(kind), D)) + 5 * rng.normal(size=(99, D))[kind]


def centred(values, kind):
    """Less the mean over the rows given of each kind."""
    values = np.array(values, dtype=float)
    for k in np.unique(kind):
        values[kind == k] -= values[kind == k].mean(axis=0)
    return values


def unseen(split, kind):
    """How many tested rows are of a kind that their training set lacks."""
    return sum(
        (~np.isin(kind[split.test == k], kind[split.training_rows(k)])).sum()
        for k in range(len(split.folds))
    )


# --- the scores of predictions ---------------------------------------------------------------


@pytest.mark.parametrize("name", SPLIT_NAMES)
@pytest.mark.parametrize("refit", ["solved", "again"])
def test_r2_within_is_that_of_the_predictions(frames, rows, kind, scorer, name, refit):
    X, Y = rows
    split = make_split(name, frames)
    assert unseen(split, kind) == (6 if name == "structure" else len(kind))
    fit = cross_predict(X, Y, split, kinds=kind)
    again = solved_maps(fit.maps) if refit == "solved" else ridge_refit(fit.maps)
    held = hold_out(fit.probe, split, again, jackknife=False)
    found = r2_within(held, hold_out(fit.probe, split, levels_only, jackknife=False))
    assert found.shape == (1, T)
    levels = label_means(Y, kind, split)
    for t in range(T):
        scores = scorer.score(Y[:, t], fit.predictions[:, t], levels=levels[:, t])
        assert found[0, t] == pytest.approx(scores.r2_within.value, abs=1e-9)
    assert found[0, 0] > 0.9 > found[0, 1] > 0.2 > abs(found[0, 2])


@pytest.mark.parametrize("name", SPLIT_NAMES)
def test_for_vectors_it_is_plain_r2(frames, vectors, scorer, name):
    X, Y = vectors
    split = make_split(name, frames)
    fit = cross_predict(X, Y, split)
    held = hold_out(fit.probe, split, ridge_refit(fit.maps))
    found = r2_within(held, hold_out(fit.probe, split, levels_only))
    for t in range(T):
        scores = scorer.score(Y[..., t], fit.predictions[..., t])
        assert found[0, t] == pytest.approx(scores.r2.value, abs=1e-9)


@pytest.mark.parametrize("name", SPLIT_NAMES)
def test_sums_over_held_out_rows_are_those_of_the_residuals(frames, rows, kind, name):
    X, Y = rows
    split = make_split(name, frames)
    fit = cross_predict(X, Y, split, kinds=kind)
    held = hold_out(fit.probe, split, solved_maps(fit.maps), jackknife=False)
    labels = np.unique(kind)
    np.testing.assert_array_equal(held.counts[0], np.bincount(kind)[labels])
    for k in range(len(split.folds)):
        left = (Y - fit.predictions) * (split.test == k)[:, None]
        np.testing.assert_allclose(held.squares[k, 0], (left**2).sum(axis=0))
        sums = [left[kind == one].sum(axis=0) for one in labels]
        np.testing.assert_allclose(held.sums[k, 0], sums, atol=1e-9)


def test_the_means_of_kinds_score_zero(frames, rows, kind):
    split = make_split("structure", frames)
    probe = accumulate(*rows, split, kinds=kind)
    levels = hold_out(probe, split, levels_only)
    np.testing.assert_array_equal(r2_within(levels, levels), 0)


@pytest.mark.parametrize("exact", [True, False])  # else means are right to rounding
@pytest.mark.parametrize("name", SPLIT_NAMES)
def test_a_target_that_the_kind_decides_has_no_score(many, name, exact):
    frames, kind, X = many
    rng = np.random.default_rng(0)
    values = 1e3 * np.arange(99) if exact else rng.normal(size=99)
    Y = np.stack([values[kind], values[kind] + 0.1 * rng.normal(size=len(kind))], axis=1)
    scorer = Scorer.from_frames(frames, n_resamples=0)
    for seed in range(3):
        split = make_split(name, frames, seed=seed)
        fit = cross_predict(X, Y, split, kinds=kind)
        held = hold_out(fit.probe, split, solved_maps(fit.maps), jackknife=False)
        found = r2_within(held, hold_out(fit.probe, split, levels_only, jackknife=False))
        levels = label_means(Y, kind, split)
        for t in range(2):
            scores = scorer.score(Y[:, t], fit.predictions[:, t], levels=levels[:, t])
            assert np.isfinite([found[0, t], scores.r2_within.value]).tolist() == [t == 1] * 2


# --- the jackknife ---------------------------------------------------------------------------


def refitted(X, Y, kind, penalty, covariates):
    """Ridge on rows centred per kind: weights (d,). Covariates by least squares with dummies."""
    z, t = centred(X, kind), centred(Y, kind)
    scale = z.std(axis=0)
    if not covariates:
        ridge = Ridge(alpha=penalty * len(z), fit_intercept=False)
        return ridge.fit(z / scale, t).coef_ / scale
    dummies = (kind[:, None] == np.unique(kind)).astype(float)
    design = np.hstack([X / scale, dummies])
    shrunk = np.where(np.arange(X.shape[1]) < covariates, 0.0, np.sqrt(penalty * len(z)))
    more = np.hstack([np.diag(shrunk), np.zeros((X.shape[1], dummies.shape[1]))])
    targets = np.concatenate([Y, np.zeros(X.shape[1])])
    solved = np.linalg.lstsq(np.vstack([design, more]), targets, rcond=None)[0]
    return solved[: X.shape[1]] / scale


def by_rows(X, y, kind, split, penalties, kept, covariates=0):
    """R² within kinds where every fold is fitted and tested on the rows ``kept`` only."""
    left, total = np.zeros(len(y)), np.zeros(len(y))
    for k, penalty in enumerate(penalties):
        train, test = split.training_rows(k) & kept, (split.test == k) & kept
        coef = refitted(X[train], y[train], kind[train], penalty, covariates)
        for one in np.unique(kind[test]):
            known = train & (kind == one)
            known = known if known.any() else train
            own = test & (kind == one)
            total[own] = y[own] - y[known].mean()
            left[own] = total[own] - (X[own] - X[known].mean(axis=0)) @ coef
    rows = kept & split.scored
    squares = [(centred(v[rows], kind[rows]) ** 2).sum() for v in (left, total)]
    return 1 - squares[0] / squares[1]


@pytest.mark.parametrize("name", SPLIT_NAMES)
@pytest.mark.parametrize("covariates", [0, 3, D])
def test_each_replicate_is_fitted_again_without_its_cell(frames, rows, kind, name, covariates):
    X, Y = rows
    split = make_split(name, frames, n_folds=3)
    probe = accumulate(X, Y, split, kinds=kind, covariates=covariates)
    maps = solve_folds(probe, split, within=True, penalties=GRID)
    held = hold_out(probe, split, ridge_refit(maps, covariates))
    found = r2_within(held, hold_out(probe, split, levels_only))
    labels = np.unique(split.cells)
    assert found.shape == (1 + len(labels), T)
    alone = split.cells[kind == kind[-1]][0]  # the only cell with caesium in it
    assert (split.cells[np.isin(kind, kind[-6:])] == alone).all()
    for row in [0, 1, len(labels), 1 + int(np.searchsorted(labels, alone))]:
        kept = np.full(len(kind), True) if row == 0 else split.cells != labels[row - 1]
        for t in range(T):
            penalties = [m.penalty[t] for m in maps]
            expected = by_rows(X, Y[:, t], kind, split, penalties, kept, covariates)
            assert found[row, t] == pytest.approx(expected, abs=1e-8)
    # They differ, and as little as parts of forty do.
    assert 0 < np.ptp(found[1:, 0]) < 0.05


@pytest.mark.parametrize("name", SPLIT_NAMES)
def test_vectors_are_fitted_again_without_intercept(frames, vectors, name):
    X, Y = vectors
    split = make_split(name, frames, n_folds=3)
    probe = accumulate(X, Y, split)
    maps = solve_folds(probe, split, within=True, penalties=GRID)
    held = hold_out(probe, split, ridge_refit(maps))
    found = r2_within(held, hold_out(probe, split, levels_only))
    labels = np.unique(split.cells)
    for row in (1, len(labels)):
        kept = split.cells != labels[row - 1]
        for t in range(T):
            squares = 0.0
            for k, solved in enumerate(maps):
                train, test = split.training_rows(k) & kept, (split.test == k) & kept
                flat = np.swapaxes(X[train], 1, 2).reshape(-1, D)
                rms = np.sqrt((flat**2).mean(axis=0))
                ridge = Ridge(alpha=solved.penalty[t] * len(flat), fit_intercept=False)
                coef = ridge.fit(flat / rms, Y[train][..., t].ravel()).coef_ / rms
                squares += ((Y[test][..., t] - np.einsum("ncm,c->nm", X[test], coef)) ** 2).sum()
            expected = 1 - squares / (Y[kept][..., t] ** 2).sum()
            assert found[row, t] == pytest.approx(expected, abs=1e-9)


def test_without_a_jackknife_the_whole_is_the_same(frames, rows, kind):
    split = make_split("structure", frames)
    probe = accumulate(*rows, split, kinds=kind)
    maps = solve_folds(probe, split, within=True)
    whole, alone = (
        hold_out(probe, split, ridge_refit(maps), jackknife=jackknife)
        for jackknife in (True, False)
    )
    np.testing.assert_array_equal(whole.squares[:, :1], alone.squares)
    np.testing.assert_array_equal(whole.sums[:, :1], alone.sums)
    np.testing.assert_array_equal(whole.counts[:1], alone.counts)
    assert whole.counts.shape == (1 + len(np.unique(split.cells)), len(np.unique(kind)))
    rest = [(split.cells != c).sum() for c in np.unique(split.cells)]
    np.testing.assert_array_equal(whole.counts[1:].sum(axis=1), rest)


def test_the_jackknife_holds_the_score_of_much_data_about_as_often_as_it_says():
    """Features and noise drawn anew, maps fitted anew: the interval counts both."""
    rng, held, n_sets = np.random.default_rng(0), 0, 40
    weights = rng.normal(size=D)
    frames = [Frame(Atoms("Na2Cl2"), str(i), "NaCl", "bulk", str(i)) for i in range(40)]
    kind, split = kinds(frames), make_split("structure", frames)
    atom = np.repeat(np.arange(40), 4)

    def drawn():
        X = rng.normal(size=(160, D)) + rng.normal(size=(40, D))[atom]
        shared = rng.normal(size=40)[atom]  # by the atoms of a structure
        return X, X @ weights + 3 * shared + rng.normal(size=160)

    def score(X, y, jackknife):
        probe = accumulate(X, y[:, None], split, kinds=kind)
        maps = solve_folds(probe, split, within=True, penalties=[1e-2])
        sums = (
            hold_out(probe, split, refit, jackknife=jackknife)
            for refit in (ridge_refit(maps), levels_only)
        )
        return r2_within(*sums)[:, 0]

    many = [score(*drawn(), jackknife=False)[0] for _ in range(100)]
    truth, widths = np.mean(many), []
    for _ in range(n_sets):
        found = score(*drawn(), jackknife=True)
        low, high = Jackknife(len(found) - 1).interval(found[0], found[1:], 0.95)
        held += low < truth < high
        widths.append(high - low)
    assert held / n_sets > 0.85
    # Nor is it much wider than scores of data drawn anew are spread.
    assert 1 < np.mean(widths) / (4 * np.std(many)) < 1.6


# --- one estimator, whichever way it is solved -----------------------------------------------


@pytest.mark.parametrize("covariates", [0, 4])
def test_solved_again_at_their_penalties_the_maps_are_the_same(frames, rows, kind, covariates):
    split = make_split("structure", frames)
    probe = accumulate(*rows, split, kinds=kind, covariates=covariates)
    maps = solve_folds(probe, split, within=True)
    again = ridge_refit(maps, covariates)
    for k, (solved, fold) in enumerate(zip(maps, split.folds, strict=True)):
        other = again(k, probe.statistics(fold.train))
        np.testing.assert_allclose(other.coef, solved.coef, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(other.level, solved.level, atol=1e-7)
        np.testing.assert_array_equal(other.kinds, solved.kinds)


@pytest.mark.parametrize("smallest", [1e-3, 1e-5, 1e-6, 0.0])
def test_nearly_collinear_covariates_are_solved_alike(frames, kind, smallest):
    """As sines of many orders are on the distances in a crystal: whatever is resolved of them."""
    rng = np.random.default_rng(0)
    n = len(kind)
    free = rng.normal(size=(n, 5)) @ rng.normal(size=(5, 5))
    free = np.column_stack([free, free @ rng.normal(size=5) + smallest * rng.normal(size=n)])
    X = np.column_stack([free, rng.normal(size=(n, 4)) + free[:, :4]])
    y = (X @ rng.normal(size=10) + rng.normal(size=n))[:, None]
    split = make_split("structure", frames)
    probe = accumulate(X, y, split, kinds=kind, covariates=6)
    maps = solve_folds(probe, split, within=True)
    levels = hold_out(probe, split, levels_only, jackknife=False)
    one, other = (
        r2_within(hold_out(probe, split, refit, jackknife=False), levels)[0, 0]
        for refit in (solved_maps(maps), ridge_refit(maps, 6))
    )
    assert one > 0.5
    assert other == pytest.approx(one, abs=1e-6)


def test_what_each_fold_chose_is_put_together(frames, rows, kind):
    split = make_split("structure", frames, n_folds=3)
    probe = accumulate(*rows, split, kinds=kind)
    parts = [
        hold_out(probe, split, ridge_refit(solve_folds(probe, split, within=True, penalties=[a])))
        for a in (1e-3, 1.0)
    ]
    chosen = chosen_by_fold(parts, [1, 0, 1], output=2)
    assert isinstance(chosen, HeldOut)
    for k, pick in enumerate([1, 0, 1]):
        np.testing.assert_array_equal(chosen.squares[k, :, 0], parts[pick].squares[k, :, 2])
        np.testing.assert_array_equal(chosen.sums[k, ..., 0], parts[pick].sums[k, ..., 2])
    levels = hold_out(probe, split, levels_only)
    own = levels.of_outputs([2])
    same = chosen_by_fold(parts, [0, 0, 0], output=2)
    np.testing.assert_array_equal(r2_within(same, own)[:, 0], r2_within(parts[0], levels)[:, 2])


# --- single directions -----------------------------------------------------------------------


def slopes(probe, split, drawn):
    """The maps of every fold along directions, the draws of a target beside each other."""
    n_targets, draws = next(iter(probe.cells.values())).yy.shape[0], drawn.shape[1]
    repeated = probe.of_outputs(np.repeat(np.arange(n_targets), draws))
    refit = slopes_refit(drawn, n_targets)
    return repeated, [refit(k, repeated.statistics(f.train)) for k, f in enumerate(split.folds)]


@pytest.mark.parametrize("name", SPLIT_NAMES)
def test_a_slope_is_that_of_the_line_through_rows_centred_per_kind(frames, rows, kind, name):
    X, Y = rows
    split = make_split(name, frames)
    drawn = np.random.default_rng(1).normal(size=(D, 4))
    _, maps = slopes(accumulate(X, Y, split, kinds=kind), split, drawn)
    for k, solved in enumerate(maps):
        train = split.training_rows(k)
        x, y = centred(X[train] @ drawn, kind[train]), centred(Y[train], kind[train])
        for t in range(T):
            for draw in range(4):
                line = np.polyfit(x[:, draw], y[:, t], 1)
                expected = line[0] * drawn[:, draw]
                np.testing.assert_allclose(solved.coef[:, 4 * t + draw], expected, rtol=1e-8)


@pytest.mark.parametrize("order", ["scalar", "vector"])
def test_of_one_kind_a_direction_is_a_least_squares_line_on_one_feature(
    frames, rows, vectors, order
):
    X, Y = rows if order == "scalar" else vectors
    split = make_split("structure", frames)
    drawn = np.random.default_rng(5).normal(size=(D, 3))
    _, maps = slopes(accumulate(X, Y, split), split, drawn)
    predicted = apply_maps(X, maps, split).reshape(*Y.shape, 3)
    feature = np.tensordot(X, drawn, axes=(1, 0))  # (n, draws) or (n, 3, draws)
    train, test = split.training_rows(0), split.test == 0
    for draw in range(3):
        x, y = feature[..., draw], Y[..., 0]
        degree = 1 if order == "scalar" else 0
        columns = np.stack([x, *[np.ones_like(x)] * degree], axis=-1)
        flat = columns[train].reshape(-1, 1 + degree)
        line = np.linalg.lstsq(flat, y[train].ravel(), rcond=None)[0]
        np.testing.assert_allclose(predicted[test][..., 0, draw], columns[test] @ line, atol=1e-8)


def test_features_that_are_the_same_everywhere_have_no_line(frames, rows, kind):
    X, Y = rows
    split = make_split("structure", frames)
    probe = accumulate(np.ones_like(X), Y, split, kinds=kind)
    drawn = random_directions(probe.statistics(), 3)
    assert not drawn.any()
    for directions in (drawn, np.ones((D, 3))):
        repeated, maps = slopes(probe, split, directions)
        predicted = apply_maps(np.ones_like(X), maps, split, kinds=kind).reshape(*Y.shape, 3)
        means = label_means(Y, kind, split)
        np.testing.assert_allclose(predicted, np.repeat(means[..., None], 3, axis=-1))
        held = hold_out(repeated, split, slopes_refit(directions, T))
        levels = hold_out(repeated, split, levels_only)
        np.testing.assert_allclose(r2_within(held, levels), 0, atol=1e-12)


@pytest.mark.parametrize("order", ["scalar", "vector"])
def test_a_random_direction_reads_its_share_of_what_all_features_read(
    frames, rows, vectors, kind, order
):
    """One over their rank, though one of the features here is there three times over."""
    X, Y = rows if order == "scalar" else vectors
    X = np.concatenate([X, X[:, :1], -2 * X[:, :1]], axis=1)
    split, draws = make_split("structure", frames), 500
    probe = accumulate(X, Y[..., :1], split, kinds=kind if order == "scalar" else None)
    levels = hold_out(probe, split, levels_only, jackknife=False)
    maps = solve_folds(probe, split, within=True)
    full = r2_within(hold_out(probe, split, solved_maps(maps), jackknife=False), levels)[0, 0]
    drawn = random_directions(probe.statistics(), draws)
    repeated = probe.of_outputs(np.zeros(draws, dtype=int))
    held = hold_out(repeated, split, slopes_refit(drawn, 1), jackknife=False)
    each = r2_within(held, hold_out(repeated, split, levels_only, jackknife=False))[0]
    assert full > 0.9
    assert each.mean() == pytest.approx(full / D, abs=0.02)
    assert each.max() < full


# --- code lengths ----------------------------------------------------------------------------


def noisy(X, kind, noise, seed=0):
    """A target linear in X of unit variance within kinds, with noise and levels of the kinds."""
    rng = np.random.default_rng(seed)
    signal = centred(X @ rng.normal(size=D), kind)
    y = signal / signal.std() + noise * rng.normal(size=len(X))
    return y + 50 * rng.normal(size=99)[kind]


@pytest.mark.parametrize("name", SPLIT_NAMES)
@pytest.mark.parametrize("noise", [0.01, 0.1, 1.0])
def test_of_a_linear_target_the_code_is_shorter_by_the_bits_that_are_known(many, name, noise):
    frames, kind, X = many
    split = make_split(name, frames)
    y = noisy(X, kind, noise)
    found = code_lengths(accumulate(X, y[:, None], split, kinds=kind), split)
    assert found.shape == (1,)
    assert found[0] == pytest.approx(np.log2(noise / np.hypot(1, noise)), abs=0.06)


@pytest.mark.parametrize("name", SPLIT_NAMES)
def test_of_noise_the_code_is_as_long_as_that_of_the_means(many, name):
    frames, kind, X = many
    rng = np.random.default_rng(1)
    noise = 1e3 * rng.normal(size=(len(kind), 4)) + 1e5 * kind[:, None]
    shuffled = shuffle_within_kinds(noisy(X, kind, 0.1)[:, None], kind, seed=2)
    split = make_split(name, frames)
    Y = np.concatenate([noise, shuffled], axis=1)
    found = code_lengths(accumulate(X, Y, split, kinds=kind), split)
    assert np.abs(found).max() < 0.02


def test_what_is_learnt_sooner_is_shorter(many):
    frames, kind, X = many
    split = make_split("structure", frames)
    y = noisy(X, kind, 0.1)[:, None]
    more = np.concatenate([X, np.random.default_rng(3).normal(size=(len(X), 150))], axis=1)
    few, lot = (code_lengths(accumulate(x, y, split, kinds=kind), split)[0] for x in (X, more))
    assert few < lot - 0.1 < -1


def test_units_and_levels_of_the_target_do_not_matter(many):
    frames, kind, X = many
    split = make_split("structure", frames)
    y = noisy(X, kind, 0.3)
    Y = np.stack([y, 1e-9 * y, 1e6 * y, y + 1e3 * kind], axis=1)
    found = code_lengths(accumulate(X, Y, split, kinds=kind), split)
    np.testing.assert_allclose(found, found[0], rtol=1e-6)


def test_of_a_target_without_noise_the_code_is_finite(many):
    frames, kind, X = many
    split = make_split("structure", frames)
    Y = np.stack([X @ np.ones(D), 1.0 * kind, np.zeros(len(kind))], axis=1)
    found = code_lengths(accumulate(X, Y, split, kinds=kind), split)
    assert np.isfinite(found).all()
    assert found[0] < -10
    np.testing.assert_allclose(found[1:], 0, atol=1e-6)


def about_known_means(values, kind, train, test):
    """Held-out values about the mean of their kind in training, or else about their own."""
    out = values[test].copy()
    for one in np.unique(kind[test]):
        own = kind == one
        seen = own & train if (own & train).any() else own & test
        out[kind[test] == one] -= values[seen].mean()
    return out


def test_the_code_is_sent_fold_by_fold(frames, rows, kind):
    """From rows: a normal code about the map of the folds before, and about the kinds' means."""
    X, Y = rows
    split = make_split("structure", frames)
    found = code_lengths(accumulate(X, Y, split, kinds=kind), split)
    for t in range(T):
        bits, n = 0.0, 0
        for k in (2, 3, 4):
            fold = split.test
            known, new = fold < k, fold == k
            left = np.zeros((1 + len(PENALTIES), len(fold)))
            for j in range(k):
                train, test = known & (fold != j), fold == j
                levelled = partial(about_known_means, kind=kind, train=train, test=test)
                left[0, test] = levelled(Y[:, t])
                for i, alpha in enumerate(PENALTIES):
                    coef = refitted(X[train], Y[train, t], kind[train], alpha, 0)
                    left[1 + i, test] = levelled(Y[:, t] - X @ coef)
            spread, *errors = [(centred(row[known], kind[known]) ** 2).sum() for row in left]
            best = int(np.argmin(errors))
            coef = refitted(X[known], Y[known, t], kind[known], PENALTIES[best], 0)
            for sign, squares, variance in [
                (1, centred(Y[new, t] - X[new] @ coef, kind[new]) ** 2, errors[best] / known.sum()),
                (-1, centred(Y[new, t], kind[new]) ** 2, spread / known.sum()),
            ]:
                density = np.exp(-squares / 2 / variance) / np.sqrt(2 * np.pi * variance)
                bits -= sign * np.log2(density).sum()
            n += new.sum()
        assert found[t] == pytest.approx(bits / n, abs=1e-6)


def test_two_folds_say_nothing_of_it(frames, rows, kind):
    for n_folds, known in ((2, False), (3, True)):
        split = make_split("structure", frames, n_folds=n_folds)
        found = code_lengths(accumulate(*rows, split, kinds=kind), split)
        assert found.shape == (T,)
        assert (np.isfinite(found) == known).all()
