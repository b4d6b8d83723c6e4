"""Terminal tables hold the numbers of the table, each layer beside its controls."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest
from rich.console import Console

from mpprobe.probes.sources import CHOSEN
from mpprobe.report.figures import number
from mpprobe.report.terminal import study_tables


def shown(study, **options):
    console = Console(width=160, record=True, highlight=False)
    with console.capture() as capture:
        for table in study_tables(study, **options):
            console.print(table)
    return capture.get()


@pytest.fixture(scope="module")
def text(study):
    return shown(study)


def test_a_table_for_each_target_and_split_with_its_unit(text):
    titles = [line for line in text.splitlines() if ", held out by " in line]
    assert titles == [
        "potential (V), held out by structure",
        "potential (V), held out by compound",
        "charge:formal (e), held out by structure",
        "charge:formal (e), held out by compound",
        "field (V/Å), held out by structure",
        "field (V/Å), held out by compound",
    ]
    assert "MAE (V/Å)" in text


def cells_of(text, label, table=1):
    """Cells of the row of a table that begins with a label."""
    own = text.split("held out by")[table]
    line = next(line for line in own.splitlines() if line.startswith(f"│ {label} "))
    return [cell.strip() for cell in line.strip("│").split("│")]


def test_layers_stand_beside_their_controls(study, text):
    rows = study.scores
    rows = rows[(rows["target"] == "potential") & (rows["split"] == "structure")]
    rows = rows[(rows["layer"] == 2) & (rows["subset"] == "all")].set_index("features")
    own = rows.loc["model"]
    low, high = number(own["r2_within_low"]), number(own["r2_within_high"])
    gains = study.conditional
    gains = gains[(gains["target"] == "potential") & (gains["split"] == "structure")]
    (gain,) = gains[(gains["layer"] == 2) & (gains["features"] == "model")].itertuples()
    adds = [number(end, sign=True) for end in (gain.gain, gain.gain_low, gain.gain_high)]
    assert cells_of(text, "layer 2") == [
        "layer 2  8x0e",
        f"{number(own['r2_within'])} [{low}, {high}]",
        number(own["r2"]),
        f"{own['mae']:.3g}",
        *(number(rows.loc[name, "r2_within"])
          for name in ("random weights", "random direction", "shuffled target")),
        f"{adds[0]} [{adds[1]}, {adds[2]}]",
    ]  # fmt: skip


def test_what_is_not_set_beside_the_local_electrostatics_adds_nothing(study, text):
    assert cells_of(text, "layer 0")[-1] == "–"
    assert cells_of(text, "SOAP")[-1] == ""
    gains = study.conditional[study.conditional["layer"] != 2]
    fewer = shown(replace(study, conditional=gains))
    assert cells_of(fewer, "layer 1") == cells_of(text, "layer 1")
    assert cells_of(fewer, "layer 2") == [*cells_of(text, "layer 2")[:-1], "–"]
    none = shown(replace(study, conditional=pd.DataFrame()))  # as of layer 0 alone
    assert {cells_of(none, f"layer {t}")[-1] for t in (0, 1, 2)} == {"–"}


def test_the_chosen_layers_have_a_row_below_with_their_main_score_only(study, text):
    rows = study.scores[study.scores["features"] == CHOSEN]
    rows = rows[rows["subset"] == "all"].set_index(["target", "split"])
    potential, field = (rows.loc[t, "structure"] for t in ("potential", "field"))
    ends = [number(potential[f"r2_within{end}"]) for end in ("", "_low", "_high")]
    assert cells_of(text, CHOSEN) == [
        CHOSEN, f"{ends[0]} [{ends[1]}, {ends[2]}]", "–", "–", *[""] * 4
    ]  # fmt: skip
    ends = [number(field[f"r2{end}"]) for end in ("", "_low", "_high")]
    assert cells_of(text, CHOSEN, table=5) == [
        CHOSEN, f"{ends[0]} [{ends[1]}, {ends[2]}]", "–", *[""] * 4
    ]  # fmt: skip
    # Of a target that doesn't vary within kinds there is none.
    assert cells_of(text, CHOSEN, table=3) == [CHOSEN, "–", "–", *[""] * 4]


def test_baselines_stand_below_with_their_widths(study, text):
    rows = study.scores[study.scores["target"] == "potential"]
    width = rows.loc[rows["features"] == "SOAP", "width"].iloc[0]
    assert f"SOAP ({width})" in text
    assert "radial densities, same width (8)" in text
    assert "neighbour vectors, same width (8)" in text
    assert "species mean" in text
    assert cells_of(text, "local electrostatics")[0] == "local electrostatics (12)"


def test_a_random_model_shows_a_dash_for_the_control_it_does_not_have(study):
    rows = study.scores[study.scores["features"] != "random weights"]
    line = next(x for x in shown(replace(study, scores=rows)).splitlines() if "layer 1" in x)
    assert line.strip("│").split("│")[4].strip() == "–"


def test_domains_are_shown_when_asked_for_and_when_split_by(study, text):
    assert "by domain" not in text
    assert shown(study, by_domain=True).count("by domain, held out by") == 6
    rows = study.scores[study.scores["split"] == "structure"].assign(split="domain")
    by_domain = shown(replace(study, scores=rows))
    assert "by domain, held out by domain, trained on bulk and strained" in by_domain
    header = by_domain.split("trained on")[1]
    assert header.index("cluster") < header.index("strained ")
