"""Sufficient statistics of a linear regression: what is kept of the rows once they are seen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

# A feature that varies by less than float32 resolves (2^-24 of its mean) is a constant.
RESOLUTION = 1e-7

# What is left of a sum of squares when parts are taken out again is rounding below this share.
ROUNDING = 1e-12


@dataclass(frozen=True)
class Statistics:
    """Counts and means of each kind of row, and second moments within kinds.

    Rows (x, y) of one kind (for us: one species in one compound) are centred on the mean of their
    kind. With all rows of one kind these are the ordinary centred moments. Sets of rows are joined
    by the pairwise update of Chan, Golub and LeVeque (1983) within each kind, which loses no digits
    however large the means are. Without an intercept the means are held at zero.

    Attributes:
        kinds: labels of the kinds seen, ascending, shape (k,).
        counts: rows of each, (k,).
        mean_x, mean_y: their means, (k, d) and (k, t).
        xx, xy, yy: Σ(x−x̄)(x−x̄)ᵀ (d, d), Σ(x−x̄)(y−ȳ)ᵀ (d, t) and Σ(y−ȳ)² (t,), x̄ and ȳ being the
            means of the row's kind.
    """

    kinds: np.ndarray
    counts: np.ndarray
    mean_x: np.ndarray
    mean_y: np.ndarray
    xx: np.ndarray
    xy: np.ndarray
    yy: np.ndarray

    @classmethod
    def of(
        cls, X: np.ndarray, Y: np.ndarray, kind: np.ndarray | None = None, *, intercept: bool = True
    ) -> Statistics:
        """Statistics of the rows ``X`` (n, d) and ``Y`` (n, t) of any float dtype, in float64.

        ``kind`` (n,) labels the rows; by default all are of kind 0.
        """
        # Copies, for the mean to be taken off in place: the rows are gone through once less.
        X, Y = np.array(X, dtype=np.float64), np.array(Y, dtype=np.float64)
        kind = np.zeros(len(X), dtype=int) if kind is None or not intercept else kind
        kinds, index = np.unique(kind, return_inverse=True)
        counts = np.bincount(index)
        mean_x, mean_y = np.zeros((len(kinds), X.shape[1])), np.zeros((len(kinds), Y.shape[1]))
        if intercept:
            mean_x, mean_y = (_means(index, values) for values in (X, Y))
            X -= mean_x[index]
            Y -= mean_y[index]
        return cls(kinds, counts, mean_x, mean_y, X.T @ X, X.T @ Y, (Y**2).sum(axis=0))

    @classmethod
    def sum(cls, parts: Iterable[Statistics]) -> Statistics:
        """Statistics of all rows of the ``parts``, of which there must be one at least."""
        parts = list(parts)
        label, n, x, y = (
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("kinds", "counts", "mean_x", "mean_y")
        )
        kinds, index = np.unique(label, return_inverse=True)
        counts = np.bincount(index, n).astype(n.dtype)
        mean_x, mean_y = (_means(index, values, n) for values in (x, y))
        root = np.sqrt(n)[:, None]
        dx, dy = root * (x - mean_x[index]), root * (y - mean_y[index])
        xx, xy, yy = dx.T @ dx, dx.T @ dy, (dy**2).sum(axis=0)
        for part in parts:
            xx += part.xx
            xy += part.xy
            yy += part.yy
        return cls(kinds, counts, mean_x, mean_y, xx, xy, yy)

    def __add__(self, other: Statistics) -> Statistics:
        return Statistics.sum([self, other])

    def without(self, part: Statistics) -> Statistics:
        """Statistics of the rows that are not in ``part``, whose rows are all in these."""
        place = np.searchsorted(self.kinds, part.kinds)
        own, other = self.counts[place], part.counts
        left = own - other
        dx, dy = part.mean_x - self.mean_x[place], part.mean_y - self.mean_y[place]
        counts = self.counts.copy()
        counts[place] = left
        share = np.divide(other, left, out=np.zeros(len(left)), where=left > 0)[:, None]
        mean_x, mean_y = self.mean_x.copy(), self.mean_y.copy()
        mean_x[place] -= share * dx
        mean_y[place] -= share * dy
        # The mean of what is left lies as far on the other side: n₁n₂/n of the update, backwards.
        root = np.sqrt(other * np.where(left > 0, own, 0) / left.clip(min=1))[:, None]
        dx, dy = root * dx, root * dy
        kept = counts > 0
        xx, xy = self.xx - part.xx - dx.T @ dx, self.xy - part.xy - dx.T @ dy
        # Features that varied in the part alone are constants now, not standardised rounding.
        gone = np.diag(xx) <= ROUNDING * np.diag(self.xx)
        xx[gone], xx[:, gone], xy[gone] = 0.0, 0.0, 0.0
        yy = self.yy - part.yy - (dy**2).sum(axis=0)
        return Statistics(
            self.kinds[kept], counts[kept], mean_x[kept], mean_y[kept], xx, xy, yy
        )  # fmt: skip

    def of_outputs(self, outputs: Sequence[int] | np.ndarray) -> Statistics:
        """The same of some of the outputs y, each as often as it is named."""
        chosen = np.asarray(outputs)
        return replace(
            self, mean_y=self.mean_y[:, chosen], xy=self.xy[:, chosen], yy=self.yy[chosen]
        )

    def pooled(self) -> Statistics:
        """The same rows as one kind: moments about the mean of them all."""
        return Statistics.sum([replace(self, kinds=np.zeros_like(self.kinds))])

    @property
    def n(self) -> int:
        """Number of rows."""
        return int(self.counts.sum())

    @property
    def centre(self) -> tuple[np.ndarray, np.ndarray]:
        """Means of all rows, (d,) and (t,)."""
        weights = self.counts / self.counts.sum()
        return weights @ self.mean_x, weights @ self.mean_y

    @property
    def inverse_scale(self) -> np.ndarray:
        """One over each feature's standard deviation within kinds, shape (d,).

        Its rms without an intercept. Zero for a feature that doesn't vary within kinds, which so
        gets no weight.
        """
        deviation = np.sqrt(np.diag(self.xx).clip(min=0) / self.n)
        size = np.sqrt(self.counts @ self.mean_x**2 / self.n)
        varies = deviation > RESOLUTION * size
        return np.divide(1.0, deviation, out=np.zeros_like(deviation), where=varies)

    def squared_error(self, coef: np.ndarray) -> np.ndarray:
        """Σ of squared residuals within kinds, for the maps w in ``coef`` (d, p, t): (p, t).

        Σ(y−ȳ)² − 2 w·C_xy + w·C_xx w, with residuals centred per kind: no row needed.
        """
        d, p, t = coef.shape
        flat = coef.reshape(d, p * t)
        quadratic = ((self.xx @ flat) * flat).sum(axis=0).reshape(p, t)
        linear = np.einsum("dpt,dt->pt", coef, self.xy)
        return self.yy - 2 * linear + quadratic


def _means(index: np.ndarray, values: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Weighted means of rows (n, d) by their index (n,); every index up to the last occurs."""
    values = values if weights is None else weights[:, None] * values
    total = np.bincount(index, weights)[:, None]
    if len(total) == 1:
        return values.sum(axis=0, keepdims=True) / total
    starts = np.cumsum(np.bincount(index)) - np.bincount(index)
    return np.add.reduceat(values[np.argsort(index, kind="stable")], starts) / total
