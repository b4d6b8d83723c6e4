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
