"""Out-of-fold predictions of all folds, penalties and targets in two passes over the rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from typing import NamedTuple

import numpy as np

from mpprobe.errors import ProbeError
from mpprobe.probes.executor import SERIAL, Executor
from mpprobe.probes.ridge import LinearMap, RidgeProbe
from mpprobe.probes.rows import Rows
from mpprobe.probes.splits import Fold, Split

# Rows held in memory at a time: 8,192 rows of 512 features in float64 are 34 MB.
CHUNK = 8192
# Chunks that one worker takes at a time: the statistics it sends back, the square of the features'
# width for each cell, are then small beside the rows that it has read.
CHUNKS_PER_SPAN = 4


@dataclass(frozen=True)
class CrossFit:
    """Predictions of atoms by maps that have not seen their group.

    Attributes:
        predictions: shaped like the targets, in their unit; NaN where ``scored`` is false.
        scored: (n_atoms,) whether the atom is tested in some fold.
        maps: the map of each fold.
        probe: what they were solved from, for further maps without another pass.
    """

    predictions: np.ndarray
    scored: np.ndarray
    maps: tuple[LinearMap, ...]
    probe: RidgeProbe

    @property
    def penalties(self) -> np.ndarray:
        """The relative penalty chosen, shape (n_folds, t)."""
        return np.stack([m.penalty for m in self.maps])

    @property
    def grid_end(self) -> np.ndarray:
        """−1 or +1 where it is the smallest or largest offered, else 0; shape (n_folds, t)."""
        return np.stack([m.grid_end for m in self.maps])


def cross_predict(
    features: Rows,
    targets: np.ndarray,
    split: Split,
    *,
    kinds: np.ndarray | None = None,
    penalties: Sequence[float] | None = None,
    chunk: int = CHUNK,
    executor: Executor = SERIAL,
) -> CrossFit:
    """Fit a ridge probe on every fold's training set and predict the atoms it holds out.

    All columns of ``targets`` (real ones, shuffled controls) share the passes over the rows and
    the eigendecompositions; each has its own penalty, chosen inside the training set.

    Args:
        features: (n_atoms, d) scalars, or (n_atoms, d, 2l+1) for the equivariant probe.
        targets: (n_atoms, t), or (n_atoms, 2l+1, t).
        split: of the same atoms.
        kinds: (n_atoms,) label of each atom's species in its compound; the map is then fitted
            within kinds, else to the whole target.
        penalties: relative penalties to choose from (default ``ridge.PENALTIES``).
        chunk: rows held in memory at a time.
        executor: who reads the rows and solves the folds; the result doesn't depend on it.

    Raises:
        ProbeError: shapes that don't fit, or values that aren't finite (the first row is named).
    """
    within = kinds is not None
    probe = accumulate(features, targets, split, kinds=kinds, chunk=chunk, executor=executor)
    maps = solve_folds(probe, split, within=within, penalties=penalties, executor=executor)
    predictions = apply_maps(features, maps, split, kinds=kinds, chunk=chunk, executor=executor)
    return CrossFit(predictions, split.scored, maps, probe)


def solve_folds(
    probe: RidgeProbe,
    split: Split,
    *,
    within: bool,
    penalties: Sequence[float] | None = None,
    executor: Executor = SERIAL,
) -> tuple[LinearMap, ...]:
    """The map of every fold, fitted within kinds or to the whole targets; no row is read."""
    return tuple(executor.map(partial(_solve, probe, penalties, within), split.folds))


def _solve(
    probe: RidgeProbe, penalties: Sequence[float] | None, within: bool, fold: Fold
) -> LinearMap:
    return probe.solve(fold.train, penalties, fold.inner, within=within)


def accumulate(
    features: Rows,
    targets: np.ndarray,
    split: Split,
    *,
    kinds: np.ndarray | None = None,
    covariates: int = 0,
    chunk: int = CHUNK,
    executor: Executor = SERIAL,
) -> RidgeProbe:
    """The first pass: a probe that has seen every row, in the cells of ``split``.

    Rows are taken in spans that depend on their number alone, and the spans are merged in order:
    who has seen which doesn't change a bit. ``covariates`` of the first features bear no penalty.
    """
    n_rows = len(split.cells)
    if features.shape[0] != n_rows or len(targets) != n_rows:
        raise ProbeError(
            f"the split is of {n_rows} atoms, but there are {features.shape[0]} rows of features "
            f"and {len(targets)} of targets: give all three for the same structures"
        )
    kinds = np.zeros(n_rows, dtype=int) if kinds is None else kinds
    spans = (
        _Span(rows, targets[rows], split.cells[rows], kinds[rows])
        for rows in _slices(0, n_rows, CHUNKS_PER_SPAN * chunk)
    )
    take_in = partial(_take_in, features, covariates, chunk)
    return reduce(RidgeProbe.merge, executor.map(take_in, spans))


class _Span(NamedTuple):
    """Consecutive rows for one worker, with their targets, cells and kinds."""

    rows: slice
    targets: np.ndarray
    cells: np.ndarray
    kinds: np.ndarray


def _take_in(features: Rows, covariates: int, chunk: int, span: _Span) -> RidgeProbe:
    """A probe that has seen one span."""
    first = span.rows.start
    probe = RidgeProbe(intercept=len(features.shape) == 2, covariates=covariates)
    probe.n_seen = first  # so that a row that can't be used is named as a row of the whole
    for rows in _slices(first, first + len(span.cells), chunk):
        part = slice(rows.start - first, rows.stop - first)
        probe.partial_fit(features[rows], span.targets[part], span.cells[part], span.kinds[part])
    probe.n_seen -= first
    return probe


def apply_maps(
    features: Rows,
    maps: Sequence[LinearMap],
    split: Split,
    *,
    kinds: np.ndarray | None = None,
    chunk: int = CHUNK,
    executor: Executor = SERIAL,
) -> np.ndarray:
    """The second pass: every atom predicted by the map of the fold it is tested in.

    Returns shape (n_atoms, t), or (n_atoms, 2l+1, t); NaN for atoms tested in no fold. By maps
    fitted within ``kinds``, atoms of a kind trained on are on its level, others right up to a
    constant of their kind.
    """
    n_rows = len(split.test)
    kinds = np.full(n_rows, -1) if kinds is None else kinds
    spans = list(_slices(0, n_rows, CHUNKS_PER_SPAN * chunk))
    items = ((rows, split.test[rows], kinds[rows]) for rows in spans)
    parts = executor.map(partial(_predict, features, maps, chunk), items)
    predictions = np.empty((n_rows, *features.shape[2:], maps[0].coef.shape[1]))
    for rows, part in zip(spans, parts, strict=True):
        predictions[rows] = part
    return predictions


def _predict(
    features: Rows,
    maps: Sequence[LinearMap],
    chunk: int,
    span: tuple[slice, np.ndarray, np.ndarray],
) -> np.ndarray:
    """Predictions for one span, given its rows, the fold each is tested in, and its kind."""
    whole, test, kind = span
    predictions = np.full((len(test), *features.shape[2:], maps[0].coef.shape[1]), np.nan)
    for rows in _slices(whole.start, whole.start + len(test), chunk):
        part = slice(rows.start - whole.start, rows.stop - whole.start)
        X, out, fold, own = np.asarray(features[rows]), predictions[part], test[part], kind[part]
        for k in np.unique(fold[fold >= 0]):
            out[fold == k] = maps[k].predict(X[fold == k], own[fold == k])
    return predictions


def _slices(start: int, stop: int, length: int) -> Iterator[slice]:
    """Consecutive slices of ``length`` rows from ``start`` to ``stop``, the last one shorter."""
    return (slice(i, min(i + length, stop)) for i in range(start, stop, length))
