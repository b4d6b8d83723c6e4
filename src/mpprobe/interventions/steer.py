"""Steering: moving node features along the direction in which a probe reads a quantity."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mpprobe.errors import InterventionError
from mpprobe.interventions.erase import Erasure, Whitening, random_erasures
from mpprobe.probes.ridge import RidgeProbe

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class Direction:
    """How a quantity is read from features, and where they go when it grows by one unit.

    Attributes:
        layer, columns: the block, see :func:`mpprobe.interventions.block_columns`.
        mean: of the features, (C,), or (n_atoms, C) of each atom's kind; zero for vectors.
        probe: w, the weights with which the quantity is read, (C,).
        step: d, (C,), with w·d = 1.
    """

    layer: int
    columns: np.ndarray
    mean: np.ndarray
    probe: np.ndarray
    step: np.ndarray

    def read(self, x: np.ndarray) -> np.ndarray:
        """What is read of rows (n, C, 2l + 1), less its mean: (n, 2l + 1)."""
        return np.einsum("c,ncm->nm", self.probe, x - self.mean[..., None])

    def for_atoms(self, atoms: slice) -> Direction:
        """The direction with the means of some of the atoms."""
        return self if self.mean.ndim == 1 else replace(self, mean=self.mean[atoms])


@dataclass(frozen=True, eq=False)
class Steering:
    """An edit along one direction: x_i' = x_i + (δ_i + g w·(x_i − x̄)) d.

    What is read of atom i changes by δ_i, and what of it differs from the mean grows by the factor
    1 + g. A shift is the same however the atoms move, so that a model which adds the quantity up
    linearly has other energies but the same forces; a gain multiplies its share of the forces too.

    Attributes:
        direction: d, w and x̄.
        shift: δ in the unit of what is read, (n_atoms, 2l + 1), for vectors along x, y, z; or zero.
        gain: g; −1 takes the direction away.
    """

    direction: Direction
    shift: np.ndarray | None = None
    gain: float = 0.0

    def for_atoms(self, atoms: slice) -> Steering:
        """The edit of some of the atoms, as batches take them."""
        shift = None if self.shift is None else self.shift[atoms]
        return replace(self, direction=self.direction.for_atoms(atoms), shift=shift)

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        """Node features (n_atoms, layer.dim), moved.

        Raises:
            InterventionError: there are other atoms than shifts.
        """
        import torch

        if self.shift is not None and len(features) != len(self.shift):
            raise InterventionError(
                f"{len(self.shift)} shifts for {len(features)} atoms: give one for each"
            )

        def tensor(values: np.ndarray) -> torch.Tensor:
            return torch.as_tensor(values).to(features)

        columns = torch.as_tensor(self.direction.columns, device=features.device)
        x = features[:, columns.ravel()].reshape(len(features), *columns.shape)
        centred = x - tensor(self.direction.mean)[..., None]
        moved = self.gain * torch.einsum("c,ncm->nm", tensor(self.direction.probe), centred)
        if self.shift is not None:
            moved = moved + tensor(self.shift)
        change = tensor(self.direction.step)[:, None] * moved[:, None]
        return features.index_add(1, columns.ravel(), change.reshape(len(features), -1))


def fit_direction(
    layer: int,
    columns: np.ndarray,
    x: np.ndarray,
    concept: np.ndarray,
    group: np.ndarray | None = None,
    kind: np.ndarray | None = None,
) -> Direction:
    """The probe's direction, and the way along it that keeps to where features vary.

    A ridge probe reads ŷ = w·x. Of all steps d with w·d = 1, which change ŷ by one, this is
    d = Σ w / (w Σ w), the mean change of x per unit of ŷ over the atoms: the shortest one in
    standard deviations of the features.

    Args:
        layer, columns: which block.
        x: its features, (n_atoms, C, 2l + 1).
        concept: the quantity, (n_atoms, 1), or (n_atoms, 2l + 1, 1).
        group: index of each atom's group of structures, (n_atoms,). The penalty is chosen by
            leaving out each fifth of the groups; of the atoms, in their order, if there is but one.
        kind: (n_atoms,) labels, see :func:`mpprobe.probes.scores.kinds`, within which the probe is
            fitted; what is steered is then what differs from the mean of the kind.

    Raises:
        InterventionError: the probe reads nothing.
    """
    scalar = x.shape[2] == 1
    probe = RidgeProbe(intercept=scalar)
    parts = np.arange(len(x)) if group is None or not np.ptp(group) else group
    probe.partial_fit(x[:, :, 0] if scalar else x, concept, parts % 5, 0 if kind is None else kind)
    weights, whitening = probe.solve().coef[:, 0], Whitening.of(x, kind)
    variance = float(weights @ whitening.covariance @ weights)
    if not variance > 0:
        raise InterventionError(f"layer {layer}: a probe reads nothing there to steer by")
    step = whitening.covariance @ weights / variance
    return Direction(layer, columns, whitening.mean, weights, step)


def random_directions(
    like: Direction, whitening: Whitening, n: int, seed: int | np.random.SeedSequence
) -> list[Direction]:
    """Random directions of the same share of the features' variance, with steps as long.

    They are those of :func:`mpprobe.interventions.random_erasures` of rank one; a step is as many
    standard deviations of the whitened features as that of ``like``.
    """
    erasure = Erasure(like.layer, like.columns, like.mean, like.step[:, None], like.probe[None])
    size = np.linalg.norm(whitening.forward @ like.step)
    return [
        Direction(e.layer, e.columns, e.mean, e.right[0] / size, e.left[:, 0] * size)
        for e in random_erasures(erasure, whitening, n, seed)
    ]
