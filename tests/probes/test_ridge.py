"""The streaming ridge probe against scikit-learn, and the theorems it must obey."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mpprobe.errors import ProbeError
from mpprobe.probes.ridge import PENALTIES, RidgeProbe, leave_one_out

GRID = np.logspace(-6, 2, 9)


def data(n=400, d=12, t=3, seed=0):
    """Correlated features on scales from 1e-3 to 1e3, noisy linear targets, six cells."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) * np.logspace(-3, 3, d)
    noise = rng.normal(size=(n, t)) * [0.1, 1.0, 10.0]
    Y = X / X.std(axis=0) @ rng.normal(size=(d, t)) + noise + 5.0
    return X, Y, rng.integers(6, size=n)


def sklearn_ridge(X, Y, alpha):
    return make_pipeline(StandardScaler(), Ridge(alpha=alpha * len(X))).fit(X, Y)


def chosen_by_rows(X, Y, cells, penalties, *, within):
    """The penalty of each target by leaving out cells, from refitted rows, and its error.

    ``within`` kinds, of which there is one, the mean of what is left of all cells is no error.
    """
    left = np.zeros((len(penalties), *Y.shape))
    for cell in np.unique(cells):
        train, test = cells != cell, cells == cell
        for i, alpha in enumerate(penalties):
            left[i, test] = Y[test] - sklearn_ridge(X[train], Y[train], alpha).predict(X[test])
    left = left - left.mean(axis=1, keepdims=True) if within else left
    error = (left**2).sum(axis=1)
    return penalties[error.argmin(axis=0)], error.min(axis=0)


@pytest.mark.parametrize("alpha", [1e-6, 1e-2, 10.0])
def test_agrees_with_scikit_learn(alpha):
    X, Y, cells = data()
    solved = RidgeProbe().partial_fit(X, Y, cells).solve(penalty=alpha)
    np.testing.assert_allclose(
        solved.predict(X), sklearn_ridge(X, Y, alpha).predict(X), rtol=1e-8, atol=1e-8
    )
    np.testing.assert_allclose(X @ solved.coef + solved.intercept, solved.predict(X), rtol=1e-8)


@pytest.mark.parametrize("within", [False, True])
def test_nested_choice_of_penalty_agrees_with_scikit_learn(within):
    X, Y, cells = data(n=60)
    probe = RidgeProbe().partial_fit(X, Y, cells)
    for held_out in range(6):
        train = [c for c in range(6) if c != held_out]
        solved = probe.solve(train, GRID, within=within)
        rows = np.isin(cells, train)
        penalty, error = chosen_by_rows(X[rows], Y[rows], cells[rows], GRID, within=within)
        np.testing.assert_allclose(solved.penalty, penalty)
        np.testing.assert_allclose(solved.error, error)
        expected = np.column_stack(
            [
                sklearn_ridge(X[rows], Y[rows, k], alpha).predict(X[~rows])
                for k, alpha in enumerate(solved.penalty)
            ]
        )
        np.testing.assert_allclose(solved.predict(X[~rows]), expected, rtol=1e-8, atol=1e-8)


def test_the_choice_differs_between_targets_and_can_be_told_inner_folds():
    X, Y, cells = data(n=60)
    probe = RidgeProbe().partial_fit(X, Y, cells)
    assert len(set(probe.solve(penalty=GRID).penalty)) > 1
    explicit = probe.solve(penalty=GRID, inner=leave_one_out(range(6)))
    np.testing.assert_array_equal(explicit.penalty, probe.solve(penalty=GRID).penalty)


def test_ends_of_the_grid_are_reported():
    rng = np.random.default_rng(0)
    X, cells = rng.normal(size=(300, 5)), np.arange(300) % 5
    Y = np.column_stack([X @ np.ones(5), rng.normal(size=300)])
    probe = RidgeProbe().partial_fit(X, Y, cells)
    # No noise: the least; nothing but noise: the most.
    assert probe.solve(penalty=GRID).grid_end.tolist() == [-1, 1]
    assert probe.solve(penalty=[1e-6, 10.0]).penalty.tolist() == [1e-6, 10]
    assert RidgeProbe().partial_fit(X, Y).solve(penalty=0.1).grid_end.tolist() == [0, 0]


def test_merge_and_chunks_change_nothing():
    X, Y, cells = data()
    whole = RidgeProbe().partial_fit(X, Y, cells).solve(penalty=GRID)
    left, right = RidgeProbe(), RidgeProbe()
    for start in range(0, 200, 7):
        rows = slice(start, min(start + 7, 200))
        left.partial_fit(X[rows], Y[rows], cells[rows])
    for cell in range(6):  # another order, and one cell a call
        rows = np.flatnonzero(cells == cell)
        rows = rows[rows >= 200]
        right.partial_fit(X[rows], Y[rows], cell)
    merged = left.merge(right).solve(penalty=GRID)
    np.testing.assert_array_equal(merged.penalty, whole.penalty)
    np.testing.assert_allclose(merged.coef, whole.coef, rtol=1e-8)
    np.testing.assert_allclose(merged.intercept, whole.intercept, rtol=1e-8)


def test_the_statistics_do_not_grow_with_the_rows():
    X, Y, cells = data()
    probe = RidgeProbe().partial_fit(X, Y, cells)

    def size():
        return sum(getattr(s, a).nbytes for s in probe.cells.values() for a in ("xx", "xy", "yy"))

    before = size()
    for _ in range(3):
        probe.partial_fit(X, Y, cells)
    assert size() == before == 6 * 8 * (12 * 12 + 12 * 3 + 3)


def test_a_large_offset_loses_no_digits():
    X, Y, cells = data()
    X = X / X.std(axis=0)
    plain = RidgeProbe().partial_fit(X, Y, cells).solve(penalty=GRID)
    shifted, probe = X + 1e6, RidgeProbe()
    for start in range(0, len(X), 50):
        rows = slice(start, start + 50)
        probe.partial_fit(shifted[rows], Y[rows] - 1e6, cells[rows])
    solved = probe.solve(penalty=GRID)
    np.testing.assert_allclose(solved.penalty, plain.penalty)
    np.testing.assert_allclose(solved.predict(shifted) + 1e6, plain.predict(X), atol=1e-7)


def test_units_of_the_features_do_not_matter():
    X, Y, cells = data()
    scales = np.logspace(-9, 9, X.shape[1])
    plain = RidgeProbe().partial_fit(X, Y, cells).solve(penalty=GRID)
    scaled = RidgeProbe().partial_fit(X * scales, Y, cells).solve(penalty=GRID)
    np.testing.assert_allclose(scaled.predict(X * scales), plain.predict(X), rtol=1e-7)


def test_constant_features_get_no_weight():
    X, Y, cells = data()
    ripple = 1 + 1e-8 * np.random.default_rng(0).normal(size=len(X))  # float32 noise
    padded = np.column_stack([X, np.full(len(X), 7.0), np.zeros(len(X)), ripple])
    solved = RidgeProbe().partial_fit(padded, Y, cells).solve(penalty=0.1)
    np.testing.assert_array_equal(solved.coef[-3:], 0.0)
    alone = RidgeProbe().partial_fit(X, Y, cells).solve(penalty=0.1)
    np.testing.assert_allclose(solved.predict(padded), alone.predict(X))


def test_collinear_float32_features_stay_tame():
    rng = np.random.default_rng(0)
    base = rng.normal(size=(500, 4))
    X = (base @ rng.normal(size=(4, 40))).astype(np.float32)
    Y, cells = base[:, :1] + 0.01 * rng.normal(size=(500, 1)), np.arange(500) % 5
    solved = RidgeProbe().partial_fit(X, Y, cells).solve()
    fresh = rng.normal(size=(500, 4))
    assert PENALTIES[0] <= solved.penalty[0] <= 1e-2
    X_fresh = fresh @ np.linalg.lstsq(base, X, rcond=None)[0]
    assert np.std(solved.predict(X_fresh)[:, 0] - fresh[:, 0]) < 0.01


def test_what_training_rows_never_vary_along_is_not_magnified():
    """The order of the rows is all that differs: rounding along the directions without rows."""
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(60, 60)))[0]
    X = rng.normal(size=(300, 20)) * np.logspace(0, -3, 20) @ basis[:20]
    y = X @ rng.normal(size=(60, 1)) + 0.01 * rng.normal(size=(300, 1))
    new = 1e3 * rng.normal(size=(50, 40)) @ basis[20:]  # as of a species not trained on
    order = rng.permutation(300)
    one, other = (RidgeProbe().partial_fit(X[k], y[k]).solve(penalty=PENALTIES[0])
                  for k in (np.arange(300), order))  # fmt: skip
    np.testing.assert_allclose(one.predict(X), other.predict(X), atol=1e-7)
    np.testing.assert_allclose(one.predict(new), other.predict(new), atol=1e-6)


def test_rows_with_a_negative_cell_are_passed_over():
    X, Y, cells = data()
    rows = cells != 2
    marked = RidgeProbe().partial_fit(X, Y, np.where(rows, cells, -1)).solve(penalty=0.1)
    kept = RidgeProbe().partial_fit(X[rows], Y[rows], cells[rows]).solve(penalty=0.1)
    np.testing.assert_allclose(marked.coef, kept.coef)


# --- kinds -----------------------------------------------------------------------------------


def test_of_one_kind_it_is_the_ordinary_map():
    X, Y, cells = data()
    probe = RidgeProbe().partial_fit(X, Y, cells)
    one, other = (probe.solve(penalty=0.1, within=within) for within in (True, False))
    np.testing.assert_array_equal(one.coef, other.coef)
    np.testing.assert_allclose(one.predict(X, np.zeros(len(X))), other.predict(X), atol=1e-9)
    assert one.kinds.tolist() == [0]
    assert other.kinds.tolist() == []


def test_without_kinds_the_map_does_not_depend_on_how_rows_are_labelled():
    X, Y, cells = data()
    kind = np.random.default_rng(1).integers(4, size=len(X))
    labelled, plain = (RidgeProbe().partial_fit(X, Y, cells, k) for k in (kind, 0))
    one, other = (probe.solve(penalty=GRID, within=False) for probe in (labelled, plain))
    np.testing.assert_array_equal(one.penalty, other.penalty)
    np.testing.assert_allclose(one.predict(X), other.predict(X), atol=1e-7)
    assert not np.allclose(labelled.solve(penalty=0.1).coef, plain.solve(penalty=0.1).coef)


def test_a_constant_of_each_kind_in_features_and_target_changes_nothing_within():
    X, Y, cells = data()
    rng = np.random.default_rng(1)
    kind = rng.integers(4, size=len(X))
    shift_x, shift_y = 1e3 * X.std(axis=0) * rng.normal(size=(4, 1)), 1e3 * rng.normal(size=(4, 3))
    plain = RidgeProbe().partial_fit(X, Y, cells, kind).solve(penalty=GRID)
    moved = RidgeProbe().partial_fit(X + shift_x[kind], Y + shift_y[kind], cells, kind)
    solved = moved.solve(penalty=GRID)
    np.testing.assert_array_equal(solved.penalty, plain.penalty)
    np.testing.assert_allclose(solved.error, plain.error, rtol=1e-6)
    np.testing.assert_allclose(
        solved.predict(X + shift_x[kind], kind) - shift_y[kind], plain.predict(X, kind), atol=1e-6
    )


def test_rows_of_a_kind_trained_on_are_put_on_its_level():
    X, Y, cells = data()
    kind = np.array([3, 5, 11])[cells % 3]
    solved = RidgeProbe().partial_fit(X, Y, cells, kind).solve(penalty=0.1)
    for k in (3, 5, 11):
        rows = kind == k
        np.testing.assert_allclose(
            solved.predict(X[rows], kind[rows]).mean(axis=0), Y[rows].mean(axis=0)
        )
    other = np.array([2, 4, 12])[cells % 3]
    np.testing.assert_array_equal(solved.predict(X, other), solved.predict(X))
    np.testing.assert_array_equal(solved.level_of(other), 0)


def test_some_outputs_have_the_maps_that_they_had():
    X, Y, cells = data()
    kind = cells % 2
    probe = RidgeProbe(covariates=2).partial_fit(X, Y, cells, kind)
    whole, some = (p.solve(penalty=GRID) for p in (probe, probe.of_outputs([2, 0, 2])))
    np.testing.assert_allclose(some.coef, whole.coef[:, [2, 0, 2]], rtol=1e-9)
    np.testing.assert_array_equal(some.penalty, whole.penalty[[2, 0, 2]])
    np.testing.assert_allclose(some.level, whole.level[:, [2, 0, 2]], atol=1e-8)


# --- features without a penalty --------------------------------------------------------------


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("covariates", [0, 1, 5, 12])
def test_covariates_bear_no_penalty_and_the_others_theirs(covariates, intercept):
    """Least squares with the penalty as further rows, from no formula of ours."""
    X, Y, cells = data()
    X = X / X.std(axis=0)
    kind = cells % 2 if intercept else 0 * cells
    alpha, n = 0.3, len(X)
    probe = RidgeProbe(covariates=covariates, intercept=intercept)
    if intercept:
        solved = probe.partial_fit(X, Y, cells, kind).solve(penalty=alpha)
        scale = np.sqrt(sum(X[kind == k].var(axis=0) * (kind == k).sum() for k in (0, 1)) / n)
        dummies = np.eye(2)[kind]
    else:
        solved = probe.partial_fit(X[..., None], Y[:, None], cells).solve(penalty=alpha)
        scale, dummies = np.sqrt((X**2).mean(axis=0)), np.empty((n, 0))
    shrunk = np.arange(X.shape[1]) >= covariates
    rows = np.hstack([X / scale, dummies])
    penalties = np.hstack([np.diag(np.sqrt(alpha * n) * shrunk), np.zeros((12, dummies.shape[1]))])
    targets = np.vstack([Y, np.zeros((12, 3))])
    expected = np.linalg.lstsq(np.vstack([rows, penalties]), targets, rcond=None)[0]
    np.testing.assert_allclose(solved.coef * scale[:, None], expected[:12], rtol=1e-6, atol=1e-8)
    predicted = solved.predict(X, kind) if intercept else solved.predict(X[..., None])[:, 0]
    np.testing.assert_allclose(predicted, rows @ expected, rtol=1e-6, atol=1e-7)


def test_beside_covariates_the_penalty_is_that_of_least_error_within_kinds():
    X, Y, cells = data(n=90)
    kind = np.arange(90) % 3
    probe = RidgeProbe(covariates=4).partial_fit(X, Y, cells, kind)
    error = np.zeros((len(GRID), 3))
    for i, alpha in enumerate(GRID):
        left = np.zeros_like(Y)
        for held_out in range(6):
            train, test = [c for c in range(6) if c != held_out], cells == held_out
            left[test] = (Y - probe.solve(train, alpha).predict(X, kind))[test]
        for k in np.unique(kind):
            own = left[kind == k]
            error[i] += ((own - own.mean(axis=0)) ** 2).sum(axis=0)
    solved = probe.solve(penalty=GRID)
    np.testing.assert_allclose(solved.penalty, GRID[error.argmin(axis=0)])
    np.testing.assert_allclose(solved.error, error.min(axis=0))
    assert len(set(solved.penalty)) > 1


def test_units_of_covariates_do_not_matter_and_neither_does_their_basis():
    X, Y, cells = data()
    mixed = X.copy()
    mixed[:, :4] = 1e-6 * X[:, :4] @ np.random.default_rng(1).normal(size=(4, 4))
    plain, other = (
        RidgeProbe(covariates=4).partial_fit(x, Y, cells).solve(penalty=0.1) for x in (X, mixed)
    )
    np.testing.assert_allclose(other.predict(mixed), plain.predict(X), rtol=1e-6, atol=1e-6)


def test_an_infinite_penalty_leaves_the_covariates_alone():
    X, Y, cells = data()
    beside = RidgeProbe(covariates=4).partial_fit(X, Y, cells).solve(penalty=1e12)
    alone = RidgeProbe(covariates=4).partial_fit(X[:, :4], Y, cells).solve(penalty=1.0)
    np.testing.assert_allclose(beside.predict(X), alone.predict(X[:, :4]), atol=1e-6)


# --- the equivariant probe -------------------------------------------------------------------


def vectors(n=300, channels=6, components=3, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, channels, components)) * np.logspace(-2, 2, channels)[:, None]
    Y = np.einsum("ncm,ct->nmt", X, rng.normal(size=(channels, 2)))
    return X, Y + 0.5 * rng.normal(size=Y.shape), rng.integers(5, size=n)


@pytest.mark.parametrize("components", [3, 5])
def test_equivariant_probe_is_the_penalised_least_squares_of_shared_weights(components):
    X, Y, cells = vectors(components=components)
    solved = RidgeProbe(intercept=False).partial_fit(X, Y, cells).solve(penalty=0.01)
    rows = np.swapaxes(X, 1, 2).reshape(-1, X.shape[1])
    rms = np.sqrt((rows**2).mean(axis=0))
    model = Ridge(alpha=0.01 * len(rows), fit_intercept=False)
    model.fit(rows / rms, Y.reshape(-1, Y.shape[2]))
    np.testing.assert_allclose(solved.coef, (model.coef_ / rms).T, rtol=1e-8)
    np.testing.assert_array_equal(solved.intercept, 0.0)


def test_rotating_all_structures_changes_nothing():
    X, Y, cells = vectors()
    turn = Rotation.random(random_state=1).as_matrix()
    still = RidgeProbe(intercept=False).partial_fit(X, Y, cells).solve(penalty=GRID)
    X_turned, Y_turned = X @ turn.T, np.einsum("ab,nbt->nat", turn, Y)
    turned = RidgeProbe(intercept=False).partial_fit(X_turned, Y_turned, cells).solve(penalty=GRID)
    np.testing.assert_array_equal(turned.penalty, still.penalty)
    np.testing.assert_allclose(turned.coef, still.coef, rtol=1e-9)
    np.testing.assert_allclose(
        still.predict(X_turned), np.einsum("ab,nbt->nat", turn, still.predict(X)), atol=1e-9
    )


# --- users' mistakes -------------------------------------------------------------------------


def test_mistakes_are_named():
    X, Y, cells = data()
    probe = RidgeProbe().partial_fit(X, Y, cells)
    with pytest.raises(ProbeError, match="features of shape"):
        probe.partial_fit(X, Y[:-1])
    with pytest.raises(ProbeError, match="must agree"):
        probe.partial_fit(X[:, :3], Y, cells)
    with pytest.raises(ProbeError, match="no row has been seen"):
        probe.solve([17])
    with pytest.raises(ProbeError, match="one cell only"):
        probe.solve([0])
    with pytest.raises(ProbeError, match="positive"):
        probe.solve(penalty=0.0)
    for other in (RidgeProbe(intercept=False), RidgeProbe(covariates=2)):
        with pytest.raises(ProbeError, match="same intercept and covariates"):
            probe.merge(other)
    with pytest.raises(ProbeError, match="intercept=False"):
        probe.partial_fit(*vectors()[:2])


def test_the_first_row_that_is_not_finite_is_named():
    X, Y, _ = data()
    probe = RidgeProbe().partial_fit(X, Y)
    X[31, 2] = np.nan
    with pytest.raises(ProbeError, match="feature of row 431"):
        probe.partial_fit(X, Y)
