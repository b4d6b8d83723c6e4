"""Tables: differences are taken resample by resample, and only against what is comparable."""

from __future__ import annotations

import numpy as np
import pytest

from mpprobe.probes.scores import Bootstrap, Estimate, Scores
from mpprobe.probes.sources import MODEL, RANDOM_WEIGHTS, SPECIES_MEAN, Source
from mpprobe.probes.tables import METRICS, Key, difference_table, main_metric, score_table
from mpprobe.targets import get_target

BOOTSTRAP = Bootstrap(n_groups=20, n_resamples=400, seed=0)
WOBBLE = np.random.default_rng(0).normal(size=400)
TARGETS = {"potential": get_target("potential"), "field": get_target("field")}


def estimate(value, spread=0.0):
    return Estimate(value, value + spread * WOBBLE, BOOTSTRAP)


def scores(value, spread=0.0, within=True):
    within_value = estimate(value, spread) if within else estimate(np.nan)
    return Scores(estimate(0.9), within_value, estimate(0.1), 100, 20)


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


def test_only_the_same_layer_width_target_split_and_subset_stand_against_a_score():
    other = [
        key(RANDOM_WEIGHTS, 2),
        key("SOAP, same width", None, 8),
        key(SPECIES_MEAN, None, 0, split="compound"),
        key(SPECIES_MEAN, None, 0, subset="bulk"),
        key(SPECIES_MEAN, None, 0, target="field"),
    ]
    same = [key(RANDOM_WEIGHTS, 1), key("SOAP, same width"), key("SOAP", None, 9), key(MODEL, 0)]
    scored = {key(MODEL, 1): scores(0.5)}
    scored |= {k: scores(0.1) for k in same} | {k: scores(-1.0) for k in other}
    found = {control: row for (layer, control), row in differences(scored).items() if layer == 1}
    assert set(found) == {RANDOM_WEIGHTS, "SOAP, same width", "SOAP", "layer 0"}
    assert all(row["difference"] == pytest.approx(0.4) for row in found.values())


def test_layer_0_has_no_layer_0_beside_it_and_layers_not_asked_for_have_no_rows():
    scored = {key(MODEL, 0): scores(0.1), key(MODEL, 1): scores(0.5), key(MODEL, 2): scores(0.4)}
    scored[key(SPECIES_MEAN, None, 0)] = scores(0.0)
    assert set(differences(scored, layers=(0, 2))) == {
        (0, SPECIES_MEAN), (2, SPECIES_MEAN), (2, "layer 0"),
    }  # fmt: skip


def test_where_nothing_varies_within_species_plain_r2_is_compared():
    assert main_metric(scores(0.5)) == "r2_within"
    assert main_metric(scores(0.5, within=False)) == "r2"
    field = {
        key(MODEL, 1, target="field"): scores(0.5, within=False),
        key(RANDOM_WEIGHTS, 1, target="field"): scores(0.5, within=False),
    }
    row = differences(field)[1, RANDOM_WEIGHTS]
    assert (row["metric"], row["difference"]) == ("r2", 0.0)
