"""One line for each target and split: what the numbers support, and no more.

The rule, which docs/numbers.md states too. Four questions are answered one after the other:

1. Is it read at all? The layer is chosen inside the training folds and scored outside; its interval
   must lie above zero.
2. Beyond geometry? The differences from random weights and from the local-geometry descriptors must
   all be clear: their intervals above zero, and not 0.00 to two digits.
3. Beyond a one-cutoff sum of charges? What the layer adds to the local electrostatics must be
   clear, and clearly more than what random weights add.
4. Beyond the cutoff? For a potential, the same of the part of it that comes from farther away,
   where that has been probed too.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from mpprobe.probes.results import Settings, Study
from mpprobe.probes.sources import ELECTROSTATICS, LOCAL, RANDOM_WEIGHTS
from mpprobe.probes.tables import is_clear
from mpprobe.report.figures import METRIC_LABELS, chosen_score, interval_text, kind_named, number
from mpprobe.targets import Target


def readings(study: Study) -> list[str]:
    """A line for each target and split, in the order asked for, and one about near duplicates."""
    pairs = study.scores[["target", "split"]].drop_duplicates().itertuples(index=False)
    lines = [reading(study, target, split) for target, split in pairs]
    n = study.provenance.get("near_duplicates", 0)
    how = study.settings.near_duplicates
    lines += [duplicates_line(n, how)] if n else []
    return [*lines, *counted_lines(study.settings, study.targets.values())]


def counted_lines(settings: Settings, targets: Iterable[Target]) -> list[str]:
    """Which atoms count, and what kinds are, where these aren't all atoms and the usual kinds."""
    lines = []
    if settings.atoms not in (None, "all"):
        lines.append(f"atoms that count: {settings.atoms}")
    if settings.within not in (None, "kind"):
        lines.append(
            "kind, within which probes are fitted and scored: " + kind_named(settings.within)
        )
        vectors = [target.name for target in targets if target.l]
        if vectors:
            lines.append(
                f"{', '.join(vectors)}: of vectors no mean is taken off, so their scores hold what "
                "is the same within these kinds too"
            )
    return lines


def duplicates_line(n: int, how: str) -> str:
    """What is done with near duplicates."""
    kept = (
        "are kept on one side of every split"
        if how == "together"
        else "may fall on both sides of a split, as asked: scores can be too high"
    )
    which = "1 structure is a copy or neighbouring frame of an earlier one"
    if n > 1:
        which = f"{n} structures are copies or neighbouring frames of earlier ones"
    return f"{which}; such structures {kept}"


def reading(study: Study, target: str, split: str) -> str:
    """What is read of a target, and what it is clear of; the rule stands above.

    Whether the model uses what is read, no score says.
    """
    start = f"{target}, held out by {split}: "
    if target in study.trivial:
        return start + (
            "the species alone fix this target on these structures, so layer 0 holds it by "
            "construction; the scores say nothing about the environment"
        )
    layer = study.best_layer(target, split)
    metric, row = chosen_score(study.scores, target, split)
    if not np.isfinite(row[metric]):
        return start + (
            "no score: what is held out doesn't vary within a kind, which alone fixes it"
        )
    shown = f"{_layers(study, target, split, layer)}, {METRIC_LABELS[metric]} "
    shown += interval_text(row, metric)
    if not is_clear(row[metric], row[f"{metric}_low"]):
        return f"{start}{shown}: not clear above zero, so not read"
    parts = [f"read by {shown}", _geometry(study, target, split, layer)]
    parts += [_charges(study, target, split, layer), _beyond(study, target, split)]
    return start + "; ".join(part for part in parts if part)


def _layers(study: Study, target: str, split: str, layer: int) -> str:
    """The layer, and those that its score doesn't differ from."""
    if len(study.choices[target, split]) == 1:
        return f"layer {layer}"
    gaps = _rows(study.differences, target, split, layer)
    asked = [f"layer {t}" for t in study.choices[target, split] if t != layer]
    gaps = gaps[gaps["control"].isin(asked)]
    same = gaps[(gaps["low"] <= 0) & (gaps["high"] >= 0)]["control"].tolist()
    tied = f" (tied with {', '.join(same)})" if same else ""
    return f"layer {layer}{tied}"


def _geometry(study: Study, target: str, split: str, layer: int) -> str:
    gaps = _rows(study.differences, target, split, layer)
    controls = (RANDOM_WEIGHTS, *LOCAL[study.targets[target].l])
    gaps = gaps[gaps["control"].isin(controls)]
    short, clear = gaps[~gaps["above"]], gaps[gaps["above"]]
    if not len(gaps):
        return ""
    if not len(short):
        nearest = clear.loc[clear["difference"].idxmin()]
        return f"beyond geometry: clear of {_names(clear['control'])}, nearest {_gap(nearest)}"
    named = ", ".join(f"{row['control']} ({_gap(row)})" for _, row in short.iterrows())
    also = f"; clear of {_names(clear['control'])} only" if len(clear) else ""
    return f"not beyond geometry: not clear of {named}{also}"


def _charges(study: Study, target: str, split: str, layer: int) -> str:
    """What the layer adds to the charge-weighted sums within one cutoff."""
    rows = _rows(study.conditional, target, split, layer)
    own = rows[rows["features"] == "model"]
    if own.empty:
        return ""
    row = own.iloc[0]
    weights = _rows(study.scores, target, split)
    weights = weights[weights["features"] == ELECTROSTATICS]["block"].iloc[0]
    gain = f"{_signed(row, 'gain')}"
    control = pd.notna(row.get("above_random"))
    adds = is_clear(row["gain"], row["gain_low"])
    beats = not control or is_clear(row["above_random"], row["above_random_low"])
    what = "beyond a one-cutoff sum"
    if adds and beats:
        more = ", more than random weights do" if control else ""
        return f"{what} ({weights}), which alone reads {number(row['alone'])}: adds {gain}{more}"
    why = ", not clearly more than random weights do" if adds else ", not clear"
    return f"not {what} ({weights}), which alone reads {number(row['alone'])}: adds {gain}{why}"


def _beyond(study: Study, target: str, split: str) -> str:
    base, at, source = target.partition("@")
    if base != "potential":
        return ""
    name = f"potential:beyond{at}{source}"
    if name not in study.targets:
        return f"beyond the cutoff: not asked (target {name})"
    layer = study.best_layer(name, split)
    metric, row = chosen_score(study.scores, name, split)
    score = interval_text(row, metric)
    if not is_clear(row[metric], row[f"{metric}_low"]):
        return f"beyond the cutoff: {name} is not read ({score})"
    held = _rows(study.conditional, name, split, layer)
    held = held[held["features"] == "model"]
    gaps = _rows(study.differences, name, split, layer)
    gaps = gaps[gaps["control"] == RANDOM_WEIGHTS]
    said = [f"{name} is read with {score}"]
    if len(gaps):
        more = "more than" if gaps["above"].all() else "not clearly more than"
        said.append(f"{more} random weights read")
    if len(held):
        gain = held.iloc[0]
        clear = "" if is_clear(gain["gain"], gain["gain_low"]) else ", not clear"
        said.append(f"and adds {_signed(gain, 'gain')} to the one-cutoff sum{clear}")
    return f"beyond the cutoff: {', '.join(said)}"


def _rows(table: pd.DataFrame, target: str, split: str, layer: int | None = None) -> pd.DataFrame:
    if table.empty:
        return table
    rows = table[(table["target"] == target) & (table["split"] == split)]
    return rows if layer is None else rows[rows["layer"] == layer]


def _names(names: Iterable[str]) -> str:
    return ", ".join(names)


def _gap(row: pd.Series) -> str:
    low, high = number(row["low"], sign=True), number(row["high"], sign=True)
    return f"{number(row['difference'], sign=True)} [{low}, {high}]"


def _signed(row: pd.Series, name: str) -> str:
    low, high = (number(row[f"{name}_{end}"], sign=True) for end in ("low", "high"))
    return f"{number(row[name], sign=True)} [{low}, {high}]"
