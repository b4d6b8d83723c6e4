"""Sufficient statistics of a linear regression: what is kept of the rows once they are seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# A feature that varies by less than float32 resolves (2^-24 of its mean) is a constant.
RESOLUTION = 1e-7


@dataclass(frozen=True)
class Statistics:
    """Count, means and centred second moments of rows (x, y); they add up over disjoint rows.

    Centred moments lose no digits however large the means are; two sets are joined by the
    pairwise update of Chan, Golub and LeVeque (1983), C = C₁ + C₂ + n₁n₂/n δδᵀ with δ = x̄₂ − x̄₁.
    Without an intercept the means are held at zero, and the moments are the raw ones.

    Attributes:
        n: number of rows.
        mean_x, mean_y: shapes (d,) and (t,).
        xx, xy, yy: Σ(x−x̄)(x−x̄)ᵀ (d, d), Σ(x−x̄)(y−ȳ)ᵀ (d, t) and Σ(y−ȳ)² (t,).
    """

    n: int
    mean_x: np.ndarray
    mean_y: np.ndarray
    xx: np.ndarray
    xy: np.ndarray
    yy: np.ndarray

    @classmethod
    def of(cls, X: np.ndarray, Y: np.ndarray, *, intercept: bool = True) -> Statistics:
        """Statistics of the rows ``X`` (n, d) and ``Y`` (n, t) of any float dtype, in float64."""
        # Copies, for the mean to be taken off in place: the rows are gone through once less.
        X, Y = np.array(X, dtype=np.float64), np.array(Y, dtype=np.float64)
        mean_x, mean_y = np.zeros(X.shape[1]), np.zeros(Y.shape[1])
        if intercept:
            mean_x, mean_y = X.mean(axis=0), Y.mean(axis=0)
            X -= mean_x
            Y -= mean_y
        return cls(len(X), mean_x, mean_y, X.T @ X, X.T @ Y, (Y**2).sum(axis=0))

    def __add__(self, other: Statistics) -> Statistics:
        n = self.n + other.n
        dx, dy = other.mean_x - self.mean_x, other.mean_y - self.mean_y
        root = np.sqrt(self.n * other.n / n)
        xx = np.outer(root * dx, root * dx)
        xx += self.xx
        xx += other.xx
        return Statistics(
            n=n,
            mean_x=self.mean_x + dx * (other.n / n),
            mean_y=self.mean_y + dy * (other.n / n),
            xx=xx,
            xy=self.xy + other.xy + np.outer(root * dx, root * dy),
            yy=self.yy + other.yy + (root * dy) ** 2,
        )

    @property
    def inverse_scale(self) -> np.ndarray:
        """One over each feature's standard deviation (its rms without an intercept), shape (d,).

        Zero for a constant feature, which so gets no weight.
        """
        deviation = np.sqrt(np.diag(self.xx) / self.n)
        varies = deviation > RESOLUTION * np.abs(self.mean_x)
        return np.divide(1.0, deviation, out=np.zeros_like(deviation), where=varies)

    def squared_error(self, coef: np.ndarray, mean_x: np.ndarray, mean_y: np.ndarray) -> np.ndarray:
        """Σ(y − ȳ₀ − (x − x̄₀)·w)² over these rows, for the maps w in ``coef`` (d, p, t): (p, t).

        With r the mean residual: Σ(y−ȳ)² − 2 w·C_xy + w·C_xx w + n r², no row needed.
        """
        flat = coef.reshape(len(coef), -1)
        quadratic = ((self.xx @ flat) * flat).sum(axis=0).reshape(coef.shape[1:])
        linear = np.einsum("dpt,dt->pt", coef, self.xy)
        residual = self.mean_y - mean_y - np.tensordot(self.mean_x - mean_x, coef, axes=1)
        return self.yy - 2 * linear + quadratic + self.n * residual**2
