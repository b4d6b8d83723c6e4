"""Several models in one profile: each in its colour, each beside its own random weights."""

from __future__ import annotations

import matplotlib.colors as colours
import numpy as np
import pandas as pd
import pytest

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


def test_a_reading_for_each_model_names_the_control_it_is_least_clear_of(tables):
    scores, differences = tables
    readings = profile_readings(scores, differences)
    panels = scores[["structures", "target", "split", "model"]].drop_duplicates()
    assert len(readings) == len(panels)
    clear = differences.assign(low=0.5, above=True)
    own = (clear["target"] == "potential") & (clear["control"] == "SOAP")
    clear.loc[own, ["low", "above"]] = [-0.1, False]
    for line in profile_readings(scores, clear):
        verdict = "not clear of SOAP" if " potential," in line else "clear of every control"
        assert verdict in line
