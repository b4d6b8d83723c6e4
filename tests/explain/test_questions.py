"""Correlations, mixed models and held-out domains, on tables made to a known law."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mpprobe.errors import ProbeError
from mpprobe.explain.questions import (
    benjamini_hochberg,
    held_out_domains,
    mixed_model,
    nested_resamples,
    partial_correlations,
)


def table(slope=0.6, seed=0, n_structures=60, compounds=6):
    """log(force error) = slope · log(error:a) + 0.5 log(force) + compound + structure + noise."""
    rng = np.random.default_rng(seed)
    rows = []
    of_compound = rng.normal(scale=0.5, size=compounds)
    for s in range(n_structures):
        compound, domain = s % compounds, (s // compounds) % 3
        inside = domain == 0
        own = 0.3 * rng.normal()
        for i in range(12):
            a, b, d, force = np.exp(rng.normal(size=4))
            if not inside:
                a, d = 6 * a, 8 * d  # out of domain both are larger
            log = slope * np.log(a) + 0.5 * np.log(force) + of_compound[compound] + own
            rows.append({
                "structure": f"s{s}", "group": f"s{s}", "compound": f"c{compound}", "atom": i,
                "species": f"X{i % 2}", "domain": ("bulk", "surface", "melt")[domain],
                "in_domain": inside, "force": force, "error:a": a, "error:b": b, "distance": d,
                "force_error": np.exp(log + 0.3 * rng.normal()),
            })  # fmt: skip
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def known():
    return table()


def test_partial_correlations_find_what_is_there_and_nothing_else(known):
    found = partial_correlations(known, n_resamples=300).set_index(["subset", "predictor"])
    for subset in ("all", "in domain", "out of domain"):
        row = found.loc[(subset, "error:a")]
        assert row["value"] > 0.5
        assert row["low"] > 0.3
        assert row["p"] < 0.01
        for other in ("error:b", "distance"):
            assert abs(found.loc[(subset, other), "value"]) < 0.15
            assert found.loc[(subset, other), "p"] > 0.01
    # Distance is larger out of domain as the error is: only what it adds counts.
    assert np.corrcoef(known["distance"].rank(), known["force_error"].rank())[0, 1] > 0.2


def test_what_random_weights_get_wrong_too_is_no_merit_of_the_model(known):
    """The error is a hard atom's, whoever decodes it: beside the control nothing is left of it."""
    rng = np.random.default_rng(0)
    hard = known["error:a"]
    own, control = (hard * np.exp(0.1 * rng.normal(size=len(known))) for _ in range(2))
    alike = known.assign(**{"error:a": own})
    row = ("out of domain", "error:a")
    bare = partial_correlations(alike, n_resamples=100).set_index(["subset", "predictor"])
    beside = alike.assign(**{"control:a": control})
    given = partial_correlations(beside, n_resamples=100).set_index(["subset", "predictor"])
    assert given.loc[row, "value"] < 0.6 * bare.loc[row, "value"]
    together = mixed_model(beside).set_index(["subset", "predictor"])
    assert together.loc[row, "value"] < 0.8 * mixed_model(alike).set_index(
        ["subset", "predictor"]).loc[row, "value"]  # fmt: skip
    gain = held_out_domains(beside, n_resamples=100).set_index(["domain", "predictors"])
    assert gain.loc[("all", "competitors"), "value"] > 0.4
    assert abs(gain.loc[("all", "both"), "gain"]) < 0.1


def test_a_control_that_says_nothing_takes_nothing_away(known):
    beside = known.assign(**{"control:a": np.random.default_rng(1).lognormal(size=len(known))})
    for answers in (partial_correlations, mixed_model):
        with_it, without = (
            answers(t).set_index(["subset", "predictor"])["value"] for t in (beside, known)
        )
        row = ("all", "error:a")
        assert with_it[row] == pytest.approx(without[row], abs=0.02)
        assert abs(with_it[("all", "control:a")]) < 0.1


def test_nothing_is_found_in_nothing():
    p = [
        partial_correlations(table(slope=0, seed=s), n_resamples=200)["p"].to_numpy()
        for s in range(8)
    ]
    assert 0 < np.mean(np.concatenate(p) < 0.1) < 0.3


def test_the_mixed_model_finds_the_slope(known):
    found = mixed_model(known).set_index(["subset", "predictor"])
    spread = np.log(known["error:a"]).std()
    row = found.loc[("all", "error:a")]
    assert row["low"] < 0.6 * spread < row["high"]
    assert row["p"] < 1e-6
    assert abs(found.loc[("all", "error:b"), "value"]) < 0.1
    assert (found["n_compounds"] == 6).all()


def test_the_mixed_model_of_structures_that_are_compounds_of_their_own():
    """The random part of the two is one then, and which name it bears doesn't matter."""
    known = table(n_structures=40, compounds=40)
    alone = mixed_model(known.assign(compound=known["structure"]))
    row = alone.set_index(["subset", "predictor"]).loc[("all", "error:a")]
    assert row["low"] < 0.6 * np.log(known["error:a"]).std() < row["high"]
    assert (alone.loc[alone["subset"] == "all", "n_compounds"] == 40).all()
    pd.testing.assert_frame_equal(mixed_model(known), alone)


def test_a_domain_is_predicted_by_what_explains_the_others(known):
    found = held_out_domains(known, n_resamples=300).set_index(["domain", "predictors"])
    for domain in ("surface", "melt", "all"):
        assert found.loc[(domain, "encoding"), "value"] > 0.4
        row = found.loc[(domain, "encoding")]
        assert row["gain_low"] > 0
        assert row["p"] < 0.01
        assert found.loc[(domain, "force only"), "gain"] < 0.1
        assert found.loc[(domain, "competitors"), "gain"] == 0
    assert "bulk" not in {domain for domain, _ in found.index}


def test_resamples_draw_compounds_and_structures_within():
    own = table(n_structures=12, compounds=3)
    group, counts = nested_resamples(own, 500, seed=0)
    assert (counts[0] == 1).all()
    assert (counts.sum(axis=1) == 12).all()  # compounds of equal size
    compound = own.groupby(group)["compound"].first().to_numpy()
    by_compound = np.stack([counts[1:, compound == c].sum(axis=1) for c in np.unique(compound)])
    assert set(np.unique(by_compound)) <= {0, 4, 8, 12}
    assert (by_compound == 0).any()
    again = nested_resamples(own, 500, seed=0)[1]
    np.testing.assert_array_equal(counts, again)


def test_benjamini_hochberg_counts_what_was_tried():
    corrected = benjamini_hochberg([0.01, 0.04, np.nan, 0.03])
    np.testing.assert_allclose(corrected[[0, 1, 3]], [0.03, 0.04, 0.04])
    assert np.isnan(corrected[2])


def test_too_little_is_refused_and_few_structures_have_no_interval():
    with pytest.raises(ProbeError, match="too little to explain"):
        partial_correlations(table(n_structures=2, compounds=1))
    few = held_out_domains(table(n_structures=40, compounds=4), n_resamples=50)
    few = few.set_index(["domain", "predictors"])
    assert np.isfinite(few.loc[("all", "both"), "low"])
    alike = table(n_structures=40, compounds=4)
    alike["group"] = alike["compound"]  # four groups of structures
    found = held_out_domains(alike, n_resamples=50)
    assert np.isnan(found[["low", "gain_low", "p"]].to_numpy()).all()


def test_a_predictor_that_others_fix_has_no_answer(known):
    """Two that are the same, as where random weights decode just as well: either may be meant."""
    twin = known.assign(**{"control:a": known["error:a"]})
    for answers in (partial_correlations, mixed_model):
        found, alone = (answers(t).set_index(["subset", "predictor"]) for t in (twin, known))
        for name in ("error:a", "control:a"):
            assert found.loc[("all", name), ["value", "low", "high", "p"]].isna().all()
        row = ("all", "error:b")
        assert found.loc[row, "value"] == pytest.approx(alone.loc[row, "value"], abs=1e-3)
    constant = known.assign(**{"error:b": 1.0})
    for answers in (partial_correlations, mixed_model):
        found = answers(constant).set_index(["subset", "predictor"])
        assert np.isnan(found.loc[("all", "error:b"), "value"])
        assert found.loc[("all", "error:a"), "value"] > 0.5
