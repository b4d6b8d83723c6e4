"""What goes into a study and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from mpprobe.activations import Rows
from mpprobe.probes.splits import IN_DOMAIN
from mpprobe.structures import Frame
from mpprobe.targets import Target

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Settings:
    """How a study is made; recorded with its results.

    Attributes:
        n_folds: folds of every split.
        n_resamples: bootstrap resamples behind each interval.
        seed: of splits, resamples, shuffles, projections and random weights.
        in_domain: the domains that the split by domain trains on.
    """

    n_folds: int = 5
    n_resamples: int = 1000
    seed: int = 0
    in_domain: tuple[str, ...] = IN_DOMAIN


@dataclass(frozen=True)
class Study:
    """What :func:`mpprobe.probe` found.

    Attributes:
        scores: one row per model, layer, features, target, split and subset, with intervals.
        differences: one row per layer, target, split and control: how far above the control.
        predictions: out-of-fold predictions in the target's unit, by (target, split, layer);
            shape (n_atoms,) or (n_atoms, 3), NaN for atoms that no fold tests.
        true: the targets by name, shaped alike.
        targets: by name.
        trivial: names of the targets that the species alone decide.
        frames: the structures; rows: which atom is which row.
        layers: those asked for (layer 0 is always scored beside them).
        provenance: versions, hashes, seed, settings.
        maps: by layer, each atom's place on a plane, shape (n_atoms, 2): see
            :func:`mpprobe.probes.maps.principal_components`, of the scalar node features.
    """

    scores: pd.DataFrame
    differences: pd.DataFrame
    predictions: dict[tuple[str, str, int], np.ndarray]
    true: dict[str, np.ndarray]
    targets: dict[str, Target]
    trivial: tuple[str, ...]
    frames: list[Frame]
    rows: Rows
    layers: tuple[int, ...]
    provenance: dict
    maps: dict[int, np.ndarray] = field(default_factory=dict)
