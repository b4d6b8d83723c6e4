"""Figures show what the table says: every control, every interval, units on the axes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mpprobe.report.figures import FLOOR, best_layer, layer_profile, metric_of, number, parity, save
from mpprobe.report.style import CONTROL_STYLES, figure_style


def rows_of(study, **values):
    rows = study.scores[study.scores["subset"] == "all"]
    for column, value in values.items():
        rows = rows[rows[column] == value]
    return rows


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def series(axis):
    """Each errorbar of a panel by its label: layers, values, lower and upper ends."""
    found = {}
    for container in axis.containers:
        line, _, (bars,) = container.lines
        ends = np.array([[segment[0, 1], segment[1, 1]] for segment in bars.get_segments()])
        found[container.get_label()] = (*line.get_data(), *ends.T)
    return found


@pytest.mark.parametrize(
    ("value", "sign", "text"),
    [
        (0.714, False, "0.71"),
        (0.714, True, "+0.71"),
        (-1.234, False, "−1.23"),
        (-1.234, True, "−1.23"),
        (-0.001, False, "0.00"),
        (-0.001, True, "+0.00"),
        (1e-16, False, "0.00"),
        (np.nan, False, "–"),
        (-np.inf, True, "–"),
        (np.float64(12.0), False, "12.00"),
    ],
)
def test_numbers_are_short_and_have_a_true_minus(value, sign, text):
    assert number(value, sign) == text


def test_the_metric_is_within_species_where_that_is_defined(study):
    assert metric_of(rows_of(study, target="potential")) == "r2_within"
    assert metric_of(rows_of(study, target="field")) == "r2"


def test_the_best_layer_is_taken_from_those_asked_for(study):
    rows = rows_of(study, target="potential", split="structure", features="model")
    by_layer = rows.set_index("layer")["r2_within"]
    assert best_layer(study, "potential", "structure") == by_layer[[1, 2]].idxmax()
    for t in (0, 1, 2):
        assert best_layer(replace(study, layers=(t,)), "potential", "structure") == t
    # Layer 0 would win on a target that the species fix, and says nothing.
    assert best_layer(study, "charge:formal", "structure") > 0


def test_the_best_layer_is_the_first_where_no_score_is_defined(study):
    scores = study.scores.assign(r2=np.nan, r2_within=np.nan)
    assert best_layer(replace(study, scores=scores), "potential", "structure") == 1


def test_a_profile_has_a_panel_for_each_target_and_split(study):
    figure = layer_profile(study.scores)
    titles = [axis.get_title() for axis in figure.axes]
    assert titles == [
        f"{target}, held out by {split}"
        for target in ("potential", "charge:formal", "field")
        for split in ("structure", "compound")
    ]
    assert [a.get_xlabel() for a in figure.axes[-2:]] == ["layer (0: species embedding)"] * 2
    assert {a.get_ylabel() for a in figure.axes[:2]} == {"R² within species"}
    assert {a.get_ylabel() for a in figure.axes[2:]} == {"R²"}
    assert figure.get_suptitle() == study.scores["model"].iloc[0]


def test_a_profile_names_every_control(study):
    labels = legend(layer_profile(study.scores))
    assert labels[0] == "trained model"
    assert set(labels) == {"trained model", *study.scores["features"]} - {"model"}
    assert len(labels) == len(set(labels))


def test_a_profile_draws_values_and_intervals_of_the_table(study):
    for axis in layer_profile(study.scores).axes:
        target, split = axis.get_title().split(", held out by ")
        drawn = series(axis)
        assert set(drawn) == {"trained model", *CONTROL_STYLES}
        for label, (layers, values, low, high) in drawn.items():
            name = "model" if label == "trained model" else label
            rows = rows_of(study, target=target, split=split, features=name)
            metric = "r2_within" if axis.get_ylabel() == "R² within species" else "r2"
            assert layers.tolist() == rows["layer"].tolist()
            for shown, end in ((values, ""), (low, "_low"), (high, "_high")):
                true = rows[metric + end].clip(lower=FLOOR)
                np.testing.assert_allclose(shown, true, atol=1e-12)


def test_scores_below_the_floor_are_drawn_on_it(study):
    low = study.scores.assign(r2_within=-50.0, r2_within_low=-90.0, r2_within_high=-20.0)
    axis = layer_profile(low[low["target"] == "potential"]).axes[0]
    _, values, bottom, top = series(axis)["trained model"]
    assert set(values) == set(bottom) == set(top) == {FLOOR}
    assert axis.get_ylim()[0] < FLOOR


def test_intervals_that_are_not_defined_are_left_out(study):
    bare = study.scores.assign(r2_within_low=np.nan, r2_within_high=np.nan)
    axis = layer_profile(bare[bare["target"] == "potential"]).axes[0]
    _, values, low, high = series(axis)["trained model"]
    np.testing.assert_array_equal(low, values)
    np.testing.assert_array_equal(high, values)


def test_parity_shows_every_tested_atom_with_units_on_both_axes(study):
    figure = parity(study, "potential", "structure", 1)
    whole, within = figure.axes
    assert whole.get_xlabel() == "potential (V)"
    assert within.get_xlabel() == "potential, within species and compound (V)"
    assert {a.get_ylabel() for a in figure.axes} == {"decoded (V)"}
    assert legend(figure) == list(dict.fromkeys(f.domain for f in study.frames))
    drawn = np.vstack([c.get_offsets() for c in whole.collections])
    assert len(drawn) == len(study.rows)
    pairs = np.stack([study.true["potential"], study.predictions["potential", "structure", 1]], 1)
    np.testing.assert_allclose(np.sort(drawn, axis=0), np.sort(pairs, axis=0))
    assert "layer 1" in figure.get_suptitle()


def test_the_centred_panel_has_no_mean_left_in_any_species_of_a_compound(study):
    within = parity(study, "potential", "structure", 1).axes[1]
    drawn = np.vstack([c.get_offsets() for c in within.collections])
    np.testing.assert_allclose(drawn.mean(axis=0), 0, atol=1e-9)
    assert 0 < np.ptp(drawn[:, 0]) < np.ptp(study.true["potential"])


def test_parity_of_vectors_shows_components_and_of_trivial_targets_no_centred_panel(study):
    (axis,) = parity(study, "field", "structure").axes
    assert axis.get_xlabel() == "field (V/Å)"
    assert sum(len(c.get_offsets()) for c in axis.collections) == 3 * len(study.rows)
    assert len(parity(study, "charge:formal", "structure").axes) == 1


def test_atoms_that_no_fold_tests_are_not_drawn(study):
    key = ("potential", "structure", 1)
    decoded = study.predictions[key].copy()
    decoded[::2] = np.nan
    figure = parity(replace(study, predictions={key: decoded}), *key)
    for axis in figure.axes:
        drawn = np.vstack([c.get_offsets() for c in axis.collections])
        assert len(drawn) == len(decoded) // 2
        assert np.isfinite(drawn).all()


@pytest.mark.parametrize("draw", [
    lambda study: layer_profile(study.scores),
    lambda study: parity(study, "potential", "structure"),
])  # fmt: skip
def test_one_study_gives_the_same_bytes(study, tmp_path, draw):
    files = [save(draw(study), tmp_path / name) for name in ("a", "b")]
    assert [f.suffix for f in files[0]] == [".png", ".pdf"]
    for first, second in zip(*files, strict=True):
        assert first.read_bytes() == second.read_bytes()
    assert files[0][0].read_bytes().startswith(b"\x89PNG")
    assert files[0][1].read_bytes().startswith(b"%PDF")


def test_what_others_set_does_not_change_a_figure(study, tmp_path):
    import matplotlib as mpl

    files = [tmp_path / name for name in ("a.png", "b.png")]
    save(layer_profile(study.scores), files[0])
    with mpl.rc_context({"font.size": 6, "ytick.labelsize": 4}):
        save(layer_profile(study.scores), files[1])
        assert mpl.rcParams["ytick.labelsize"] == 4
    assert files[0].read_bytes() == files[1].read_bytes()


def test_the_style_does_not_leak(study):
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    with figure_style():
        assert not mpl.rcParams["axes.spines.top"]
    layer_profile(study.scores)
    assert dict(mpl.rcParams) == before
