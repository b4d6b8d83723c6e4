"""The far-field experiment in words: what is read where the surroundings stay the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpprobe.probes.sources import CHOSEN, ELECTROSTATICS, MODEL, RANDOM_WEIGHTS
from mpprobe.probes.tables import is_clear
from mpprobe.report.figures import interval_text, number

if TYPE_CHECKING:
    import pandas as pd

METRIC = "r2_within"


def far_readings(scores: pd.DataFrame) -> list[str]:
    """A line for each series of structures, target and model.

    Args:
        scores: tables ``Study.scores`` in one, of one split, with a column ``structures``; with
            controls of several cutoffs (``Settings.n_cutoffs``).
    """
    whole = scores[scores["subset"] == "all"]
    groups = whole.groupby(["structures", "target", "model"], sort=False)
    return [
        _line(f"{structures}, {target}", str(model), rows)
        for (structures, target, model), rows in groups
    ]


def _line(what: str, model: str, rows: pd.DataFrame) -> str:
    own = rows[rows["features"] == MODEL].sort_values("layer")
    blind = [int(t) for t in own["layer"] if t > 0 and abs(_score(own, t)) < 1e-6]
    seeing = own[(own["layer"] > 0) & ~own["layer"].isin(blind)]
    random = rows.loc[rows["features"] == RANDOM_WEIGHTS, METRIC].max()
    chosen = rows[rows["features"] == CHOSEN].iloc[0]
    read = is_clear(chosen[METRIC], chosen[f"{METRIC}_low"])
    parts = [f"{what}: {model} {'reads it' if read else 'does not read it'}"]
    if blind:
        parts.append(f"layer {' and '.join(map(str, blind))} 0 by construction")
    listed = ", ".join(number(value) for value in seeing[METRIC])
    parts.append(f"layers {int(seeing['layer'].min())} to {int(seeing['layer'].max())} {listed}")
    parts.append(f"chosen layer {interval_text(chosen, METRIC)}, random weights {number(random)}")
    farther = rows[rows["features"].str.endswith(" cutoffs")]
    best = farther.groupby("features", sort=False)[METRIC].max().sort_values(ascending=False)
    sums = best[best.index.str.startswith(ELECTROSTATICS)]
    others = best.drop(sums.index)
    for name, value in [*list(sums.items())[:1], *list(others.items())[:1]]:
        share = max(chosen[METRIC], 0.0) / value if value > 0 else float("nan")
        parts.append(f"{name} {number(value)}, of which the chosen layer has {share:.0%}")
    return "; ".join(parts)


def _score(own: pd.DataFrame, layer: int) -> float:
    return float(own.loc[own["layer"] == layer, METRIC].iloc[0])
