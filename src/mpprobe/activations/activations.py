"""Node features of one or more layers, with their irreps and one row index."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mpprobe.activations.rows import Rows
from mpprobe.activations.stored import StoredArray
from mpprobe.errors import ModelError
from mpprobe.models.irreps import Block
from mpprobe.models.potential import Layer


@dataclass(frozen=True)
class LayerFeatures:
    """Node features of one layer.

    Attributes:
        layer: its index, irreps and reach.
        values: shape (n_atoms, layer.dim), e3nn's order, ``mul_ir``; an array, a memory map, or
            rows on disk that are read slice by slice.
    """

    layer: Layer
    values: np.ndarray | StoredArray

    def blocks(self, l: int, p: str | None = None) -> list[Block]:
        """The blocks of order ``l``, and of parity ``p`` (``e`` or ``o``) if one is given."""
        return [b for b in self.layer.blocks if b.l == l and p in (None, b.p)]

    def block(self, l: int, p: str | None = None) -> np.ndarray | StoredArray:
        """Features of order ``l``: shape (n_atoms, channels, 2l + 1); rows on disk stay there.

        Args:
            l: the order; for l = 1 the components are Cartesian x, y, z.
            p: the parity, ``e`` or ``o``; None takes both, one after the other.

        Raises:
            ModelError: the layer has no such features.
        """
        found = self.blocks(l, p)
        if not found:
            raise ModelError(
                f"layer {self.layer.index} has no l = {l} features"
                f"{f' of parity {p}' if p else ''}; its irreps are {self.layer.irreps}"
            )
        if isinstance(self.values, StoredArray):
            channels = sum(b.mul for b in found)
            return self.values.columns(((b.start, b.stop) for b in found), (channels, 2 * l + 1))
        parts = [
            self.values[:, b.start : b.stop].reshape(len(self.values), b.mul, 2 * l + 1)
            for b in found
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


@dataclass(frozen=True)
class Activations:
    """Node features by layer: ``acts[3].block(l=1)``.

    Attributes:
        rows: which atom each row is, the same for all layers.
        features: by layer index.
    """

    rows: Rows
    features: Mapping[int, LayerFeatures]

    def __getitem__(self, layer: int) -> LayerFeatures:
        if layer not in self.features:
            held = ", ".join(str(t) for t in self.features)
            raise ModelError(f"layer {layer} was not extracted; there are layers {held}")
        return self.features[layer]

    @property
    def layers(self) -> tuple[int, ...]:
        return tuple(self.features)
