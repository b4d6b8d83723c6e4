"""Ridge regression from sufficient statistics: rows are seen once and never kept.

The statistics are held per *cell*, an integer label per row, so that any training set that is a
union of cells, and any penalty, is solved without seeing the rows again. Memory grows with the
square of the feature width times the number of cells, never with the number of atoms.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np

from mpprobe.errors import ProbeError
from mpprobe.probes.statistics import Statistics

# Relative to the variance of the standardised features, half a decade apart. Below 1e-9 lie the
# eigenvalues that rounding of float32 features makes up; at 1e3 hardly a map is left.
PENALTIES = np.logspace(-9, 3, 25)

# Cells to train on, and cells to measure the error on.
InnerFold = tuple[Sequence[int], Sequence[int]]

# Weights for each of several penalties (d, p, t), and the means of features and targets.
Path = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class LinearMap:
    """A solved probe: ŷ = ȳ + (x − x̄)·coef.

    Attributes:
        coef: weights on the features as given, shape (d, t).
        mean_x, mean_y: means of the training rows, (d,) and (t,); zero without an intercept.
        penalty: the relative penalty α of each output, (t,).
        grid_end: −1 or +1 where the penalty chosen is the smallest or largest one offered (then
            the best may lie beyond), else 0; shape (t,).
    """

    coef: np.ndarray
    mean_x: np.ndarray
    mean_y: np.ndarray
    penalty: np.ndarray
    grid_end: np.ndarray

    @property
    def intercept(self) -> np.ndarray:
        """ŷ at x = 0, shape (t,)."""
        return self.mean_y - self.mean_x @ self.coef

    def predict(self, X: np.ndarray) -> np.ndarray:
        """ŷ (n, t) of scalar features ``X`` (n, d), or (n, 2l+1, t) of ``X`` (n, d, 2l+1)."""
        X = np.array(X, dtype=np.float64)  # a copy, to be changed in place
        if X.ndim == 3:
            X = np.swapaxes(X, 1, 2)
        # The mean is taken off first: features with a large offset lose no digits.
        X -= self.mean_x
        return self.mean_y + X @ self.coef


@dataclass(frozen=True)
class Spectrum:
    """Eigendecomposition of one training set's standardised Gram matrix: every penalty's solution.

    With S the standard deviations, S⁻¹ C_xx S⁻¹ / n = V Λ Vᵀ, and the ridge weights for the
    relative penalty α are w = S⁻¹ V (Λ + α)⁻¹ Vᵀ S⁻¹ C_xy / n.

    Attributes:
        train: the statistics decomposed.
        values, vectors, projected: Λ (d,), S⁻¹V (d, d) and Vᵀ S⁻¹ C_xy / n (d, t).
    """

    train: Statistics
    values: np.ndarray
    vectors: np.ndarray
    projected: np.ndarray

    @classmethod
    def of(cls, train: Statistics) -> Spectrum:
        """Decompose the statistics of a training set."""
        scale = train.inverse_scale
        values, vectors = np.linalg.eigh(scale[:, None] * train.xx * scale / train.n)
        projected = vectors.T @ (scale[:, None] * train.xy) / train.n
        # Where the features are collinear, round-off leaves eigenvalues of about ±1e-16, and some
        # covariance, which a small penalty would magnify.
        null = values <= np.finfo(float).eps * np.sqrt(len(values)) * values[-1:]
        values[null], projected[null] = 0.0, 0.0
        return cls(train, values, scale[:, None] * vectors, projected)

    def coef(self, penalty: np.ndarray) -> np.ndarray:
        """Weights (d, t) for one penalty per output (t,)."""
        return self.vectors @ (self.projected / (self.values[:, None] + penalty))

    def path(self, penalties: np.ndarray) -> np.ndarray:
        """Weights (d, p, t) for each of the ``penalties`` (p,)."""
        shrunk = self.projected[:, None] / (self.values[:, None, None] + penalties[:, None])
        return np.tensordot(self.vectors, shrunk, axes=1)


class RidgeProbe:
    """Ridge regression that streams: ``partial_fit`` on batches, ``merge``, then ``solve``.

    Features are divided by their standard deviation over the training rows, the intercept bears
    no penalty, and the penalty is relative: α·n is added to the diagonal of the standardised Gram
    matrix of n training rows, so ``solve(penalty=α)`` is scikit-learn's
    ``make_pipeline(StandardScaler(), Ridge(alpha=α * n))``.

    For features and targets of degree l, ``intercept=False`` and rows of shape (d, 2l+1) give the
    equivariant probe: one weight per channel shared by the 2l+1 components, no bias, channels
    divided by their rms. No other linear map of such features turns with the structure. The
    components must come in the same order in features and targets.

    Args:
        intercept: fit one (scalars, the default), or hold it at zero (needed for vectors).
    """

    def __init__(self, *, intercept: bool = True) -> None:
        self.intercept = intercept
        self.n_seen = 0
        self.cells: dict[int, Statistics] = {}
        self._paths: dict[tuple[tuple[int, ...], bytes], Path] = {}

    def partial_fit(self, X: np.ndarray, Y: np.ndarray, cell: int | np.ndarray = 0) -> RidgeProbe:
        """Take in a batch of rows.

        Args:
            X: features, (n, d), or (n, d, 2l+1) for the equivariant probe; any float dtype,
                accumulated in float64.
            Y: targets, (n, t) or (n, 2l+1, t).
            cell: label of every row, one for all or (n,); rows with a negative label are passed
                over.

        Raises:
            ProbeError: shapes that don't fit, or a value that is not finite (its row is named,
                counted over all batches).
        """
        X, Y = _floats(X), _floats(Y)
        self._check(X, Y)
        self.n_seen += len(X)
        cell = np.broadcast_to(cell, len(X))
        for label in np.unique(cell[cell >= 0]).tolist():
            rows = cell == label
            self._add(label, Statistics.of(*_rows(X[rows], Y[rows]), intercept=self.intercept))
        return self

    def merge(self, other: RidgeProbe) -> RidgeProbe:
        """Take in everything that ``other`` has seen; ``other`` is left as it is."""
        if other.intercept != self.intercept:
            raise ProbeError("probes with and without an intercept can't be merged")
        for label, statistics in other.cells.items():
            self._add(label, statistics)
        self.n_seen += other.n_seen
        return self

    def statistics(self, cells: Iterable[int] | None = None) -> Statistics:
        """Statistics of the rows in ``cells`` (all cells by default)."""
        labels = self.cells.keys() if cells is None else cells
        found = [self.cells[c] for c in labels if c in self.cells]
        if not found:
            raise ProbeError("nothing to fit the probe on: no row has been seen in the cells asked")
        return reduce(add, found)

    def solve(
        self,
        cells: Sequence[int] | None = None,
        penalty: float | Sequence[float] | None = None,
        inner: Sequence[InnerFold] | None = None,
    ) -> LinearMap:
        """The ridge map of the rows in ``cells``.

        Args:
            cells: the training set (all cells by default).
            penalty: the relative penalty α, or several to choose from for each output by the
                summed squared error of the inner folds (default :data:`PENALTIES`).
            inner: inner folds, (train cells, validation cells); by default each cell of the
                training set is left out in turn.

        Raises:
            ProbeError: no row in ``cells``, a penalty that is not positive, or penalties to
                choose from and no inner fold.
        """
        # Largest first, so that of equal errors the more cautious map wins.
        grid = np.unique(np.atleast_1d(PENALTIES if penalty is None else penalty))[::-1]
        if not grid.size or not (grid > 0).all():
            raise ProbeError(f"ridge penalties must be positive, got {penalty}")
        spectrum = Spectrum.of(self.statistics(cells))
        best = np.zeros(spectrum.projected.shape[1], dtype=int)
        grid_end = np.zeros_like(best)
        if len(grid) > 1:
            best = self._inner_error(cells, grid, inner).argmin(axis=0)
            grid_end = (best == 0).astype(int) - (best == len(grid) - 1)
        chosen, train = grid[best], spectrum.train
        return LinearMap(spectrum.coef(chosen), train.mean_x, train.mean_y, chosen, grid_end)

    def _inner_error(
        self, cells: Sequence[int] | None, grid: np.ndarray, inner: Sequence[InnerFold] | None
    ) -> np.ndarray:
        """Squared error summed over the inner folds, for each penalty and output: (p, t)."""
        if inner is None:
            inner = leave_one_out(tuple(self.cells) if cells is None else cells)
        if not inner:
            raise ProbeError("one cell only: give one penalty, or inner folds to choose it by")
        return np.sum([self._fold_error(*fold, grid) for fold in inner], axis=0)

    def _fold_error(
        self, train: Sequence[int], validation: Sequence[int], grid: np.ndarray
    ) -> np.ndarray:
        return self.statistics(validation).squared_error(*self._path(train, grid))

    def _path(self, train: Sequence[int], grid: np.ndarray) -> Path:
        """The maps of one training set, kept: a fold without a and, inside it, without b trains on
        what the fold without b and, inside it, without a does."""
        key = tuple(train), grid.tobytes()
        if key not in self._paths:
            spectrum = Spectrum.of(self.statistics(train))
            means = spectrum.train.mean_x, spectrum.train.mean_y
            self._paths[key] = spectrum.path(grid), *means
        return self._paths[key]

    def _add(self, label: int, statistics: Statistics) -> None:
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
    return np.swapaxes(X, 1, 2).reshape(-1, X.shape[1]), Y.reshape(-1, Y.shape[2])
