"""Whether encoding explains force errors: the table, the paragraph, the figure, the files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mpprobe.explain.questions import ALL, BOTH, COMPETITORS, CONTROL, DISTANCE, ERROR
from mpprobe.explain.study import (
    CORRELATION,
    ERASURE,
    HELD_OUT,
    IN_DOMAIN,
    MIXED,
    OUT_OF_DOMAIN,
    QUESTIONS,
    SIGNIFICANT,
    Explained,
)
from mpprobe.report.canvas import legend_under, name_rows, name_ticks, new_figure
from mpprobe.report.figures import error_bars, number
from mpprobe.report.files import records, write_result
from mpprobe.report.style import MODEL_COLOUR
from mpprobe.report.terminal import titled

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from rich.console import Group

#: How to read the table.
LEGEND = (
    "Intervals: 95 %, over compounds and structures within them (erasure: over structures; mixed "
    "model: Wald). p: corrected for the number of comparisons (Benjamini and Hochberg). Bold: "
    "supported, p below 0.05 in the direction asked for. "
    + " ".join(f"{name.capitalize()}: {text}." for name, text in QUESTIONS.items())
)
_DIGITS = 2
# Competitors in grey, from light to dark, and the model.
_SETS = {
    "force only": ("force alone", "0.85"),
    DISTANCE: ("and distance", "0.65"),
    COMPETITORS: ("and random weights", "0.4"),
    BOTH: ("and encoding", MODEL_COLOUR),
}
#: R² below this is drawn there.
_FLOOR = -1.0


def explained_tables(found: Explained) -> Iterator[Group]:
    """Which layers the targets are read from, and every effect in domain and out of it."""
    yield _layer_table(found)
    yield _effect_table(found)


def _layer_table(found: Explained) -> Group:
    from rich.table import Table

    table = Table()
    for heading in ("target", "unit"):
        table.add_column(heading)
    layers = found.encoding.layers
    models = list(dict.fromkeys(layers["model"]))
    for model in models:
        table.add_column(f"{model}:\nlayer", justify="right")
        table.add_column("R²", justify="right")
    for target, rows in layers.groupby("target", sort=False):
        by_model = rows.set_index("model")
        best = [(by_model.loc[m, "layer"], by_model.loc[m, "r2"]) for m in models]
        cells = [cell for layer, r2 in best for cell in (str(layer), number(r2))]
        table.add_row(target, rows["unit"].iloc[0], *cells)
    return titled("What is decoded, from the layer that holds it best in domain", table)


def _effect_table(found: Explained) -> Group:
    from rich.table import Table

    effects = found.effects
    table = Table()
    for heading in ("question", "of"):
        table.add_column(heading)
    for domain in (IN_DOMAIN, OUT_OF_DOMAIN):
        table.add_column(domain, justify="right")
        table.add_column("p", justify="right")
    for question, rows in effects.groupby("question", sort=False):
        table.add_section()
        labels = rows["domain" if question == HELD_OUT else "what"].map(_name)
        for k, label in enumerate(dict.fromkeys(labels)):
            own = rows[labels == label]
            inside = own[own["domain"] == IN_DOMAIN]
            outside = own[own["domain"] != IN_DOMAIN]
            grey = str(own["what"].iloc[0]).startswith((CONTROL, DISTANCE))
            table.add_row(question if k == 0 else "", label, *_cells(inside), *_cells(outside),
                          style="dim" if grey else None)  # fmt: skip
    counts = ", ".join(
        f"{domain} {rows['n_structures'].max():,.0f} structures of {rows['n_atoms'].max():,.0f} "
        f"atoms, {rows['n_compounds'].max():.0f} compounds"
        for domain, rows in effects.groupby("domain", sort=False)
        if domain in (IN_DOMAIN, OUT_OF_DOMAIN)
    )
    return titled(f"What goes with the force errors: {counts}", table)


def _cells(own: pd.DataFrame) -> list[Any]:
    from rich.text import Text

    if own.empty:
        return ["", ""]
    row = own.iloc[0]
    style = "bold" if row["supported"] else ""
    return [Text(_value(row), style=style), Text(_p(row["p_corrected"]), style=style)]


def _value(row: pd.Series) -> str:
    digits = 3 if row["question"] == ERASURE else _DIGITS
    text = _number(row["value"], digits)
    if np.isfinite(row["low"]):
        text += f" [{_number(row['low'], digits)}, {_number(row['high'], digits)}]"
    if np.isfinite(row["random_median"]):
        drawn = [_number(row[f"random_{c}"], digits) for c in ("median", "low", "high")]
        text += f", random {drawn[0]} [{drawn[1]}, {drawn[2]}]"
    return text


def _number(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", "−")


def _p(p: float) -> str:
    if not np.isfinite(p):
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.2g}"


def _name(what: str) -> str:
    """``error:potential`` as ``potential``, ``control:potential`` as that of random weights."""
    if what.startswith(ERROR):
        return what.removeprefix(ERROR)
    if what.startswith(CONTROL):
        return f"{what.removeprefix(CONTROL)}, random weights"
    return what


def paragraph(found: Explained) -> str:
    """What the numbers support and what they don't, out of domain, by rule from the table."""
    return " ".join(
        [_data(found), _association(found), _prediction(found), _use(found), _count(found),
         conclusion(found)]
    )  # fmt: skip


def _outside(found: Explained, question: str) -> pd.DataFrame:
    effects = found.effects
    return effects[(effects["question"] == question) & (effects["domain"] == OUT_OF_DOMAIN)]


def _data(found: Explained) -> str:
    atoms = found.encoding.atoms
    outside = atoms[~atoms["in_domain"]]
    names = ", ".join(dict.fromkeys(outside["domain"]))
    return (
        f"{found.provenance['model']['name']} on {atoms['structure'].nunique()} structures, "
        f"{outside['structure'].nunique()} of them out of domain ({names})."
    )


def _association(found: Explained) -> str:
    parts = []
    for target in found.provenance["targets"]:
        said = []
        for question in (CORRELATION, MIXED):
            own = _outside(found, question)
            own = own[own["what"] == ERROR + target]
            said += [f"{question} {_value(row)}, {_verdict(row)}" for _, row in own.iterrows()]
        parts.append(f"{target} {', '.join(said) or 'there are too few atoms to say'}")
    return (
        "Does the error of what is decoded go with the force error out of domain, beside distance "
        f"and random weights? For {'; for '.join(parts)}."
    )


def _prediction(found: Explained) -> str:
    own = _outside(found, HELD_OUT)
    if own.empty:
        return "Domains that are held out are too small to be predicted."
    row = own.iloc[0]
    domains = found.domains
    alone = domains[(domains["predictors"] == COMPETITORS) & (domains["domain"] == ALL)]
    return (
        "Does it predict force errors in domains not fitted on? To the R² of "
        f"{_number(alone['value'].iloc[0], _DIGITS)} that distance and random weights reach it "
        f"encoding adds {_value(row)}, {_verdict(row)}."
    )


def _use(found: Explained) -> str:
    parts = []
    for _, row in _outside(found, ERASURE).iterrows():
        parts.append(f"{row['what']} {_value(row)}, {_verdict(row)}")
    text = (
        "Does the force MAE (eV/Å) out of domain rise without it, beyond random subspaces? "
        f"For {'; for '.join(parts)}."
    )
    least = 1 / (found.provenance["draws"] + 1)
    own = found.effects[found.effects["question"] == ERASURE]
    short = own[np.isclose(own["p"], least) & (own["p_corrected"] >= SIGNIFICANT)]
    if len(short):
        text += (
            f" ({found.provenance['draws']} random subspaces can't give a p below {least:.2g}: "
            "more --draws would tell.)"
        )
    return text


def _verdict(row: pd.Series) -> str:
    p = f"p {_p(row['p_corrected'])}" if np.isfinite(row["p_corrected"]) else "no p"
    return f"{'supported' if row['supported'] else 'not supported'} ({p})"


def _count(found: Explained) -> str:
    effects = found.effects
    held = effects[effects["supported"]]
    competing = held["what"].str.startswith((CONTROL, DISTANCE)).sum()
    return (
        f"Comparisons: {effects['p'].notna().sum()}; supported at a corrected p below "
        f"{SIGNIFICANT}: {len(held) - competing} of encoding, {competing} of its competitors."
    )


def conclusion(found: Explained) -> str:
    """One sentence: all of association, prediction and use out of domain, for one target, or not.

    Association counts if the partial correlation and the mixed model both support it.
    """
    good = []
    predicted = bool(_outside(found, HELD_OUT)["supported"].any())
    for target in found.provenance["targets"]:
        asked = [_outside(found, q) for q in (CORRELATION, MIXED)]
        association = all(t.loc[t["what"] == ERROR + target, "supported"].any() for t in asked)
        own = _outside(found, ERASURE)
        if association and predicted and own.loc[own["what"] == target, "supported"].any():
            good.append(target)
    if good:
        return (
            f"Association, prediction and use all hold for {', '.join(good)}: what the model "
            "encodes of it explains part of its force error out of domain."
        )
    return (
        "Association (by both measures), prediction and use don't all hold for any target: the "
        "numbers don't support that encoded electrostatics explain the force error out of domain."
    )


def explained_figure(found: Explained) -> Figure:
    """Out of domain: what goes with force errors, what predicts them, and what erasing does."""
    targets = found.provenance["targets"]
    with new_figure(11.0, 2.2 + 0.45 * max(4, len(targets))) as figure:
        axes = figure.subplots(1, 3, width_ratios=[1.2, 1, 1])
        _association_panel(axes[0], found)
        _prediction_panel(axes[1], found)
        _use_panel(axes[2], found)
        figure.suptitle(f"{found.provenance['model']['name']}. " + conclusion(found),
                        fontsize="medium")  # fmt: skip
    return figure


def _association_panel(axis: Axes, found: Explained) -> None:
    rows = {q: _outside(found, q).set_index("what") for q in (CORRELATION, MIXED)}
    what = list(dict.fromkeys([*rows[CORRELATION].index, *rows[MIXED].index]))
    for question, marker, shift in ((CORRELATION, "o", -0.15), (MIXED, "s", 0.15)):
        for k, name in enumerate(what):
            if name not in rows[question].index:
                continue
            row = rows[question].loc[name]
            colour = MODEL_COLOUR if name.startswith(ERROR) else "0.5"
            bars = error_bars(row["value"], row["low"], row["high"])
            axis.errorbar(row["value"], k + shift, xerr=bars, marker=marker, **_look(row, colour))
        axis.plot([], [], marker, color="0.2", markerfacecolor="white", label=question)
    axis.plot([], [], "D", color="0.2", label="filled: supported")
    axis.axvline(0, color="0.7", linewidth=0.8, zorder=-1)
    name_rows(axis, [_name(w) for w in what])
    axis.invert_yaxis()
    axis.set_xlabel("ρ, or β per standard deviation")
    axis.set_title("Goes with force errors out of domain?", fontsize="medium")
    legend_under(axis)


def _look(row: pd.Series, colour: str) -> dict[str, Any]:
    """Filled where it is supported."""
    return {"color": colour, "markerfacecolor": colour if row["supported"] else "white",
            "capsize": 2, "elinewidth": 0.8, "markersize": 5}  # fmt: skip


def _prediction_panel(axis: Axes, found: Explained) -> None:
    domains = list(dict.fromkeys(found.domains["domain"]))
    for j, (key, (label, colour)) in enumerate(_SETS.items()):
        rows = found.domains[found.domains["predictors"] == key].set_index("domain")
        place = np.array([domains.index(d) for d in rows.index]) + 0.18 * (j - 1.5)
        values, low, high = (rows[c].to_numpy().clip(min=_FLOOR) for c in ("value", "low", "high"))
        bars = error_bars(values, low, high)
        axis.errorbar(place, values, yerr=bars, linestyle="none", marker="o", color=colour,
                      markersize=5, capsize=2, elinewidth=0.8, label=label)  # fmt: skip
    axis.axhline(0, color="0.7", linewidth=0.8, zorder=-1)
    axis.set_ylim(_FLOOR - 0.1, 1.05)
    names = [OUT_OF_DOMAIN if d == ALL else d for d in domains]
    name_ticks(axis, names)
    axis.set_ylabel("R² of the log force error")
    axis.set_title("Predicts a domain not fitted on?", fontsize="medium")
    legend_under(axis)


def _use_panel(axis: Axes, found: Explained) -> None:
    own = found.effects[found.effects["question"] == ERASURE]
    rng = np.random.default_rng(0)
    targets = found.provenance["targets"]
    for side, domain in enumerate((IN_DOMAIN, OUT_OF_DOMAIN)):
        for k, target in enumerate(targets):
            place = k + 0.36 * (side - 0.5)
            drawn = found.random
            drawn = drawn[(drawn["target"] == target) & (drawn["domain"] == domain)]["value"]
            axis.plot(place + rng.uniform(-0.1, 0.1, len(drawn)), drawn, ".", color="0.75",
                      markersize=3, zorder=1)  # fmt: skip
            for _, row in own[(own["what"] == target) & (own["domain"] == domain)].iterrows():
                bars = error_bars(row["value"], row["low"], row["high"])
                axis.errorbar(place, row["value"], yerr=bars, marker="v^"[side],
                              **_look(row, MODEL_COLOUR))  # fmt: skip
    axis.plot([], [], "v", color=MODEL_COLOUR, markerfacecolor="white", label=IN_DOMAIN)
    axis.plot([], [], "^", color=MODEL_COLOUR, markerfacecolor="white", label=OUT_OF_DOMAIN)
    axis.plot([], [], ".", color="0.75", label="random subspaces")
    values = found.random["value"]
    spread = max(1e-3, float(np.abs(values[np.isfinite(values)]).median())) / 5
    axis.set_yscale("symlog", linthresh=spread)
    name_ticks(axis, targets)
    axis.set_ylabel("rise of the force MAE (eV/Å)")
    axis.set_title("Missed when erased?", fontsize="medium")
    legend_under(axis)


def explained_results(found: Explained) -> dict[str, Any]:
    """The paragraph, tables and provenance, as plain data."""
    return {
        "command": "explain",
        "readings": [paragraph(found)],
        "effects": records(found.effects),
        "domains": records(found.domains),
        "layers": records(found.encoding.layers),
        "erasures": records(found.erasures),
        "decoding": records(found.decoding),
        "provenance": found.provenance,
    }


def write_explained(
    found: Explained,
    folder: str | Path,
    *,
    overwrite: bool = False,
    configuration: str | None = None,
) -> list[Path]:
    """Write ``results.json``, the tables as CSV (``atoms.csv`` among them) and the figure.

    Args:
        found: from :func:`mpprobe.explain.explain`.
        folder: what is there is replaced.
        overwrite: an earlier result may be.
        configuration: written as ``config.yaml``.

    Returns:
        The files written.

    Raises:
        MPProbeError: see :func:`mpprobe.report.files.check_output`.
    """
    names = ("effects", "domains", "random", "erasures", "decoding")
    tables = {name: getattr(found, name) for name in names}
    tables |= {"atoms": found.encoding.atoms, "layers": found.encoding.layers}
    return write_result(
        folder,
        explained_results(found),
        tables,
        {"explained": explained_figure(found)},
        overwrite=overwrite,
        configuration=configuration,
    )
