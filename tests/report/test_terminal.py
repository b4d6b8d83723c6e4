"""Terminal tables hold the numbers of the table, each layer beside its controls."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rich.console import Console

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
        "charge:formal (e), held out by structure",
        "potential (V), held out by compound",
        "charge:formal (e), held out by compound",
        "field (V/Å), held out by structure",
        "field (V/Å), held out by compound",
    ]
    assert "MAE (V/Å)" in text


def test_layers_stand_beside_their_controls(study, text):
    first = text.split("held out by")[1]
    line = next(line for line in first.splitlines() if "layer 2" in line)
    rows = study.scores
    rows = rows[(rows["target"] == "potential") & (rows["split"] == "structure")]
    rows = rows[(rows["layer"] == 2) & (rows["subset"] == "all")].set_index("features")
    cells = [cell.strip() for cell in line.strip("│").split("│")]
    own = rows.loc["model"]
    low, high = number(own["r2_within_low"]), number(own["r2_within_high"])
    assert cells == [
        "layer 2  8x0e",
        f"{number(own['r2_within'])} [{low}, {high}]",
        number(own["r2"]),
        f"{own['mae']:.3g}",
        *(number(rows.loc[name, "r2_within"])
          for name in ("random weights", "random direction", "shuffled target")),
    ]  # fmt: skip


def test_baselines_stand_below_with_their_widths(study, text):
    rows = study.scores[study.scores["target"] == "potential"]
    width = rows.loc[rows["features"] == "SOAP", "width"].iloc[0]
    assert f"SOAP ({width})" in text
    assert "radial densities, same width (8)" in text
    assert "neighbour vectors, same width (8)" in text
    assert "species mean" in text


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
