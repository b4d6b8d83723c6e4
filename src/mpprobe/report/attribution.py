"""Where a number comes from: tables, figure, what they say, the files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mpprobe.attribution.maps import BASELINES, BY_ATOM, BY_CHANNEL
from mpprobe.attribution.study import PAST, Attributed
from mpprobe.models.controls import TRAINED
from mpprobe.report.attribution_figures import (
    attribution_figure,
    elsewhere,
    influence_figure,
    layers_figure,
)
from mpprobe.report.figures import own_rows
from mpprobe.report.files import records, write_result
from mpprobe.report.terminal import titled
from mpprobe.structures import write_extxyz

if TYPE_CHECKING:
    import networkx as nx
    import pandas as pd
    from rich.console import Group

#: How to read the tables.
LEGEND = (
    "Total: what the atom's features add to the number, against the baseline; in brackets its "
    "irreps. Influence: length of the derivative of the number by the atom's position. Gap: what "
    "the attributions leave of the difference. Infidelity: error of predicted changes over the "
    "changes. Sensitivity: largest relative change of the map for small changes of the features."
)
#: Atoms in the table for the terminal.
SHOWN = 12
_LABELS = ("model", "atom", "species", "distance", "total", "influence")


def attribution_tables(found: Attributed) -> Iterator[Group]:
    """The checks of each map, and the atoms that add most."""
    yield _check_table(found)
    yield _atom_table(found)


def _check_table(found: Attributed) -> Group:
    from rich.table import Table

    table = Table()
    table.add_column("model")
    table.add_column("shared out among")
    unit = found.checks["unit"].iloc[0]
    for heading in (f"value ({unit})", f"baseline ({unit})", "relative gap", "infidelity",
                    "sensitivity"):  # fmt: skip
        table.add_column(heading, justify="right")
    for _, row in found.checks.iterrows():
        cells = [_text(row[c]) for c in ("value", "baseline_value", "relative_gap", "infidelity",
                                         "sensitivity")]  # fmt: skip
        table.add_row(row["model"], row["over"], *cells)
    about = found.provenance
    return titled(
        f"{about['model']['name']}: {found.checks['scalar'].iloc[0]} from layer {about['layer']}, "
        f"{about['method']}, baseline {about['baseline']}", table,
    )  # fmt: skip


def _atom_table(found: Attributed) -> Group:
    from rich.table import Table

    own = found.atoms[found.atoms["model"] == TRAINED]
    order = own["total"].abs().sort_values(ascending=False, kind="stable").index[:SHOWN]
    irreps = _irreps(own)
    table = Table()
    table.add_column("atom")
    for heading in ("distance (Å)", "total", *irreps, "influence"):
        table.add_column(heading, justify="right")
    for _, row in own.loc[order].iterrows():
        distance = "–" if np.isnan(row["distance"]) else f"{row['distance']:.2f}"
        table.add_row(
            f"{row['species']}{row['atom']}", distance,
            *(_text(row[c]) for c in ("total", *irreps, "influence")),
        )  # fmt: skip
    return titled(f"Atoms that add most (of {len(own)})", table)


def attribution_readings(found: Attributed) -> list[str]:
    """A line for each model: how complete and faithful the map is, and from how far it comes."""
    lines = []
    for _, check in found.checks.drop_duplicates("model").iterrows():
        own = own_rows(found.atoms, check["model"])
        size = own["total"].abs()
        parts = [f"attributions leave {_text(check['relative_gap'])} of the difference"]
        if own["distance"].notna().all() and size.sum() > 0:
            elsewhere = size[own["distance"] > 0].sum() / size.sum()
            mean = float((size * own["distance"]).sum() / size.sum())
            parts.append(
                f"{100 * elsewhere:.0f} % of their size is on other atoms, {mean:.2f} Å away on "
                "average (the atom itself counted)"
            )
        lines.append(f"{check['model']}, {check['scalar']}: {'; '.join(parts)}")
        lines += [f"{check['model']}: {said}" for said in _more_readings(found, check["model"])]
    if found.provenance["method"] in BY_ATOM:
        lines.append("within an atom this method shares evenly: irreps and channels say nothing")
    if found.provenance["method"] in BY_CHANNEL:
        lines.append("within a channel this method shares evenly: atoms say nothing")
    about = BASELINES[found.provenance["baseline"]]
    return [*lines, f"baseline: {about}"]


def _more_readings(found: Attributed, model: str) -> Iterator[str]:
    """What the messages, the later layers and the influence of a model say, if asked for."""
    if len(found.edges):
        by_layer = own_rows(found.edges, model).groupby("layer")["value"].sum()
        said = ", ".join(f"{t}: {_text(value)}" for t, value in by_layer.items())
        yield f"messages add, by layer, {said} {found.checks['unit'].iloc[0]}"
    if len(found.layers):
        said = ", ".join(f"{t}: {share:.0%}" for t, share in elsewhere(found, model).items())
        yield f"on the way, share of the attributions' size on other atoms, by layer, {said}"
    if len(found.bonds):
        bonds = own_rows(found.bonds, model)
        said = ", ".join(f"{row['bonds']:g}: {_percent(row['share'])}" for _, row in
                         bonds[np.isfinite(bonds["bonds"])].iterrows())  # fmt: skip
        yield f"squared influence of all atoms on each other, by bonds between, {said}"
    if len(found.through):
        through = own_rows(found.through, model)
        itself = through[through["distance"] == 0].set_index("layer")["share"]
        past = through[through["atom"] == PAST].set_index("layer")["share"]
        said = ", ".join(f"{t}: {itself[t]:.0%} and {past[t]:.0%}" for t in itself.index)
        yield f"of others' influence through the atom's own features, and past, by layer, {said}"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _irreps(table: pd.DataFrame) -> list[str]:
    return [c for c in table.columns if c not in _LABELS]


def _text(value: float) -> str:
    return "–" if not np.isfinite(value) else f"{value:.3g}".replace("-", "−")


def attribution_results(found: Attributed) -> dict[str, Any]:
    """Readings, tables and provenance, as plain data."""
    return {
        "command": "attribute",
        "readings": attribution_readings(found),
        "checks": records(found.checks),
        "atoms": records(found.atoms),
        "channels": records(found.channels),
        **{name: records(table) for name, table in _more(found).items() if name != "edges"},
        "provenance": found.provenance,
    }


def write_attribution(
    found: Attributed,
    folder: str | Path,
    *,
    overwrite: bool = False,
    configuration: str | None = None,
) -> list[Path]:
    """Write ``results.json``, the tables as CSV, the figures, and ``structure.extxyz``.

    Influence graphs are written as GraphML. The structure has the trained model's
    ``mpprobe_attribution`` and ``mpprobe_influence`` as per-atom arrays.

    Args:
        found: from :meth:`mpprobe.attribution.AttributionPlan.run`.
        folder: what is there is replaced.
        overwrite: an earlier result may be.
        configuration: written as ``config.yaml``.

    Returns:
        The files written.

    Raises:
        MPProbeError: see :func:`mpprobe.report.files.check_output`.
    """
    own = found.atoms[found.atoms["model"] == TRAINED]
    arrays = {"attribution": [own["total"].to_numpy()], "influence": [own["influence"].to_numpy()]}
    figures = {"attribution": attribution_figure(found)}
    if len(found.edges) or len(found.layers):
        figures["layers"] = layers_figure(found)
    if found.graphs:
        figures["influence"] = influence_figure(found)
    tables = {"atoms": found.atoms, "channels": found.channels, "checks": found.checks}

    def write_more(part: Path) -> None:
        write_extxyz(part / "structure.extxyz", [found.frame], arrays)
        for model, graph in found.graphs.items():
            _write_graph(graph, part / f"influence-{model.replace(' ', '-')}.graphml")

    return write_result(
        folder,
        attribution_results(found),
        tables | _more(found),
        figures,
        overwrite=overwrite,
        configuration=configuration,
        more=write_more,
    )


def _more(found: Attributed) -> dict[str, pd.DataFrame]:
    """The tables that were asked for."""
    tables = {name: getattr(found, name) for name in ("edges", "layers", "bonds", "through")}
    return {name: table for name, table in tables.items() if len(table)}


def _write_graph(graph: nx.DiGraph, path: Path) -> None:
    """As GraphML, which knows no tuples."""
    import networkx as nx

    flat = graph.copy()
    for _, node in flat.nodes(data=True):
        node.update(zip("xyz", node.pop("position"), strict=True))
    nx.write_graphml(flat, path)
