"""What is edited, as columns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import mpprobe
from interventions.toy import rattled
from mpprobe.errors import InterventionError
from mpprobe.interventions import PARTS
from mpprobe.interventions.concepts import concept_of, species_columns, within_species

PARTS_IN_ORDER = ("whole", "within", "species")


@pytest.fixture(scope="module")
def frames():
    return rattled(3)


def test_a_target_that_ends_at_the_models_cutoff_ends_there(frames):
    shell = mpprobe.get_target("potential:shell-1")
    for cutoff in (4.0, 5.0):
        expected = np.concatenate(shell.values(frames, cutoff))
        np.testing.assert_array_equal(concept_of(shell, frames, cutoff, "whole")[:, 0], expected)


def test_parts_of_a_scalar(frames):
    potential = mpprobe.get_target("potential")
    whole, within, species = (concept_of(potential, frames, 5.0, part) for part in PARTS_IN_ORDER)
    sodium = np.concatenate([f.numbers for f in frames]) == 11
    for kind in (sodium, ~sodium):
        np.testing.assert_allclose(within[kind], whole[kind] - whole[kind].mean(), atol=1e-9)
    np.testing.assert_allclose(species, within * np.stack([sodium, ~sodium], axis=1), atol=1e-9)
    np.testing.assert_array_equal(concept_of(potential, frames, 5.0), within)


def test_nothing_is_left_of_what_does_not_vary_within_species(frames):
    numbers = np.concatenate([frame.numbers for frame in frames])
    noise = 1e-14 * np.random.default_rng(0).normal(size=len(numbers))
    assert (within_species(numbers + noise, frames) == 0).all()


def test_nor_of_what_the_target_does_not_resolve(frames):
    numbers = np.concatenate([frame.numbers for frame in frames])
    noise = 1e-4 * np.random.default_rng(0).uniform(-1, 1, size=len(numbers))
    assert (within_species(numbers + noise, frames, resolution=1e-3) == 0).all()
    assert (within_species(numbers + noise, frames, resolution=1e-5) != 0).all()
    assert (within_species(numbers + noise, frames) != 0).all()
    coarse = replace(mpprobe.get_target("potential"), resolution=100.0)
    assert (concept_of(coarse, frames, 5.0) == 0).all()


def test_a_column_for_each_species(frames):
    sodium = np.concatenate([f.numbers for f in frames]) == 11
    np.testing.assert_array_equal(species_columns(frames), np.stack([sodium, ~sodium], axis=1))


def test_parts_of_a_vector(frames):
    field = mpprobe.get_target("field")
    whole, within, species = (concept_of(field, frames, 5.0, part) for part in PARTS_IN_ORDER)
    assert whole.shape == (24, 3, 1)
    np.testing.assert_array_equal(within, whole)
    sodium = np.concatenate([f.numbers for f in frames]) == 11
    np.testing.assert_array_equal(species[..., :1], whole * sodium[:, None, None])
    np.testing.assert_array_equal(species.sum(axis=2), whole[..., 0])


def test_another_part_is_refused(frames):
    message = f"^part 'half': choose one of {', '.join(PARTS)}$"
    with pytest.raises(InterventionError, match=message):
        concept_of(mpprobe.get_target("potential"), frames, 5.0, "half")
