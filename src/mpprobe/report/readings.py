"""One line for each target and split: what the numbers support, and no more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpprobe.probes.results import Study
from mpprobe.probes.tables import ROUNDING
from mpprobe.report.figures import METRIC_LABELS, best_score, number

if TYPE_CHECKING:
    import pandas as pd


def readings(study: Study) -> list[str]:
    """A line for each target and split, in the order asked for."""
    pairs = study.scores[["target", "split"]].drop_duplicates().itertuples(index=False)
    return [reading(study, target, split) for target, split in pairs]


def reading(study: Study, target: str, split: str) -> str:
    """The best of the layers asked for, and which controls its score is clear of.

    "Clear of" a control means that the 95 % interval of the difference lies above zero.
    """
    start = f"{target}, held out by {split}: "
    if target in study.trivial:
        return start + (
            "the species alone fix this target on these structures, so layer 0 holds it by "
            "construction; the scores say nothing about the environment"
        )
    metric, row = best_score(study.scores, target, split, study.layers)
    layer = int(row["layer"])
    value, low, high = (float(row[c]) for c in (metric, f"{metric}_low", f"{metric}_high"))
    best = f"layer {layer}" if len(study.layers) == 1 else f"best is layer {layer}"
    interval = f"{number(value)} [{number(low)}, {number(high)}]"
    numbers = f"{best}, {METRIC_LABELS[metric]} {interval}"
    if not low > ROUNDING:
        return f"{start}{numbers}: not clear above zero, so no claim"
    return f"{start}{numbers}; {_against(study, target, split, layer)}"


def _against(study: Study, target: str, split: str, layer: int) -> str:
    d = study.differences
    d = d[(d["target"] == target) & (d["split"] == split) & (d["layer"] == layer)]
    failed = d[~d["above"]]
    if failed.empty:
        closest = d.loc[d["difference"].idxmin()]
        return (
            f"clear of every control, the nearest being {closest['control']} ({_gap(closest)}): "
            "encoded; whether the model uses it, a probe can't say"
        )
    named = "; ".join(f"{row['control']} ({_gap(row)})" for _, row in failed.iterrows())
    return f"not clear of {named}, so no claim that the model adds to what those hold"


def _gap(row: pd.Series) -> str:
    low, high = number(row["low"], sign=True), number(row["high"], sign=True)
    return f"{number(row['difference'], sign=True)} [{low}, {high}]"
