"""The probe fit against scikit-learn: five folds, fifteen penalties, one target."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.child import run_json
from benchmarks.sizes import Sizes
from benchmarks.timing import Contender, Timing, interleaved
from mpprobe.probes.crossfit import CrossFit, cross_predict
from mpprobe.probes.ridge import leave_one_out
from mpprobe.probes.splits import Fold, Split

FOLDS = 5
PENALTIES = np.logspace(-6, 1, 15)
#: Rows that belong together, as the atoms of a cell do.
GROUP = 64
CHUNK = 10_000
#: How far predictions may lie apart for one and the same penalty, in standard deviations of the
#: target; scikit-learn standardises float32 features in float32.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Problem:
    """Features on disk, a target and folds.

    Attributes:
        X: (rows, width) float32, mapped.
        y: (rows,)
        fold: (rows,) the fold that each row is tested in.
    """

    X: np.ndarray
    y: np.ndarray
    fold: np.ndarray

    @classmethod
    def open(cls, path: str | Path, rows: int) -> Problem:
        """The first rows of what :func:`write` wrote."""
        X = np.load(path, mmap_mode="r")[:rows]
        y = np.load(Path(path).with_suffix(".target.npy"))[:rows]
        return cls(X, y, np.arange(rows) // GROUP % FOLDS)

    @property
    def split(self) -> Split:
        def fold(k: int) -> Fold:
            train = tuple(c for c in range(FOLDS) if c != k)
            return Fold(train, leave_one_out(train), (f"fold {k}",), (k,))

        folds = tuple(fold(k) for k in range(FOLDS))
        unit = np.arange(len(self.fold)) // GROUP
        return Split("structure", self.fold, self.fold, folds, unit)

    def solve(self) -> CrossFit:
        """mpprobe's."""
        return cross_predict(self.X, self.y[:, None], self.split, penalties=PENALTIES)

    def ridgecv(self, jobs: int = 1, **options: Any) -> np.ndarray:
        """scikit-learn's, with its own loop over the folds: out-of-fold predictions, (rows,)."""
        from sklearn.linear_model import RidgeCV

        alphas = PENALTIES * len(self.y) * (1 - 1 / FOLDS)
        return self._cross_val(RidgeCV(alphas=alphas, **options), jobs)

    def ridge(self, penalty: float) -> np.ndarray:
        """scikit-learn's at one penalty."""
        from sklearn.linear_model import Ridge

        return self._cross_val(Ridge(alpha=penalty * len(self.y) * (1 - 1 / FOLDS)), 1)

    def _cross_val(self, model: Any, jobs: int) -> np.ndarray:
        from sklearn.model_selection import PredefinedSplit, cross_val_predict
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        pipeline = make_pipeline(StandardScaler(), model)
        folds = PredefinedSplit(self.fold)
        return cross_val_predict(pipeline, self.X, self.y, cv=folds, n_jobs=jobs)


#: All that RidgeCV offers for dense features: its two ways to leave out single rows (``eigen`` is
#: its default), refitting on inner folds, and outer folds in two processes.
WAYS: dict[str, dict[str, Any]] = {
    "gcv_mode='eigen'": {"gcv_mode": "eigen"},
    "gcv_mode='svd'": {"gcv_mode": "svd"},
    "gcv_mode='svd', 2 jobs": {"gcv_mode": "svd", "jobs": 2},
    "cv=5": {"cv": 5},
}


def write(path: Path, rows: int, width: int, seed: int = 0) -> None:
    """Random float32 features, and a target that is linear in them but for as much noise again."""
    rng = np.random.default_rng(seed)
    weights = rng.standard_normal(width) / np.sqrt(width)
    target = np.empty(rows)
    X = np.lib.format.open_memmap(path, "w+", np.float32, (rows, width))
    for start in range(0, rows, CHUNK):
        part = X[start : start + CHUNK]
        part[:] = rng.standard_normal(part.shape, dtype=np.float32)
        target[start : start + CHUNK] = part @ weights + rng.standard_normal(len(part))
    X.flush()
    np.save(path.with_suffix(".target.npy"), target)


def small_problem() -> Problem:
    """One that is solved at once."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "features.npy"
        write(path, 20 * GROUP, 8)
        problem = Problem.open(path, 20 * GROUP)
        return Problem(np.array(problem.X), problem.y, problem.fold)


def measure(sizes: Sizes) -> dict[str, Any]:
    """Both timed, their predictions compared, and mpprobe's peak memory at growing sizes."""
    with tempfile.TemporaryDirectory(prefix="mpprobe-bench-") as folder:
        path = Path(folder) / "features.npy"
        write(path, sizes.fit_rows, sizes.fit_width)
        # Folds of one size: scikit-learn is given one penalty for all, relative to their size.
        whole_folds = FOLDS * GROUP
        sample = Problem.open(path, max(sizes.fit_rows // 20 // whole_folds, 4) * whole_folds)
        same_penalty = check_agreement(sample)
        tried = _ways_tried(sample)
        way = min(tried, key=lambda name: tried[name].median)
        whole = Problem.open(path, sizes.fit_rows)
        timings, own_penalty = _race(whole, WAYS[way], sizes.fit_repeats)
        memory = _memory(path.with_name("more.npy"), sizes)
    return {
        "rows": sizes.fit_rows, "width": sizes.fit_width,
        "folds": FOLDS, "penalties": len(PENALTIES),
        "largest_difference": same_penalty,
        "rms_difference_of_own_penalties": own_penalty,
        "ways_of_ridgecv": {n: t.summary() for n, t in tried.items()},
        "best_way": way,
        "timings": {name: timing.summary() for name, timing in timings.items()},
        "peak_memory": memory,
        "ratios": {"probe_fit_vs_ridgecv": timings["RidgeCV"].median / timings["mpprobe"].median},
    }  # fmt: skip


def _memory(path: Path, sizes: Sizes) -> dict[str, Any]:
    """mpprobe's peak at growing numbers of rows, in a file that is written to ``path``."""
    write(path, max(sizes.memory_rows), sizes.fit_width)
    return {
        str(rows): run_json("benchmarks.memory", "fit", str(path), str(rows))
        for rows in sizes.memory_rows
    }


def _ways_tried(problem: Problem) -> dict[str, Timing]:
    """One timing of each way of RidgeCV, once its libraries are loaded and its processes there."""
    small, ways = small_problem(), {}
    for way, options in WAYS.items():
        small.ridgecv(**options)
        ways[way] = Contender(partial(problem.ridgecv, **options), len(problem.y))
    return interleaved(ways, 1, None)


def check_agreement(problem: Problem) -> float:
    """Largest difference of the predictions where scikit-learn is given the penalties chosen here.

    In standard deviations of the target; more than :data:`TOLERANCE` is an error.
    """
    ours, largest = problem.solve(), 0.0
    for penalty in np.unique(ours.penalties):
        folds = np.flatnonzero(ours.penalties[:, 0] == penalty)
        apart = problem.ridge(penalty) - ours.predictions[:, 0]
        largest = max(largest, float(np.abs(apart[np.isin(problem.fold, folds)]).max()))
    largest /= float(problem.y.std())
    if largest > TOLERANCE:
        raise SystemExit(f"probe fit: predictions differ from scikit-learn's by {largest:.1e}")
    return largest


def _race(
    problem: Problem, options: dict[str, Any], repeats: int
) -> tuple[dict[str, Timing], float]:
    """Timings in turn, and how far the predictions lie apart where each chooses its penalty.

    That is a root mean square in standard deviations of the target: scikit-learn chooses by
    leaving out single rows, mpprobe by groups of them.
    """
    found: dict[str, Any] = {}

    def keep(name: str, work: Callable[[], Any]) -> None:
        found[name] = work()

    ways = {"mpprobe": problem.solve, "RidgeCV": partial(problem.ridgecv, **options)}
    calls = {n: Contender(partial(keep, n, work), len(problem.y)) for n, work in ways.items()}
    problem.X.sum()  # the file's pages are in memory for both, and the libraries warm since before
    timings = interleaved(calls, repeats, None)
    apart = found["RidgeCV"] - found["mpprobe"].predictions[:, 0]
    return timings, float(np.sqrt((apart**2).mean()) / problem.y.std())
