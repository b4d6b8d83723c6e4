"""Readings say no more than their intervals, with and without models of random weights."""

from dataclasses import replace

import pytest
from test_readings import ADDS, CLEAR, PROFILE, added, of_beyond, of_charges, study
from test_readings import TestIsItBeyondTheCutoff as Far

from mpprobe.report.readings import duplicates_line


def test_without_random_models_a_reading_says_nothing_of_them():
    """Then the table of what layers add has no column above_random."""
    own = [
        {k: v for k, v in row.items() if not k.startswith("above_random")}
        for row in ADDS
        if row["features"] == "model"
    ]
    gaps = [row for row in CLEAR if row["control"] != "random weights"]
    assert of_charges(study(PROFILE, gaps, own)).endswith(": adds +0.05 [+0.02, +0.08]")


def test_without_random_models_nothing_is_more_than_they_read():
    far = Far().far()
    bare = replace(far, differences=far.differences[far.differences["control"] != "random weights"])
    assert "random weights" not in of_beyond(bare)


def test_an_interval_about_zero_does_not_say_that_random_weights_read_as_much():
    assert "no more than" not in of_beyond(Far().far(weights=(0.1, -0.1, 0.3)))


def test_an_interval_about_zero_does_not_say_that_random_weights_add_too():
    made = study(conditional=[added(2, (0.2, 0.1, 0.3), (0.18, -0.02, 0.38))])
    assert "which random weights add too" not in of_charges(made)


@pytest.mark.parametrize("gain", [(-0.05, -0.1, 0.0), (0.003, 0.001, 0.005), (0.05, -0.1, 0.2)])
def test_what_is_not_clear_beyond_the_cutoff_is_said_to_be_so(gain):
    assert "not clear" in of_beyond(Far().far(adds=gain))


def test_one_duplicate_is_one_structure():
    assert duplicates_line(1, "together").startswith("1 structure is a copy")
