"""Numbers with intervals as columns of a table."""

from __future__ import annotations

import numpy as np
import pytest

from mpprobe.probes.intervals import with_intervals
from mpprobe.probes.scores import MIN_GROUPS, Bootstrap


def test_intervals_hold_95_of_100_resamples():
    bootstrap = Bootstrap(MIN_GROUPS, n_resamples=1001)
    values = np.concatenate([[500.0], np.random.default_rng(0).permutation(np.arange(1001.0))])
    row = with_intervals({"a": values, "b": -values}, bootstrap, np.arange(MIN_GROUPS))
    assert row == pytest.approx(
        {"a": 500, "a_low": 25, "a_high": 975, "b": -500, "b_low": -975, "b_high": -25}
    )


def test_few_groups_have_no_interval():
    bootstrap = Bootstrap(MIN_GROUPS, n_resamples=10)
    group = np.repeat(np.arange(MIN_GROUPS - 1), 3)  # many rows, of few groups
    row = with_intervals({"a": np.arange(11.0)}, bootstrap, group)
    assert row["a"] == 0
    assert np.isnan([row["a_low"], row["a_high"]]).all()
