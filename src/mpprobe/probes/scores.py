"""Scores with intervals from a bootstrap over structures, and differences of scores.

Every resample draws the structures of the whole data set with replacement. It is the same for
all scores made with one seed, so that the difference of two scores (one layer less another, in
domain less out of domain) has an interval of its own that counts what they have in common.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mpprobe.errors import ProbeError
from mpprobe.structures.frame import Frame

# Below this many groups of structures a bootstrap says nothing, and intervals are NaN.
MIN_GROUPS = 5

# A variance below the first fraction of the mean square of all values is rounding of the values;
# one below the second fraction of their variance is rounding of the sums that it is made of.
NO_VARIANCE = 1e-18, 1e-12

# Entries of the table of resamples that are multiplied at a time.
_BLOCK = 4_000_000


@dataclass(frozen=True)
class Bootstrap:
    """Resamples of ``n_groups`` groups of structures, the same whenever they are asked for.

    Attributes:
        n_groups: how many are drawn with replacement from as many.
        n_resamples: number of resamples.
        seed: of the draws.
    """

    n_groups: int
    n_resamples: int = 1000
    seed: int = 0

    @cached_property
    def counts(self) -> np.ndarray:
        """How often each resample holds each group, (n_resamples, n_groups), a byte each."""
        rng, n = np.random.default_rng(self.seed), self.n_groups
        drawn = (rng.integers(n, size=n) for _ in range(self.n_resamples))
        # Counts are Poisson-like about 1: that one passes 255 is out of the question.
        return np.array([np.bincount(d, minlength=n) for d in drawn], dtype=np.uint8)

    def totals(self, sums: Any) -> np.ndarray:
        """Totals of per-group ``sums`` (n_groups, q), dense or sparse: (1 + n_resamples, q).

        The first row is the data set as it is, the others the resamples.
        """
        step = 1 + _BLOCK // self.n_groups
        blocks = (self.counts[i : i + step] for i in range(0, self.n_resamples, step))
        whole = np.ones((1, self.n_groups))
        return np.vstack([whole @ sums, *(block.astype(float) @ sums for block in blocks)])


@dataclass(frozen=True)
class Estimate:
    """A number and its bootstrap replicates; subtract two for the interval of their difference.

    Attributes:
        value: from the data set as it is; NaN where it isn't defined.
        replicates: from the resamples, (n_resamples,).
        bootstrap: the resamples.
    """

    value: float
    replicates: np.ndarray
    bootstrap: Bootstrap

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Percentile interval; (NaN, NaN) where there are too few structures for one."""
        finite = self.replicates[np.isfinite(self.replicates)]
        if not np.isfinite(self.value) or 2 * finite.size < self.replicates.size:
            return np.nan, np.nan
        low, high = np.quantile(finite, [(1 - level) / 2, (1 + level) / 2])
        return float(low), float(high)

    def __sub__(self, other: Estimate) -> Estimate:
        if self.bootstrap != other.bootstrap:
            raise ProbeError("only scores on resamples of the same structures can be subtracted")
        return Estimate(
            self.value - other.value, self.replicates - other.replicates, self.bootstrap
        )

    @classmethod
    def mean(cls, estimates: Sequence[Estimate]) -> Estimate:
        """Mean over draws of a control, resample by resample."""
        replicates = np.mean([e.replicates for e in estimates], axis=0)
        value = float(np.mean([e.value for e in estimates]))
        return cls(value, replicates, estimates[0].bootstrap)


@dataclass(frozen=True)
class Scores:
    """How well a target is predicted.

    Attributes:
        r2: 1 − Σ(y−ŷ)²/Σ(y−ȳ)²; for vectors 1 − Σ|y−ŷ|²/Σ|y|², since the mean of a vector over
            atoms depends on how the structures are turned.
        r2_within: the same with y and ŷ both centred per species per compound, so that knowing
            the composition earns nothing; NaN for vectors, and where the target has no variance
            within.
        mae: mean |y−ŷ| in the target's unit; for vectors the mean length of the error.
        n_atoms, n_structures: counts of what was scored.
    """

    r2: Estimate
    r2_within: Estimate
    mae: Estimate
    n_atoms: int
    n_structures: int


@dataclass(frozen=True)
class Scorer:
    """Scores predictions for the atoms of one list of structures.

    Attributes:
        structure: (n_atoms,) index of the atom's structure.
        group: (n_atoms,) index of the group its structure belongs to; groups are resampled whole,
            since the structures of a group resemble each other.
        kind: (n_atoms,) index of its species within its compound.
        bootstrap: the resamples of the groups.
    """

    structure: np.ndarray
    group: np.ndarray
    kind: np.ndarray
    bootstrap: Bootstrap

    @classmethod
    def from_frames(
        cls, frames: Sequence[Frame], *, n_resamples: int = 1000, seed: int = 0
    ) -> Scorer:
        """A scorer for all atoms of ``frames``, in their order."""
        structure = np.repeat(np.arange(len(frames)), [len(f) for f in frames])
        groups, group = np.unique([f.group for f in frames], return_inverse=True)
        bootstrap = Bootstrap(len(groups), n_resamples, seed)
        return cls(structure, group[structure], kinds(frames), bootstrap)

    def score(
        self, y: np.ndarray, prediction: np.ndarray, where: np.ndarray | None = None
    ) -> Scores:
        """Score ``prediction`` against ``y``.

        Args:
            y, prediction: (n_atoms,), or (n_atoms, 2l+1) for vectors, in the target's unit.
            where: (n_atoms,) which atoms to score (default all); for instance
                ``fit.scored & (domain == "surface")``.

        Raises:
            ProbeError: no atom to score, a prediction missing for one, or shapes that don't fit.
        """
        if len(y) != len(self.structure) or y.shape != prediction.shape:
            raise ProbeError(
                f"targets {y.shape} and predictions {prediction.shape} to be scored must cover "
                f"all atoms of the {len(self.structure)} that the scorer knows"
            )
        rows = np.arange(len(self.structure)) if where is None else np.flatnonzero(where)
        least = len(rows) * _least_variance(y)
        y, error = y[rows], y[rows] - prediction[rows]
        if not len(rows):
            raise ProbeError("no atom to score: the split tests none of those asked for")
        if not np.isfinite(error).all():
            raise ProbeError("an atom to be scored has no prediction: score where it was tested")
        group, bootstrap = self.group[rows], self.bootstrap
        if y.ndim == 2:
            r2, mae = _vector_scores(y, error, group, bootstrap, least)
            within = np.full_like(r2, np.nan)
        else:
            r2, mae = _scalar_scores(y, error, group, bootstrap, least)
            within = _within(y, error, group, self.kind[rows], bootstrap, least)
        few = len(np.unique(group)) < MIN_GROUPS
        n_structures = len(np.unique(self.structure[rows]))
        whole, centred, absolute = (estimate(v, bootstrap, few) for v in (r2, within, mae))
        return Scores(whole, centred, absolute, len(rows), n_structures)

    def score_by(
        self, labels: np.ndarray, y: np.ndarray, prediction: np.ndarray, where: np.ndarray
    ) -> dict[str, Scores]:
        """Scores of the atoms of each label (n_atoms,), for instance their domain."""
        present = np.unique(labels[where])
        return {str(x): self.score(y, prediction, where & (labels == x)) for x in present}


def through_origin(
    product: np.ndarray, x_square: np.ndarray, y_square: np.ndarray
) -> dict[str, np.ndarray]:
    """``slope`` of y against x through the origin and ``correlation`` about it.

    Σ xy / Σ x² and Σ xy / √(Σ x² Σ y²), from these sums, of any one shape; NaN where undefined.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        return {"slope": product / x_square, "correlation": product / np.sqrt(x_square * y_square)}


def kinds(frames: Sequence[Frame]) -> np.ndarray:
    """Which species of which compound each atom is, as an index, (n_atoms,)."""
    _, compound = np.unique([frame.compound for frame in frames], return_inverse=True)
    labels = np.column_stack([
        np.repeat(compound, [len(frame) for frame in frames]),
        np.concatenate([frame.numbers for frame in frames]),
    ])  # fmt: skip
    return np.unique(labels, axis=0, return_inverse=True)[1].ravel()


def estimate(values: np.ndarray, bootstrap: Bootstrap, few: bool) -> Estimate:
    """From values of the data set and then of every resample, (1 + n_resamples,).

    ``few`` says that there are too few groups for an interval.
    """
    replicates = np.full_like(values[1:], np.nan) if few else values[1:]
    return Estimate(float(values[0]), replicates, bootstrap)


def _least_variance(y: np.ndarray) -> float:
    """Of the values of all atoms: what is below it is no variance of some of them."""
    mean = 0.0 if y.ndim == 2 else y.mean()
    of_values, of_sums = NO_VARIANCE
    return max(of_values * (y**2).mean(), of_sums * ((y - mean) ** 2).mean())


def _scalar_scores(
    y: np.ndarray, error: np.ndarray, group: np.ndarray, bootstrap: Bootstrap, least: float
) -> tuple[np.ndarray, np.ndarray]:
    y = y - y.mean()
    columns = np.ones_like(y), y, y**2, error**2, np.abs(error)
    n, sum_y, sum_yy, sum_ee, sum_abs = totals_by_group(columns, group, bootstrap)
    with np.errstate(invalid="ignore"):  # a resample may hold no atom of those scored
        return _r2(sum_ee, sum_yy - sum_y**2 / n, least), sum_abs / n


def _vector_scores(
    y: np.ndarray, error: np.ndarray, group: np.ndarray, bootstrap: Bootstrap, least: float
) -> tuple[np.ndarray, np.ndarray]:
    yy, ee = (y**2).sum(axis=1), (error**2).sum(axis=1)
    n, sum_yy, sum_ee, sum_abs = totals_by_group(
        (np.ones_like(yy), yy, ee, np.sqrt(ee)), group, bootstrap
    )
    with np.errstate(invalid="ignore"):
        return _r2(sum_ee, sum_yy, least), sum_abs / n


def _within(
    y: np.ndarray,
    error: np.ndarray,
    group: np.ndarray,
    kind: np.ndarray,
    bootstrap: Bootstrap,
    least: float,
) -> np.ndarray:
    """1 − Σ_k S_k(e) / Σ_k S_k(y), with S_k(v) = Σv² − (Σv)²/n over the atoms of kind k."""
    from scipy.sparse import csr_array

    _, kind = np.unique(kind, return_inverse=True)
    counts = np.bincount(kind)
    # Centred on the whole set first, so that the sums of a resample lose no digits.
    y, error = (v - (np.bincount(kind, v) / counts)[kind] for v in (y, error))
    columns = np.concatenate([kind + k * len(counts) for k in range(3)])
    values = np.concatenate([np.ones_like(y), y, error])
    shape = bootstrap.n_groups, 3 * len(counts)
    sums = csr_array((values, (np.tile(group, 3), columns)), shape=shape)
    n, sum_y, sum_e = np.split(bootstrap.totals(sums), 3, axis=1)
    sum_yy, sum_ee = totals_by_group((y**2, error**2), group, bootstrap)
    n = n.clip(min=1)  # a kind that isn't drawn has sums of zero
    return _r2(sum_ee - (sum_e**2 / n).sum(axis=1), sum_yy - (sum_y**2 / n).sum(axis=1), least)


def totals_by_group(
    columns: Iterable[np.ndarray], group: np.ndarray, bootstrap: Bootstrap
) -> np.ndarray:
    """Totals of columns over the data set and every resample, (q, 1 + n_resamples).

    Each column has a value for every atom (or structure), and ``group`` its group of structures.
    """
    sums = [np.bincount(group, column, minlength=bootstrap.n_groups) for column in columns]
    return bootstrap.totals(np.stack(sums, axis=1)).T


def _r2(residual: np.ndarray, total: np.ndarray, least: float) -> np.ndarray:
    """1 − residual/total; NaN where the target has no variance."""
    defined = total > least
    return 1 - np.divide(residual, total, out=np.full_like(total, np.nan), where=defined)
