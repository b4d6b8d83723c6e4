"""A small real study for all reports: random-weight MACE, three compounds, two domains."""

from __future__ import annotations

import pytest

import mpprobe


@pytest.fixture(scope="session")
def study(mace_file):
    potential = mpprobe.load(mace_file("8x0e+8x1o"), trust_checkpoint=True)
    frames = mpprobe.read("ionic:strained,cluster")
    return mpprobe.probe(
        potential,
        [f for f in frames if set(f.numbers) <= set(potential.species)],
        targets=["potential", "charge:formal", "field"],
        splits=["structure", "compound"],
        settings=mpprobe.Settings(n_resamples=100),
    )
