"""Scores with intervals over what is held out, and differences of scores.

A bootstrap draws the units of the whole data set (groups of structures, compounds or elements) with
replacement. It is the same for all scores made with one seed, so that the difference of two scores
(one layer less another, in domain less out of domain) has an interval of its own that counts what
they have in common. The maps behind the predictions stay as they are; where the jackknife refits
them (:mod:`mpprobe.probes.heldout`), it takes the place of the bootstrap.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mpprobe.errors import ProbeError
from mpprobe.probes.chosen import kinds
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

    #: How tables call it.
    name = "bootstrap, maps fixed"

    def interval(self, value: float, replicates: np.ndarray, level: float) -> tuple[float, float]:
        """Percentile interval; (NaN, NaN) where most resamples aren't defined."""
        finite = replicates[np.isfinite(replicates)]
        if not finite.size or 2 * finite.size < replicates.size:
            return np.nan, np.nan
        low, high = np.quantile(finite, [(1 - level) / 2, (1 + level) / 2])
        return float(low), float(high)

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
class Jackknife:
    """Each of ``n_cells`` cells of units left out in turn, and the maps fitted again without it."""

    n_cells: int

    #: How tables call it.
    name = "jackknife, maps refitted"

    def interval(self, value: float, replicates: np.ndarray, level: float) -> tuple[float, float]:
        """Value ± t s, with s² = (C−1)/C Σ (θ_c − θ̄)² and Student's t of C − 1 degrees of freedom.

        The jackknife estimate of the standard error (Tukey, 1958; Efron and Stein, 1981).
        """
        from scipy.stats import t

        n = len(replicates)
        if not np.isfinite(replicates).all():
            return np.nan, np.nan
        error = np.sqrt((n - 1) / n * ((replicates - replicates.mean()) ** 2).sum())
        half = float(t.ppf((1 + level) / 2, n - 1) * error)
        return value - half, value + half


@dataclass(frozen=True)
class Estimate:
    """A number and its replicates; subtract two for the interval of their difference.

    Attributes:
        value: from the data set as it is; NaN where it isn't defined.
        replicates: from the resamples, (n_resamples,), or without each cell, (n_cells,).
        resampling: how these were made.
    """

    value: float
    replicates: np.ndarray
    resampling: Bootstrap | Jackknife

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Ends of the interval; (NaN, NaN) where there are too few units for one."""
        if not np.isfinite(self.value):
            return np.nan, np.nan
        return self.resampling.interval(self.value, self.replicates, level)

    def __sub__(self, other: Estimate) -> Estimate:
        if self.resampling != other.resampling:
            raise ProbeError("only scores on resamples of the same structures can be subtracted")
        return Estimate(
            self.value - other.value, self.replicates - other.replicates, self.resampling
        )

    def at(self, value: float) -> Estimate:
        """The same replicates about another value, as of a mean over assignments to folds."""
        return Estimate(value, self.replicates + (value - self.value), self.resampling)

    @classmethod
    def mean(cls, estimates: Sequence[Estimate]) -> Estimate:
        """Mean over draws of a control, resample by resample."""
        replicates = np.mean([e.replicates for e in estimates], axis=0)
        value = float(np.mean([e.value for e in estimates]))
        return cls(value, replicates, estimates[0].resampling)


@dataclass(frozen=True)
class Scores:
    """How well a target is predicted.

    Attributes:
        r2: 1 − Σ(y−ŷ)²/Σ(y−ȳ)²; for vectors 1 − Σ|y−ŷ|²/Σ|y|², since the mean of a vector over
            atoms depends on how the structures are turned.
        r2_within: of a map fitted within kinds, what it leaves of the variance that is left by the
            mean of each kind (species in compound) over the training set, 1 − S(y−ŷ)/S(y−ȳ_kind).
            S is the sum of squares centred per kind, so that knowing the composition earns nothing
            and costs nothing. NaN for vectors, and where the target has no variance within.
        mae: mean |y−ŷ| in the target's unit; for vectors the mean length of the error.
        n_atoms, n_structures, n_units: counts of what was scored; units are what is resampled.
        spread: smallest and largest main score over assignments to folds, draws or random models.
        code_length: bits a number less those of the kinds' means, see
            :func:`mpprobe.probes.heldout.code_lengths`.
    """

    r2: Estimate
    r2_within: Estimate
    mae: Estimate
    n_atoms: int
    n_structures: int
    n_units: int
    spread: tuple[float, float] = (np.nan, np.nan)
    code_length: float = np.nan


@dataclass(frozen=True)
class Scorer:
    """Scores predictions for the atoms of one list of structures.

    Attributes:
        structure: (n_atoms,) index of the atom's structure.
        unit: (n_atoms,) index of the unit that is resampled whole: the group of its structure, its
            compound or its element.
        kind: (n_atoms,) index of its species within its compound.
        bootstrap: the resamples of the groups.
    """

    structure: np.ndarray
    unit: np.ndarray
    kind: np.ndarray
    bootstrap: Bootstrap

    @classmethod
    def from_frames(
        cls,
        frames: Sequence[Frame],
        *,
        n_resamples: int = 1000,
        seed: int = 0,
        unit: np.ndarray | None = None,
    ) -> Scorer:
        """A scorer for all atoms of ``frames``, in their order.

        ``unit``, an index for each atom, says what is resampled; groups of structures by default.
        """
        structure = np.repeat(np.arange(len(frames)), [len(f) for f in frames])
        if unit is None:
            unit = np.unique([f.group for f in frames], return_inverse=True)[1][structure]
        bootstrap = Bootstrap(int(unit.max()) + 1, n_resamples, seed)
        return cls(structure, unit, kinds(frames), bootstrap)

    def score(
        self,
        y: np.ndarray,
        prediction: np.ndarray,
        where: np.ndarray | None = None,
        *,
        within: np.ndarray | None = None,
        levels: np.ndarray | None = None,
    ) -> Scores:
        """Score ``prediction`` against ``y``.

        Args:
            y, prediction: (n_atoms,), or (n_atoms, 2l+1) for vectors, in the target's unit.
            where: (n_atoms,) which atoms to score (default all); for instance
                ``fit.scored & (domain == "surface")``.
            within: what a map fitted within kinds predicts, for ``r2_within``, shaped alike
                (default: ``prediction``).
            levels: what the training set's mean of each kind predicts, shaped alike
                (:func:`mpprobe.probes.baselines.label_means`; default: the mean over what is
                scored).

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
        within = prediction if within is None else within
        off = y if levels is None else y - levels
        y, error, centred, off = (v[rows] for v in (y, y - prediction, y - within, off))
        if not len(rows):
            raise ProbeError("no atom to score: the split tests none of those asked for")
        if not (np.isfinite(error).all() and np.isfinite(centred).all()):
            raise ProbeError("an atom to be scored has no prediction: score where it was tested")
        unit, bootstrap = self.unit[rows], self.bootstrap
        if y.ndim == 2:
            r2, mae = _vector_scores(y, error, unit, bootstrap, least)
            own = np.full_like(r2, np.nan)
        else:
            r2, mae = _scalar_scores(y, error, unit, bootstrap, least)
            own = _within(off, centred, unit, self.kind[rows], bootstrap, least)
        n_units = len(np.unique(unit))
        whole, kinds, absolute = (
            estimate(v, bootstrap, n_units < MIN_GROUPS) for v in (r2, own, mae)
        )
        n_structures = len(np.unique(self.structure[rows]))
        return Scores(whole, kinds, absolute, len(rows), n_structures, n_units)


def through_origin(
    product: np.ndarray, x_square: np.ndarray, y_square: np.ndarray
) -> dict[str, np.ndarray]:
    """``slope`` of y against x through the origin and ``correlation`` about it.

    Σ xy / Σ x² and Σ xy / √(Σ x² Σ y²), from these sums, of any one shape; NaN where undefined.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        return {"slope": product / x_square, "correlation": product / np.sqrt(x_square * y_square)}


def kind_means(values: np.ndarray, kind: np.ndarray) -> np.ndarray:
    """The mean over all atoms of its kind, for each atom: shaped like ``values`` (n_atoms, ...)."""
    kinds, index, counts = np.unique(kind, return_inverse=True, return_counts=True)
    total = np.zeros((len(kinds), *values.shape[1:]))
    np.add.at(total, index, values)
    return (total / counts.reshape(-1, *[1] * (values.ndim - 1)))[index]


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
        return r2_of(sum_ee, sum_yy - sum_y**2 / n, least), sum_abs / n


def _vector_scores(
    y: np.ndarray, error: np.ndarray, group: np.ndarray, bootstrap: Bootstrap, least: float
) -> tuple[np.ndarray, np.ndarray]:
    yy, ee = (y**2).sum(axis=1), (error**2).sum(axis=1)
    n, sum_yy, sum_ee, sum_abs = totals_by_group(
        (np.ones_like(yy), yy, ee, np.sqrt(ee)), group, bootstrap
    )
    with np.errstate(invalid="ignore"):
        return r2_of(sum_ee, sum_yy, least), sum_abs / n


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
    return r2_of(sum_ee - (sum_e**2 / n).sum(axis=1), sum_yy - (sum_y**2 / n).sum(axis=1), least)


def totals_by_group(
    columns: Iterable[np.ndarray], group: np.ndarray, bootstrap: Bootstrap
) -> np.ndarray:
    """Totals of columns over the data set and every resample, (q, 1 + n_resamples).

    Each column has a value for every atom (or structure), and ``group`` its group of structures.
    """
    sums = [np.bincount(group, column, minlength=bootstrap.n_groups) for column in columns]
    return bootstrap.totals(np.stack(sums, axis=1)).T


def r2_of(residual: np.ndarray, total: np.ndarray, least: float | np.ndarray) -> np.ndarray:
    """1 − residual/total; NaN where the target has no variance."""
    defined = total > least
    return 1 - np.divide(residual, total, out=np.full_like(total, np.nan), where=defined)
