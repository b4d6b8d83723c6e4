"""Tables for the terminal, drawn with Rich from a study's tidy tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from mpprobe.probes.results import Study
from mpprobe.report.figures import METRIC_LABELS, metric_of, number

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Group
    from rich.table import Table

_LAYERWISE = ("random weights", "random direction", "shuffled target")

#: How to read the tables.
LEGEND = (
    "R² within kinds: of maps fitted and scored within each species of each compound, the mean "
    "over several assignments to folds; R² and MAE: of maps fitted to the whole target. Intervals: "
    "95 %, over what is held out. Random weights (mean of several), random direction, shuffled "
    "target: the same score for these controls of the same layer. Adds: how much the layer adds to "
    "the local electrostatics, charge-weighted sums over the neighbours within one cutoff. In "
    "brackets: the number of features. –: not defined, as an interval is with fewer than five "
    "units held out, and R² where the target doesn't vary."
)


def study_tables(study: Study, by_domain: bool = False) -> Iterator[Group]:
    """For each target and split a table of the layers with their controls.

    Scores by domain follow for splits by domain, and for all splits if ``by_domain``.
    """
    for (target, split), rows in study.scores.groupby(["target", "split"], sort=False):
        yield _layer_table(study, target, split, rows[rows["subset"] == "all"])
        if (by_domain or split == "domain") and (rows["subset"] != "all").any():
            yield _domain_table(study, target, split, rows)


def titled(title: str, table: Table) -> Group:
    """A title above a table; Rich's own titles are broken to the table's width."""
    from rich.console import Group
    from rich.text import Text

    return Group(Text(title, style="bold"), table)


def _layer_table(study: Study, target: str, split: str, rows: pd.DataFrame) -> Group:
    from rich.table import Table

    metric = metric_of(rows[rows["features"] == "model"])
    unit = study.targets[target].unit
    name = METRIC_LABELS[metric]
    table = Table()
    table.add_column("features")
    table.add_column(name, justify="right", style="bold")
    if metric != "r2":
        table.add_column("R²", justify="right")
    table.add_column(f"MAE ({unit})", justify="right")
    for control in _LAYERWISE:
        table.add_column(control.replace(" ", "\n"), justify="right", style="dim")
    table.add_column("adds", justify="right")
    gains = study.conditional
    if len(gains):
        gains = gains[(gains["target"] == target) & (gains["split"] == split)]
        gains = gains[gains["features"] == "model"].set_index("layer")
    own = rows[rows["features"] == "model"].sort_values("layer")
    for _, row in own.iterrows():
        beside = [_layer_score(rows, control, row["layer"], metric) for control in _LAYERWISE]
        known = len(gains) and row["layer"] in gains.index
        beside.append(_interval(gains.loc[row["layer"]], "gain", sign=True) if known else "–")
        table.add_row(f"layer {row['layer']}  {row['block']}", *_cells(row, metric), *beside)
    table.add_section()
    for _, row in rows[rows["layer"].isna()].iterrows():
        label = f"{row['features']} ({row['width']})" if row["width"] else row["features"]
        table.add_row(label, *_cells(row, metric), *[""] * (1 + len(_LAYERWISE)), style="dim")
    return titled(f"{target} ({unit}), held out by {split}", table)


def _cells(row: pd.Series, metric: str) -> list[str]:
    cells = [_interval(row, metric)]
    if metric != "r2":
        cells.append(number(row["r2"]))
    return [*cells, f"{row['mae']:.3g}" if np.isfinite(row["mae"]) else "–"]


def _layer_score(rows: pd.DataFrame, features: str, layer: int, metric: str) -> str:
    found = rows[(rows["features"] == features) & (rows["layer"] == layer)]
    return number(found[metric].iloc[0]) if len(found) else "–"


def _interval(row: pd.Series, metric: str, sign: bool = False) -> str:
    if not np.isfinite(row[metric]):
        return "–"
    value, low, high = (number(row[f"{metric}{end}"], sign) for end in ("", "_low", "_high"))
    return f"{value} [{low}, {high}]"


def _domain_table(study: Study, target: str, split: str, rows: pd.DataFrame) -> Group:
    """Scores of the layers in each domain."""
    from rich.table import Table

    own = rows[(rows["features"] == "model") & (rows["subset"] != "all")]
    metric = metric_of(own)
    name = METRIC_LABELS[metric]
    title = f"{target}: {name} by domain, held out by {split}"
    if split == "domain":
        title += f", trained on {' and '.join(study.provenance['settings']['in_domain'])}"
    table = Table()
    table.add_column("features")
    domains = list(dict.fromkeys(own["subset"]))
    for domain in domains:
        table.add_column(domain, justify="right")
    for layer, group in own.groupby("layer"):
        by_domain = group.set_index("subset")[metric]
        table.add_row(f"layer {layer}", *(number(by_domain[d]) for d in domains))
    return titled(title, table)
