"""Filling a store: the shards that are missing are computed, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from mpprobe.activations.activations import Activations
from mpprobe.activations.capture import Progress, stream
from mpprobe.activations.finite import first_not_finite
from mpprobe.activations.manifest import (
    MODEL,
    Shard,
    StoredModel,
    deciding_versions,
    differences,
    random_kind,
)
from mpprobe.activations.shards import ForeignShardError, tensor_name
from mpprobe.errors import StoreError
from mpprobe.files import lock, remove
from mpprobe.models.potential import Potential
from mpprobe.structures import Frame

if TYPE_CHECKING:
    from mpprobe.activations.store import Store

#: Called with a line that the user should see.
Notify = Callable[[str], None]


def fill(
    store: Store, potential: Potential, numbers: Sequence[int], progress: Progress, notify: Notify
) -> None:
    """Compute those of the shards that aren't there; see :meth:`Store.extract`."""
    check_potential(store, potential)
    filling = _Filling(store, potential, numbers, progress, notify)
    pending = [number for number in numbers if not filling.is_whole(number)]
    # First what nobody else is at, then what others were at: those are there by now, or their
    # process has died and they are ours.
    for wait in (False, True):
        for number in list(pending):
            with lock(store.folder, number, wait=wait) as held:
                if held:
                    filling.make(number)
                    pending.remove(number)
    store.sweep()


def check_potential(store: Store, potential: Potential) -> None:
    """Refuse a potential other than the one that the store was begun with.

    Raises:
        StoreError: the message says in what they differ.
    """
    held = [layer.index for layer in store.layers if layer.index < len(potential.layers)]
    model = StoredModel.of(potential, held)
    own = replace(store.configuration, model=model, versions=deciding_versions())
    if own != store.configuration:
        raise StoreError(
            f"{store.folder}: was begun with another potential or release; they differ in "
            f"{differences(store.configuration, own)}"
        )


@dataclass
class _Filling:
    """The work of one process on a store.

    Attributes:
        damaged: shards that were there, and must be made again.
        done: atoms whose features are there, those of every kind counted.
        models: the random-weights models built so far, by kind: building one takes seconds.
    """

    store: Store
    potential: Potential
    numbers: Sequence[int]
    progress: Progress
    notify: Notify
    damaged: set[int] = field(default_factory=set)
    done: int = 0
    models: dict[str, Potential] = field(default_factory=dict)

    def is_whole(self, number: int) -> bool:
        """Whether a shard is there; what is damaged is told to the user, and counts as missing.

        Raises:
            ForeignShardError: another store's shard is in its place, which isn't ours to replace.
        """
        if not self.store.file(number).path.exists():
            return False
        try:
            self.store.check_shard(number)
        except ForeignShardError:
            raise
        except StoreError as error:
            self.notify(f"{str(error).removesuffix('; extract again')}; making it again")
            self.damaged.add(number)
            return False
        self._report(self.store.shards[number].n_rows * len(self.store.kinds))
        return True

    def make(self, number: int) -> None:
        """Compute and write a shard, unless another process has done so meanwhile."""
        path = self.store.file(number).path
        if number in self.damaged and path.exists() and not self._mended(number):
            # Out of the way first: a shard that exists is taken to be whole.
            remove(path)
        if path.exists():
            self._report(self.store.shards[number].n_rows * len(self.store.kinds))
        else:
            self.store.file(number).write(self._compute(self.store.shards[number]))

    def _mended(self, number: int) -> bool:
        try:
            self.store.check_shard(number)
        except StoreError:
            return False
        return True

    def _compute(self, shard: Shard) -> dict[str, np.ndarray]:
        """Features of a shard's structures by the names of their tensors."""
        frames = self.store.frames[shard.frames]
        layers = [layer.index for layer in self.store.layers]
        tensors = {
            tensor_name(kind, layer.index): np.empty((shard.n_rows, layer.dim), self.store.dtype)
            for kind in self.store.kinds
            for layer in self.store.layers
        }
        for kind in self.store.kinds:
            first, max_atoms = 0, self.store.configuration.max_atoms
            for part in stream(self._model(kind), frames, layers, max_atoms=max_atoms):
                rows = slice(first, first + len(part.rows))
                for t in layers:
                    tensors[tensor_name(kind, t)][rows] = self._narrowed(part, t, frames)
                first = rows.stop
                self._report(len(part.rows))
        return tensors

    def _narrowed(self, part: Activations, layer: int, frames: Sequence[Frame]) -> np.ndarray:
        """Features in the store's type, refused where they are too large for it."""
        with np.errstate(over="ignore"):
            values = np.asarray(part[layer].values).astype(self.store.dtype)
        row = first_not_finite(values)
        if row is not None:
            raise StoreError(
                f"{frames[part.rows.frame[row]].source}: layer {layer} has node features at atom "
                f"{part.rows.atom[row]} that are too large for {self.store.dtype}; extract with "
                "--dtype-store float32, or leave this structure out"
            )
        return values

    def _model(self, kind: str) -> Potential:
        """The potential, or its architecture with the random weights of this kind."""
        if kind == MODEL:
            return self.potential
        if kind not in self.models:
            seeds = {random_kind(s): s for s in self.store.configuration.random_weights_seeds}
            self.models[kind] = self.potential.randomised(seeds[kind])
        return self.models[kind]

    @cached_property
    def _total(self) -> int:
        return sum(self.store.shards[i].n_rows for i in self.numbers) * len(self.store.kinds)

    def _report(self, n_atoms: int) -> None:
        self.done += n_atoms
        self.progress(self.done, self._total)
