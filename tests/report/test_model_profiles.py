"""Several models in one profile: each in its colour, each beside its own random weights."""

from __future__ import annotations

import re

import matplotlib.colors as colours
import numpy as np
import pandas as pd
import pytest

from mpprobe.probes.sources import CHOSEN
from mpprobe.report.figures import FLOOR, own_rows
from mpprobe.report.model_profiles import model_profiles, profile_readings


@pytest.fixture(scope="module")
def tables(study):
    """Two models of one study, the second a little worse; on two sets, of which it has seen one."""

    def both(table, column):
        worse = table.assign(model="other", **{column: table[column] - 0.05})
        parts = [table.assign(structures="a"), worse.assign(structures="a"),
                 table.assign(structures="b")]  # fmt: skip
        return pd.concat(parts, ignore_index=True)

    return both(study.scores, "r2_within"), both(study.differences, "difference")


def test_a_panel_for_each_set_target_and_split(tables):
    scores, _ = tables
    asked = scores[["structures", "target"]].drop_duplicates().itertuples(index=False)
    expected = [f"{name}: {target}, held out by {split}"
                for name, target in asked for split in ("structure", "compound")]  # fmt: skip
    assert [axis.get_title() for axis in model_profiles(scores).axes] == expected


def test_every_model_is_drawn_as_its_rows_say_and_controls_are_grey(tables):
    scores, _ = tables
    axis = model_profiles(scores).axes[0]
    models = list(dict.fromkeys(scores["model"]))
    lines = [(c.get_label(), c.lines[0]) for c in axis.containers]
    assert [label for label, _ in lines] == ["random weights", models[0], "random weights", "other"]
    key = {"structures": "a", "target": "potential", "split": "structure", "subset": "all"}
    rows = scores[np.logical_and.reduce([scores[k] == v for k, v in key.items()])]
    for (label, line), model in zip(lines, np.repeat(models, 2), strict=True):
        kind = "model" if label == model else label
        own = own_rows(rows, model)
        own = own[own["features"] == kind].sort_values("layer")
        np.testing.assert_allclose(line.get_ydata(), own["r2_within"].clip(lower=FLOOR))
        red, green, blue = colours.to_rgb(line.get_color())
        assert (red == green == blue) == (kind != "model")
    assert len({line.get_color() for label, line in lines if label in models}) == 2


def test_a_reading_for_each_model_names_the_controls_that_it_is_not_clear_of(tables):
    scores, differences = tables
    readings = profile_readings(scores, differences)
    panels = scores[["structures", "target", "split", "model"]].drop_duplicates()
    assert len(readings) == len(panels)
    clear = differences.assign(difference=0.5, low=0.4, high=0.6, above=True)
    short = (clear["target"] == "potential") & clear["control"].isin(["SOAP", "species mean"])
    gap = ["difference", "low", "high", "above"]
    clear.loc[short, gap] = [0.2, -0.1, 0.5, False]
    nearest = (clear["target"] == "field") & (clear["control"] == "neighbour vectors")
    clear.loc[nearest, gap] = [0.3, 0.25, 0.35, True]
    for line in profile_readings(scores, clear):
        if " potential," in line:
            assert line.endswith(
                ": not clear of species mean (+0.20 [−0.10, +0.50]), SOAP (+0.20 [−0.10, +0.50])"
            )
        elif " field," in line:
            assert line.endswith(
                ": clear of every control, nearest neighbour vectors (+0.30 [+0.25, +0.35])"
            )


def test_a_reading_is_of_the_layer_that_the_training_folds_choose(tables, study):
    scores, differences = tables
    for layer, value in ((1, 0.4), (2, 0.3)):
        own = (scores["features"] == CHOSEN) & (scores["target"] == "potential")
        changed = scores.copy()
        changed.loc[own, ["block", "r2_within"]] = [f"layer {layer}", value]
        changed.loc[own, ["r2_within_low", "r2_within_high"]] = [0.1, 0.5]
        gaps = differences.assign(above=differences["layer"] == layer)
        for line in profile_readings(changed, gaps):
            if " potential," in line:
                assert f"layer {layer}, R² within kinds {value:.2f} [0.10, 0.50]: clear of" in line
    # That is the layer which a reading of the study itself names.
    chosen = study.scores[(study.scores["features"] == CHOSEN) & (study.scores["subset"] == "all")]
    for _, row in chosen.iterrows():
        assert row["block"] == f"layer {study.best_layer(row['target'], row['split'])}"


def test_the_other_layers_of_a_model_are_not_its_controls(tables):
    scores, differences = tables
    layers = differences["control"].isin(["layer 1", "layer 2"])
    assert layers.any()
    gaps = differences.assign(above=~layers)
    gaps["difference"] = np.where(layers, -0.5, 0.5)
    for line in profile_readings(scores, gaps):
        assert "clear of every control, nearest " in line
        assert not re.search(r"layer [12] \(", line)
