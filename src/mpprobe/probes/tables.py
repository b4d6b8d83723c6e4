"""Tidy tables of scores, of the distances between a layer and its controls, and of what it adds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mpprobe.probes.scores import Estimate, Scores
from mpprobe.probes.sources import (
    ELECTROSTATICS,
    LOCAL,
    MODEL,
    RANDOM_WEIGHTS,
    SAME_WIDTH,
    SPECIES_MEAN,
    WITH_LAYER,
    WITH_RANDOM,
    Source,
)
from mpprobe.targets import Target

if TYPE_CHECKING:
    import pandas as pd

METRICS = ("r2", "r2_within", "mae")

#: What the columns of the table of scores are, and which map they come from.
COLUMNS = {
    "r2_within": "R² within kinds (species in compound): of a map fitted within kinds",
    "r2": "R² of the whole target: of a map fitted to the whole; for vectors the main score",
    "mae": "mean absolute error in the unit of the target: of the map fitted to the whole",
    "_low, _high": "95 % interval, in the way named in the column interval for the main score, "
    "and by the bootstrap with maps held fixed for the others",
    "spread_low, spread_high": "least and largest main score over assignments to folds, draws and "
    "random models",
    "code_length": "prequential code length in bits a number, less that of the kinds' means",
    "n_units": "units that are resampled: groups of structures, compounds or elements",
}

#: Columns of the conditional table that need models with random weights.
ABOVE_RANDOM = ("above_random", "above_random_low", "above_random_high")

#: Scores this close to each other differ by rounding only.
ROUNDING = 1e-9


def is_clear(value: float, low: float) -> bool:
    """Whether a difference counts: its interval above zero, and not printed as 0.00."""
    return bool(low > ROUNDING and round(value, 2) > 0)


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

    Columns as in :data:`COLUMNS`; ``mae`` is in the column ``unit``.
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
            low, high = estimate.interval()
            # A symmetric interval may pass the best score there is.
            high = high if metric == "mae" else min(high, 1.0)
            row |= {metric: estimate.value, f"{metric}_low": low, f"{metric}_high": high}
        main = getattr(scores, "r2_within" if targets[key.target].l == 0 else "r2")
        rows.append(row | {
            "interval": main.resampling.name,
            "spread_low": scores.spread[0], "spread_high": scores.spread[1],
            "code_length": scores.code_length, "n_atoms": scores.n_atoms,
            "n_structures": scores.n_structures, "n_units": scores.n_units,
        })  # fmt: skip
    return pd.DataFrame(rows).astype({"layer": "Int64"})


def main_metric(scores: Scores) -> str:
    """R² within kinds; plain R² where that isn't defined (vectors, one value)."""
    return "r2_within" if np.isfinite(scores.r2_within.value) else "r2"


def difference_table(
    model: str,
    scored: Mapping[Key, Scores],
    layers: Sequence[int],
    targets: Mapping[str, Target],
) -> pd.DataFrame:
    """How far each layer is above each control, with the interval of the difference.

    One row per target, split, layer and control (other layers of the model among them):
    ``difference`` of ``metric``, ``low`` and ``high`` of its 95 % interval (on the same resamples
    for both), and ``above``, whether the whole interval is above zero and the difference isn't
    0.00 to two digits.
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
                    "above": is_clear(gap.value, low),
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
            if other.layer != key.layer:
                found[f"layer {other.layer}"] = scores
        elif other.features.endswith(SAME_WIDTH):
            if other.width == key.width:
                found[other.features] = scores
        elif other.features in (WITH_LAYER, WITH_RANDOM):
            continue
        elif (
            other.features in (*LOCAL[l], ELECTROSTATICS, SPECIES_MEAN) or other.layer == key.layer
        ):
            found[other.features] = scores
    return found


def conditional_table(
    model: str, scored: Mapping[Key, Scores], targets: Mapping[str, Target]
) -> pd.DataFrame:
    """What each layer adds to the local electrostatics (conditional probing, Hewitt et al. 2021).

    One row per target, split, layer and ``features`` (``model``, or ``random weights``, the mean
    over its seeds): ``alone``, the main score of the local electrostatics, ``together``, that of
    both, and ``gain``, the difference; ``above_random``, by how much that is larger than the gain
    of random weights; both with their 95 % intervals, ``_low`` and ``_high``.
    """
    import pandas as pd

    rows = []
    for key, both in scored.items():
        if key.features not in (WITH_LAYER, WITH_RANDOM) or key.subset != "all":
            continue
        metric = "r2_within" if targets[key.target].l == 0 else "r2"
        alone = getattr(_found(scored, key, ELECTROSTATICS, None), metric)
        other = getattr(_found(scored, key, WITH_RANDOM, key.layer), metric, None)
        gain = getattr(both, metric) - alone
        row = {
            "model": model, "target": key.target, "split": key.split, "layer": key.layer,
            "features": MODEL if key.features == WITH_LAYER else RANDOM_WEIGHTS,
            "metric": metric, "alone": alone.value, "together": getattr(both, metric).value,
            **_ends("gain", gain),
        }  # fmt: skip
        if key.features == WITH_LAYER and other is not None:
            row |= _ends("above_random", getattr(both, metric) - other)
        rows.append(row)
    table = pd.DataFrame(rows)
    unknown = [name for name in ABOVE_RANDOM if len(table) and name not in table]
    return table.assign(**dict.fromkeys(unknown, np.nan))


def _found(
    scored: Mapping[Key, Scores], key: Key, features: str, layer: int | None
) -> Scores | None:
    """The score beside this one of some features, which there is one of for each layer."""
    return next(
        (
            scores for other, scores in scored.items()
            if (other.target, other.split, other.subset) == (key.target, key.split, key.subset)
            and (other.features, other.layer) == (features, layer)
        ),
        None,
    )  # fmt: skip


def _ends(name: str, estimate: Estimate) -> dict[str, float]:
    low, high = estimate.interval()
    return {name: estimate.value, f"{name}_low": low, f"{name}_high": high}
