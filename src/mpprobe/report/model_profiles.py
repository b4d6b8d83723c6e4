"""Layer profiles of several models side by side, each beside its own random weights in grey."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mpprobe.models.controls import RANDOM_WEIGHTS
from mpprobe.report.figures import (
    FLOOR,
    METRIC_LABELS,
    interval_text,
    legend_entries,
    metric_of,
    number,
    own_rows,
    score_axis,
    score_line,
)
from mpprobe.report.style import BASELINE_STYLES, DOMAIN_COLOURS, figure_style

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
    from matplotlib.figure import Figure

    whole = scores[scores["subset"] == "all"]
    rows = list(dict.fromkeys(zip(whole["structures"], whole["target"], strict=True)))
    splits, models = (list(dict.fromkeys(whole[c])) for c in ("split", "model"))
    with figure_style():
        size = (0.8 + 3.6 * len(splits), 1.3 + 2.4 * len(rows))
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(len(rows), len(splits), squeeze=False)
        for line, (structures, target) in zip(axes, rows, strict=True):
            for axis, split in zip(line, splits, strict=True):
                key = {"structures": structures, "target": target, "split": split}
                _panel(axis, _chosen(whole, key), models)
                axis.set_title(f"{structures}: {target}, held out by {split}")
        for axis in axes[-1]:
            axis.set_xlabel("layer (0: species embedding)")
        _legend(figure, axes.ravel())
    return figure


def _chosen(scores: pd.DataFrame, key: dict[str, str]) -> pd.DataFrame:
    return scores[np.logical_and.reduce([scores[name] == value for name, value in key.items()])]


def _panel(axis: Axes, rows: pd.DataFrame, models: list[str]) -> None:
    metric = metric_of(rows[rows["features"] == "model"])
    first = own_rows(rows, rows["model"].iloc[0])
    for name, style in BASELINE_STYLES.items():
        baseline = first[first["features"] == name][metric].dropna()
        if len(baseline) and not name.endswith("same width"):
            axis.axhline(max(baseline.max(), FLOOR), label=name, linewidth=1.2, zorder=0, **style)
    for k, model in enumerate(models):
        look = {"marker": _MARKERS[k % len(_MARKERS)], "markersize": 4}
        control = {**look, "color": "0.65", "linestyle": "--", "markersize": 3, "linewidth": 0.8}
        own = {**look, "color": DOMAIN_COLOURS[k % len(DOMAIN_COLOURS)]}
        of_model = own_rows(rows, model)
        for features, label, style in ((RANDOM_WEIGHTS, RANDOM_WEIGHTS, control),
                                       ("model", model, own)):  # fmt: skip
            score_line(axis, of_model[of_model["features"] == features], metric, label, style)
    score_axis(axis, metric)
    axis.locator_params(axis="x", integer=True)


def _legend(figure: Figure, axes: np.ndarray) -> None:
    entries = legend_entries(axes[::-1])  # the models of the last panel first
    controls = {RANDOM_WEIGHTS, *BASELINE_STYLES}
    order = sorted(entries, key=lambda label: label in controls)
    figure.legend(
        [entries[label] for label in order], order, loc="outside lower center", ncols=3,
        frameon=False, title="bars: 95 % over structures; lines without marks: at the first "
        f"model's cutoff; scores below {number(FLOOR)} are drawn there", title_fontsize="small",
    )  # fmt: skip


def profile_readings(scores: pd.DataFrame, differences: pd.DataFrame) -> list[str]:
    """A line for each panel and model: its best layer, and the control it is least clear of.

    Args:
        scores: as for :func:`model_profiles`.
        differences: tables ``Study.differences`` in one, with a column ``structures``.
    """
    own = scores[
        (scores["subset"] == "all") & (scores["features"] == "model") & (scores["layer"] > 0)
    ]
    lines = []
    for key, rows in own.groupby([*PANEL, "model"], sort=False):
        about = dict(zip([*PANEL, "model"], key, strict=True))
        row = rows.loc[rows[metric_of(rows)].idxmax()]
        gaps = _chosen(differences, about)
        gap = gaps[gaps["layer"] == row["layer"]].nsmallest(1, "low").iloc[0]
        metric = metric_of(rows)
        verdict = "clear of every control" if gap["above"] else f"not clear of {gap['control']}"
        ends = ", ".join(number(gap[end], sign=True) for end in ("low", "high"))
        lines.append(
            f"{about['structures']}, {about['target']}, held out by {about['split']}: "
            f"{about['model']}, layer {int(row['layer'])}, {METRIC_LABELS[metric]} "
            f"{interval_text(row, metric)}: {verdict} ({gap['control']}: "
            f"{number(gap['difference'], sign=True)} [{ends}])"
        )
    return lines
