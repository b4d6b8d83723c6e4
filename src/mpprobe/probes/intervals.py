"""Numbers with their intervals, as columns of a table."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mpprobe.probes.scores import MIN_GROUPS, Bootstrap, estimate


def with_intervals(
    metrics: Mapping[str, np.ndarray], bootstrap: Bootstrap, group: np.ndarray
) -> dict[str, float]:
    """For each metric its value and 95 % interval, ``NAME``, ``NAME_low`` and ``NAME_high``.

    Args:
        metrics: each of the data set and then of every resample, (1 + n_resamples,).
        bootstrap: the resamples.
        group: of what the metrics are made of; with fewer than five the interval is NaN.
    """
    few = len(np.unique(group)) < MIN_GROUPS
    row: dict[str, float] = {}
    for name, values in metrics.items():
        found = estimate(values, bootstrap, few)
        low, high = found.interval()
        row |= {name: found.value, f"{name}_low": low, f"{name}_high": high}
    return row
