"""Transfer to other domains: probes fitted in domain, scored domain by domain."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mpprobe.models.controls import RANDOM_WEIGHTS
from mpprobe.probes.results import Study
from mpprobe.report.canvas import legend_below, name_ticks, new_figure
from mpprobe.report.figures import (
    FLOOR,
    METRIC_LABELS,
    TRAINED_LABEL,
    error_bars,
    interval_text,
    metric_of,
    number,
    score_axis,
)
from mpprobe.report.style import BASELINE_STYLES, CONTROL_STYLES, MODEL_COLOUR

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SPLIT = "domain"
_MARKERS = dict(zip(BASELINE_STYLES, "hDv<>PX*", strict=True))


def transfer_rows(scores: pd.DataFrame, in_domain: tuple[str, ...]) -> pd.DataFrame:
    """The scores by domain that stand side by side, in domain first.

    Of the model and of random weights at the layer that is best in domain, so that nothing has
    been chosen on the domains that follow; of each baseline its own.

    Args:
        scores: ``Study.scores``, with the split by domain.
        in_domain: the domains that the probes were fitted in.

    Returns:
        Rows of ``scores``, with ``in_domain``, ``value``, ``low`` and ``high`` of the ``metric``,
        R² within kinds, for vectors R².
    """
    import pandas as pd

    own = scores[(scores["split"] == SPLIT) & (scores["subset"] != "all")]
    order = sorted(dict.fromkeys(own["subset"]), key=lambda domain: domain not in in_domain)
    found = []
    for _, rows in own.groupby("target", sort=False):
        model = rows[rows["features"] == "model"]
        metric = metric_of(model)
        inside = model[model["subset"].isin(in_domain) & (model["layer"] > 0)]
        layer = inside.groupby("layer")[metric].mean().idxmax()
        rows = rows[rows["layer"].isna() | (rows["layer"] == layer)]
        rows = rows[rows["features"].isin(["model", RANDOM_WEIGHTS, *BASELINE_STYLES])]
        rows = rows.assign(
            metric=metric, value=rows[metric], low=rows[f"{metric}_low"],
            high=rows[f"{metric}_high"], in_domain=rows["subset"].isin(in_domain),
        )  # fmt: skip
        found.append(rows.sort_values("subset", key=lambda s: s.map(order.index), kind="stable"))
    return pd.concat(found, ignore_index=True)


def transfer_figure(rows: pd.DataFrame) -> Figure:
    """Score by domain, a panel for each target; the model in colour, controls in grey.

    Args:
        rows: from :func:`transfer_rows`.
    """
    targets = list(dict.fromkeys(rows["target"]))
    with new_figure(1.4 + 0.75 * rows["subset"].nunique(), 0.5 + 2.4 * len(targets)) as figure:
        axes = figure.subplots(len(targets), 1, squeeze=False, sharex=True)[:, 0]
        for axis, target in zip(axes, targets, strict=True):
            _panel(axis, rows[rows["target"] == target])
        name_ticks(axes[-1], list(dict.fromkeys(rows["subset"])))
        figure.suptitle(str(rows["model"].iloc[0]))
        legend_below(
            figure, axes,
            "bars: 95 % over structures; left of the line: in domain, structures held out; scores "
            f"below {number(FLOOR)} are drawn there",
        )  # fmt: skip
    return figure


def _panel(axis: Axes, rows: pd.DataFrame) -> None:
    domains = list(dict.fromkeys(rows["subset"]))
    layer = int(rows[rows["features"] == "model"]["layer"].iloc[0])
    kinds = ["model", *(k for k in dict.fromkeys(rows["features"]) if k != "model")]
    for k, kind in enumerate(kinds):
        own = rows[rows["features"] == kind].set_index("subset").reindex(domains)
        values, low, high = (own[c].to_numpy(float).clip(min=FLOOR) for c in
                             ("value", "low", "high"))  # fmt: skip
        place = np.arange(len(domains)) + 0.7 * ((k + 0.5) / len(kinds) - 0.5)
        axis.errorbar(place, values, yerr=error_bars(values, low, high), capsize=2,
                      elinewidth=0.8, linestyle="none", **_style(kind))  # fmt: skip
    inside = rows[rows["in_domain"]]["subset"].nunique()
    axis.axvline(inside - 0.5, color="0.8", linewidth=0.8, zorder=-1)
    score_axis(axis, rows["metric"].iloc[0])
    axis.set_title(f"{rows['target'].iloc[0]}, layer {layer}")


def _style(kind: str) -> dict:
    if kind == "model":
        return {"color": MODEL_COLOUR, "marker": "o", "markersize": 6, "label": TRAINED_LABEL}
    if kind == RANDOM_WEIGHTS:
        known, marker = CONTROL_STYLES[kind], CONTROL_STYLES[kind]["marker"]
    else:
        known, marker = BASELINE_STYLES[kind], _MARKERS[kind]
    return {"color": known["color"], "marker": marker, "markersize": 3.5, "label": kind}


def transfer_readings(study: Study, rows: pd.DataFrame) -> list[str]:
    """A line for each target: the model in domain, and in every other beside the best control.

    Args:
        study: whose targets that the species decide are said to be so.
        rows: from :func:`transfer_rows`.
    """
    lines = []
    for target, own in rows.groupby("target", sort=False):
        if target in study.trivial:
            lines.append(f"{target}: the species alone fix it, so there is nothing to transfer")
            continue
        metric = own["metric"].iloc[0]
        said = []
        for domain, part in own.groupby("subset", sort=False):
            model = part[part["features"] == "model"].iloc[0]
            control = part[part["features"] != "model"].nlargest(1, "value").iloc[0]
            where = "in domain" if model["in_domain"] else "out of domain"
            said.append(
                f"{domain} ({where}) {interval_text(model, metric)}, the best control "
                f"{interval_text(control, metric)} ({control['features']})"
            )
        layer = int(own[own["features"] == "model"]["layer"].iloc[0])
        lines.append(f"{target}, layer {layer}, {METRIC_LABELS[metric]}: {'; '.join(said)}")
    return lines
