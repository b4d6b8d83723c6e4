"""Where a number comes from: tables, figure, what they say, the files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mpprobe.attribution.maps import BASELINES, BY_ATOM, BY_CHANNEL
from mpprobe.attribution.study import PAST, Attributed
from mpprobe.models.controls import TRAINED
from mpprobe.report.files import records, write_result
from mpprobe.report.style import DOMAIN_COLOURS, MODEL_COLOUR, figure_style
from mpprobe.report.terminal import titled
from mpprobe.structures import write_extxyz

if TYPE_CHECKING:
    import networkx as nx
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
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
_DECAY = {"total": "attribution", "influence": "derivative by position"}
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
        own = _own(found.atoms, check["model"])
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
        by_layer = _own(found.edges, model).groupby("layer")["value"].sum()
        said = ", ".join(f"{t}: {_text(value)}" for t, value in by_layer.items())
        yield f"messages add, by layer, {said} {found.checks['unit'].iloc[0]}"
    if len(found.layers):
        said = ", ".join(f"{t}: {share:.0%}" for t, share in _elsewhere(found, model).items())
        yield f"on the way, share of the attributions' size on other atoms, by layer, {said}"
    if len(found.bonds):
        bonds = _own(found.bonds, model)
        said = ", ".join(f"{row['bonds']:g}: {_percent(row['share'])}" for _, row in
                         bonds[np.isfinite(bonds["bonds"])].iterrows())  # fmt: skip
        yield f"squared influence of all atoms on each other, by bonds between, {said}"
    if len(found.through):
        through = _own(found.through, model)
        itself = through[through["distance"] == 0].set_index("layer")["share"]
        past = through[through["atom"] == PAST].set_index("layer")["share"]
        said = ", ".join(f"{t}: {itself[t]:.0%} and {past[t]:.0%}" for t in itself.index)
        yield f"of others' influence through the atom's own features, and past, by layer, {said}"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _elsewhere(found: Attributed, model: str) -> pd.Series:
    """By layer the share of the conductances' size on atoms other than the number's own."""
    own = _own(found.layers, model)
    size = own["total"].abs()
    other = size.where(own["distance"] > 0, 0.0).groupby(own["layer"]).sum()
    return other / size.groupby(own["layer"]).sum()


def _own(table: pd.DataFrame, model: str) -> pd.DataFrame:
    return table[table["model"] == model]


def attribution_figure(found: Attributed) -> Figure:
    """The map on the structure, seen along its thinnest direction, and its decay with distance."""
    from matplotlib.figure import Figure

    models = list(dict.fromkeys(found.atoms["model"]))
    decay = found.atoms["distance"].notna().all()
    with figure_style():
        n = len(models) + decay
        figure = Figure(figsize=(0.8 + 3.7 * n, 3.7), layout="constrained")
        axes = list(figure.subplots(1, n, squeeze=False)[0])
        for model in models:
            axis = axes.pop(0)
            _map_panel(figure, axis, found, model)
            axis.set_title(model, fontsize="medium")
        if decay:
            _decay_panel(axes.pop(0), found)
        figure.suptitle(f"{found.provenance['model']['name']}: {found.checks['scalar'].iloc[0]}")
    return figure


def _map_panel(figure: Figure, axis: Axes, found: Attributed, model: str) -> None:
    own = found.atoms[found.atoms["model"] == model]
    positions = found.frame.atoms.positions
    a, b, depth = _plane(positions)
    order = np.argsort(positions[:, depth], kind="stable")
    values = own["total"].to_numpy()[order]
    largest = float(np.abs(values).max()) or 1.0
    size = np.where(found.frame.numbers[order] > found.frame.numbers.mean(), 90, 50)
    dots = axis.scatter(
        positions[order, a], positions[order, b], c=values, s=size, cmap="PuOr", vmin=-largest,
        vmax=largest, edgecolors="0.3", linewidths=0.5, clip_on=False,
    )  # fmt: skip
    at = np.flatnonzero(own["distance"].to_numpy() == 0)
    axis.scatter(positions[at, a], positions[at, b], marker="x", color="0.1", s=30)
    axis.margins(0.12)
    axis.set_aspect("equal", adjustable="datalim")
    axis.set_xlabel(f"{'xyz'[a]} (Å)")
    axis.set_ylabel(f"{'xyz'[b]} (Å)")
    figure.colorbar(dots, ax=axis, label=f"attribution ({found.checks['unit'].iloc[0]})",
                    shrink=0.8)  # fmt: skip


def _decay_panel(axis: Axes, found: Attributed) -> None:
    for model, own in found.atoms.groupby("model", sort=False):
        other = own[own["distance"] > 0]
        colour = MODEL_COLOUR if model == TRAINED else "0.6"
        for column, marker in (("total", "o"), ("influence", "x")):
            largest = other[column].abs().max()
            if not largest > 0:
                continue
            axis.plot(other["distance"], other[column].abs() / largest, marker, color=colour,
                      markersize=3, label=f"{model}: {_DECAY[column]}")  # fmt: skip
    axis.set_yscale("log")
    axis.set_ylim(1e-8, 2)
    axis.set_xlabel("distance (Å)")
    axis.set_ylabel("size, over the largest")
    axis.legend(frameon=False, fontsize="x-small")


def layers_figure(found: Attributed) -> Figure:
    """What messages add by layer, and how far from the atom a number is carried in each layer."""
    from matplotlib.figure import Figure

    models = list(dict.fromkeys(found.atoms["model"]))
    panels = [p for p, table in ((_message_panel, found.edges), (_way_panel, found.layers))
              if len(table)]  # fmt: skip
    with figure_style():
        figure = Figure(figsize=(0.8 + 4.0 * len(panels), 3.6), layout="constrained")
        for axis, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels,
                               strict=True):  # fmt: skip
            panel(axis, found, models)
            axis.set_xlabel("layer")
            axis.legend(frameon=False, fontsize="x-small")
        figure.suptitle(f"{found.provenance['model']['name']}: {found.checks['scalar'].iloc[0]}")
    return figure


def _message_panel(axis: Axes, found: Attributed, models: list[str]) -> None:
    at = found.atoms.loc[found.atoms["distance"] == 0, "atom"].unique()
    width = 0.8 / len(models)
    for k, model in enumerate(models):
        own = _own(found.edges, model)
        mine = own["receiver"].isin(at)
        layers = np.sort(own["layer"].unique())
        colour = MODEL_COLOUR if model == TRAINED else "0.6"
        for part, label, shade in ((own[mine], "received by the atom", 1.0),
                                   (own[~mine], "received by others", 0.4)):  # fmt: skip
            total = part.groupby("layer")["value"].sum().reindex(layers, fill_value=0.0)
            place = layers + width * (k - (len(models) - 1) / 2)
            axis.bar(place + (shade < 1) * width / 2, total, width / 2, color=colour, alpha=shade,
                     label=f"{model}: {label}")  # fmt: skip
        axis.set_xticks(layers)
    axis.axhline(0, color="0.4", linewidth=0.6)
    axis.set_ylabel(f"what messages add ({found.checks['unit'].iloc[0]})")


def _way_panel(axis: Axes, found: Attributed, models: list[str]) -> None:
    for model in models:
        share = _elsewhere(found, model)
        colour = MODEL_COLOUR if model == TRAINED else "0.6"
        axis.plot(share.index, share, "o-", color=colour, markersize=4, label=model)
        axis.set_xticks(share.index)
    axis.set_ylim(0, 1.02)
    axis.set_ylabel("share of conductance on other atoms")


def influence_figure(found: Attributed) -> Figure:
    """Who moves the atom's number; how influence falls with bonds; through which atoms it goes."""
    from matplotlib.figure import Figure

    models = list(dict.fromkeys(found.atoms["model"]))
    with figure_style():
        figure = Figure(figsize=(13.2, 4.0), layout="constrained")
        graph, bonds, through = figure.subplots(1, 3)
        _graph_panel(graph, found)
        for model in models:
            own = _own(found.bonds, model)
            own = own[np.isfinite(own["bonds"]) & (own["mean"] > 0)]
            colour = MODEL_COLOUR if model == TRAINED else "0.6"
            bonds.plot(own["bonds"], own["mean"], "o-", color=colour, markersize=4, label=model)
            bonds.set_xticks(own["bonds"])
        bonds.set_yscale("log")
        bonds.set_xlabel("bonds between two atoms")
        bonds.set_ylabel(f"mean influence ({found.checks['unit'].iloc[0]}/Å)")
        bonds.legend(frameon=False, fontsize="x-small")
        _through_panel(through, _own(found.through, TRAINED))
        figure.suptitle(f"{found.provenance['model']['name']}: {found.checks['scalar'].iloc[0]}")
    return figure


#: Edges of the drawn graph: those that have at least so much of the largest influence.
_LEAST = 0.03


def _graph_panel(axis: Axes, found: Attributed) -> None:
    import networkx as nx

    graph = found.graphs[TRAINED]
    own = _own(found.atoms, TRAINED)
    (at,) = own.loc[own["distance"] == 0, "atom"]
    positions = found.frame.atoms.positions
    a, b, _ = _plane(positions)
    place = {k: positions[k, [a, b]] for k in graph}
    into = [(j, at, graph.edges[j, at]["weight"]) for j in graph.predecessors(at)]
    largest = max((weight for *_, weight in into), default=1.0)
    kept = [(j, i, weight / largest) for j, i, weight in into if weight >= _LEAST * largest]
    colours = [DOMAIN_COLOURS[int(graph.edges[j, i]["bonds"]) % 8] for j, i, _ in kept]
    sizes = np.where(found.frame.numbers > found.frame.numbers.mean(), 90, 50)
    nx.draw_networkx_nodes(graph, place, ax=axis, node_size=sizes, node_color="white",
                           edgecolors="0.3", linewidths=0.6)  # fmt: skip
    nx.draw_networkx_edges(
        graph, place, edgelist=[(j, i) for j, i, _ in kept], ax=axis, edge_color=colours,
        width=[3 * weight for *_, weight in kept], arrowsize=6, node_size=sizes,
        connectionstyle="arc3,rad=0.08",
    )  # fmt: skip
    for bonds in sorted({int(graph.edges[j, i]["bonds"]) for j, i, _ in kept}):
        axis.plot([], [], color=DOMAIN_COLOURS[bonds % 8], label=f"{bonds} bond{'s'[: bonds > 1]}")
    axis.plot(*place[at], "x", color="0.1", markersize=5)
    axis.tick_params(left=True, bottom=True, labelleft=True, labelbottom=True)
    axis.set(aspect="equal", xlabel=f"{'xyz'[a]} (Å)", ylabel=f"{'xyz'[b]} (Å)")
    axis.legend(frameon=False, fontsize="x-small", loc="upper right")
    axis.set_title(f"who moves it, down to {_LEAST:.0%} of the most", fontsize="medium")


def _through_panel(axis: Axes, own: pd.DataFrame) -> None:
    kinds = {
        "the atom itself": own["distance"] == 0,
        "other atoms": own["distance"] > 0,
        "past the layer": own["atom"] == PAST,
    }
    layers = np.sort(own["layer"].unique())
    for k, (label, chosen) in enumerate(kinds.items()):
        share = own[chosen].groupby("layer")["share"].sum()
        axis.bar(layers + 0.27 * (k - 1), share, 0.27, label=label,
                 color=(DOMAIN_COLOURS[0], DOMAIN_COLOURS[1], "0.75")[k])  # fmt: skip
    axis.axhline(0, color="0.4", linewidth=0.6)
    axis.set_xticks(layers)
    axis.set_xlabel("layer")
    axis.set_ylabel("share of others' influence")
    axis.set_title("which way it comes", fontsize="medium")
    axis.legend(frameon=False, fontsize="x-small")


def _plane(positions: np.ndarray) -> tuple[int, int, int]:
    """The two axes along which the structure is long, and the third."""
    a, b = np.sort(np.argsort(np.ptp(positions, axis=0), kind="stable")[1:])
    (depth,) = {0, 1, 2} - {int(a), int(b)}
    return int(a), int(b), depth


def _irreps(table: pd.DataFrame) -> list[str]:
    return [c for c in table.columns if c not in _LABELS]


def _text(value: float) -> str:
    return "–" if not np.isfinite(value) else f"{value:.3g}".replace("-", "−")


def attribution_results(found: Attributed) -> dict[str, Any]:
    """Readings, tables and provenance, as plain data."""
    return {
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
