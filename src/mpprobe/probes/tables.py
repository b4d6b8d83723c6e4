"""Tidy tables of scores, and of the distances between a layer and its controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mpprobe.probes.scores import Estimate, Scores
from mpprobe.probes.sources import LOCAL, MODEL, SAME_WIDTH, SPECIES_MEAN, Source
from mpprobe.targets import Target

if TYPE_CHECKING:
    import pandas as pd

METRICS = ("r2", "r2_within", "mae")

#: Scores this close to each other differ by rounding only.
ROUNDING = 1e-9


class Key(NamedTuple):
    """What a score is of."""

    target: str
    split: str
    features: str
    layer: int | None
    width: int
    subset: str


def score_table(
    model: str,
    scored: Mapping[Key, Scores],
    about: Mapping[Key, Source],
    targets: Mapping[str, Target],
) -> pd.DataFrame:
    """One row a score: model, target, split, features, layer, subset, values and intervals.

    Columns ``r2``, ``r2_within`` and ``mae`` (in the column ``unit``) each come with ``_low`` and
    ``_high``, the 95 % interval of a bootstrap over structures.
    """
    import pandas as pd

    rows = []
    for key, scores in scored.items():
        row = {
            "model": model,
            "target": key.target,
            "unit": targets[key.target].unit,
            "l": targets[key.target].l,
            "split": key.split,
            "features": key.features,
            "layer": key.layer,
            "block": about[key].block,
            "width": key.width,
            "subset": key.subset,
        }
        for metric in METRICS:
            estimate = getattr(scores, metric)
            row[metric] = estimate.value
            row[f"{metric}_low"], row[f"{metric}_high"] = estimate.interval()
        rows.append(row | {"n_atoms": scores.n_atoms, "n_structures": scores.n_structures})
    return pd.DataFrame(rows).astype({"layer": "Int64"})


def main_metric(scores: Scores) -> str:
    """R² within species and compound; plain R² where that isn't defined (vectors, one value)."""
    return "r2_within" if np.isfinite(scores.r2_within.value) else "r2"


def difference_table(
    model: str,
    scored: Mapping[Key, Scores],
    layers: Sequence[int],
    targets: Mapping[str, Target],
) -> pd.DataFrame:
    """How far each layer is above each control, with the interval of the difference.

    One row per target, split, layer and control: ``difference`` of ``metric``, ``low`` and
    ``high`` of its 95 % interval (on the same resamples of structures for both), and ``above``,
    whether the whole interval is above zero.
    """
    import pandas as pd

    rows = []
    for key, scores in scored.items():
        if key.features != MODEL or key.layer not in layers or key.subset != "all":
            continue
        metric = main_metric(scores)
        for name, control in _controls(key, scored, targets[key.target].l).items():
            gap: Estimate = getattr(scores, metric) - getattr(control, metric)
            low, high = gap.interval()
            rows.append(
                {
                    "model": model,
                    "target": key.target,
                    "split": key.split,
                    "layer": key.layer,
                    "control": name,
                    "metric": metric,
                    "difference": gap.value,
                    "low": low,
                    "high": high,
                    "above": bool(low > ROUNDING),
                }
            )
    return pd.DataFrame(rows)


def _controls(key: Key, scored: Mapping[Key, Scores], l: int) -> dict[str, Scores]:
    """The scores that stand against this one, by the name of their features."""
    found = {}
    for other, scores in scored.items():
        if (other.target, other.split, other.subset) != (key.target, key.split, key.subset):
            continue
        if other.features == MODEL:
            if other.layer == 0 and key.layer != 0:
                found["layer 0"] = scores
        elif other.features.endswith(SAME_WIDTH):
            if other.width == key.width:
                found[other.features] = scores
        elif other.features in (*LOCAL[l], SPECIES_MEAN) or other.layer == key.layer:
            found[other.features] = scores
    return found
