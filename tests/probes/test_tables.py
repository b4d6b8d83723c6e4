"""Tables: differences are taken resample by resample, and only against what is comparable."""

from __future__ import annotations

import numpy as np
import pytest

from mpprobe.probes.scores import Bootstrap, Estimate, Jackknife, Scores
from mpprobe.probes.sources import (
    CHOSEN,
    ELECTROSTATICS,
    MODEL,
    RANDOM_WEIGHTS,
    SPECIES_MEAN,
    WITH_LAYER,
    WITH_RANDOM,
    Source,
)
from mpprobe.probes.tables import (
    COLUMNS,
    METRICS,
    Key,
    conditional_table,
    difference_table,
    is_clear,
    main_metric,
    score_table,
)
from mpprobe.targets import get_target

BOOTSTRAP = Bootstrap(n_groups=20, n_resamples=400, seed=0)
WOBBLE = np.random.default_rng(0).normal(size=400)
TARGETS = {"potential": get_target("potential"), "field": get_target("field")}


def estimate(value, spread=0.0):
    return Estimate(value, value + spread * WOBBLE, BOOTSTRAP)


def scores(value, spread=0.0, within=True):
    within_value = estimate(value, spread) if within else estimate(np.nan)
    return Scores(estimate(0.9), within_value, estimate(0.1), 100, 20, 12)


def key(features, layer=None, width=4, *, target="potential", split="structure", subset="all"):
    return Key(target, split, features, layer, width, subset)


def differences(scored, layers=(0, 1, 2)):
    table = difference_table("m", scored, layers, TARGETS)
    return {(row["layer"], row["control"]): row for _, row in table.iterrows()}


def test_each_score_is_a_row_with_its_intervals_and_unit():
    scored = {key(MODEL, 2): scores(0.5, 0.1), key("SOAP", None, 7): scores(0.2)}
    about = {k: Source(k.features, k.layer, "4x0e" * (k.layer is not None), None) for k in scored}
    table = score_table("m", scored, about, TARGETS)
    assert {c for m in METRICS for c in (m, f"{m}_low", f"{m}_high")} <= set(table)
    assert table["unit"].tolist() == ["V", "V"]
    assert table["block"].tolist() == ["4x0e", ""]
    assert table["layer"].isna().tolist() == [False, True]
    first = table.iloc[0]
    assert first["r2_within"] == 0.5
    low, high = np.quantile(0.5 + 0.1 * WOBBLE, [0.025, 0.975])
    assert (first["r2_within_low"], first["r2_within_high"]) == pytest.approx((low, high))
    assert first["interval"] == "bootstrap, maps fixed"
    assert first[["n_atoms", "n_structures", "n_units"]].tolist() == [100, 20, 12]


def test_what_is_told_of_the_main_score_stands_beside_it():
    """The spread, the code length, and how the interval of the main score was made."""
    whole, jackknifed = estimate(0.9), Estimate(0.5, 0.5 + 0.01 * WOBBLE[:8], Jackknife(8))
    told = {"spread": (0.4, 0.6), "code_length": -1.5}
    scored = {
        key(MODEL, 1): Scores(whole, jackknifed, estimate(0.1), 100, 20, 8, **told),
        key(MODEL, 1, target="field"): Scores(jackknifed, whole, estimate(0.1), 100, 20, 8),
    }
    about = {k: Source(MODEL, 1, "4x0e", None) for k in scored}
    scalar, vector = (row for _, row in score_table("m", scored, about, TARGETS).iterrows())
    for row in (scalar, vector):
        assert row["interval"] == "jackknife, maps refitted"
    assert (scalar["spread_low"], scalar["spread_high"], scalar["code_length"]) == (0.4, 0.6, -1.5)
    assert np.isnan([vector["spread_low"], vector["spread_high"], vector["code_length"]]).all()
    assert (scalar["r2_within_low"], scalar["r2_within_high"]) == jackknifed.interval()
    names = [part for name in COLUMNS for part in name.split(", ") if not part.startswith("_")]
    assert set(names) <= set(scalar.index)


def test_no_interval_of_r2_passes_one_and_that_of_an_error_may():
    wide, few = Jackknife(8), estimate(np.nan)
    near = Estimate(0.99, 0.99 + 0.1 * WOBBLE[:8], wide)
    error = Estimate(2.0, 2.0 + WOBBLE[:8], wide)
    scored = {
        key(MODEL, 1): Scores(near, near, error, 100, 20, 8),
        key(MODEL, 2): Scores(near, few, error, 100, 20, 8),
    }
    about = {k: Source(MODEL, k.layer, "4x0e", None) for k in scored}
    first, second = (row for _, row in score_table("m", scored, about, TARGETS).iterrows())
    assert near.interval()[1] > 1
    assert (first["r2_high"], first["r2_within_high"]) == (1.0, 1.0)
    assert first["r2_within_low"] == near.interval()[0]
    assert first["mae_high"] == error.interval()[1] > 1
    assert np.isnan(second["r2_within_high"])


def test_what_two_scores_have_in_common_cancels_in_their_difference():
    # Each alone is uncertain by ±0.6; their difference is certain, since they wobble together.
    scored = {key(MODEL, 1): scores(0.5, 0.3), key(RANDOM_WEIGHTS, 1): scores(0.4, 0.3)}
    row = differences(scored)[1, RANDOM_WEIGHTS]
    assert (row["difference"], row["low"], row["high"]) == pytest.approx((0.1, 0.1, 0.1))
    assert row["above"]


def test_above_means_that_the_whole_interval_is():
    scored = {
        key(MODEL, 1): scores(0.5),
        key(RANDOM_WEIGHTS, 1): scores(0.3, 0.2),
        key(SPECIES_MEAN, None, 0): scores(0.0, 0.2),
    }
    found = differences(scored)
    assert found[1, RANDOM_WEIGHTS]["low"] < 0 < found[1, RANDOM_WEIGHTS]["high"]
    assert not found[1, RANDOM_WEIGHTS]["above"]
    assert found[1, SPECIES_MEAN]["low"] > 0
    assert found[1, SPECIES_MEAN]["above"]


def test_rounding_is_no_difference():
    scored = {key(MODEL, 1): scores(1e-15), key(RANDOM_WEIGHTS, 1): scores(0.0)}
    assert not differences(scored)[1, RANDOM_WEIGHTS]["above"]


@pytest.mark.parametrize(
    ("value", "low", "clear"),
    [
        (0.004, 0.003, False),  # 0.00 when it is printed, however sure
        (0.0049999, 0.0049, False),
        (0.006, 0.001, True),
        (0.3, 0.0, False),
        (0.3, 1e-12, False),  # by rounding only
        (0.3, -0.1, False),
        (-0.3, -0.4, False),
        (0.3, np.nan, False),
        (np.nan, np.nan, False),
    ],
)
def test_a_clear_difference_is_above_zero_and_seen_to_be(value, low, clear):
    assert is_clear(value, low) is clear
    printed_as_zero = f"{value:.2f}" in ("0.00", "-0.00")
    assert not (clear and printed_as_zero)


def test_a_difference_of_zero_to_two_digits_is_not_above():
    wobbling = {key(MODEL, 1): scores(0.504, 0.3), key(RANDOM_WEIGHTS, 1): scores(0.5, 0.3)}
    row = differences(wobbling)[1, RANDOM_WEIGHTS]
    assert row["low"] == pytest.approx(0.004)
    assert not row["above"]
    wobbling[key(MODEL, 1)] = scores(0.506, 0.3)
    assert differences(wobbling)[1, RANDOM_WEIGHTS]["above"]


def test_only_the_same_layer_width_target_split_and_subset_stand_against_a_score():
    other = [
        key(RANDOM_WEIGHTS, 2),
        key("SOAP, same width", None, 8),
        key(SPECIES_MEAN, None, 0, split="compound"),
        key(SPECIES_MEAN, None, 0, subset="bulk"),
        key(SPECIES_MEAN, None, 0, target="field"),
        key(CHOSEN, None, 0),
        key(WITH_LAYER, 1, 16),
        key(WITH_RANDOM, 1, 16),
    ]
    same = [key(RANDOM_WEIGHTS, 1), key("SOAP, same width"), key("SOAP", None, 9), key(MODEL, 0)]
    same += [key(MODEL, 2), key(ELECTROSTATICS, None, 12)]
    scored = {key(MODEL, 1): scores(0.5)}
    scored |= {k: scores(0.1) for k in same} | {k: scores(-1.0) for k in other}
    found = {control: row for (layer, control), row in differences(scored).items() if layer == 1}
    assert set(found) == {
        RANDOM_WEIGHTS, "SOAP, same width", "SOAP", "layer 0", "layer 2", ELECTROSTATICS,
    }  # fmt: skip
    assert all(row["difference"] == pytest.approx(0.4) for row in found.values())


def test_no_layer_stands_beside_itself_and_layers_not_asked_for_have_no_rows():
    scored = {key(MODEL, 0): scores(0.1), key(MODEL, 1): scores(0.5), key(MODEL, 2): scores(0.4)}
    scored[key(SPECIES_MEAN, None, 0)] = scores(0.0)
    assert set(differences(scored, layers=(0, 2))) == {
        (0, SPECIES_MEAN), (0, "layer 1"), (0, "layer 2"),
        (2, SPECIES_MEAN), (2, "layer 0"), (2, "layer 1"),
    }  # fmt: skip


def test_one_layer_is_above_another_as_far_as_the_other_is_below():
    scored = {key(MODEL, 1): scores(0.5, 0.1), key(MODEL, 2): scores(0.3, 0.2)}
    found = differences(scored)
    up, down = found[1, "layer 2"], found[2, "layer 1"]
    assert up["difference"] == pytest.approx(0.2)
    ends = [-up["difference"], -up["high"], -up["low"]]
    assert [down["difference"], down["low"], down["high"]] == pytest.approx(ends)


def test_where_nothing_varies_within_species_plain_r2_is_compared():
    assert main_metric(scores(0.5)) == "r2_within"
    assert main_metric(scores(0.5, within=False)) == "r2"
    field = {
        key(MODEL, 1, target="field"): scores(0.5, within=False),
        key(RANDOM_WEIGHTS, 1, target="field"): scores(0.5, within=False),
    }
    row = differences(field)[1, RANDOM_WEIGHTS]
    assert (row["metric"], row["difference"]) == ("r2", 0.0)


# --- what a layer adds -----------------------------------------------------------------------


def conditional(scored):
    table = conditional_table("m", scored, TARGETS)
    return {(row["layer"], row["features"]): row for _, row in table.iterrows()}


def test_a_gain_is_over_the_local_sums_alone_and_over_that_of_random_weights():
    scored = {
        key(MODEL, 1): scores(0.7),
        key(ELECTROSTATICS, None, 12): scores(0.9, 0.02),
        key(WITH_LAYER, 1, 16): scores(0.95, 0.03),
        key(WITH_RANDOM, 1, 16): scores(0.92, 0.03),
        key(WITH_LAYER, 2, 20): scores(0.91, 0.02),
        # Of another target, split and subset:
        key(ELECTROSTATICS, None, 12, split="compound"): scores(0.1),
        key(ELECTROSTATICS, None, 12, subset="bulk"): scores(0.2),
        key(ELECTROSTATICS, None, 12, target="field"): scores(0.3),
        key(WITH_LAYER, 1, 16, subset="bulk"): scores(0.4),
    }
    found = conditional(scored)
    assert set(found) == {(1, MODEL), (1, RANDOM_WEIGHTS), (2, MODEL)}
    first, random, second = (found[k] for k in ((1, MODEL), (1, RANDOM_WEIGHTS), (2, MODEL)))
    assert (first["target"], first["split"], first["metric"]) == (
        "potential", "structure", "r2_within",
    )  # fmt: skip
    assert (first["alone"], first["together"]) == (0.9, 0.95)
    assert first["gain"] == pytest.approx(0.05)
    # What both have of the wobble cancels, and so does all of it against random weights.
    ends = np.quantile(0.05 + 0.01 * WOBBLE, [0.025, 0.975])
    assert [first["gain_low"], first["gain_high"]] == pytest.approx(list(ends))
    names = ("above_random", "above_random_low", "above_random_high")
    assert [first[name] for name in names] == pytest.approx([0.03] * 3)
    assert random["gain"] == pytest.approx(0.02)
    assert np.isnan([random[name] for name in names]).all()
    assert [second[n] for n in ("gain", "gain_low", "gain_high")] == pytest.approx([0.01] * 3)
    assert np.isnan([second[name] for name in names]).all()  # without random weights


def test_of_vectors_the_gain_is_of_plain_r2():
    def plain(value):
        return Scores(estimate(value), estimate(np.nan), estimate(0.1), 100, 20, 12)

    scored = {
        key(ELECTROSTATICS, None, 12, target="field"): plain(0.6),
        key(WITH_LAYER, 1, 16, target="field"): plain(0.8),
        key(WITH_RANDOM, 1, 16, target="field"): plain(0.9),
    }
    found = conditional(scored)
    assert found[1, MODEL]["metric"] == "r2"
    assert found[1, MODEL]["gain"] == pytest.approx(0.2)
    assert found[1, MODEL]["above_random"] == pytest.approx(-0.1)
    assert found[1, RANDOM_WEIGHTS]["gain"] == pytest.approx(0.3)


def test_without_a_layer_beside_local_sums_there_is_no_row():
    assert conditional_table("m", {key(MODEL, 1): scores(0.7)}, TARGETS).empty
