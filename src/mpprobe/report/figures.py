"""Figures drawn from a study's tables: the profile over layers, and decoded against true."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mpprobe.models.controls import RANDOM_WEIGHTS
from mpprobe.probes.results import Study
from mpprobe.probes.sources import CHOSEN
from mpprobe.report.canvas import as_label, legend_below, new_figure, show_as_written
from mpprobe.report.style import (
    BASELINE_STYLES,
    CONTROL_STYLES,
    DOMAIN_COLOURS,
    MODEL_COLOUR,
    baseline_style,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

#: Scores below this are drawn at the lower edge of a profile.
FLOOR = -1.0

#: How the model's own scores are called beside its controls.
TRAINED_LABEL = "trained model"

METRIC_LABELS = {"r2_within": "R² within kinds", "r2": "R²"}


def number(value: float, sign: bool = False) -> str:
    """A score as text: two digits, a true minus sign, a dash where it isn't defined."""
    if not np.isfinite(value):
        return "–"
    value = round(float(value), 2) + 0.0  # no −0.00
    return f"{value:{'+' if sign else ''}.2f}".replace("-", "−")


def interval_text(row: pd.Series, name: str) -> str:
    """A score with its interval, if known: columns ``name``, ``name_low`` and ``name_high``."""
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    known = f" [{number(low)}, {number(high)}]" if np.isfinite(low) else ""
    return number(row[name]) + known


def own_rows(table: pd.DataFrame, model: str) -> pd.DataFrame:
    """The rows of one model."""
    return table[table["model"] == model]


def error_bars(values: ArrayLike, low: ArrayLike, high: ArrayLike) -> np.ndarray:
    """Lengths to both sides, shape (2, n); none where there is no interval."""
    values, low, high = np.atleast_1d(values, low, high)
    return np.nan_to_num(np.stack([values - low, high - values])).clip(min=0)


def metric_of(rows: pd.DataFrame) -> str:
    """The column to show: R² within kinds where it is defined, else plain R²."""
    return "r2_within" if rows["r2_within"].notna().any() else "r2"


def kind_named(within: str | None) -> str:
    """What a kind is, in words, for what ``Settings.within`` says."""
    named = {"kind": "a compound", "structure": "a structure", "group": "a group of structures"}
    return f"species in {named.get(within or 'kind', within)}"


def layer_profile(scores: pd.DataFrame, within: str | None = "kind") -> Figure:
    """Score against layer for every target (rows) and split (columns), controls in grey.

    Args:
        scores: the table ``Study.scores``. Bars are intervals, the band is the spread of models
            with random weights. Descriptors projected to the layer's width are in the table only.
        within: what kinds are, as ``Settings.within``.
    """
    whole = scores[scores["subset"] == "all"]
    targets, splits = (list(dict.fromkeys(whole[c])) for c in ("target", "split"))
    with new_figure(0.8 + 3.4 * len(splits), 0.6 + 2.1 * len(targets)) as figure:
        axes = figure.subplots(len(targets), len(splits), squeeze=False, sharex=True)
        for i, target in enumerate(targets):
            for j, split in enumerate(splits):
                rows = whole[(whole["target"] == target) & (whole["split"] == split)]
                _profile(axes[i, j], rows)
                axes[i, j].set_title(f"{target}, held out by {split}")
        for axis in axes[-1]:
            axis.set_xlabel("layer (0: species embedding)")
        figure.suptitle(str(scores["model"].iloc[0]))
        legend_below(
            figure, axes.ravel(),
            f"kind: {kind_named(within)}; bars: 95 % over what is held out; band: models with "
            f"random weights; scores below {number(FLOOR)} are drawn there",
            order=lambda label: label != TRAINED_LABEL,
        )  # fmt: skip
    return figure


def _profile(axis: Axes, rows: pd.DataFrame) -> None:
    metric = metric_of(rows[rows["features"] == "model"])
    baseline_lines(axis, rows, metric)
    spread = rows[rows["features"] == RANDOM_WEIGHTS].sort_values("layer")
    ends = (spread[f"spread_{end}"].clip(lower=FLOOR) for end in ("low", "high"))
    axis.fill_between(spread["layer"].astype(float), *ends, color="0.85", linewidth=0, zorder=-2)
    for name, style in CONTROL_STYLES.items():
        score_line(axis, rows[rows["features"] == name], metric, name, {"markersize": 3, **style})
    own = {"color": MODEL_COLOUR, "marker": "o", "markersize": 5, "linewidth": 1.8}
    score_line(axis, rows[rows["features"] == "model"], metric, TRAINED_LABEL, own)
    score_axis(axis, metric)
    axis.locator_params(axis="x", integer=True)


def baseline_lines(axis: Axes, rows: pd.DataFrame, metric: str) -> None:
    """A level line for each baseline, within one cutoff and more; projected ones are left out."""
    present = rows["features"].unique().tolist()
    for base in BASELINE_STYLES:
        for name in sorted(n for n in present if n == base or n.startswith(f"{base}, ")):
            values = rows.loc[rows["features"] == name, metric].dropna()
            if len(values) and not name.endswith("same width"):
                style = {"linewidth": 1.2, **baseline_style(name)}
                axis.axhline(max(float(values.max()), FLOOR), label=name, zorder=0, **style)


def score_axis(axis: Axes, metric: str) -> None:
    """The range and the name of an axis of scores, once they are drawn, with a line at zero."""
    axis.axhline(0, color="0.85", linewidth=0.6, zorder=-1)
    # Down to the lowest line drawn, but not so far that the scores above zero shrink.
    lowest = min(axis.dataLim.y0, -0.1)
    axis.set_ylim(max(lowest, FLOOR) - 0.08, 1.05)
    axis.set_ylabel(METRIC_LABELS[metric])


def score_line(axis: Axes, rows: pd.DataFrame, metric: str, label: str, style: dict) -> None:
    """Scores of one kind of features against the layer, with their intervals."""
    rows = rows.sort_values("layer")
    values, low, high = (
        rows[column].to_numpy(float).clip(min=FLOOR)
        for column in (metric, f"{metric}_low", f"{metric}_high")
    )
    if np.isfinite(values).any():
        bars = error_bars(values, low, high)
        layers = rows["layer"].to_numpy(float)
        axis.errorbar(layers, values, yerr=bars, label=label, capsize=2, elinewidth=0.8, **style)


def chosen_score(scores: pd.DataFrame, target: str, split: str) -> tuple[str, pd.Series]:
    """The metric shown, and the score of the layers that the training folds chose."""
    rows = scores[(scores["target"] == target) & (scores["split"] == split)]
    row = rows[(rows["features"] == CHOSEN) & (rows["subset"] == "all")].iloc[0]
    return metric_of(rows[rows["features"] == "model"]), row


def parity(study: Study, target: str, split: str, layer: int | None = None) -> Figure:
    """Decoded against true for one target, split and layer; each atom in its domain's colour.

    For a number, the first panel is of the map fitted to the whole target, the second of the one
    fitted within kinds, both sides centred per kind. For a vector, its three components are shown.

    Args:
        study: what ``probe`` returned.
        target, split: names.
        layer: index; None takes the one that the training folds chose.
    """
    layer = study.best_layer(target, split) if layer is None else layer
    true, decoded = study.true[target], study.predictions[target, split, layer]
    panels: list[tuple[str, np.ndarray, np.ndarray]] = [("", true, decoded)]
    if true.ndim == 1 and target not in study.trivial:
        within = study.within[target, split, layer]
        known = np.where(np.isfinite(within), true, np.nan)
        panels.append((" within kinds", study.centred(known), study.centred(within)))
    unit = study.targets[target].unit
    with new_figure(3.6 * len(panels), 3.6) as figure:
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for axis, (suffix, x, y) in zip(axes, panels, strict=True):
            _scatter(axis, study, x, y)
            axis.set_xlabel(f"{target}{suffix} ({unit})")
            axis.set_ylabel(f"decoded ({unit})")
        name = study.scores["model"].iloc[0]
        figure.suptitle(f"{name}, layer {layer}: {target}, held out by {split}")
        legend_below(figure, axes[:1], markerscale=3)
    return figure


def _scatter(axis: Axes, study: Study, true: np.ndarray, decoded: np.ndarray) -> None:
    domain = np.array([f.domain for f in study.frames])[study.rows.frame]
    for i, name in enumerate(dict.fromkeys(f.domain for f in study.frames)):
        rows = (domain == name) & np.isfinite(decoded.reshape(len(decoded), -1)).all(axis=1)
        axis.scatter(
            true[rows].ravel(), decoded[rows].ravel(), s=4, alpha=0.5, linewidths=0,
            color=DOMAIN_COLOURS[i % len(DOMAIN_COLOURS)], label=as_label(name), rasterized=True,
        )  # fmt: skip
    low, high = np.nanmin(true), np.nanmax(true)
    axis.plot([low, high], [low, high], color="0.4", linewidth=0.8, zorder=0)
    margin = 0.15 * (high - low)
    axis.set_xlim(low - margin, high + margin)
    axis.set_ylim(low - margin, high + margin)
    axis.set_aspect("equal")


def save(figure: Figure, path: Path) -> list[Path]:
    """Write a figure as PNG (200 dpi) and PDF beside each other; the two paths."""
    import matplotlib as mpl

    paths = [path.with_suffix(suffix) for suffix in (".png", ".pdf")]
    with mpl.rc_context():
        # Ticks are chosen as a figure is written, and mace changes their font when it's imported.
        mpl.rcdefaults()
        show_as_written(figure)
        for file in paths:
            # No date inside, so that the same study gives the same bytes.
            figure.savefig(file, dpi=200, metadata={"CreationDate": None} if file.suffix == ".pdf"
                           else {"Software": None})  # fmt: skip
    return paths
