"""Rows of features that stay in files until a slice of them is read.

A handle is a few numbers and a path: it is pickled and sent to another process for nothing, and
no more of a file is mapped than the slice being worked on.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from mpprobe.models.irreps import Block

# Rows this far apart are read by themselves.
_APART = 64


class Rows(Protocol):
    """What features must offer: a shape and slices of rows (arrays, np.memmap, zarr, HDF5)."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, rows: slice) -> np.ndarray: ...


@dataclass(frozen=True)
class RowFiles:
    """Rows in ``.npy`` files, one file after the other.

    Attributes:
        paths: of the files.
        starts: the first row of each file, then the number of rows in all.
        columns: shape of one row.
    """

    paths: tuple[str, ...]
    starts: tuple[int, ...]
    columns: tuple[int, ...]

    @classmethod
    def of(cls, paths: Sequence[str | Path]) -> RowFiles:
        """The rows of the files as they are."""
        shapes = [np.load(path, mmap_mode="r").shape for path in paths]
        starts = np.cumsum([0, *(shape[0] for shape in shapes)]).tolist()
        return cls(tuple(map(str, paths)), tuple(starts), shapes[0][1:])

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.starts[-1], *self.columns)

    def __len__(self) -> int:
        return self.starts[-1]

    def __getitem__(self, rows: slice) -> np.ndarray:
        """The rows of a contiguous slice; a read-only map of the file where one file holds all."""
        start, stop, _ = rows.indices(len(self))
        parts = list(self._parts(start, max(start, stop)))
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _parts(self, start: int, stop: int) -> Iterator[np.ndarray]:
        first = int(np.searchsorted(self.starts, start, side="right")) - 1
        for i in range(min(first, len(self.paths) - 1), len(self.paths)):
            begin = self.starts[i]
            yield np.load(self.paths[i], mmap_mode="r")[max(start - begin, 0) : stop - begin]
            if self.starts[i + 1] >= stop:
                return


@dataclass(frozen=True)
class BlockRows:
    """The features of one order in rows of a whole layer, cut out as they are read.

    Attributes:
        layer: rows of the layer's features, (n_atoms, layer.dim), in ``mul_ir`` layout.
        blocks: which of them, all of one order l.
    """

    layer: Rows
    blocks: tuple[Block, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """(n_atoms, channels) for l = 0, else (n_atoms, channels, 2l + 1)."""
        channels = sum(block.mul for block in self.blocks)
        order = self.blocks[0].l
        return (self.layer.shape[0], channels, *((2 * order + 1,) if order else ()))

    def __getitem__(self, rows: slice) -> np.ndarray:
        values = self.layer[rows]
        parts = [
            values[:, b.start : b.stop].reshape(len(values), b.mul, *self.shape[2:])
            for b in self.blocks
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


@dataclass(frozen=True, eq=False)
class TakenRows:
    """Some of the rows of others.

    Attributes:
        whole: rows of all atoms.
        index: which of them, ascending, (n_atoms,).
    """

    whole: Rows
    index: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.index), *self.whole.shape[1:])

    def __getitem__(self, rows: slice) -> np.ndarray:
        index = self.index[rows]
        if not len(index):
            return self.whole[0:0]
        # Where rows lie far apart, only the runs of atoms that hold some are read.
        runs = np.split(index, np.flatnonzero(np.diff(index) > _APART) + 1)
        return np.concatenate(
            [np.asarray(self.whole[int(run[0]) : int(run[-1]) + 1])[run - run[0]] for run in runs]
        )


@dataclass(frozen=True)
class JoinedRows:
    """Features beside each other: the columns of the first, then those of the next."""

    parts: tuple[Rows, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        first = self.parts[0].shape
        return (first[0], sum(part.shape[1] for part in self.parts), *first[2:])

    def __getitem__(self, rows: slice) -> np.ndarray:
        return np.concatenate([part[rows] for part in self.parts], axis=1)


def write_rows(path: str | Path, values: np.ndarray) -> None:
    """Write ``values`` to a ``.npy`` file that is there whole or not at all.

    Two workers may write one file, as when one of them was taken for dead: each writes its own
    beside it, and the last to be done gives it its name.
    """
    path = Path(path)
    descriptor, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            np.save(file, values)
        os.replace(part, path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise
