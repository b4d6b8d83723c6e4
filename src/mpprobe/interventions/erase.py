"""Erasing what a linear map can read: subspaces of one block of a layer's node features."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import brentq

from mpprobe.errors import InterventionError
from mpprobe.models.potential import Layer
from mpprobe.probes.scores import kind_means
from mpprobe.probes.sources import probed_columns
from mpprobe.targets.target import ROUNDING

if TYPE_CHECKING:
    import torch

# Directions in which features vary by less than this, of the largest variance, are rounding.
RESOLUTION = 1e-12
# Features that vary within kinds by less than this of their size are constant there.
CONSTANT = 1e-7
# Singular values of the correlation of whitened features and standardised targets: below is noise.
CORRELATION = 1e-3


@dataclass(frozen=True, eq=False)
class Erasure:
    """An edit that takes a subspace out of the features of one order in one layer.

    x' = x − L R (x − x̄), for scalars of shape (C,); for l > 0 each of the 2l + 1 components of the
    C channels is treated alike and x̄ is zero, so that the edited features turn with the structure
    as before. It acts on every atom by itself, and can be given to :meth:`Potential.run`.

    Attributes:
        layer: index of the layer.
        columns: of its features, shape (C, 2l + 1).
        mean: x̄, (C,); or (n_atoms, C), that of each atom's kind, of given structures: then only
            what differs from the mean of the kind is taken out.
        left, right: L (C, r) and R (r, C).
    """

    layer: int
    columns: np.ndarray
    mean: np.ndarray
    left: np.ndarray
    right: np.ndarray
    _tensors: dict = field(default_factory=dict, repr=False)

    @property
    def rank(self) -> int:
        return self.left.shape[1]

    def for_atoms(self, atoms: slice) -> Erasure:
        """The erasure of some of the atoms, as batches take them."""
        return self if self.mean.ndim == 1 else replace(self, mean=self.mean[atoms], _tensors={})

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        """Node features (n_atoms, layer.dim) without the subspace.

        Raises:
            InterventionError: there are other atoms than those whose means it has.
        """
        import torch

        if self.mean.ndim == 2 and len(features) != len(self.mean):
            raise InterventionError(
                f"an erasure within kinds of {len(self.mean)} atoms is applied to {len(features)}: "
                "it holds for the structures that it was fitted on"
            )
        columns, mean, left, right = self._on(features)
        x = features[:, columns.ravel()].reshape(len(features), *columns.shape)
        inside = torch.einsum("rc,ncm->nrm", right, x - mean[..., None])
        change = torch.einsum("cr,nrm->ncm", left, inside)
        return features.index_add(1, columns.ravel(), -change.reshape(len(features), -1))

    def _on(self, features: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Its arrays on the device and in the dtype of the features."""
        import torch

        key = features.device, features.dtype
        if key not in self._tensors:
            columns = torch.as_tensor(self.columns, device=features.device)
            arrays = (self.mean, self.left, self.right)
            self._tensors[key] = (columns, *(torch.as_tensor(a).to(features) for a in arrays))
        return self._tensors[key]

    def apply(self, x: np.ndarray) -> np.ndarray:
        """The block alone: rows (n, C) or (n, C, 2l + 1) without the subspace, float64."""
        rows = np.asarray(x, dtype=np.float64).reshape(len(x), len(self.left), -1)
        inside = np.einsum("rc,ncm->nrm", self.right, rows - self.mean[..., None])
        return (rows - np.einsum("cr,nrm->ncm", self.left, inside)).reshape(x.shape)


def block_columns(layer: Layer, l: int) -> np.ndarray:
    """Columns of the features of order ``l`` that probes read, shape (C, 2l + 1).

    Raises:
        InterventionError: the layer has none.
    """
    columns = probed_columns(layer, l)
    if not len(columns):
        raise InterventionError(
            f"layer {layer.index} has no l = {l} features to edit; its irreps are {layer.irreps}"
        )
    return columns


def block_rows(features: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The block of a layer's features, (n_atoms, C, 2l + 1), float64."""
    return np.asarray(features, dtype=np.float64)[:, columns.ravel()].reshape(-1, *columns.shape)


@dataclass(frozen=True, eq=False)
class Whitening:
    """The variation of a block's features over some atoms.

    With Σ the covariance of the channels, within kinds if these are told apart (for l > 0 their
    second moment, over atoms and components), W = Σ^(−1/2) and its pseudo-inverse Σ^(1/2).

    Attributes:
        mean: (C,), or (n_atoms, C) of each atom's kind; zero for l > 0.
        covariance: Σ, (C, C).
        forward, backward: W and Σ^(1/2), (C, C).
        basis, variances: eigenvectors of Σ (C, k) and eigenvalues (k,), of those above rounding.
    """

    mean: np.ndarray
    covariance: np.ndarray
    forward: np.ndarray
    backward: np.ndarray
    basis: np.ndarray
    variances: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray, kind: np.ndarray | None = None) -> Whitening:
        """Of rows (n, C, 2l + 1), whose kinds (n,) are told apart if given."""
        mean, rows = _rows(x, kind)
        covariance = rows.T @ rows / len(rows)
        values, vectors = np.linalg.eigh(covariance)
        kept = values > RESOLUTION * values[-1]
        values, vectors = values[kept], vectors[:, kept]
        return cls(
            mean, covariance, (vectors / np.sqrt(values)) @ vectors.T,
            (vectors * np.sqrt(values)) @ vectors.T, vectors, values,
        )  # fmt: skip

    def removed(self, erasure: Erasure) -> float:
        """Share of the variance that an erasure takes away, Σ over channels of one structure set.

        1 − tr(P Σ Pᵀ)/tr Σ with P = 1 − L R.
        """
        kept = np.eye(len(self.covariance)) - erasure.left @ erasure.right
        return 1 - float(np.trace(kept @ self.covariance @ kept.T) / np.trace(self.covariance))


def fit_erasure(
    layer: int,
    columns: np.ndarray,
    x: np.ndarray,
    concept: np.ndarray,
    kind: np.ndarray | None = None,
) -> Erasure:
    """The least change of the features after which no linear map reads the concept.

    LEACE (Belrose and others, 2023, arXiv 2306.03819) from the package concept-erasure, for
    continuous targets. Scalars get a bias, which keeps their mean; vectors don't, and the maps that
    read nothing afterwards are the equivariant ones: mixtures of channels without a bias.

    Args:
        layer, columns: which block, see :func:`block_columns`.
        x: its features, (n_atoms, C, 2l + 1).
        concept: what is to go, (n_atoms, k) for scalars or (n_atoms, 2l + 1, k); each column is
            standardised first, since the package's tolerance is absolute. A constant one is
            passed over.
        kind: (n_atoms,) labels, see :func:`mpprobe.probes.scores.kinds`, for a concept within
            them: features are centred per kind too, as the probes' are, what is erased is read by
            no linear map within kinds, and the means of the kinds stay as they are.

    Raises:
        InterventionError: no column varies, or no feature is correlated with one.
    """
    import torch
    from concept_erasure import LeaceFitter

    mean, rows = _rows(x, kind)
    targets = _standardised(concept)
    # Vectors have no mean: every row is there with its opposite too, so that the package's
    # covariances, which are about the mean, are second moments.
    signs = (1.0,) if x.shape[2] == 1 else (1.0, -1.0)
    fitter = LeaceFitter(
        x.shape[1], targets.shape[1], affine=False, shrinkage=False, svd_tol=CORRELATION,
        dtype=torch.float64,
    )  # fmt: skip
    for sign in signs:
        fitter.update(torch.as_tensor(sign * rows), torch.as_tensor(sign * targets))
    eraser = fitter.eraser
    left, right = (t.numpy() for t in (eraser.proj_left, eraser.proj_right))
    used = np.linalg.norm(left, axis=0) > 0
    if not used.any():
        raise InterventionError(
            f"layer {layer}: no feature is correlated with the target, so there is nothing to erase"
        )
    return Erasure(layer, columns, mean, left[:, used], right[used])


def random_erasures(
    like: Erasure, whitening: Whitening, n: int, seed: int | np.random.SeedSequence
) -> list[Erasure]:
    """Erasures of random subspaces of the same rank that take away as much variance.

    Of LEACE's form, x' = x − Σ^(1/2) V Vᵀ Σ^(−1/2) (x − x̄), with V orthonormal in the whitened
    features. Its columns are drawn isotropically there, then weighted by a power of the
    variances that is chosen so that the variance taken away is that of ``like``.

    Args:
        like: the erasure that they are the control of.
        whitening: of the features it was fitted on.
        n: how many.
        seed: of the draws.

    Raises:
        InterventionError: no subspace of this rank takes away so much variance.
    """
    rng = np.random.default_rng(seed)
    wanted = whitening.removed(like)
    made = []
    for _ in range(n):
        normal = rng.normal(size=(len(whitening.variances), like.rank))
        made.append(_matched(like, whitening, normal, wanted))
    return made


def _matched(like: Erasure, whitening: Whitening, normal: np.ndarray, wanted: float) -> Erasure:
    sizes = 0.5 * np.log(whitening.variances)

    def subspace(power: float) -> np.ndarray:
        weights = np.exp(power * sizes - (power * sizes).max())
        return np.linalg.qr(weights[:, None] * normal)[0]

    def excess(power: float) -> float:
        return _share(whitening, subspace(power)) - wanted

    low, high = -30.0, 30.0
    power: float | None = 0.0
    if abs(excess(0.0)) > 1e-9:  # else any power will do, as where everything is taken away
        power = brentq(excess, low, high, xtol=1e-6) if excess(low) < 0 < excess(high) else None
    if power is None:
        raise InterventionError(
            f"layer {like.layer}: no random subspace of rank {like.rank} takes away "
            f"{wanted:.3g} of the variance, so the erasure has no control; erase less at once"
        )
    vectors = whitening.basis @ subspace(power)
    return Erasure(
        like.layer, like.columns, whitening.mean,
        whitening.backward @ vectors, vectors.T @ whitening.forward,
    )  # fmt: skip


def _share(whitening: Whitening, inside: np.ndarray) -> float:
    """Share of the variance in a subspace of the whitened features, given in the eigenbasis.

    P Σ Pᵀ = Σ^(1/2) (1 − V Vᵀ) Σ^(1/2), so that tr(Vᵀ Σ V)/tr Σ is taken away.
    """
    return float((whitening.variances[:, None] * inside**2).sum() / whitening.variances.sum())


def _rows(x: np.ndarray, kind: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Mean of the channels, of each kind if given, and rows (n · (2l + 1), C) less it.

    Vectors have no mean.
    """
    x = np.asarray(x, dtype=np.float64)
    rows = np.swapaxes(x, 1, 2).reshape(-1, x.shape[1])
    if x.shape[2] > 1:
        return np.zeros(x.shape[1]), rows
    if kind is None:
        mean = rows.mean(axis=0)
        return mean, rows - mean
    mean = kind_means(rows, kind)
    centred = rows - mean
    size = np.sqrt((mean**2).mean(axis=0))
    centred[:, np.sqrt((centred**2).mean(axis=0)) <= CONSTANT * size] = 0.0
    return mean, centred


def _standardised(concept: np.ndarray) -> np.ndarray:
    concept = np.asarray(concept, dtype=np.float64)
    vector = concept.ndim == 3
    rows = concept.reshape(-1, concept.shape[-1])
    rows = rows if vector else rows - rows.mean(axis=0)
    size = np.sqrt((rows**2).mean(axis=0))
    varies = size > ROUNDING * np.abs(concept).max()
    if not varies.any():
        raise InterventionError("the target doesn't vary on these structures: nothing to erase")
    return rows[:, varies] / size[varies]
