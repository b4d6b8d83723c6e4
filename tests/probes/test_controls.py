"""The shuffled target keeps what the species tells, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from mpprobe.probes.controls import shuffle_within_species

SPECIES = np.random.default_rng(0).choice([8, 11, 12], size=500)


@pytest.mark.parametrize("shape", [(500,), (500, 3), (500, 3, 2)])
def test_every_species_keeps_its_values_and_rows_stay_whole(shape):
    values = np.random.default_rng(1).normal(size=shape)
    shuffled = shuffle_within_species(values, SPECIES, seed=2)
    for z in (8, 11, 12):
        rows = np.flatnonzero(z == SPECIES)
        before, after = values[rows], shuffled[rows]
        assert sorted(map(repr, before.tolist())) == sorted(map(repr, after.tolist()))
        assert (before != after).any()


def test_nothing_of_the_order_is_left():
    values = np.arange(500.0)
    shuffled = shuffle_within_species(values, SPECIES)
    assert abs(np.corrcoef(values, shuffled)[0, 1]) < 0.15


def test_the_seed_decides():
    values = np.arange(500.0)
    first, again, other = (shuffle_within_species(values, SPECIES, seed=s) for s in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
