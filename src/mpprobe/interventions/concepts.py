"""What of a target is edited: all of it, or what its species and compound don't tell."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mpprobe.errors import InterventionError
from mpprobe.probes.chosen import kinds
from mpprobe.probes.scores import kind_means
from mpprobe.structures import Frame
from mpprobe.targets import Target
from mpprobe.targets.target import rounding

#: Parts of a target, and what each is.
PARTS = {
    "within": "less its mean over the atoms of a species in a compound",
    "species": "the same, each species for itself: one direction a species",
    "whole": "with what the species and the compound tell",
}


def concept_of(
    target: Target, frames: Sequence[Frame], cutoff: float, part: str = "within"
) -> np.ndarray:
    """The target as columns for :func:`fit_erasure`.

    A vector has no mean within a species, so its ``within`` is the whole.

    Args:
        target: what is to be edited.
        frames: the structures.
        cutoff: of the model, Å.
        part: one of :data:`PARTS`.

    Returns:
        In the target's unit, (n_atoms, k) for l = 0, (n_atoms, 3, k) for l = 1; k is 1, or the
        number of species.

    Raises:
        InterventionError: no such part.
        TargetError: a structure can't supply the target.
    """
    if part not in PARTS:
        raise InterventionError(f"part {part!r}: choose one of {', '.join(PARTS)}")
    values = np.concatenate(target.values(frames, cutoff))
    species = np.concatenate([frame.numbers for frame in frames])
    if part != "whole" and target.l == 0:
        values = within_species(values, frames, target.resolution)
    if part != "species":
        return values[..., None]
    known = np.unique(species)
    own = (species[:, None] == known).astype(float)
    return values[..., None] * (own if target.l == 0 else own[:, None])


def within_species(
    values: np.ndarray, frames: Sequence[Frame], resolution: float = 0.0
) -> np.ndarray:
    """Less the mean over the atoms of the same species in the same compound, (n_atoms,).

    Zero where all that is left of a species is rounding: what doesn't vary must not be read.
    """
    kind = kinds(frames)
    off = values - kind_means(values, kind)
    largest = np.zeros(kind.max() + 1)
    np.maximum.at(largest, kind, np.abs(off))
    return np.where(largest[kind] > rounding(values, resolution), off, 0.0)


def kinds_of_part(frames: Sequence[Frame], target: Target, part: str) -> np.ndarray | None:
    """The kinds (n_atoms,) within which a part of a target is read; None for all of it."""
    return kinds(frames) if target.l == 0 and part != "whole" else None


def species_columns(frames: Sequence[Frame]) -> np.ndarray:
    """One column for each species, one where an atom is of it, (n_atoms, n_species)."""
    species = np.concatenate([frame.numbers for frame in frames])
    return (species[:, None] == np.unique(species)).astype(float)
