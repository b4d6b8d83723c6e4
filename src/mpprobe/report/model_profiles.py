"""Layer profiles of several models side by side, each beside its own random weights in grey."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mpprobe.models.controls import RANDOM_WEIGHTS
from mpprobe.probes.sources import CHOSEN
from mpprobe.report.canvas import as_label, legend_below, new_figure
from mpprobe.report.figures import (
    FLOOR,
    METRIC_LABELS,
    baseline_lines,
    interval_text,
    metric_of,
    number,
    own_rows,
    score_axis,
    score_line,
)
from mpprobe.report.style import BASELINE_STYLES, DOMAIN_COLOURS

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: What tells one panel's scores from another's.
PANEL = ["structures", "target", "split"]
_MARKERS = "os^vDP*X"


def model_profiles(scores: pd.DataFrame) -> Figure:
    """Score against layer: structures and targets in rows, splits in columns, models in colours.

    Args:
        scores: tables ``Study.scores`` of several models in one, with a column ``structures``,
            the name of the set that they are of.
    """
    whole = scores[scores["subset"] == "all"]
    rows = list(dict.fromkeys(zip(whole["structures"], whole["target"], strict=True)))
    splits, models = (list(dict.fromkeys(whole[c])) for c in ("split", "model"))
    with new_figure(0.8 + 3.6 * len(splits), 0.5 + 2.4 * len(rows)) as figure:
        axes = figure.subplots(len(rows), len(splits), squeeze=False)
        for line, (structures, target) in zip(axes, rows, strict=True):
            for axis, split in zip(line, splits, strict=True):
                key = {"structures": structures, "target": target, "split": split}
                _panel(axis, _chosen(whole, key), models)
                axis.set_title(f"{structures}: {target}, held out by {split}")
        for axis in axes[-1]:
            axis.set_xlabel("layer (0: species embedding)")
        legend_below(
            figure, axes.ravel()[::-1],  # the models of the last panel first
            "bars: 95 % over what is held out; lines without marks: at the first model's cutoff; "
            f"scores below {number(FLOOR)} are drawn there",
            order=lambda label: label == RANDOM_WEIGHTS or label.startswith(tuple(BASELINE_STYLES)),
        )  # fmt: skip
    return figure


def _chosen(scores: pd.DataFrame, key: dict[str, Any]) -> pd.DataFrame:
    return scores[np.logical_and.reduce([scores[name] == value for name, value in key.items()])]


def _panel(axis: Axes, rows: pd.DataFrame, models: list[str]) -> None:
    metric = metric_of(rows[rows["features"] == "model"])
    first = own_rows(rows, rows["model"].iloc[0])
    baseline_lines(axis, first, metric)
    for k, model in enumerate(models):
        look = {"marker": _MARKERS[k % len(_MARKERS)], "markersize": 4}
        control = {**look, "color": "0.65", "linestyle": "--", "markersize": 3, "linewidth": 0.8}
        own = {**look, "color": DOMAIN_COLOURS[k % len(DOMAIN_COLOURS)]}
        of_model = own_rows(rows, model)
        for features, label, style in ((RANDOM_WEIGHTS, RANDOM_WEIGHTS, control),
                                       ("model", as_label(model), own)):  # fmt: skip
            score_line(axis, of_model[of_model["features"] == features], metric, label, style)
    score_axis(axis, metric)
    axis.locator_params(axis="x", integer=True)


def profile_readings(scores: pd.DataFrame, differences: pd.DataFrame) -> list[str]:
    """A line for each panel and model: its layer, and the controls that it isn't clear of.

    The layer is the one that the training folds choose; the score that of the layers chosen.

    Args:
        scores: as for :func:`model_profiles`.
        differences: tables ``Study.differences`` in one, with a column ``structures``.
    """
    own = scores[(scores["subset"] == "all") & (scores["features"] == CHOSEN)]
    other_layers = differences["control"].str.fullmatch("layer [1-9][0-9]*")
    lines = []
    for _, row in own.iterrows():
        about: dict[str, Any] = {name: row[name] for name in (*PANEL, "model")}
        metric = metric_of(_chosen(scores, {**about, "features": "model"}))
        layer = int(row["block"].removeprefix("layer "))
        gaps = _chosen(differences[~other_layers], {**about, "layer": layer})
        short = gaps[~gaps["above"]]
        shown = gaps.nsmallest(1, "difference") if short.empty else short
        named = ", ".join(
            f"{gap['control']} ({number(gap['difference'], sign=True)} "
            f"[{number(gap['low'], sign=True)}, {number(gap['high'], sign=True)}])"
            for _, gap in shown.iterrows()
        )
        verdict = "clear of every control, nearest" if short.empty else "not clear of"
        lines.append(
            f"{about['structures']}, {about['target']}, held out by {about['split']}: "
            f"{about['model']}, layer {layer}, {METRIC_LABELS[metric]} "
            f"{interval_text(row, metric)}: {verdict} {named}"
        )
    return lines
