"""Where a number comes from, drawn: the map, layers and messages, the influence graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mpprobe.attribution.study import PAST, Attributed
from mpprobe.models.controls import TRAINED
from mpprobe.report.canvas import new_figure
from mpprobe.report.figures import own_rows
from mpprobe.report.style import DOMAIN_COLOURS, MODEL_COLOUR, log_scale

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DECAY = {"total": "attribution", "influence": "derivative by position"}


def elsewhere(found: Attributed, model: str) -> pd.Series:
    """By layer the share of the conductances' size on atoms other than the number's own."""
    own = own_rows(found.layers, model)
    size = own["total"].abs()
    other = size.where(own["distance"] > 0, 0.0).groupby(own["layer"]).sum()
    return other / size.groupby(own["layer"]).sum()


def attribution_figure(found: Attributed) -> Figure:
    """The map on the structure, seen along its thinnest direction, and its decay with distance."""
    models = list(dict.fromkeys(found.atoms["model"]))
    decay = found.atoms["distance"].notna().all()
    n = len(models) + decay
    with new_figure(0.8 + 3.7 * n, 3.7) as figure:
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
    if axis.get_legend_handles_labels()[0]:  # there may be no other atom
        axis.legend(frameon=False, fontsize="x-small")


def layers_figure(found: Attributed) -> Figure:
    """What messages add by layer, and how far from the atom a number is carried in each layer."""
    models = list(dict.fromkeys(found.atoms["model"]))
    panels = [p for p, table in ((_message_panel, found.edges), (_way_panel, found.layers))
              if len(table)]  # fmt: skip
    with new_figure(0.8 + 4.0 * len(panels), 3.6) as figure:
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
        own = own_rows(found.edges, model)
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
        share = elsewhere(found, model)
        colour = MODEL_COLOUR if model == TRAINED else "0.6"
        axis.plot(share.index, share, "o-", color=colour, markersize=4, label=model)
        axis.set_xticks(share.index)
    axis.set_ylim(0, 1.02)
    axis.set_ylabel("share of conductance on other atoms")


def influence_figure(found: Attributed) -> Figure:
    """Who moves the atom's number; how influence falls with bonds; through which atoms it goes."""
    models = list(dict.fromkeys(found.atoms["model"]))
    with new_figure(13.2, 4.0) as figure:
        graph, bonds, through = figure.subplots(1, 3)
        _graph_panel(graph, found)
        for model in models:
            own = own_rows(found.bonds, model)
            own = own[np.isfinite(own["bonds"]) & (own["mean"] > 0)]
            colour = MODEL_COLOUR if model == TRAINED else "0.6"
            bonds.plot(own["bonds"], own["mean"], "o-", color=colour, markersize=4, label=model)
            bonds.set_xticks(own["bonds"])
        log_scale(bonds, found.bonds["mean"])
        bonds.set_xlabel("bonds between two atoms")
        bonds.set_ylabel(f"mean influence ({found.checks['unit'].iloc[0]}/Å)")
        bonds.legend(frameon=False, fontsize="x-small")
        _through_panel(through, own_rows(found.through, TRAINED))
        figure.suptitle(f"{found.provenance['model']['name']}: {found.checks['scalar'].iloc[0]}")
    return figure


#: Edges of the drawn graph: those that have at least so much of the largest influence.
_LEAST = 0.03


def _graph_panel(axis: Axes, found: Attributed) -> None:
    import networkx as nx

    graph = found.graphs[TRAINED]
    own = own_rows(found.atoms, TRAINED)
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
