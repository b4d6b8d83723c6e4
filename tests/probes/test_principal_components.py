"""The map of a layer: scikit-learn's components, whatever the chunks."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA

from mpprobe.probes.maps import principal_components


@pytest.fixture
def rows():
    rng = np.random.default_rng(5)
    return rng.normal(size=(300, 6)) @ rng.normal(size=(6, 20)) + 1e4 * rng.normal(size=20)


def test_they_are_those_of_scikit_learn_up_to_sign(rows):
    reference = PCA(2).fit_transform(rows)
    found = principal_components(rows)
    np.testing.assert_allclose(abs(found), abs(reference), rtol=1e-6, atol=1e-6)


def test_chunks_and_the_order_of_rows_do_not_change_them(rows):
    whole = principal_components(rows)
    np.testing.assert_allclose(principal_components(rows, chunk=7), whole, atol=1e-7)
    np.testing.assert_allclose(principal_components(rows[::-1])[::-1], whole, atol=1e-7)


def test_directions_that_are_not_there_are_zero(rows):
    found = principal_components(rows[:, :1])
    assert found.shape == (300, 2)
    assert found[:, 0].std() > 0
    assert not found[:, 1].any()
