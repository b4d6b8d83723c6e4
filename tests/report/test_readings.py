"""Readings claim what the numbers support, and no more."""

from __future__ import annotations

import pandas as pd
import pytest

from mpprobe.probes import Study
from mpprobe.report.readings import reading, readings


def scored(layer, value, low, high, *, target="potential", metric="r2_within", **more):
    row = {"model": "m", "target": target, "split": "compound", "features": "model",
           "layer": layer, "subset": "all"}  # fmt: skip
    row |= {m + end: float("nan") for m in ("r2", "r2_within") for end in ("", "_low", "_high")}
    return row | {metric: value, metric + "_low": low, metric + "_high": high} | more


def gap(layer, control, difference, low, high, target="potential"):
    return {"target": target, "split": "compound", "layer": layer, "control": control,
            "difference": difference, "low": low, "high": high, "above": low > 0}  # fmt: skip


def study(scores, differences, *, layers=(0, 1, 2), trivial=()):
    return Study(
        scores=pd.DataFrame(scores), differences=pd.DataFrame(differences), predictions={},
        true={}, targets={}, trivial=trivial, frames=[], rows=None, layers=layers, provenance={},
    )  # fmt: skip


CLEAR = [gap(2, "random weights", 0.3, 0.1, 0.5), gap(2, "SOAP", 0.2, 0.15, 0.25)]
PROFILE = [scored(0, 0.0, 0.0, 0.0), scored(1, 0.4, 0.3, 0.5), scored(2, 0.7, 0.61, 0.784)]


def test_clear_of_every_control_names_the_nearest():
    assert reading(study(PROFILE, CLEAR), "potential", "compound") == (
        "potential, held out by compound: best is layer 2, R² within species 0.70 [0.61, 0.78]; "
        "clear of every control, the nearest being SOAP (+0.20 [+0.15, +0.25]): encoded; whether "
        "the model uses it, a probe can't say"
    )


def test_not_clear_of_one_control_names_that_one_and_claims_nothing():
    differences = [*CLEAR, gap(2, "radial densities", 0.05, -0.02, 0.12)]
    text = reading(study(PROFILE, differences), "potential", "compound")
    assert text.endswith(
        "; not clear of radial densities (+0.05 [−0.02, +0.12]), so no claim that the model adds "
        "to what those hold"
    )
    assert "encoded" not in text
    assert "SOAP" not in text


def test_worse_than_a_control_says_so_too():
    differences = [*CLEAR, gap(2, "SOAP, same width", -0.2, -0.3, -0.1)]
    text = reading(study(PROFILE, differences), "potential", "compound")
    assert "not clear of SOAP, same width (−0.20 [−0.30, −0.10])" in text


@pytest.mark.parametrize(
    ("value", "low", "high", "shown"),
    [
        (0.2, -0.1, 0.4, "0.20 [−0.10, 0.40]"),
        (-0.5, -0.8, -0.1, "−0.50 [−0.80, −0.10]"),
        (3e-16, 1e-16, 4e-16, "0.00 [0.00, 0.00]"),  # above zero by rounding only
        (0.9, float("nan"), float("nan"), "0.90 [–, –]"),  # too few structures for an interval
    ],
)
def test_not_above_zero_claims_nothing_whatever_the_controls(value, low, high, shown):
    made = study([scored(2, value, low, high)], CLEAR, layers=(2,))
    assert reading(made, "potential", "compound") == (
        f"potential, held out by compound: layer 2, R² within species {shown}: not clear above "
        "zero, so no claim"
    )


def test_a_trivial_target_claims_nothing_however_well_it_scores():
    rows = [scored(2, 1.0, 0.99, 1.0, target="charge:formal", metric="r2")]
    differences = [gap(2, "SOAP", 0.5, 0.4, 0.6, target="charge:formal")]
    made = study(rows, differences, layers=(2,), trivial=("charge:formal",))
    text = reading(made, "charge:formal", "compound")
    assert "the species alone fix this target" in text
    assert "encoded" not in text
    assert "1.00" not in text


def test_plain_r2_is_read_where_there_is_no_other():
    rows = [scored(1, 0.72, 0.6, 0.8, target="field", metric="r2")]
    differences = [gap(1, "random weights", 0.6, 0.5, 0.7, target="field")]
    text = reading(study(rows, differences, layers=(1,)), "field", "compound")
    assert text.startswith("field, held out by compound: layer 1, R² 0.72 [0.60, 0.80]; clear of")


def test_scores_of_controls_and_domains_are_not_taken_for_the_layers():
    others = [
        scored(2, 0.99, 0.98, 1.0, features="random weights"),
        scored(2, 0.98, 0.97, 1.0, subset="bulk"),
        scored(2, 0.97, 0.96, 1.0, split="structure"),
    ]
    text = reading(study([*others, *PROFILE], CLEAR), "potential", "compound")
    assert "0.70 [0.61, 0.78]" in text


def test_one_line_for_each_target_and_split_in_order():
    rows = [*PROFILE, scored(2, -0.1, -0.2, 0.1, target="charge:eeq"),
            scored(2, -0.2, -0.3, 0.1, split="structure")]  # fmt: skip
    lines = readings(study(rows, CLEAR))
    starts = [line.split(":  ")[0].split(": best")[0] for line in lines]
    assert starts == [
        "potential, held out by compound",
        "charge:eeq, held out by compound",
        "potential, held out by structure",
    ]
    assert not any("\n" in line for line in lines)
