"""Ridge regression from sufficient statistics: rows are seen once and never kept.

The statistics are held per *cell*, an integer label per row, so that any training set that is a
union of cells, and any penalty, is solved without seeing the rows again. Memory grows with the
square of the feature width times the number of cells, and with the width times the number of kinds
in them, never with the number of atoms.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mpprobe.errors import ProbeError
from mpprobe.probes.statistics import Statistics

# Relative to the variance of the standardised features, half a decade apart. Below 1e-9 lie the
# eigenvalues that rounding of float32 features makes up; at 1e3 hardly a map is left.
PENALTIES = np.logspace(-9, 3, 25)

# Cells to train on, and cells to measure the error on.
InnerFold = tuple[Sequence[int], Sequence[int]]

# Weights for each of several penalties (d, p, t), and the training rows that they are of.
Path = tuple[np.ndarray, Statistics]


@dataclass(frozen=True)
class LinearMap:
    """A solved probe: ŷ = ȳ + (x − x̄)·coef, and, fitted within kinds, the level of the kind.

    Attributes:
        coef: weights on the features as given, shape (d, t).
        mean_x, mean_y: means of the training rows, (d,) and (t,); zero without an intercept.
        penalty: the relative penalty α of each output, (t,).
        grid_end: −1 or +1 where the penalty chosen is the smallest or largest one offered (then
            the best may lie beyond), else 0; shape (t,).
        error: squared error of each output summed over the inner folds at that penalty, (t,); NaN
            where there was nothing to choose.
        kinds: labels of the kinds of the training rows, ascending, (k,); empty where kinds were
            not told apart.
        level: how far the mean of each kind lies above what the first formula gives it, (k, t).
    """

    coef: np.ndarray
    mean_x: np.ndarray
    mean_y: np.ndarray
    penalty: np.ndarray
    grid_end: np.ndarray
    error: np.ndarray
    kinds: np.ndarray
    level: np.ndarray

    @property
    def intercept(self) -> np.ndarray:
        """ŷ at x = 0, of no kind, shape (t,)."""
        return self.mean_y - self.mean_x @ self.coef

    def predict(self, X: np.ndarray, kind: np.ndarray | None = None) -> np.ndarray:
        """ŷ (n, t) of scalar features ``X`` (n, d), or (n, 2l+1, t) of ``X`` (n, d, 2l+1).

        With ``kind`` (n,), rows of a kind trained on are put on its level. Those of another kind
        are right up to a constant of their kind only.
        """
        X = np.array(X, dtype=np.float64)  # a copy, to be changed in place
        if X.ndim == 3:
            X = np.swapaxes(X, 1, 2)
        # The mean is taken off first: features with a large offset lose no digits.
        X -= self.mean_x
        predicted = self.mean_y + X @ self.coef
        return predicted if kind is None or X.ndim == 3 else predicted + self.level_of(kind)

    def level_of(self, kind: np.ndarray) -> np.ndarray:
        """``level`` of labels (n,), zero for a kind that wasn't trained on: (n, t)."""
        place = np.searchsorted(self.kinds, kind).clip(max=max(len(self.kinds) - 1, 0))
        known = self.kinds[place] == kind if len(self.kinds) else np.zeros(len(kind), bool)
        found = np.zeros((len(kind), self.coef.shape[1]))
        found[known] = self.level[place[known]]
        return found

    @classmethod
    def of(
        cls, train: Statistics, coef: np.ndarray, within: bool, **chosen: np.ndarray
    ) -> LinearMap:
        """The map with these weights (d, t), whose means and levels are those of ``train``."""
        mean_x, mean_y = train.centre
        kinds, level = np.empty(0, dtype=int), np.empty((0, coef.shape[1]))
        if within:
            kinds = train.kinds
            level = train.mean_y - mean_y - (train.mean_x - mean_x) @ coef
        free = np.zeros(coef.shape[1])
        default = {"penalty": free, "grid_end": free.astype(int), "error": free + np.nan}
        return cls(coef, mean_x, mean_y, kinds=kinds, level=level, **default | chosen)


@dataclass(frozen=True)
class Spectrum:
    """Eigendecomposition of one training set's standardised Gram matrix: every penalty's solution.

    With S the standard deviations and A = S⁻¹ C_xx S⁻¹ / n = V Λ Vᵀ, the ridge weights for the
    relative penalty α are w = S⁻¹ V (Λ + α)⁻¹ Vᵀ S⁻¹ C_xy / n.

    The first ``covariates`` features bear no penalty: they are taken out of the others first
    (Frisch, Waugh and Lovell), A being replaced by its Schur complement, and get the weights that
    least squares then gives them.

    Attributes:
        values: Λ, shape (d,).
        vectors, projected: w = base + vectors · projected / (Λ + α): S⁻¹V and Vᵀ S⁻¹ C_xy / n
            without covariates, shapes (d, d) and (d, t).
        base: weights under an infinite penalty, (d, t).
    """

    values: np.ndarray
    vectors: np.ndarray
    projected: np.ndarray
    base: np.ndarray

    @classmethod
    def of(cls, train: Statistics, covariates: int = 0) -> Spectrum:
        """Decompose the statistics of a training set."""
        scale = train.inverse_scale
        free, slopes, gram, cross = partialled_out(
            scale[:, None] * train.xx * scale / train.n, scale[:, None] * train.xy / train.n,
            covariates,
        )  # fmt: skip
        values, vectors = np.linalg.eigh(gram)
        projected = vectors.T @ cross
        # Where the features are collinear, round-off leaves eigenvalues of about ±1e-16, and some
        # covariance, which a small penalty would magnify.
        largest = max(values[-1], 1.0) if len(values) else 1.0
        null = values <= np.finfo(float).eps * np.sqrt(len(values)) * largest
        values[null], projected[null] = 0.0, 0.0
        base = np.concatenate([free, np.zeros_like(cross)])
        vectors = np.concatenate([-slopes @ vectors, vectors])
        return cls(values, scale[:, None] * vectors, projected, scale[:, None] * base)

    def coef(self, penalty: np.ndarray) -> np.ndarray:
        """Weights (d, t) for one penalty per output (t,)."""
        return self.base + self.vectors @ (self.projected / (self.values[:, None] + penalty))

    def path(self, penalties: np.ndarray) -> np.ndarray:
        """Weights (d, p, t) for each of the ``penalties`` (p,)."""
        shrunk = self.projected[:, None] / (self.values[:, None, None] + penalties[:, None])
        return self.base[:, None] + np.tensordot(self.vectors, shrunk, axes=1)


def partialled_out(
    gram: np.ndarray, cross: np.ndarray, covariates: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Take the first features, which bear no penalty, out of the others and the targets.

    Covariates may be nearly collinear: of their combinations, those that vary by less than 1e-9 of
    the most get no weight.

    Args:
        gram, cross: moments of standardised features, (d, d) and (d, t).
        covariates: f, how many of the first.

    Returns:
        Weights of the covariates alone (f, t), their slopes on the others (f, d − f), and the
        moments of what is left of the others, (d − f, d − f) and (d − f, t). With weights w of the
        others the covariates get the first less the slopes times w.
    """
    own, beside = gram[:covariates, :covariates], gram[:covariates, covariates:]
    if not covariates:
        return cross[:0], beside, gram, cross
    inverse = np.linalg.pinv(own, rcond=1e-9, hermitian=True)
    free, slopes = inverse @ cross[:covariates], inverse @ beside
    left = gram[covariates:, covariates:] - beside.T @ slopes
    return free, slopes, left, cross[covariates:] - slopes.T @ cross[:covariates]


class RidgeProbe:
    """Ridge regression that streams: ``partial_fit`` on batches, ``merge``, then ``solve``.

    Given the kind of each row (its species in its compound), it is fitted *within* kinds: features
    and targets are centred per kind in every training set, the penalty is chosen by the error
    within kinds, and so nothing of the map is spent on what the kind alone tells. This is the
    within estimator of panel data (fixed effects); by the theorem of Frisch, Waugh and Lovell it
    is the ridge map with one free constant for each kind. Statistics hold counts and means of the
    kinds, so that any training set is solved without another pass.

    Features are divided by their standard deviation over the training rows, the intercept bears
    no penalty, and the penalty is relative: α·n is added to the diagonal of the standardised Gram
    matrix of n training rows, so ``solve(penalty=α)`` is scikit-learn's
    ``make_pipeline(StandardScaler(), Ridge(alpha=α * n))``.

    For features and targets of degree l, ``intercept=False`` and rows of shape (d, 2l+1) give the
    equivariant probe: one weight per channel shared by the 2l+1 components, no bias, channels
    divided by their rms. No other linear map of such features turns with the structure. The
    components must come in the same order in features and targets. Vectors have no mean within a
    kind to take off: kinds are passed over.

    Args:
        intercept: fit one (scalars, the default), or hold it at zero (needed for vectors).
        covariates: how many of the first features bear no penalty.

    Example:
        >>> probe = RidgeProbe().partial_fit(x, y, cell=fold, kind=kind)
        >>> probe.solve([0, 1, 2, 3]).predict(x, kind)
    """

    def __init__(self, *, intercept: bool = True, covariates: int = 0) -> None:
        self.intercept = intercept
        self.covariates = covariates
        self.n_seen = 0
        self.cells: dict[int, Statistics] = {}
        # Of sets of cells: asked for several times, as what one fold holds out others train on.
        self._sums: dict[tuple[int, ...], Statistics] = {}
        self._paths: dict[tuple[Any, ...], Path] = {}

    def partial_fit(
        self,
        X: np.ndarray,
        Y: np.ndarray,
        cell: int | np.ndarray = 0,
        kind: int | np.ndarray = 0,
    ) -> RidgeProbe:
        """Take in a batch of rows.

        Args:
            X: features, (n, d), or (n, d, 2l+1) for the equivariant probe; any float dtype,
                accumulated in float64.
            Y: targets, (n, t) or (n, 2l+1, t).
            cell: label of every row, one for all or (n,); rows with a negative label are passed
                over.
            kind: label of every row's kind, likewise; by default all are of one.

        Raises:
            ProbeError: shapes that don't fit, or a value that is not finite (its row is named,
                counted over all batches).
        """
        X, Y = _floats(X), _floats(Y)
        self._check(X, Y)
        self.n_seen += len(X)
        cell, kind = (np.broadcast_to(labels, len(X)) for labels in (cell, kind))
        for label in np.unique(cell[cell >= 0]).tolist():
            rows = cell == label
            x, y = _rows(X[rows], Y[rows])
            own = kind[rows] if self.intercept else None
            self._add(label, Statistics.of(x, y, own, intercept=self.intercept))
        return self

    def merge(self, other: RidgeProbe) -> RidgeProbe:
        """Take in everything that ``other`` has seen; ``other`` is left as it is."""
        if (other.intercept, other.covariates) != (self.intercept, self.covariates):
            raise ProbeError("only probes with the same intercept and covariates can be merged")
        for label, statistics in other.cells.items():
            self._add(label, statistics)
        self.n_seen += other.n_seen
        return self

    def statistics(self, cells: Iterable[int] | None = None) -> Statistics:
        """Statistics of the rows in ``cells`` (all cells by default)."""
        labels = self.cells.keys() if cells is None else cells
        key = tuple(c for c in labels if c in self.cells)
        if not key:
            raise ProbeError("nothing to fit the probe on: no row has been seen in the cells asked")
        if key not in self._sums:
            self._sums[key] = Statistics.sum([self.cells[c] for c in key])
        return self._sums[key]

    def of_outputs(self, outputs: Sequence[int] | np.ndarray) -> RidgeProbe:
        """A probe that has seen the same rows with some of the targets, each as often as named."""
        probe = RidgeProbe(intercept=self.intercept, covariates=self.covariates)
        probe.n_seen = self.n_seen
        probe.cells = {label: seen.of_outputs(outputs) for label, seen in self.cells.items()}
        return probe

    def solve(
        self,
        cells: Sequence[int] | None = None,
        penalty: float | Sequence[float] | None = None,
        inner: Sequence[InnerFold] | None = None,
        *,
        within: bool = True,
    ) -> LinearMap:
        """The ridge map of the rows in ``cells``.

        Args:
            cells: the training set (all cells by default).
            penalty: the relative penalty α, or several to choose from for each output by the
                summed squared error of the inner folds (default :data:`PENALTIES`).
            inner: inner folds, (train cells, validation cells); by default each cell of the
                training set is left out in turn.
            within: fit within kinds; else to the whole target, kinds being passed over.

        Raises:
            ProbeError: no row in ``cells``, a penalty that is not positive, or penalties to
                choose from and no inner fold.
        """
        # Largest first, so that of equal errors the more cautious map wins.
        grid = np.unique(np.atleast_1d(PENALTIES if penalty is None else penalty))[::-1]
        if not grid.size or not (grid > 0).all():
            raise ProbeError(f"ridge penalties must be positive, got {penalty}")
        train = self._seen(cells, within)
        spectrum = Spectrum.of(train, self.covariates)
        best = np.zeros(train.xy.shape[1], dtype=int)
        chosen = {"grid_end": best, "error": best + np.nan}
        if len(grid) > 1:
            errors = self._inner_error(cells, grid, inner, within)
            best = errors.argmin(axis=0)
            chosen["grid_end"] = (best == 0).astype(int) - (best == len(grid) - 1)
            chosen["error"] = np.take_along_axis(errors, best[None], axis=0)[0]
        alpha = grid[best]
        return LinearMap.of(train, spectrum.coef(alpha), within, penalty=alpha, **chosen)

    def _seen(self, cells: Iterable[int] | None, within: bool) -> Statistics:
        found = self.statistics(cells)
        return found if within else found.pooled()

    def _inner_error(
        self,
        cells: Sequence[int] | None,
        grid: np.ndarray,
        inner: Sequence[InnerFold] | None,
        within: bool,
    ) -> np.ndarray:
        """Squared error over the inner folds, for each penalty and output: (p, t).

        As held-out rows are scored: within kinds, residuals are about the mean of the kind in the
        training rows, and in the end about their own mean over all inner folds.
        """
        if inner is None:
            inner = leave_one_out(tuple(self.cells) if cells is None else cells)
        if not inner:
            raise ProbeError("one cell only: give one penalty, or inner folds to choose it by")
        maps = (
            (*self._path(train, grid, within), self._seen(validation, within))
            for train, validation in inner
        )
        return error_of_folds(maps, within=within)

    def _path(self, train: Sequence[int], grid: np.ndarray, within: bool) -> Path:
        """The maps of one training set, kept: a fold without a and, inside it, without b trains on
        what the fold without b and, inside it, without a does."""
        key = tuple(train), grid.tobytes(), within
        if key not in self._paths:
            seen = self._seen(train, within)
            self._paths[key] = Spectrum.of(seen, self.covariates).path(grid), seen
        return self._paths[key]

    def _add(self, label: int, statistics: Statistics) -> None:
        self._sums.clear()
        self._paths.clear()
        seen = self.cells.get(label)
        if seen is not None and seen.xy.shape != statistics.xy.shape:
            raise ProbeError(
                f"batches must agree in features and targets: {statistics.xy.shape} after "
                f"{seen.xy.shape}"
            )
        self.cells[label] = statistics if seen is None else seen + statistics

    def _check(self, X: np.ndarray, Y: np.ndarray) -> None:
        if X.ndim == 3 and self.intercept:
            raise ProbeError("vector features take RidgeProbe(intercept=False)")
        expected = (X.shape[0], *X.shape[2:])
        if X.ndim not in (2, 3) or Y.shape[:-1] != expected:
            raise ProbeError(
                f"features of shape {X.shape} and targets of shape {Y.shape} don't fit: give "
                "(n, d) and (n, t), or (n, d, 2l+1) and (n, 2l+1, t)"
            )
        for name, values in (("feature", X), ("target", Y)):
            finite = np.isfinite(values)
            if not finite.all():
                rows = finite.reshape(len(values), -1).all(axis=1)
                row = self.n_seen + int(rows.argmin())
                raise ProbeError(
                    f"a {name} of row {row} is not finite: look at the structure it belongs to"
                )


def error_of_folds(
    folds: Iterable[tuple[np.ndarray, Statistics, Statistics]], *, within: bool
) -> np.ndarray:
    """Squared error of folds as held-out rows are scored, for each penalty and output: (p, t).

    Residuals are about the mean of their kind in the training rows (of a kind that isn't there,
    about their own); within kinds then about their mean over all folds too.

    Args:
        folds: of each the maps (d, p, t), the rows trained on, and those held out.
        within: kinds are told apart.
    """
    squares: Any = 0.0
    sums: dict[int, np.ndarray] = {}
    counts: dict[int, int] = {}
    for coef, known, seen in folds:
        place = np.searchsorted(known.kinds, seen.kinds).clip(max=len(known.kinds) - 1)
        found = known.kinds[place] == seen.kinds
        means = (seen.mean_y - known.mean_y[place])[:, None]
        means = means - np.tensordot(seen.mean_x - known.mean_x[place], coef, axes=1)
        means[~found] = 0.0
        squares = squares + seen.squared_error(coef)
        squares = squares + np.tensordot(seen.counts, means**2, axes=1)
        for kind, n, mean in zip(seen.kinds.tolist(), seen.counts, means, strict=True):
            sums[kind] = sums.get(kind, 0.0) + n * mean
            counts[kind] = counts.get(kind, 0) + n
    for kind in sums if within else ():
        squares = squares - sums[kind] ** 2 / counts[kind]
    return squares


def leave_one_out(cells: Sequence[int]) -> tuple[InnerFold, ...]:
    """Inner folds that leave out each cell in turn; none if there is but one cell."""
    cells = tuple(cells)
    if len(cells) < 2:
        return ()
    return tuple((cells[:i] + cells[i + 1 :], (cell,)) for i, cell in enumerate(cells))


def _floats(values: np.ndarray) -> np.ndarray:
    """Values as they are where they are floats: converted cell by cell, they are copied less."""
    values = np.asarray(values)
    return values if values.dtype.kind == "f" else values.astype(np.float64)


def _rows(X: np.ndarray, Y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scalar rows as they are; the components of vectors each become a row."""
    if X.ndim == 2:
        return X, Y
    n = X.shape[0] * X.shape[2]
    return np.swapaxes(X, 1, 2).reshape(n, X.shape[1]), Y.reshape(n, Y.shape[2])
