"""Whether distant force constants follow Coulomb's law: tables, figure, readings, files."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mpprobe.models.controls import TRAINED
from mpprobe.report.canvas import as_label, legend_below, name_rows, new_figure
from mpprobe.report.figures import error_bars, interval_text, number, own_rows
from mpprobe.report.files import records, write_result
from mpprobe.report.labels import place_labels
from mpprobe.report.style import DOMAIN_COLOURS, log_scale
from mpprobe.report.terminal import titled
from mpprobe.response import METAL, SITES, Response
from mpprobe.response.study import SHELLS

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from rich.console import Group

#: How to read the tables.
LEGEND = (
    "Z*²/ε: of the cation, if force constants beyond the cutoff are those of screened charges with "
    "all their images (Ewald); every distance counts alike. Exponent p: K falls as r^(−p), 3 for "
    "dipoles. Anisotropy: strength along the line between two atoms over that across it, 1 for "
    "dipoles. Left: share of K² that the Coulomb form leaves, 1 where there is none of it. "
    "Published: PBEsol, see data/response. Intervals: 95 %, over shells of atoms."
)
#: Below this share left, force constants are called of the Coulomb form.
MOSTLY = 0.5


def response_tables(found: Response) -> Iterator[Group]:
    """The fit of each structure by range of distances, along one axis, and the sites of pairs."""
    yield _fit_table(found)
    if len(found.axis):
        title = "Along the first lattice vector; charges of dipoles without images"
        yield _pair_table(title, found.axis, {"z_i z_j (e²)": "ratio"})
    if len(found.shares):
        title = "On which sites a pair's force constant sits: shares"
        yield _pair_table(title, found.shares, {site: site for site in SITES})


def _fit_table(found: Response) -> Group:
    from rich.table import Table

    table = Table()
    for heading in ("structure", "distance (Å)"):
        table.add_column(heading)
    models = list(dict.fromkeys(found.fits["model"]))
    for heading in ("Z*²/ε", "published", "exponent", "anisotropy", "left", "rms K\n(meV/Å²)"):
        table.add_column(heading, justify="right")
    for model in models[1:]:
        for heading in ("left", "rms K"):
            table.add_column(f"{model}:\n{heading}", justify="right", style="dim")
    for _, rows in own_rows(found.fits, TRAINED).groupby("structure", sort=False):
        table.add_section()
        for k, (_, row) in enumerate(rows.iterrows()):
            names = ("exponent", "anisotropy") if _follows(row) else ()
            cells = [interval_text(row, "strength"), *(interval_text(row, name) for name in names)]
            cells += [""] * (3 - len(cells))
            others = [_same(found.fits, row, model) for model in models[1:]]
            table.add_row(
                _label(row) if k == 0 else "", _range(row, found.provenance["nearest"]), cells[0],
                number(row["published"]) if row["all"] and "published" in row else "",
                *cells[1:], number(row["residual"]), _milli(row["rms"]),
                *(c for other in others for c in (number(other["residual"]), _milli(other["rms"]))),
                style="bold" if row["all"] else None,
            )  # fmt: skip
    name = found.provenance["model"]["name"]
    return titled(f"{name}: force constants beyond the cutoff as those of charges", table)


def _pair_table(title: str, pairs: pd.DataFrame, columns: Mapping[str, str]) -> Group:
    """The trained model's K of pairs, and further columns by their headings."""
    from rich.table import Table

    table = Table()
    for heading in ("structure", "pair"):
        table.add_column(heading)
    for heading in ("distance (Å)", "K (meV/Å²)", *columns):
        table.add_column(heading, justify="right")
    for _, rows in own_rows(pairs, TRAINED).groupby("structure", sort=False):
        table.add_section()
        for k, (_, row) in enumerate(rows.iterrows()):
            table.add_row(
                _label(row) if k == 0 else "", f"{row['species']}–{row['other']}",
                f"{row['distance']:.2f}", _milli(row["K"]),
                *(number(row[name]) for name in columns.values()),
            )  # fmt: skip
    return titled(title, table)


def response_readings(found: Response) -> list[str]:
    """A line for each structure, and one for all that have published values."""
    lines = []
    whole = found.fits[found.fits["all"]]
    for _, row in own_rows(whole, TRAINED).iterrows():
        lines.append(f"{_label(row)}: {_law(row)}{_control(whole, row)}")
    return [*lines, *_correlation_reading(found), *_share_readings(found)]


def _share_readings(found: Response) -> list[str]:
    """Of the pairs in each range of distances the median shares; of ions, and of metals."""
    if not len(found.shares):
        return []
    own = own_rows(found.shares, TRAINED)
    nearest = found.provenance["nearest"]
    lines = []
    for kind, chosen in (("ions", own["domain"] != METAL), ("metals", own["domain"] == METAL)):
        for low, high in itertools.pairwise(SHELLS):
            far = own["distance"] / nearest
            part = own[chosen & (far >= low) & (far < high)]
            if len(part):
                row = part[list(SITES)].median()
                said = ", ".join(f"{site} {number(row[site])}" for site in SITES)
                ends = {"all": False, "from": low, "to": high}
                lines.append(f"{kind}, {_range(ends, nearest)} Å: of K sits {said} (medians of "
                             f"{len(part)} pairs)")  # fmt: skip
    return lines


def _law(row: pd.Series) -> str:
    left = number(row["residual"])
    if not _follows(row):
        return (
            f"no Coulomb law: Z*²/ε {interval_text(row, 'strength')}; the form leaves {left} of K²"
        )
    text = f"Z*²/ε {interval_text(row, 'strength')}"
    if np.isfinite(row.get("published", np.nan)):
        share = row["strength"] / row["published"]
        text += f", {number(share)} of the published {number(row['published'])}"
    return f"{text}; exponent {interval_text(row, 'exponent')}; the form leaves {left} of K²"


def _follows(row: pd.Series) -> bool:
    """Whether there is something of the Coulomb form, whose exponent and anisotropy can be told."""
    return not row["strength_low"] <= 0 and row["strength"] > 0 and row["residual"] <= MOSTLY


def _control(whole: pd.DataFrame, row: pd.Series) -> str:
    others = whole[(whole["structure"] == row["structure"]) & (whole["model"] != TRAINED)]
    said = [f"{r['model']}: it leaves {number(r['residual'])}" for _, r in others.iterrows()]
    return f"; {', '.join(said)}" if said else ""


def correlation(found: Response, formal: bool = False) -> tuple[float, float, float, int]:
    """Of the model's and the published Z*²/ε∞ over compounds: r, its 95 % interval, and how many.

    From resamples of compounds; NaN below three compounds, the interval below five.

    Args:
        found: of several compounds.
        formal: both over the formal charge squared, which sets apart what everyone knows without
            a model.
    """
    own = _published(found)
    n = len(own)
    if n < 3:
        return np.nan, np.nan, np.nan, n
    known = own["formal"].to_numpy() ** 2 if formal else 1.0
    x, y = (own[name].to_numpy() / known for name in ("published", "strength"))
    rng = np.random.default_rng(found.provenance["settings"]["seed"])
    value = float(np.corrcoef(x, y)[0, 1])
    if n < 5:
        return value, np.nan, np.nan, n
    drawn = rng.integers(n, size=(found.provenance["settings"]["n_resamples"], n))
    with np.errstate(invalid="ignore", divide="ignore"):
        values = [np.corrcoef(x[k], y[k])[0, 1] for k in drawn if len(set(k)) > 2]
    return value, *np.nanquantile(values, [0.025, 0.975]), n


def _correlation_reading(found: Response) -> list[str]:
    own = _published(found)
    if len(own) < 3:
        return []
    ratio = (own["strength"] / own["published"]).median()
    return [
        f"over {len(own)} compounds the model's Z*²/ε goes with the published ones with "
        f"{_correlation_text(found)}; both over the formal charge squared, with "
        f"{_correlation_text(found, formal=True)}; the median of their ratio is {number(ratio)}"
    ]


def _correlation_text(found: Response, formal: bool = False) -> str:
    r, low, high, _ = correlation(found, formal)
    interval = f" [{number(low)}, {number(high)}]" if np.isfinite(low) else ""
    return f"r = {number(r)}{interval}"


def _published(found: Response) -> pd.DataFrame:
    """The first structure of each compound of which published values are known."""
    whole = own_rows(found.fits[found.fits["all"]], TRAINED).drop_duplicates("compound")
    return whole[whole["published"].notna()] if "published" in whole else whole.iloc[:0]


def _same(fits: pd.DataFrame, row: pd.Series, model: str) -> pd.Series:
    own = fits[(fits["model"] == model) & (fits["structure"] == row["structure"])]
    return own[(own["from"] == row["from"]) & (own["all"] == row["all"])].iloc[0]


def _label(row: pd.Series) -> str:
    """The compound, with the structure's own name if that is another."""
    name = Path(row["structure"]).name
    return name if name == row["compound"] else f"{row['compound']} ({name})"


def _range(row: Mapping, nearest: float) -> str:
    if row["all"] or not np.isfinite(row["to"]):
        return f"over {nearest * row['from']:g}"
    return f"{nearest * row['from']:g}–{nearest * row['to']:g}"


def _milli(value: float) -> str:
    """eV/Å² as meV/Å²."""
    value = 1000 * float(value)
    text = f"{value:.2f}" if abs(value) >= 0.005 else f"{value:.1e}"
    return text.replace("-", "−")


def response_figure(found: Response) -> Figure:
    """Decay with distance, and the model against published values."""
    panels = 1 + (len(_published(found)) > 1)
    with new_figure(1.2 + 3.9 * panels, 3.9) as figure:
        axes = list(figure.subplots(1, panels, squeeze=False)[0])
        _decay_panel(axes[0], found)
        legend_below(figure, axes[:1], fontsize="small")
        figure.suptitle(f"{found.provenance['model']['name']}: response beyond the cutoff")
        if panels > 1:
            _published_panel(axes[1], found)
    return figure


def shares_figure(found: Response) -> Figure:
    """On which sites the force constant of each pair sits."""
    height = 1.0 + 0.17 * len(own_rows(found.shares, TRAINED))
    with new_figure(6.0, max(height, 2.2)) as figure:
        axis = figure.subplots()
        _share_panel(axis, found)
        figure.suptitle(f"{found.provenance['model']['name']}: where a pair's force constant sits")
        legend_below(figure, [axis], fontsize="small")
    return figure


def _decay_panel(axis: Axes, found: Response) -> None:
    shells = found.shells
    trained = own_rows(shells, TRAINED)
    ionic = trained[trained["domain"] != METAL]
    compounds = list(ionic.groupby("compound", sort=False))
    many = len(compounds) > len(DOMAIN_COLOURS)
    for k, (compound, rows) in enumerate(compounds):
        label = ("" if k else f"{len(compounds)} ionic crystals") if many else as_label(compound)
        axis.plot(rows["distance"], 1000 * rows["rms"], "o", markersize=3, alpha=0.8, label=label,
                  color=DOMAIN_COLOURS[0 if many else k])  # fmt: skip
    for compound, rows in trained[trained["domain"] == METAL].groupby("compound", sort=False):
        axis.plot(rows["distance"], 1000 * rows["rms"], "x", color="0.55", markersize=4,
                  label=as_label(compound))  # fmt: skip
    for model, rows in shells[shells["model"] != TRAINED].groupby("model", sort=False):
        axis.plot(rows["distance"], 1000 * rows["rms"], ".", color="0.8", markersize=3,
                  label=model, zorder=0)  # fmt: skip
    axis.set_xscale("log")
    log_scale(axis, shells["rms"])
    if len(ionic):
        near = ionic[ionic["distance"] < 1.3 * ionic["distance"].min()]
        r = np.geomspace(ionic["distance"].min(), ionic["distance"].max(), 20)
        scale = float((near["rms"] * near["distance"] ** 3).median())
        axis.plot(r, 1000 * scale / r**3, color="0.2", linewidth=0.9, label="∝ r⁻³")
        axis.set_ylim(bottom=1e-6 * 1000 * float(ionic["rms"].max()))
    axis.set_xlabel("distance (Å)")
    axis.set_ylabel("rms K of a shell (meV/Å²)")
    _plain_numbers(axis.xaxis)


def _plain_numbers(axis: Axis) -> None:
    """On a logarithmic axis that spans little, numbers rather than powers."""
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

    if axis.get_scale() == "log":
        axis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
        axis.set_major_formatter(FormatStrFormatter("%g"))
        axis.set_minor_formatter(NullFormatter())


def _published_panel(axis: Axes, found: Response) -> None:
    own = _published(found)
    x, y = own["published"].to_numpy(), own["strength"].to_numpy()
    bars = error_bars(y, own["strength_low"], own["strength_high"])
    axis.errorbar(x, y, yerr=bars, linestyle="none", marker="o", markersize=4, capsize=2,
                  elinewidth=0.8, color=DOMAIN_COLOURS[0])  # fmt: skip
    axis.axline((1, 1), slope=1, color="0.6", linewidth=0.8, zorder=0)
    if y.min() > 0:
        axis.set(xscale="log", yscale="log")
        axis.set_ylim(0.8 * y.min(), 1.3 * max(y.max(), x.max()))
    axis.set_xlim(0.8 * x.min(), 1.3 * x.max())
    for each in (axis.xaxis, axis.yaxis):
        _plain_numbers(each)
    axis.set_xlabel("published Z*²/ε∞ (e²)")
    axis.set_ylabel("Z*²/ε of the model (e²)")
    if len(own) > 2:
        axis.set_title(f"{_correlation_text(found)}, {len(own)} compounds", fontsize="medium")
    ends = own["strength_low"].to_numpy(), own["strength_high"].to_numpy()
    place_labels(axis, x, y, own["compound"].tolist(), *ends)


def _share_panel(axis: Axes, found: Response) -> None:
    own = own_rows(found.shares, TRAINED)
    order = own["structure"].map({name: k for k, name in enumerate(own["structure"].unique())})
    own = own.assign(order=order).sort_values(["order", "distance"], kind="stable")
    place, left = np.arange(len(own)), np.zeros((2, len(own)))
    colours = (DOMAIN_COLOURS[0], DOMAIN_COLOURS[1], "0.75")
    for site, colour in zip(SITES, colours, strict=True):
        share = own[site].to_numpy()
        side = (share < 0).astype(int)  # what is of the other sign is drawn to the other side
        start = left[side, place]
        axis.barh(place, share, left=start, color=colour, label=site, height=0.7)
        left[side, place] += share
    labels = [f"{Path(r['structure']).name} {r['species']}–{r['other']} {r['distance']:.1f} Å"
              for _, r in own.iterrows()]  # fmt: skip
    name_rows(axis, labels, fontsize="x-small")
    axis.set_ylim(-0.7, len(own) - 0.3)
    axis.invert_yaxis()
    axis.axvline(0, color="0.4", linewidth=0.6)
    axis.set_xlabel("share of K")


def response_results(found: Response) -> dict[str, Any]:
    """Readings, tables and provenance, as plain data."""
    return {
        "command": "response",
        "readings": response_readings(found),
        "fits": records(found.fits),
        "axis": records(found.axis),
        "shells": records(found.shells),
        "shares": records(found.shares),
        "provenance": found.provenance,
    }


def write_response(
    found: Response,
    folder: str | Path,
    *,
    overwrite: bool = False,
    configuration: str | None = None,
) -> list[Path]:
    """Write ``results.json``, the tables as CSV and the figure.

    Args:
        found: from :func:`mpprobe.response.response`.
        folder: what is there is replaced.
        overwrite: an earlier result may be.
        configuration: written as ``config.yaml``.

    Returns:
        The files written.

    Raises:
        MPProbeError: see :func:`mpprobe.report.files.check_output`.
    """
    names = ("pairs", "axis", "shells", "fits", "shares")
    tables = {name: getattr(found, name) for name in names if len(getattr(found, name))}
    figures = {"response": response_figure(found)}
    if len(found.shares):
        figures["shares"] = shares_figure(found)
    return write_result(
        folder,
        response_results(found),
        tables,
        figures,
        overwrite=overwrite,
        configuration=configuration,
    )
