"""Scores of held-out atoms from sufficient statistics alone, and what each cell adds to them.

What a map leaves of the atoms of a cell follows from the cell's statistics, so R² needs no second
pass over the rows, and the jackknife may refit: each cell is left out of training and testing in
turn, and the maps of all folds that trained on it are solved again at their penalties.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mpprobe.probes.ridge import LinearMap, RidgeProbe, error_of_folds, partialled_out
from mpprobe.probes.scores import NO_VARIANCE, r2_of
from mpprobe.probes.splits import Split
from mpprobe.probes.statistics import Statistics

#: The map of one fold from the statistics of its training set.
Refit = Callable[[int, Statistics], LinearMap]


@dataclass(frozen=True)
class HeldOut:
    """Sums over the held-out rows of a split, of the whole data and without each cell in turn.

    Of residuals r of t outputs in F folds; the second axis, of length 1 + C, is the whole data and
    then the data without each of C cells.

    Attributes:
        squares: Σ r², (F, 1 + C, t).
        sums: Σ r by kind, (F, 1 + C, K, t).
        counts: rows of each kind that are left, (1 + C, K).
        least: of the targets of all tested rows: a sum of squares below it is rounding, (t,).
    """

    squares: np.ndarray
    sums: np.ndarray
    counts: np.ndarray
    least: np.ndarray

    def of_outputs(self, chosen: slice | np.ndarray | list[int]) -> HeldOut:
        """The same of some outputs."""
        return HeldOut(
            self.squares[..., chosen], self.sums[..., chosen], self.counts, self.least[chosen]
        )

    def within(self) -> np.ndarray:
        """Squares about the mean of each kind, Σ r² − Σ_k (Σ r)²/n, over all folds: (1 + C, t)."""
        means = self.sums.sum(axis=0) ** 2 / self.counts[..., None].clip(min=1)
        return self.squares.sum(axis=0) - means.sum(axis=1)


def r2_within(residual: HeldOut, levels: HeldOut) -> np.ndarray:
    """R² within kinds (for vectors R²), of the whole data and without each cell: (1 + C, t).

    Args:
        residual: what the maps leave.
        levels: what :func:`levels_only` leaves.
    """
    return r2_of(residual.within(), levels.within(), levels.least)


def chosen_by_fold(parts: Sequence[HeldOut], chosen: Sequence[int], output: int) -> HeldOut:
    """One output, in each fold that of the part chosen there."""
    squares = np.stack([parts[p].squares[k, :, output] for k, p in enumerate(chosen)])
    sums = np.stack([parts[p].sums[k, :, :, output] for k, p in enumerate(chosen)])
    least = parts[0].least[[output]]
    return HeldOut(squares[..., None], sums[..., None], parts[0].counts, least)


def hold_out(probe: RidgeProbe, split: Split, refit: Refit, *, jackknife: bool = True) -> HeldOut:
    """What the maps of a split leave of the rows that each fold is tested on.

    Args:
        probe: that has seen all rows, in the cells of ``split``.
        split: whose folds are tested on whole cells (``Split.by_cells``).
        refit: gives the map of a fold from the statistics of its training set.
        jackknife: also leave out each cell; else C is zero.
    """
    labels = sorted(probe.cells)
    kinds = np.unique(np.concatenate([probe.cells[c].kinds for c in labels]))
    n, t = 1 + (len(labels) if jackknife else 0), probe.cells[labels[0]].xy.shape[1]
    found = HeldOut(
        np.zeros((len(split.folds), n, t)), np.zeros((len(split.folds), n, len(kinds), t)),
        np.zeros((n, len(kinds))),
        _least([probe.cells[c] for fold in split.folds for c in fold.test if c in probe.cells]),
    )  # fmt: skip
    for k, fold in enumerate(split.folds):
        trained = probe.statistics(fold.train)
        solved = refit(k, trained)
        tested = [c for c in fold.test if c in probe.cells]
        for c in tested:
            squares, sums, counts = _residual(probe.cells[c], solved, kinds)
            # Every row of the table but the one without this cell.
            rows = np.arange(n) != 1 + labels.index(c)
            found.squares[k, rows] += squares
            found.sums[k, rows] += sums
            found.counts[rows] += counts
        whole = probe.statistics(tested)
        for c in fold.train if jackknife else ():
            if c in probe.cells:
                row = 1 + labels.index(c)
                again = refit(k, trained.without(probe.cells[c]))
                found.squares[k, row], found.sums[k, row], _ = _residual(whole, again, kinds)
    return found


def _least(parts: Sequence[Statistics]) -> np.ndarray:
    """The least sum of squares of all rows that isn't rounding, (t,); see ``NO_VARIANCE``."""
    n = sum(part.n for part in parts)
    total = np.sum([part.counts @ part.mean_y for part in parts], axis=0)
    square = np.sum([part.yy + part.counts @ part.mean_y**2 for part in parts], axis=0)
    of_values, of_sums = NO_VARIANCE
    return np.maximum(of_values * square, of_sums * (square - total**2 / n))


def _residual(
    seen: Statistics, solved: LinearMap, kinds: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Σ r² (t,), Σ r by kind (K, t) and rows by kind (K,) of some rows."""
    mean = seen.mean_y - solved.mean_y - (seen.mean_x - solved.mean_x) @ solved.coef
    mean = mean - solved.level_of(seen.kinds)
    squares = seen.squared_error(solved.coef[:, None])[0]
    sums, counts = np.zeros((len(kinds), mean.shape[1])), np.zeros(len(kinds))
    place = np.searchsorted(kinds, seen.kinds)
    sums[place], counts[place] = seen.counts[:, None] * mean, seen.counts
    return squares + seen.counts @ mean**2, sums, counts


def levels_only(k: int, train: Statistics) -> LinearMap:
    """The mean of each kind over the training set and no slope: what R² within is measured from."""
    return LinearMap.of(train, np.zeros_like(train.xy), within=True)


def ridge_refit(maps: Sequence[LinearMap], covariates: int = 0) -> Refit:
    """Solve the map of a fold again, each output at the penalty that it had.

    One linear system for each penalty: quicker than all penalties at once.
    """

    def refit(k: int, train: Statistics) -> LinearMap:
        return LinearMap.of(train, _at_penalties(train, maps[k].penalty, covariates), within=True)

    return refit


def _at_penalties(train: Statistics, penalties: np.ndarray, covariates: int) -> np.ndarray:
    """Ridge weights (d, t), one penalty for each output; none for the first features."""
    scale = train.inverse_scale
    free, slopes, gram, cross = partialled_out(
        scale[:, None] * train.xx * scale / train.n, scale[:, None] * train.xy / train.n,
        covariates,
    )  # fmt: skip
    gram, coef = gram.copy(), np.empty_like(cross)
    diagonal = np.einsum("ii->i", gram)
    own = diagonal.copy()
    for penalty in np.unique(penalties):
        diagonal[:] = own + penalty + 1e-15
        of = penalties == penalty
        coef[:, of] = np.linalg.solve(gram, cross[:, of])
    return scale[:, None] * np.concatenate([free - slopes @ coef, coef])


def slopes_refit(directions: np.ndarray, n_targets: int) -> Refit:
    """The slope of each target along each of some directions (d, draws), without penalty.

    Of ŷ = b u·x only b is fitted, b = u·C_xy / u·C_xx u. For a probe whose outputs are the draws
    of the first target, then those of the next.
    """

    def refit(k: int, train: Statistics) -> LinearMap:
        variance = np.tile(((train.xx @ directions) * directions).sum(axis=0), n_targets)
        u = np.tile(directions, n_targets)
        slope = np.divide(
            (u * train.xy).sum(axis=0), variance, out=np.zeros_like(variance), where=variance > 0
        )
        return LinearMap.of(train, u * slope, within=True)

    return refit


def solved_maps(maps: Sequence[LinearMap]) -> Refit:
    """Maps as they were solved, for scores without a jackknife."""
    return lambda k, train: maps[k]


def code_lengths(probe: RidgeProbe, split: Split) -> np.ndarray:
    """Prequential code length of each target, in bits a number: (t,).

    The folds are sent one after the other, each coded by a normal distribution about what a map
    fitted to those before it says, whose variance is the error of its inner folds (Voita and
    Titov, 2020, for numbers). Given are the bits less those of a code that knows the kinds' means
    only, with the variance about these in what was sent before: the lower, the more of the target
    can be learnt, and the sooner. The first two folds are sent by the latter code.

    NaN with fewer than three folds.
    """
    bits, n = np.zeros(next(iter(probe.cells.values())).xy.shape[1]), 0
    for block, before in _blocks(split):
        seen = sorted(c for part in before for c in part)
        inner = [([c for c in seen if c not in part], part) for part in before]
        known, new = probe.statistics(seen), probe.statistics(block)
        solved = probe.solve(seen, inner=inner)
        error = new.squared_error(solved.coef[:, None])[0]
        nothing = np.zeros((known.xy.shape[0], 1, known.xy.shape[1]))
        spread = error_of_folds(
            [(nothing, probe.statistics(rest), probe.statistics(part)) for rest, part in inner],
            within=True,
        )[0]
        floor = 1e-12 * known.yy.clip(min=1e-300)
        bits += _bits(error, new.n, (solved.error + floor) / known.n)
        bits -= _bits(new.yy, new.n, (spread + floor) / known.n)
        n += new.n
    return bits / n if n else bits + np.nan


def _blocks(split: Split) -> Iterator[tuple[tuple[int, ...], list[tuple[int, ...]]]]:
    """The cells of each fold from the third on, and of the folds before it."""
    tests = [fold.test for fold in split.folds]
    return ((tests[k], tests[:k]) for k in range(2, len(tests)))


def _bits(squares: np.ndarray, n: int, variance: np.ndarray) -> np.ndarray:
    """Of n numbers under a normal distribution about zero."""
    return (n * np.log2(2 * np.pi * variance) + squares / variance / np.log(2)) / 2
