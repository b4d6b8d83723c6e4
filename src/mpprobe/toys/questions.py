"""What many trained models say together: encoding and extrapolation, and what decides them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from mpprobe.toys.structures import TRAINING
from mpprobe.toys.study import SHELLS
from mpprobe.toys.sweep import OUTSIDE

if TYPE_CHECKING:
    import pandas as pd

#: The fewest models, or pairs of them, for an interval.
FEWEST = 5
#: The questions, by the names that the answers bear.
ENCODING = "does force extrapolate better where the potential is better encoded?"
REACH = "does reach, layers × cutoff, set the error outside, not either alone?"
ORDER = "does l matter?"
BAND = "does a world of bands fail where one of charges succeeds?"
SHELL = "does the potential of shell k appear at layer k, and not before?"

_ERROR, _INSIDE, _READ = f"relative:{OUTSIDE}", f"relative:{TRAINING}", "r2:potential"
# What makes two models the same but for one thing.
_SAME = ("world", "family", "cutoff", "layers", "l_max", "channels", "n_train", "seed")


def answers(rows: pd.DataFrame, *, n_resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Numbers behind the answers, each with its 95 % interval over models.

    Args:
        rows: from :func:`mpprobe.toys.sweep`.
        n_resamples, seed: of the bootstrap.

    Returns:
        ``question``, ``world``, ``what``, ``value``, ``low``, ``high`` (NaN below :data:`FEWEST`)
        and ``n``, models or pairs of models.
    """
    import pandas as pd

    def interval(statistic: Callable[..., float], *columns: np.ndarray) -> tuple[float, ...]:
        return _interval(statistic, columns, n_resamples, seed)

    found = []
    parts = (_encoding, _reach, _order, _band, _shells)
    for part in parts:
        for question, name, what, statistic, columns in part(rows):
            value, low, high = interval(statistic, *columns)
            found.append({"question": question, "world": name, "what": what, "value": value,
                          "low": low, "high": high, "n": len(columns[0])})  # fmt: skip
    return pd.DataFrame(found)


def _interval(
    statistic: Callable[..., float], columns: Sequence[np.ndarray], n_resamples: int, seed: int
) -> tuple[float, float, float]:
    """The statistic of rows of models and its interval from resamples of them."""
    value = float(statistic(*columns))
    n = len(columns[0])
    if n < FEWEST or not np.isfinite(value):
        return value, np.nan, np.nan
    rng = np.random.default_rng(seed)
    drawn = [
        statistic(*(column[k] for column in columns))
        for k in rng.integers(n, size=(n_resamples, n))
    ]
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return value, float(low), float(high)


Answer = tuple[str, str, str, Callable[..., float], list[np.ndarray]]


def _encoding(rows: pd.DataFrame) -> Iterator[Answer]:
    for name, own in rows.groupby("world", sort=False):
        if len(own) < 3:
            continue
        error, inside = np.log(own[_ERROR].to_numpy()), np.log(own[_INSIDE].to_numpy())
        read, random = own[_READ].to_numpy(), own["random:potential"].to_numpy()
        yield ENCODING, name, "rank correlation of R² and error outside", rank, [read, error]
        yield (ENCODING, name, "the same, error inside held fixed", partial_rank,
               [read, error, inside])  # fmt: skip
        yield (ENCODING, name, "control: R² with random weights, and error outside", rank,
               [random, error])  # fmt: skip


def _reach(rows: pd.DataFrame) -> Iterator[Answer]:
    for name, own in rows.groupby("world", sort=False):
        if own["layers"].nunique() < 2 or own["cutoff"].nunique() < 2:
            continue
        logs = [np.log(own[c].to_numpy(float)) for c in ("cutoff", "layers", _ERROR)]
        for k, what in enumerate(("cutoff", "layers")):
            yield REACH, name, f"exponent of {what}", _slope(k), logs
        yield REACH, name, "exponent of cutoff less that of layers", _slope_difference, logs
        for what in ("cutoff", "layers", "reach"):
            columns = [np.log(own[what].to_numpy(float)), logs[2]]
            yield REACH, name, f"rank correlation of {what} and error outside", rank, columns


def _order(rows: pd.DataFrame) -> Iterator[Answer]:
    for name, own in rows.groupby("world", sort=False):
        for low, high in pairwise(sorted(own["l_max"].unique())):
            ratio = _paired(own, "l_max", low, high)
            if len(ratio):
                what = f"error outside with l_max {high} over that with {low}"
                yield ORDER, name, what, _geometric_mean, [ratio]


def _band(rows: pd.DataFrame) -> Iterator[Answer]:
    for name in rows["world"].unique():
        if name == "band":
            continue
        ratio = _paired(rows, "world", name, "band")
        if len(ratio):
            yield BAND, name, "error outside of bands over that here", _geometric_mean, [ratio]
    for name, own in rows.groupby("world", sort=False):
        values = [own[_READ].to_numpy(), own["random:potential"].to_numpy()]
        yield BAND, name, "R² of the potential, above random weights", _mean_difference, values


def _shells(rows: pd.DataFrame) -> Iterator[Answer]:
    for name, own in rows.groupby("world", sort=False):
        for k in SHELLS:
            for layer in (k - 1, k, k + 1):
                column = f"r2:potential:shell-{k}:{layer}"
                if column in own and own[column].notna().any():
                    read = own[own[column].notna()]
                    values, random = read[column], read[f"random:potential:shell-{k}"]
                    pair = [values.to_numpy(), random.to_numpy()]
                    what = f"R² of shell {k} in layer {layer}"
                    yield SHELL, name, what, np.mean, pair[:1]
                    yield SHELL, name, f"{what}, above random weights", _mean_difference, pair


def _paired(rows: pd.DataFrame, what: str, one: object, other: object) -> np.ndarray:
    """Ratios of the errors of models that are the same but for one thing: other over one."""
    keys = [key for key in _SAME if key != what]
    tables = [rows[rows[what] == value].set_index(keys)[_ERROR] for value in (one, other)]
    first, second = (table[~table.index.duplicated()] for table in tables)
    both = first.index.intersection(second.index)
    return (second.loc[both] / first.loc[both]).to_numpy()


def rank(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's correlation; NaN where one doesn't vary."""
    from scipy.stats import rankdata

    return _correlation(rankdata(x), rankdata(y))


def partial_rank(x: np.ndarray, y: np.ndarray, given: np.ndarray) -> float:
    """Spearman's partial correlation of x and y with a third held fixed."""
    xy, xg, yg = rank(x, y), rank(x, given), rank(y, given)
    left = (1 - xg**2) * (1 - yg**2)
    return (xy - xg * yg) / np.sqrt(left) if left > 1e-12 else np.nan


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return np.nan
    return float(np.corrcoef(x, y)[0, 1])


def _slopes(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """z by least squares in x and y; NaN where these don't both vary by themselves."""
    design = np.stack([x, y, np.ones(len(x))], axis=1)
    if np.linalg.matrix_rank(design) < 3:
        return np.full(3, np.nan)
    return np.linalg.lstsq(design, z, rcond=None)[0]


def _slope(k: int) -> Callable[..., float]:
    return lambda x, y, z: _slopes(x, y, z)[k]


def _slope_difference(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> float:
    slopes = _slopes(x, y, z)
    return slopes[0] - slopes[1]


def _geometric_mean(ratio: np.ndarray) -> float:
    return float(np.exp(np.log(ratio).mean()))


def _mean_difference(x: np.ndarray, y: np.ndarray) -> float:
    return float((x - y).mean())
