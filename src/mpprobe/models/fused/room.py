"""Memory for large arrays, used again and again."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from math import prod

import numpy as np
import torch


class Room:
    """Gives out the same memory again once nobody holds the tensors in it any more.

    A system hands out new pages zeroed, which takes about as long as filling them.
    """

    def __init__(self) -> None:
        self._free: list[np.ndarray] = []

    def empty(self, shapes: Sequence[tuple[int, ...]], dtype: torch.dtype) -> list[torch.Tensor]:
        """Tensors of these shapes, whose values are whatever they happen to be."""
        sizes = [prod(shape) for shape in shapes]
        flat = self._memory(sum(sizes), torch.empty(0, dtype=dtype).numpy().dtype)
        pieces = torch.from_numpy(flat).split(sizes)
        return [piece.view(shape) for piece, shape in zip(pieces, shapes, strict=True)]

    def _memory(self, size: int, dtype: np.dtype) -> np.ndarray:
        """So many values, in memory that comes back when this very array is dropped."""
        held = self._free.pop() if self._free else np.empty(0, np.uint8)
        if held.nbytes < size * dtype.itemsize:
            held = np.empty(size * dtype.itemsize, np.uint8)  # NumPy asks for huge pages
        array = held[: size * dtype.itemsize].view(dtype)
        weakref.finalize(array, self._free.append, held).atexit = False
        return array
