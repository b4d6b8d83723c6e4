"""Figures show what the table says: every control, every interval, units on the axes."""

from __future__ import annotations

from dataclasses import replace

import matplotlib.colors as colours
import numpy as np
import pytest
from matplotlib.collections import PolyCollection

from mpprobe.probes.sources import CHOSEN, ELECTROSTATICS, LOCAL, SPECIES_MEAN
from mpprobe.report.figures import (
    FLOOR,
    chosen_score,
    interval_text,
    layer_profile,
    metric_of,
    number,
    parity,
    save,
)
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


def points(axis):
    """What a scatter shows: x and y of every point of every colour."""
    return np.vstack([c.get_offsets() for c in axis.collections])


def same_points(drawn, x, y):
    """Whether points are those of two arrays, in whatever order."""
    expected = np.stack([x, y], axis=1)
    order = [np.lexsort(table.T[::-1]) for table in (drawn, expected)]
    return drawn.shape == expected.shape and np.allclose(drawn[order[0]], expected[order[1]])


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


def test_the_metric_is_within_kinds_where_that_is_defined(study):
    assert metric_of(rows_of(study, target="potential")) == "r2_within"
    assert metric_of(rows_of(study, target="field")) == "r2"


def test_the_best_layer_is_the_one_that_the_training_folds_choose_most_often(study):
    key = "potential", "structure"
    assert set(study.choices[key]) == {1, 2}
    for shares, best in (({1: 0.2, 2: 0.8}, 2), ({1: 0.8, 2: 0.2}, 1), ({2: 0.5, 1: 0.5}, 1)):
        assert replace(study, choices={key: shares}).best_layer(*key) == best
    # Layer 0 would win on a target that the species fix, and says nothing.
    assert study.best_layer("charge:formal", "structure") > 0


def test_the_best_layer_is_the_first_where_no_score_is_defined(study):
    key = "charge:formal", "structure"
    rows = rows_of(study, target=key[0], split=key[1], features="model")
    assert rows["r2_within"].isna().all()
    assert study.best_layer(*key) == 1


@pytest.mark.parametrize(("target", "metric"), [("potential", "r2_within"), ("field", "r2")])
def test_the_score_shown_is_that_of_the_chosen_layers_over_all_atoms(study, target, metric):
    found, row = chosen_score(study.scores, target, "structure")
    assert found == metric
    (expected,) = rows_of(study, target=target, split="structure", features=CHOSEN).index
    assert row.name == expected
    assert np.isfinite(row[metric])


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [(-0.1, 0.5, "0.20 [−0.10, 0.50]"), (np.nan, np.nan, "0.20")],
)
def test_an_interval_stands_behind_its_score_if_there_is_one(low, high, text):
    assert interval_text({"x": 0.2, "x_low": low, "x_high": high}, "x") == text


def test_a_profile_has_a_panel_for_each_target_and_split(study):
    figure = layer_profile(study.scores)
    titles = [axis.get_title() for axis in figure.axes]
    assert titles == [
        f"{target}, held out by {split}"
        for target in ("potential", "charge:formal", "field")
        for split in ("structure", "compound")
    ]
    assert [a.get_xlabel() for a in figure.axes[-2:]] == ["layer (0: species embedding)"] * 2
    assert {a.get_ylabel() for a in figure.axes[:2]} == {"R² within kinds"}
    assert {a.get_ylabel() for a in figure.axes[2:]} == {"R²"}
    assert figure.get_suptitle() == study.scores["model"].iloc[0]


def test_a_profile_names_every_control(study):
    labels = legend(layer_profile(study.scores))
    assert labels[0] == "trained model"
    controls = {*CONTROL_STYLES, *LOCAL[0], *LOCAL[1], ELECTROSTATICS, SPECIES_MEAN}
    assert controls < set(study.scores["features"])
    assert set(labels) == {"trained model", *controls}
    assert len(labels) == len(set(labels))


def test_baselines_are_lines_at_their_scores_local_electrostatics_in_colour(study):
    for axis in layer_profile(study.scores).axes:
        target, split = axis.get_title().split(", held out by ")
        metric = "r2_within" if axis.get_ylabel() == "R² within kinds" else "r2"
        names = [*LOCAL[0], SPECIES_MEAN] if target != "field" else [*LOCAL[1]]
        names += [ELECTROSTATICS]
        drawn = {line.get_label(): line for line in axis.lines if line.get_label() in names}
        assert set(drawn) == set(names)
        for name, line in drawn.items():
            rows = rows_of(study, target=target, split=split, features=name)
            (value,) = rows[metric].clip(lower=FLOOR)
            np.testing.assert_allclose(line.get_ydata(), value)
            red, green, blue = colours.to_rgb(line.get_color())
            assert (red == green == blue) == (name != ELECTROSTATICS)


def test_no_descriptor_of_the_layers_width_is_drawn(study):
    assert study.scores["features"].str.endswith("same width").any()
    for axis in layer_profile(study.scores).axes:
        assert not any(line.get_label().endswith("same width") for line in axis.lines)


def test_the_band_is_the_spread_of_models_with_random_weights(study):
    for axis in layer_profile(study.scores[study.scores["target"] != "charge:formal"]).axes:
        target, split = axis.get_title().split(", held out by ")
        (band,) = (c for c in axis.collections if isinstance(c, PolyCollection))
        rows = rows_of(study, target=target, split=split, features="random weights")
        assert (rows["spread_high"] > rows["spread_low"])[rows["layer"] > 0].all()
        corners = np.vstack([path.vertices for path in band.get_paths()])
        for _, row in rows.iterrows():
            ends = corners[corners[:, 0] == row["layer"], 1]
            expected = row[["spread_low", "spread_high"]].astype(float).clip(lower=FLOOR)
            np.testing.assert_allclose([ends.min(), ends.max()], expected, atol=1e-12)


def test_a_profile_draws_values_and_intervals_of_the_table(study):
    for axis in layer_profile(study.scores).axes:
        target, split = axis.get_title().split(", held out by ")
        drawn = series(axis)
        # Shuffled targets and random directions have a main score only.
        without = {"random direction", "shuffled target"} if target == "charge:formal" else set()
        assert set(drawn) == {"trained model", *CONTROL_STYLES} - without
        for label, (layers, values, low, high) in drawn.items():
            name = "model" if label == "trained model" else label
            rows = rows_of(study, target=target, split=split, features=name)
            metric = "r2_within" if axis.get_ylabel() == "R² within kinds" else "r2"
            assert layers.tolist() == rows["layer"].tolist()
            # With three compounds to hold out there is no interval.
            known = rows[f"{metric}_low"].notna()
            assert known.all() if split == "structure" else not known.any()
            for shown, end in ((values, ""), (low, "_low"), (high, "_high")):
                true = rows[metric + end].where(known, rows[metric]).clip(lower=FLOOR)
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
    assert within.get_xlabel() == "potential within kinds (V)"
    assert {a.get_ylabel() for a in figure.axes} == {"decoded (V)"}
    assert legend(figure) == list(dict.fromkeys(f.domain for f in study.frames))
    assert len(points(whole)) == len(points(within)) == len(study.rows)
    key, true = ("potential", "structure", 1), study.true["potential"]
    assert same_points(points(whole), true, study.predictions[key])
    assert same_points(points(within), study.centred(true), study.centred(study.within[key]))
    assert "layer 1" in figure.get_suptitle()


def test_parity_shows_one_map_fitted_to_the_whole_and_one_within_kinds(study):
    key = "potential", "structure", 1
    whole, within = map(points, parity(study, *key).axes)
    changed = replace(study, within={key: 0.5 * study.within[key]})
    first, second = map(points, parity(changed, *key).axes)
    np.testing.assert_allclose(first, whole)
    np.testing.assert_allclose(second, within * [1, 0.5], atol=1e-12)
    changed = replace(study, predictions={key: 1 + study.predictions[key]})
    first, second = map(points, parity(changed, *key).axes)
    np.testing.assert_allclose(first, whole + np.array([0, 1]))
    np.testing.assert_allclose(second, within)


def test_parity_is_of_the_layer_that_the_training_folds_choose(study):
    key = "potential", "structure"
    for shares, layer in (({1: 0.9, 2: 0.1}, 1), ({1: 0.1, 2: 0.9}, 2)):
        figure = parity(replace(study, choices={key: shares}), *key)
        assert f"layer {layer}: " in figure.get_suptitle()
        decoded = study.predictions[*key, layer]
        assert same_points(points(figure.axes[0]), study.true["potential"], decoded)


def test_the_centred_panel_has_no_mean_left_in_any_species_of_a_compound(study):
    drawn = points(parity(study, "potential", "structure", 1).axes[1])
    np.testing.assert_allclose(drawn.mean(axis=0), 0, atol=1e-9)
    assert 0 < np.ptp(drawn[:, 0]) < np.ptp(study.true["potential"])
    true = study.true["potential"]
    centred = study.centred(true)
    numbers = np.concatenate([f.numbers for f in study.frames])
    compounds = np.repeat([f.compound for f in study.frames], [len(f) for f in study.frames])
    for compound, species in set(zip(compounds, numbers, strict=True)):
        kind = (compounds == compound) & (numbers == species)
        np.testing.assert_allclose(centred[kind], true[kind] - true[kind].mean(), atol=1e-9)


def test_parity_of_vectors_shows_components_and_of_trivial_targets_no_centred_panel(study):
    (axis,) = parity(study, "field", "structure").axes
    assert axis.get_xlabel() == "field (V/Å)"
    assert sum(len(c.get_offsets()) for c in axis.collections) == 3 * len(study.rows)
    assert len(parity(study, "charge:formal", "structure").axes) == 1


def test_atoms_that_no_fold_tests_are_not_drawn(study):
    key = ("potential", "structure", 1)
    decoded, within = study.predictions[key].copy(), study.within[key].copy()
    decoded[::2], within[::2] = np.nan, np.nan
    figure = parity(replace(study, predictions={key: decoded}, within={key: within}), *key)
    for axis in figure.axes:
        drawn = points(axis)
        assert len(drawn) == len(decoded) // 2
        assert np.isfinite(drawn).all()
    # What is left is centred on its own means.
    np.testing.assert_allclose(points(figure.axes[1]).mean(axis=0), 0, atol=1e-9)


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
