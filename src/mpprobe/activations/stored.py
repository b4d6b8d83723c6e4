"""Node features on disk that behave like an array: sliced by rows, read when asked for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mpprobe.activations.shards import ShardFile


@dataclass(frozen=True)
class StoredArray:
    """One layer of one kind of features in a store, or a block of it. Small, and picklable.

    ``array[100:200]`` reads these rows from the shards that hold them, and of them the columns
    that belong to the array. ``numpy.asarray`` reads all of it.

    Attributes:
        store: folder of the store.
        configuration: SHA-256 of the store's configuration.
        tensor: name in the shards.
        width: columns of the tensor.
        dtype: as stored.
        counts: rows in each shard.
        parts: the columns that are taken: first and last (exclusive) of each run, in order.
        tail: shape after the rows.
    """

    store: Path
    configuration: str
    tensor: str
    width: int
    dtype: np.dtype
    counts: tuple[int, ...]
    parts: tuple[tuple[int, int], ...]
    tail: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return (sum(self.counts), *self.tail)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def columns(self, parts: Iterable[tuple[int, int]], tail: tuple[int, ...]) -> StoredArray:
        """Some runs of columns of the whole tensor, and the shape they have together."""
        return replace(self, parts=tuple(parts), tail=tail)

    def __getitem__(self, rows: slice | tuple) -> np.ndarray:
        """Rows of a slice, or the same followed by an index into what was read.

        Raises:
            StoreError: a shard is missing, damaged or foreign.
        """
        if isinstance(rows, tuple):
            return self[rows[0]][(slice(None), *rows[1:])]
        if not isinstance(rows, slice):
            raise TypeError(f"rows on disk are read by slices, not by {type(rows).__name__}")
        start, stop, step = rows.indices(len(self))
        if step != 1:
            raise TypeError("rows on disk are read by slices of step 1")
        return self._span(start, max(start, stop))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype=dtype)

    def _span(self, start: int, stop: int) -> np.ndarray:
        """Rows ``start`` to ``stop``, from as many shards as hold them."""
        out = np.empty((stop - start, *self.tail), self.dtype)
        ends = np.cumsum(self.counts)
        shard, at = int(np.searchsorted(ends, start, side="right")), start
        while at < stop:
            end, first = min(int(ends[shard]), stop), int(ends[shard]) - self.counts[shard]
            out[at - start : end - start] = self._read(shard, at - first, end - first)
            shard, at = shard + 1, end
        return out

    def _read(self, shard: int, start: int, stop: int) -> np.ndarray:
        file = ShardFile(self.store, self.configuration, shard, self.counts[shard])
        columns = [slice(*part) for part in self.parts]
        found = file.read(self.tensor, self.width, self.dtype, slice(start, stop), columns)
        return found.reshape(stop - start, *self.tail)
