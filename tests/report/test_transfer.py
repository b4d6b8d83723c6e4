"""Transfer: the layer is chosen in domain, the figure shows the table, controls are told apart."""

from __future__ import annotations

import matplotlib.colors as colours
import numpy as np
import pytest

import mpprobe
from mpprobe.probes.sources import ELECTROSTATICS, LOCAL, SAME_WIDTH, SPECIES_MEAN
from mpprobe.report.figures import FLOOR
from mpprobe.report.transfer import transfer_figure, transfer_readings, transfer_rows

IN_DOMAIN = ("strained",)


@pytest.fixture(scope="module")
def moved(mace_file):
    """Of random weights too, fitted on strained crystals and read in clusters."""
    potential = mpprobe.load(mace_file("8x0e+8x1o"), trust_checkpoint=True)
    frames = mpprobe.read("ionic:strained,cluster")
    return mpprobe.probe(
        potential, [f for f in frames if set(f.numbers) <= set(potential.species)],
        targets=["potential", "charge:formal"], splits="domain",
        settings=mpprobe.Settings(
            n_resamples=50, in_domain=IN_DOMAIN, n_assignments=1, random_seeds=1
        ),
    )  # fmt: skip


def test_the_layer_is_the_best_in_domain_whatever_it_is_worth_outside(moved):
    scores = moved.scores.copy()
    of_model = (scores["features"] == "model") & (scores["target"] == "potential")
    for layer, inside, outside in ((1, 0.9, -5.0), (2, 0.1, 0.99)):
        rows = of_model & (scores["layer"] == layer)
        scores.loc[rows & (scores["subset"] == "strained"), "r2_within"] = inside
        scores.loc[rows & (scores["subset"] == "cluster"), "r2_within"] = outside
    rows = transfer_rows(scores, IN_DOMAIN)
    own = rows[(rows["target"] == "potential") & (rows["features"] == "model")]
    assert set(own["layer"]) == {1}
    assert dict(zip(own["subset"], own["value"], strict=True)) == {"strained": 0.9, "cluster": -5.0}


def test_domains_that_were_fitted_in_come_first(moved):
    rows = transfer_rows(moved.scores, IN_DOMAIN)
    for _, own in rows.groupby("target"):
        assert list(dict.fromkeys(own["subset"])) == ["strained", "cluster"]
        assert set(own[own["in_domain"]]["subset"]) == set(IN_DOMAIN)


def test_each_domain_has_the_model_and_what_it_stands_against(moved):
    """Not what is chosen among layers, nor what they add to something."""
    rows = transfer_rows(moved.scores, IN_DOMAIN)
    descriptors = [name + end for name in LOCAL[0] for end in ("", SAME_WIDTH)]
    expected = sorted(["model", "random weights", ELECTROSTATICS, SPECIES_MEAN, *descriptors])
    for _, own in rows.groupby(["target", "subset"]):
        assert sorted(own["features"]) == expected


def test_the_figure_has_every_row_and_controls_in_grey_but_local_electrostatics(moved):
    rows = transfer_rows(moved.scores, IN_DOMAIN)
    figure = transfer_figure(rows)
    for axis in figure.axes:
        target = axis.get_title().split(",")[0]
        own = rows[rows["target"] == target]
        drawn = {c.get_label(): c.lines[0] for c in axis.containers}
        assert set(drawn) == {"trained model", *own["features"]} - {"model"}
        for label, line in drawn.items():
            name = "model" if label == "trained model" else label
            of_kind = own[own["features"] == name].set_index("subset")["value"]
            expected = of_kind.reindex(["strained", "cluster"]).clip(lower=FLOOR)
            np.testing.assert_allclose(line.get_ydata(), expected)
            red, green, blue = colours.to_rgb(line.get_color())
            assert (red == green == blue) == (label not in ("trained model", ELECTROSTATICS))
    assert len({line.get_marker() for line in drawn.values()}) == len(drawn)


def test_readings_give_each_domain_and_leave_out_what_species_decide(moved):
    lines = transfer_readings(moved, transfer_rows(moved.scores, IN_DOMAIN))
    assert "strained (in domain)" in lines[0]
    assert "cluster (out of domain)" in lines[0]
    assert lines[1].startswith("charge:formal: the species alone fix it")
