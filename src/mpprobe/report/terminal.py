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
    "Intervals: 95 %, over structures. Within species: true and decoded values centred per "
    "species and compound. Random weights, random direction, shuffled target: the same score for "
    "these controls of the same layer. In brackets: the number of features. –: not defined, as an "
    "interval is with fewer than five groups of structures, and R² where the target doesn't vary."
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
    own = rows[rows["features"] == "model"].sort_values("layer")
    for _, row in own.iterrows():
        beside = [_layer_score(rows, control, row["layer"], metric) for control in _LAYERWISE]
        table.add_row(f"layer {row['layer']}  {row['block']}", *_cells(row, metric), *beside)
    table.add_section()
    for _, row in rows[rows["layer"].isna()].iterrows():
        label = f"{row['features']} ({row['width']})" if row["width"] else row["features"]
        table.add_row(label, *_cells(row, metric), *[""] * len(_LAYERWISE), style="dim")
    return titled(f"{target} ({unit}), held out by {split}", table)


def _cells(row: pd.Series, metric: str) -> list[str]:
    cells = [_interval(row, metric)]
    if metric != "r2":
        cells.append(number(row["r2"]))
    return [*cells, f"{row['mae']:.3g}"]


def _layer_score(rows: pd.DataFrame, features: str, layer: int, metric: str) -> str:
    found = rows[(rows["features"] == features) & (rows["layer"] == layer)]
    return number(found[metric].iloc[0]) if len(found) else "–"


def _interval(row: pd.Series, metric: str) -> str:
    if not np.isfinite(row[metric]):
        return "–"
    low, high = row[f"{metric}_low"], row[f"{metric}_high"]
    return f"{number(row[metric])} [{number(low)}, {number(high)}]"


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
