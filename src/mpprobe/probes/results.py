"""What goes into a study and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from mpprobe.activations import Rows
from mpprobe.probes.scores import kind_means
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
        n_assignments: random assignments to folds that scores are averaged over.
        random_seeds: models with random weights, of ``seed``, ``seed`` + 1, ...; zero for none.
        near_duplicates: ``together`` keeps copies and neighbouring frames of a trajectory on one
            side of every split, ``apart`` treats them as any other structures.
        within: what features and targets are centred by, see
            :func:`mpprobe.probes.chosen.kinds`; by default what all structures say in ``info``,
            else species in compounds.
        atoms: which atoms count, see :func:`mpprobe.probes.chosen.chosen_atoms`; by default those
            of the array ``watched`` where all structures have one, else all.
        n_cutoffs: descriptors and charge-weighted sums stand beside the layers for one cutoff, and
            up to so many.
    """

    n_folds: int = 5
    n_resamples: int = 1000
    seed: int = 0
    in_domain: tuple[str, ...] = IN_DOMAIN
    n_assignments: int = 5
    random_seeds: int = 5
    near_duplicates: str = "together"
    within: str | None = None
    atoms: str | None = None
    n_cutoffs: int = 1


@dataclass(frozen=True)
class Study:
    """What :func:`mpprobe.probe` found.

    Attributes:
        scores: one row per model, layer, features, target, split and subset, with intervals; see
            :data:`mpprobe.probes.tables.COLUMNS`.
        differences: one row per layer, target, split and control: how far above the control.
        conditional: one row per layer, target and split: what it adds to the local electrostatics;
            see :func:`mpprobe.probes.tables.conditional_table`.
        choices: how often each layer has the least error inside the training folds, by (target,
            split): a dict of layer and share of the folds of all assignments.
        predictions: out-of-fold predictions in the target's unit, by (target, split, layer), of
            maps fitted to the whole target, in the first assignment to folds; shape (n_atoms,) or
            (n_atoms, 3), NaN for atoms that no fold tests.
        within: the same of maps fitted within kinds: right up to a constant of each kind.
        true: the targets by name, shaped alike.
        targets: by name.
        trivial: names of the targets that the species alone decide.
        frames: the structures; rows: which atom is which row, of those that count.
        kinds: label of each row's kind, (n_atoms,).
        layers: those asked for (layer 0 is always scored beside them).
        provenance: versions, hashes, seed, settings.
        settings: how it was made.
        maps: by layer, each atom's place on a plane, shape (n_atoms, 2): see
            :func:`mpprobe.probes.maps.principal_components`, of the scalar node features.
    """

    scores: pd.DataFrame
    differences: pd.DataFrame
    conditional: pd.DataFrame
    choices: dict[tuple[str, str], dict[int, float]]
    predictions: dict[tuple[str, str, int], np.ndarray]
    within: dict[tuple[str, str, int], np.ndarray]
    true: dict[str, np.ndarray]
    targets: dict[str, Target]
    trivial: tuple[str, ...]
    frames: list[Frame]
    rows: Rows
    kinds: np.ndarray
    layers: tuple[int, ...]
    provenance: dict
    settings: Settings
    maps: dict[int, np.ndarray] = field(default_factory=dict)

    def best_layer(self, target: str, split: str) -> int:
        """The layer that the training folds choose most often; of equals the first."""
        shares = self.choices[target, split]
        return max(shares, key=lambda layer: (shares[layer], -layer))

    def centred(self, values: np.ndarray) -> np.ndarray:
        """Values (n_atoms,) less their mean over the atoms of the same kind.

        Atoms without a value (NaN) stay so and don't count.
        """
        known = np.isfinite(values)
        found = np.full(len(values), np.nan)
        found[known] = values[known] - kind_means(values[known], self.kinds[known])
        return found

    def on_atoms(self, values: np.ndarray) -> list[np.ndarray]:
        """Values (n_atoms, ...) as one array for each structure; NaN for atoms that don't count."""
        sizes = [len(frame) for frame in self.frames]
        found = np.full((sum(sizes), *values.shape[1:]), np.nan)
        found[np.cumsum([0, *sizes])[self.rows.frame] + self.rows.atom] = values
        return np.split(found, np.cumsum(sizes)[:-1])
