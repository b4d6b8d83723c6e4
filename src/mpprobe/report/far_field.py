"""The far-field experiment in words: what is read where the surroundings stay the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mpprobe.probes.sources import CHOSEN, ELECTROSTATICS, MODEL, RANDOM_WEIGHTS
from mpprobe.probes.tables import is_clear
from mpprobe.report.figures import interval_text, number

if TYPE_CHECKING:
    import pandas as pd

METRIC = "r2_within"


def far_readings(scores: pd.DataFrame, blind: Mapping[str, int]) -> list[str]:
    """A line for each series of structures, target and model.

    Args:
        blind: of each series the last layer that can't see beyond what is fixed.
        scores: tables ``Study.scores`` in one, of one split, with a column ``structures``; with
            controls of several cutoffs (``Settings.n_cutoffs``).
    """
    whole = scores[scores["subset"] == "all"]
    groups = whole.groupby(["structures", "target", "model"], sort=False)
    return [
        _line(f"{structures}, {target}", str(model), rows, blind[str(structures)])
        for (structures, target, model), rows in groups
    ]


def _line(what: str, model: str, rows: pd.DataFrame, blind: int) -> str:
    own = rows[rows["features"] == MODEL].sort_values("layer")
    seeing = own[own["layer"] > blind]
    largest = own.loc[own["layer"] <= blind, METRIC].abs().max()
    random = rows.loc[rows["features"] == RANDOM_WEIGHTS, METRIC].max()
    chosen = rows[rows["features"] == CHOSEN].iloc[0]
    read = is_clear(chosen[METRIC], chosen[f"{METRIC}_low"])
    parts = [f"{what}: {model} {'reads it' if read else 'does not read it'}"]
    parts.append(f"up to layer {blind} nothing can be read ({number(largest)})")
    listed = ", ".join(number(value) for value in seeing[METRIC])
    parts.append(f"layers {int(seeing['layer'].min())} to {int(seeing['layer'].max())} {listed}")
    parts.append(f"chosen layer {interval_text(chosen, METRIC)}, random weights {number(random)}")
    farther = rows[rows["features"].str.endswith(" cutoffs")]
    best = farther.groupby("features", sort=False)[METRIC].max().sort_values(ascending=False)
    sums = best[best.index.str.startswith(ELECTROSTATICS)]
    others = best.drop(sums.index)
    for name, value in [*list(sums.items())[:1], *list(others.items())[:1]]:
        share = max(chosen[METRIC], 0.0) / value if is_clear(value, value) else None
        part = f", of which the chosen layer has {share:.0%}" if share is not None else ""
        parts.append(f"{name} {number(value)}{part}")
    return "; ".join(parts)
