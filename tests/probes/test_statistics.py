"""Statistics of rows: those of two sets added are those of both together."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from mpprobe.probes.statistics import Statistics


@pytest.mark.parametrize("intercept", [True, False])
def test_rows_of_single_precision_are_summed_in_double(intercept):
    rng = np.random.default_rng(0)
    X, Y = (rng.normal(size=(50, 3)).astype(np.float32) + np.float32(9) for _ in range(2))
    single = Statistics.of(X, Y, intercept=intercept)
    double = Statistics.of(X.astype(float), Y.astype(float), intercept=intercept)
    for field in fields(Statistics):
        np.testing.assert_array_equal(getattr(single, field.name), getattr(double, field.name))


@pytest.mark.parametrize("intercept", [True, False])
def test_parts_add_up_to_the_whole(intercept):
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(30, 3)) + 2, rng.normal(size=(30, 2)) - 5
    whole = Statistics.of(X, Y, intercept=intercept)
    parts = [
        Statistics.of(X[rows], Y[rows], intercept=intercept)
        for rows in (slice(0, 11), slice(11, 30))
    ]
    added = parts[0] + parts[1]
    for field in fields(Statistics):
        np.testing.assert_allclose(getattr(added, field.name), getattr(whole, field.name))


# --- kinds -----------------------------------------------------------------------------------

KINDS, WIDTH, OUTPUTS = 7, 4, 2


def spread(seed, offset=1e6):
    """Rows with means of a million, their kinds, and parts that hold some kinds each."""
    rng = np.random.default_rng(seed)
    kind = 3 * rng.integers(KINDS, size=200)  # labels need not be consecutive
    X = rng.normal(size=(200, WIDTH)) + offset * rng.normal(size=(22, WIDTH))[kind]
    Y = rng.normal(size=(200, OUTPUTS)) - offset * rng.normal(size=(22, OUTPUTS))[kind]
    # The last kind is in one part only, and the part of the first rows is the smallest.
    part = np.where(kind == 18, 2, np.minimum(rng.integers(5, size=200), np.arange(200) // 4))
    return X, Y, kind, part


def by_loops(X, Y, kind):
    """The same from the definition: each kind's rows centred with more digits than there are."""
    kinds = np.unique(kind)
    x, y = X.astype(np.longdouble), Y.astype(np.longdouble)
    rows = [kind == k for k in kinds]
    means = [np.array([v[r].mean(axis=0) for r in rows]) for v in (x, y)]
    place = np.searchsorted(kinds, kind)
    x, y = x - means[0][place], y - means[1][place]
    moments = x.T @ x, x.T @ y, (y**2).sum(axis=0)
    return Statistics(kinds, np.array([r.sum() for r in rows]), *means, *moments)


def assert_same(found, expected, rtol=1e-8):
    """Moments are held to their size, means to the digits that a double has."""
    np.testing.assert_array_equal(found.kinds, expected.kinds)
    np.testing.assert_array_equal(found.counts, expected.counts)
    assert found.counts.dtype.kind == "i"
    for name in ("mean_x", "mean_y"):
        wanted = getattr(expected, name).astype(float)
        np.testing.assert_allclose(getattr(found, name), wanted, rtol=1e-14, atol=1e-8)
    for name in ("xx", "xy", "yy"):
        wanted = getattr(expected, name).astype(float)
        scale = np.abs(wanted).max()
        np.testing.assert_allclose(getattr(found, name), wanted, atol=rtol * scale, rtol=0)


def of_parts(X, Y, kind, part):
    return [Statistics.of(X[part == p], Y[part == p], kind[part == p]) for p in np.unique(part)]


@pytest.mark.parametrize("seed", range(5))
def test_moments_are_about_the_mean_of_each_kind(seed):
    X, Y, kind, _ = spread(seed)
    assert_same(Statistics.of(X, Y, kind), by_loops(X, Y, kind))


@pytest.mark.parametrize("seed", range(5))
def test_kinds_spread_over_parts_add_up_in_any_order(seed):
    X, Y, kind, part = spread(seed)
    whole, parts = by_loops(X, Y, kind), of_parts(X, Y, kind, part)
    assert len(parts) == 5
    assert len({tuple(p.kinds) for p in parts}) > 1
    assert_same(Statistics.sum(parts), whole)
    assert_same(Statistics.sum(iter(parts[::-1])), whole)
    one_by_one = parts[0]
    for other in parts[1:]:
        one_by_one = one_by_one + other
    assert_same(one_by_one, whole)
    assert_same(Statistics.sum(parts[:1]), parts[0])


@pytest.mark.parametrize("seed", range(5))
def test_what_is_taken_out_again_was_never_there(seed):
    X, Y, kind, part = spread(seed)
    whole, parts = Statistics.of(X, Y, kind), of_parts(X, Y, kind, part)
    for p, own in enumerate(parts):
        left = part != p
        assert_same(whole.without(own), by_loops(X[left], Y[left], kind[left]))
    rest = whole
    for p in range(4):  # one after the other, until one is left
        rest = rest.without(parts[p])
        assert_same(rest, by_loops(X[part > p], Y[part > p], kind[part > p]), rtol=1e-7)
    # The kind that a part alone had is gone with it.
    assert 18 not in whole.without(parts[2]).kinds


def test_taking_out_all_rows_of_a_kind_but_one_leaves_no_moment_of_it():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(9, 2)) + 1e6, rng.normal(size=(9, 1))
    part = Statistics.of(X[:8], Y[:8], np.zeros(8, dtype=int))
    left = Statistics.of(X, Y, np.zeros(9, dtype=int)).without(part)
    assert left.counts.tolist() == [1]
    np.testing.assert_allclose(left.mean_x[0], X[8], rtol=1e-14)
    np.testing.assert_allclose(left.xx, 0, atol=1e-8)


@pytest.mark.parametrize("seed", range(5))
def test_a_feature_that_varied_in_what_is_taken_out_is_a_constant(seed):
    """As a channel of an element does, that no other compound has."""
    X, Y, kind, part = spread(seed, offset=1.0)
    X[:, 0] = np.where(part == 3, X[:, 0], 0.7)
    left = Statistics.of(X, Y, kind).without(
        Statistics.of(X[part == 3], Y[part == 3], kind[part == 3])
    )
    assert left.inverse_scale[0] == 0
    assert left.inverse_scale[1:].all()
    assert not left.xx[0].any()
    assert not left.xx[:, 0].any()
    assert not left.xy[0].any()


@pytest.mark.parametrize("intercept", [True, False])
def test_pooled_they_are_the_statistics_of_the_rows_without_kinds(intercept):
    X, Y, kind, part = spread(0, offset=10.0)
    whole = Statistics.of(X, Y, intercept=intercept)
    labels = kind if intercept else None
    assert_same(Statistics.of(X, Y, labels, intercept=intercept).pooled(), whole)
    parts = [
        Statistics.of(X[part == p], Y[part == p], kind[part == p], intercept=intercept).pooled()
        for p in range(5)
    ]
    assert_same(Statistics.sum(parts), whole)
    assert whole.n == 200
    if intercept:
        for found, rows in zip(Statistics.of(X, Y, kind).centre, (X, Y), strict=True):
            np.testing.assert_allclose(found, rows.mean(axis=0))


def test_some_outputs_are_those_of_the_columns():
    X, Y, kind, _ = spread(0)
    chosen = [1, 0, 1, 1]
    assert_same(Statistics.of(X, Y, kind).of_outputs(chosen), Statistics.of(X, Y[:, chosen], kind))


def test_scale_and_error_are_those_of_rows_centred_per_kind():
    X, Y, kind, _ = spread(0, offset=100.0)
    seen = Statistics.of(X, Y, kind)
    place = np.searchsorted(seen.kinds, kind)
    x, y = X - seen.mean_x[place], Y - seen.mean_y[place]
    np.testing.assert_allclose(seen.inverse_scale, 1 / x.std(axis=0), rtol=1e-10)
    coef = np.random.default_rng(1).normal(size=(WIDTH, 3, OUTPUTS))
    expected = ((y[:, None] - np.einsum("nd,dpt->npt", x, coef)) ** 2).sum(axis=0)
    np.testing.assert_allclose(seen.squared_error(coef), expected, rtol=1e-10)


def test_a_feature_that_tells_the_kind_and_no_more_is_a_constant():
    X, Y, kind, _ = spread(0, offset=1.0)
    ripple = 1e-8 * np.random.default_rng(1).normal(size=200)
    X = np.column_stack([X, kind + 1.0, (kind + 1.0) * (1 + ripple)])
    scale = Statistics.of(X, Y, kind).inverse_scale
    assert scale[:WIDTH].all()
    assert not scale[WIDTH:].any()
    assert Statistics.of(X, Y).inverse_scale.all()


def test_memory_is_of_kinds_and_widths_and_not_of_rows():
    X, Y, kind, part = spread(0)
    shapes = {
        "kinds": (KINDS,), "counts": (KINDS,), "mean_x": (KINDS, WIDTH),
        "mean_y": (KINDS, OUTPUTS), "xx": (WIDTH, WIDTH), "xy": (WIDTH, OUTPUTS),
        "yy": (OUTPUTS,),
    }  # fmt: skip
    whole = Statistics.of(X, Y, kind)
    for found in (whole, Statistics.sum(of_parts(X, Y, kind, part)), whole + whole):
        assert {f.name: getattr(found, f.name).shape for f in fields(Statistics)} == shapes
        assert all(getattr(found, f.name).base is None for f in fields(Statistics))  # no view
