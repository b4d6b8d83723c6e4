"""Tables for the terminal, drawn with Rich from a study's tidy tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from mpprobe.probes.study import Study
from mpprobe.report.figures import metric_of

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

_LAYERWISE = ("random weights", "random direction", "shuffled target")


def study_tables(study: Study) -> Iterator[Table]:
    """For each target and split a table of the layers with their controls."""
    for (target, split), rows in study.scores.groupby(["target", "split"], sort=False):
        yield _layer_table(study, target, split, rows[rows["subset"] == "all"])
        if split == "domain":
            yield _domain_table(study, target, rows)


def _layer_table(study: Study, target: str, split: str, rows: pd.DataFrame) -> Table:
    from rich.table import Table

    metric = metric_of(rows[rows["features"] == "model"])
    unit = study.targets[target].unit
    name = "R² within species" if metric == "r2_within" else "R²"
    table = Table(
        title=f"{target} ({unit}), held out by {split}",
        caption=(
            f"{name} with its 95 % interval over structures; the three columns after MAE are the "
            "same score of the controls of that layer"
        ),
        title_justify="left",
        caption_justify="left",
    )
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
    return table


def _cells(row: pd.Series, metric: str) -> list[str]:
    cells = [_interval(row, metric)]
    if metric != "r2":
        cells.append(_number(row["r2"]))
    return [*cells, f"{row['mae']:.3g}"]


def _layer_score(rows: pd.DataFrame, features: str, layer: int, metric: str) -> str:
    found = rows[(rows["features"] == features) & (rows["layer"] == layer)]
    return _number(found[metric].iloc[0]) if len(found) else "–"


def _interval(row: pd.Series, metric: str) -> str:
    if not np.isfinite(row[metric]):
        return "–"
    low, high = row[f"{metric}_low"], row[f"{metric}_high"]
    return f"{_number(row[metric])} [{_number(low)}, {_number(high)}]"


def _number(value: float) -> str:
    return f"{value:.2f}".replace("-", "−") if np.isfinite(value) else "–"


def _domain_table(study: Study, target: str, rows: pd.DataFrame) -> Table:
    """Scores of the layers in each domain, for the map trained in domain."""
    from rich.table import Table

    own = rows[(rows["features"] == "model") & (rows["subset"] != "all")]
    metric = metric_of(own)
    name = "R² within species" if metric == "r2_within" else "R²"
    inside = study.provenance["settings"]["in_domain"]
    table = Table(title=f"{target}: {name} by domain, trained on {' and '.join(inside)}",
                  title_justify="left")  # fmt: skip
    table.add_column("features")
    domains = list(dict.fromkeys(own["subset"]))
    for domain in domains:
        table.add_column(domain, justify="right")
    for layer, group in own.groupby("layer"):
        by_domain = group.set_index("subset")[metric]
        table.add_row(f"layer {layer}", *(_number(by_domain[d]) for d in domains))
    return table
