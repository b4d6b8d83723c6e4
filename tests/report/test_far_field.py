"""The lines of the far-field experiment, from a table with known numbers."""

import pandas as pd
import pytest

from mpprobe.report.far_field import far_readings


def row(features, value, layer=None, low=None, high=None, **more):
    return {
        "structures": "rattled", "target": "potential", "model": "mine", "subset": "all",
        "features": features, "layer": layer, "r2_within": value, "r2_within_low": low,
        "r2_within_high": high, **more,
    }  # fmt: skip


def table(chosen=(0.4, 0.3, 0.5)):
    value, low, high = chosen
    return pd.DataFrame([
        row("model", 0.0, 0), row("model", 0.0, 1), row("model", 0.47, 2), row("model", 0.3, 3),
        row("random weights", 0.02, 2), row("random weights", -0.01, 3),
        row("chosen layer", value, None, low, high, block="layer 2"),
        row("SOAP", 0.0), row("SOAP, 2 cutoffs", 0.5), row("radial densities, 2 cutoffs", 0.8),
        row("local electrostatics, 2 cutoffs", 0.8, None),
        row("local electrostatics, 3 cutoffs", 1.0, None),
        row("model", 0.9, 2, subset="NaCl") | {"subset": "NaCl"},
    ])  # fmt: skip


def test_what_is_blind_what_sees_and_the_strongest_rivals():
    assert far_readings(table(), {"rattled": 1}) == [
        "rattled, potential: mine reads it; up to layer 1 nothing can be read (0.00); layers 2 to "
        "3 0.47, 0.30; "
        "chosen layer 0.40 [0.30, 0.50], random weights 0.02; local electrostatics, 3 cutoffs "
        "1.00, of which the chosen layer has 40%; radial densities, 2 cutoffs 0.80, of which the "
        "chosen layer has 50%"
    ]


@pytest.mark.parametrize("chosen", [(0.1, -0.1, 0.3), (0.002, 0.001, 0.003)])
def test_what_is_not_clear_is_not_read(chosen):
    (line,) = far_readings(table(chosen), {"rattled": 1})
    assert line.startswith("rattled, potential: mine does not read it; ")


def test_a_line_for_each_model_and_target():
    other = table().assign(model="yours")
    density = table().assign(target="density")
    lines = far_readings(pd.concat([table(), other, density]), {"rattled": 1})
    assert [line.split(" reads")[0] for line in lines] == [
        "rattled, potential: mine", "rattled, potential: yours", "rattled, density: mine",
    ]  # fmt: skip
