"""Figures drawn from a study's tables: the profile over layers, and decoded against true."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mpprobe.probes.results import Study
from mpprobe.report.style import (
    BASELINE_STYLES,
    CONTROL_STYLES,
    DOMAIN_COLOURS,
    MODEL_COLOUR,
    figure_style,
)
from mpprobe.texts import visible

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

#: Scores below this are drawn at the lower edge of a profile.
FLOOR = -1.0

METRIC_LABELS = {"r2_within": "R² within species", "r2": "R²"}


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
    """The column to show: R² within species where it is defined, else plain R²."""
    return "r2_within" if rows["r2_within"].notna().any() else "r2"


def layer_profile(scores: pd.DataFrame) -> Figure:
    """Score against layer for every target (rows) and split (columns), controls in grey.

    Args:
        scores: the table ``Study.scores``; intervals are drawn as bars.
    """
    from matplotlib.figure import Figure

    whole = scores[scores["subset"] == "all"]
    targets, splits = (list(dict.fromkeys(whole[c])) for c in ("target", "split"))
    with figure_style():
        size = (0.8 + 3.4 * len(splits), 0.9 + 2.5 * len(targets))
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(len(targets), len(splits), squeeze=False, sharex=True)
        for i, target in enumerate(targets):
            for j, split in enumerate(splits):
                rows = whole[(whole["target"] == target) & (whole["split"] == split)]
                _profile(axes[i, j], rows)
                axes[i, j].set_title(f"{target}, held out by {split}")
        for axis in axes[-1]:
            axis.set_xlabel("layer (0: species embedding)")
        _shared_legend(figure, axes.ravel())
        figure.suptitle(str(scores["model"].iloc[0]))
    return figure


def _profile(axis: Axes, rows: pd.DataFrame) -> None:
    metric = metric_of(rows[rows["features"] == "model"])
    for name, style in BASELINE_STYLES.items():
        baseline = rows[rows["features"] == name]
        if len(baseline):
            value = max(float(baseline[metric].max()), FLOOR)
            axis.axhline(value, label=name, linewidth=1.2, zorder=0, **style)
    for name, style in CONTROL_STYLES.items():
        score_line(axis, rows[rows["features"] == name], metric, name, {"markersize": 3, **style})
    own = {"color": MODEL_COLOUR, "marker": "o", "markersize": 5, "linewidth": 1.8}
    score_line(axis, rows[rows["features"] == "model"], metric, "trained model", own)
    score_axis(axis, metric)
    axis.locator_params(axis="x", integer=True)


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


def legend_entries(axes: Iterable[Axes]) -> dict[str, Any]:
    """What the panels of a figure have labelled, each label once."""
    entries: dict[str, Any] = {}
    for axis in axes:
        handles, labels = axis.get_legend_handles_labels()
        entries |= dict(zip(labels, handles, strict=True))
    return entries


def _shared_legend(figure: Figure, axes: Iterable[Axes]) -> None:
    """One legend below all panels; it says where low scores are drawn."""
    entries = legend_entries(axes)
    order = sorted(entries, key=lambda label: label != "trained model")
    figure.legend(
        [entries[label] for label in order],
        order,
        loc="outside lower center",
        ncols=3,
        frameon=False,
        title=f"within species: both sides centred per species and compound; bars: 95 % over "
        f"structures; scores below {number(FLOOR)} are drawn there",
        title_fontsize="small",
    )


def model_scores(scores: pd.DataFrame, target: str, split: str) -> pd.DataFrame:
    """The rows of the model's own layers for one target and split, on the whole test set."""
    s = scores
    return s[
        (s["target"] == target)
        & (s["split"] == split)
        & (s["features"] == "model")
        & (s["subset"] == "all")
    ]


def best_score(
    scores: pd.DataFrame, target: str, split: str, layers: Sequence[int]
) -> tuple[str, pd.Series]:
    """The metric shown, and of the layers asked for the row that is best on the whole test set.

    Layer 0 knows the species only; it is taken only if nothing else was asked for.
    """
    rows = model_scores(scores, target, split)
    rows = rows[rows["layer"].isin([t for t in layers if t > 0] or layers)]
    metric = metric_of(rows)
    # Where no score is defined, the first one stands for all.
    return metric, rows.loc[rows[metric].fillna(-np.inf).idxmax()]


def best_layer(study: Study, target: str, split: str) -> int:
    """The layer of :func:`best_score`."""
    return int(best_score(study.scores, target, split, study.layers)[1]["layer"])


def parity(study: Study, target: str, split: str, layer: int | None = None) -> Figure:
    """Decoded against true for one target, split and layer; each atom in its domain's colour.

    For a number, a second panel has both sides centred per species per compound: what is left
    when knowing the composition earns nothing. For a vector, its three components are shown.

    Args:
        study: what ``probe`` returned.
        target, split: names.
        layer: index; None takes the best of those asked for.
    """
    from matplotlib.figure import Figure

    layer = best_layer(study, target, split) if layer is None else layer
    true, decoded = study.true[target], study.predictions[target, split, layer]
    panels: list[tuple[str, np.ndarray, np.ndarray]] = [("", true, decoded)]
    if true.ndim == 1 and target not in study.trivial:
        x, y = (_centred(study, v, np.isfinite(decoded)) for v in (true, decoded))
        panels.append((", within species and compound", x, y))
    unit = study.targets[target].unit
    with figure_style():
        figure = Figure(figsize=(3.6 * len(panels), 3.9), layout="constrained")
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for axis, (suffix, x, y) in zip(axes, panels, strict=True):
            _scatter(axis, study, x, y)
            axis.set_xlabel(f"{target}{suffix} ({unit})")
            axis.set_ylabel(f"decoded ({unit})")
        name = study.scores["model"].iloc[0]
        figure.suptitle(f"{name}, layer {layer}: {target}, held out by {split}")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False,
                      markerscale=3)  # fmt: skip
    return figure


def _centred(study: Study, values: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Values less their mean over the tested atoms of the same species and compound."""
    import pandas as pd

    compound = np.array([f.compound for f in study.frames])[study.rows.frame]
    kept = pd.Series(np.where(where, values, np.nan))
    return (kept - kept.groupby([compound, study.rows.species]).transform("mean")).to_numpy()


def _scatter(axis: Axes, study: Study, true: np.ndarray, decoded: np.ndarray) -> None:
    domain = np.array([f.domain for f in study.frames])[study.rows.frame]
    for i, name in enumerate(dict.fromkeys(f.domain for f in study.frames)):
        rows = (domain == name) & np.isfinite(decoded.reshape(len(decoded), -1)).all(axis=1)
        axis.scatter(
            true[rows].ravel(), decoded[rows].ravel(), s=4, alpha=0.5, linewidths=0,
            color=DOMAIN_COLOURS[i % len(DOMAIN_COLOURS)], label=name, rasterized=True,
        )  # fmt: skip
    low, high = np.nanmin(true), np.nanmax(true)
    axis.plot([low, high], [low, high], color="0.4", linewidth=0.8, zorder=0)
    margin = 0.15 * (high - low)
    axis.set_xlim(low - margin, high + margin)
    axis.set_ylim(low - margin, high + margin)
    axis.set_aspect("equal")


def _show_as_written(figure: Figure) -> None:
    """Dollar signs and control characters of labels as such, since Matplotlib sets formulas.

    A label that is no whole formula would end a run as its figure is written.
    """
    from matplotlib import text, ticker

    numbers = (ticker.ScalarFormatter, ticker.LogFormatter, ticker.NullFormatter)
    ticks: set[int] = set()
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        ticks |= {id(label) for tick in (*axis.majorTicks, *axis.minorTicks)
                  for label in (tick.label1, tick.label2)}  # fmt: skip
        own = axis.get_major_formatter()
        if not isinstance(own, numbers):
            axis.set_major_formatter(
                ticker.FuncFormatter(lambda x, pos, own=own: _as_written(own(x, pos)))
            )
    for label in figure.findobj(text.Text):
        if id(label) not in ticks:
            label.set_text(_as_written(label.get_text()))


def _as_written(label: str) -> str:
    return visible(label).replace("\t", " ").replace(r"\$", "$").replace("$", r"\$")


def save(figure: Figure, path: Path) -> list[Path]:
    """Write a figure as PNG (200 dpi) and PDF beside each other; the two paths."""
    import matplotlib as mpl

    paths = [path.with_suffix(suffix) for suffix in (".png", ".pdf")]
    with mpl.rc_context():
        # Ticks are chosen as a figure is written, and mace changes their font when it's imported.
        mpl.rcdefaults()
        _show_as_written(figure)
        for file in paths:
            # No date inside, so that the same study gives the same bytes.
            figure.savefig(file, dpi=200, metadata={"CreationDate": None} if file.suffix == ".pdf"
                           else {"Software": None})  # fmt: skip
    return paths
