"""Node features on disk: larger than memory, resumable, and checked when they are read.

A store is a folder named by the hash of its configuration::

    sevenn-0-0123456789abcdef/
      manifest.json            the configuration: model, structures, layers, plan of the shards
      structures.jsonl         the structures, exact to the bit, with their labels
      index.parquet            one row an atom: structure, species, labels, shard
      shards/00000.safetensors features of consecutive structures, a tensor a kind and layer
      failures.csv             what `mpprobe extract --on-error skip` has left out, if anything

Every byte of all but the last follows from the configuration (on a CPU, with the same number of
threads), and every file is written beside its place and renamed. So a run that is killed at any
moment and started again ends in the same store as one that is left alone.
"""

from __future__ import annotations

import csv
import warnings
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mpprobe.activations.activations import Activations, LayerFeatures
from mpprobe.activations.capture import Progress
from mpprobe.activations.filling import Notify, fill
from mpprobe.activations.index import encode_index
from mpprobe.activations.manifest import (
    MODEL,
    Configuration,
    Shard,
    StoredModel,
    configure,
    decode_manifest,
    encode_manifest,
)
from mpprobe.activations.rows import Rows
from mpprobe.activations.shards import FOLDER, ShardFile, tensor_name
from mpprobe.activations.stored import StoredArray
from mpprobe.activations.stored_frames import encode_frames, read_frames, refuse_link
from mpprobe.errors import StoreError
from mpprobe.files import LOCK, cannot_write, sweep, write_once
from mpprobe.models.potential import Layer, Potential
from mpprobe.structures import Frame, as_frames
from mpprobe.structures.failures import FILE

if TYPE_CHECKING:
    from ase import Atoms

MANIFEST = "manifest.json"
STRUCTURES = "structures.jsonl"
INDEX = "index.parquet"


class Store:
    """Node features of a potential, and of its random-weights models, for some structures.

    Attributes:
        folder: where it is.
        configuration: all that decides what is in it.
    """

    def __init__(self, folder: Path, configuration: Configuration) -> None:
        self.folder = folder
        self.configuration = configuration

    @classmethod
    def create(
        cls,
        folder: str | Path,
        potential: Potential,
        structures: Atoms | Frame | Iterable[Atoms | Frame],
        layers: int | str | Iterable[int | str] = "all",
        *,
        dtype_store: str = "float32",
        max_atoms: int | None = None,
        random_seeds: int = 5,
        seed: int = 0,
    ) -> Store:
        """The store of this configuration inside ``folder``; begun if it isn't there.

        No features are computed: :meth:`extract` does that.

        Args:
            folder: in which the store's own folder, named by its hash, is or will be.
            potential: whose node features.
            structures: any number.
            layers: ``all``, an index, or several; layer 0 always comes with them.
            dtype_store: ``float32`` or ``float16``, also where features are computed in float64.
            max_atoms: most atoms in one forward pass; None chooses by the device.
            random_seeds: number of random-weights models whose features are stored too: the same
                architecture with weights drawn at random, the control of every probe. Each adds as
                much time and space as the potential itself. 0 stores none; a potential with random
                weights gets none either.
            seed: seed of the first of them; the others take the next ones.

        Raises:
            StoreError: an unknown type, a negative number of seeds, no structures, or a folder that
                can't be written.
            ModelError, StructureError: a layer or a structure that can't be used.
        """
        frames = as_frames(structures)
        configuration = configure(
            potential, frames, layers, dtype_store=dtype_store, max_atoms=max_atoms,
            random_seeds=random_seeds, seed=seed,
        )  # fmt: skip
        return cls.begin(folder, configuration, frames)

    @classmethod
    def begin(
        cls, folder: str | Path, configuration: Configuration, frames: Sequence[Frame]
    ) -> Store:
        """The same for a configuration of these frames (see :func:`configure`)."""
        store = cls(Path(folder) / configuration.folder_name, configuration)
        try:
            (store.folder / FOLDER).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(store.folder, error) from error
        write_once(store.folder / STRUCTURES, encode_frames(frames))
        write_once(store.folder / INDEX, encode_index(frames, store.shards))
        # Last, since a folder with a manifest is a store.
        write_once(store.folder / MANIFEST, encode_manifest(configuration))
        return store

    @classmethod
    def open(cls, folder: str | Path) -> Store:
        """The store in ``folder``, or the only one in a folder right below it.

        Raises:
            StoreError: there is none, there are several, or its manifest is damaged.
        """
        folder = find_store(Path(folder))
        refuse_link(folder / MANIFEST)
        try:
            return cls(folder, decode_manifest((folder / MANIFEST).read_bytes()))
        except OSError as error:
            raise StoreError(f"{folder / MANIFEST}: can't be read ({error.strerror})") from error
        except StoreError as error:
            raise StoreError(f"{folder / MANIFEST}: {error}") from error

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.folder.absolute(), self.configuration))

    @property
    def model(self) -> StoredModel:
        """The potential, as far as it is known without its weights."""
        return self.configuration.model

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The stored layers, ascending; 0 is always among them."""
        return self.model.layers

    @property
    def dtype(self) -> np.dtype:
        """Of the numbers on disk."""
        return np.dtype(self.configuration.dtype_store)

    @property
    def kinds(self) -> tuple[str, ...]:
        """``model``, then ``random weights 0`` and so on, one for each seed."""
        return self.configuration.kinds

    @cached_property
    def shards(self) -> tuple[Shard, ...]:
        return self.configuration.plan()

    @cached_property
    def frames(self) -> list[Frame]:
        """The structures, exact to the bit, with labels, arrays, info and stored results.

        Raises:
            StoreError: their file is missing or damaged.
        """
        frames = read_frames(self.folder / STRUCTURES, self.configuration.structures)
        sizes = [len(frame) for frame in frames]
        planned = [sum(sizes[shard.frames]) for shard in self.shards]
        whole = sum(shard.n_frames for shard in self.shards) == len(frames)
        if not whole or planned != [shard.n_rows for shard in self.shards]:
            raise StoreError(
                f"{self.folder / MANIFEST}: its shards aren't those of the structures; extract "
                "again"
            )
        return frames

    @cached_property
    def rows(self) -> Rows:
        return Rows.of(self.frames)

    @property
    def n_left_out(self) -> int:
        """Structures that the extraction was given and left out, as its failures.csv lists them."""
        try:
            with (self.folder / FILE).open(encoding="utf-8", newline="") as file:
                return max(sum(1 for _ in csv.reader(file)) - 1, 0)
        except FileNotFoundError:
            return 0

    def file(self, number: int) -> ShardFile:
        """The file of a shard, there or not."""
        n_rows = self.shards[number].n_rows
        return ShardFile(self.folder, self.configuration.sha256, number, n_rows)

    def missing(self) -> tuple[int, ...]:
        """Numbers of the shards that aren't there."""
        return tuple(s.number for s in self.shards if not self.file(s.number).path.exists())

    def extract(
        self,
        potential: Potential,
        shards: Iterable[int] | None = None,
        *,
        progress: Progress | None = None,
        notify: Notify = warnings.warn,
    ) -> None:
        """Compute the features that aren't there yet, and write them shard by shard.

        What a killed run has finished is kept. Damaged shards are made again. Several processes
        can do this at once; where the file system has locks, they share the work.

        Args:
            potential: the one that the store was begun with.
            shards: numbers of those to compute (all by default).
            progress: called with the atoms done and in all, those of every kind counted.
            notify: called with a line for each damaged shard.

        Raises:
            StoreError: another potential, features too large for the type of the store, a disk
                that can't be written, or another store's shard in the place of one of this.
            ModelError: node features that aren't finite; the message names the structure.
        """
        numbers = [shard.number for shard in self.shards] if shards is None else sorted(set(shards))
        fill(self, potential, numbers, progress or (lambda done, total: None), notify)

    def activations(self, kind: str = MODEL) -> Activations:
        """Features of all atoms, read from the disk slice by slice as they are asked for.

        Args:
            kind: one of :attr:`kinds`.

        Raises:
            StoreError: shards are missing, or the store has no such kind. What is damaged or
                foreign is found when it is read.
        """
        self._check_kind(kind)
        missing = self.missing()
        if missing:
            raise StoreError(
                f"{self.folder}: {len(missing)} of {len(self.shards)} shards missing "
                f"({listed(missing)}); run the same `mpprobe extract` again"
            )
        return Activations(
            self.rows, {la.index: LayerFeatures(la, self._array(kind, la)) for la in self.layers}
        )

    def read_shard(self, number: int, kind: str = MODEL) -> Activations:
        """Features of one shard in memory; rows count structures in the whole store.

        Raises:
            StoreError: it is missing, damaged or foreign, or the store has no such kind.
        """
        self._check_kind(kind)
        shard, file = self.shards[number], self.file(number)
        rows = Rows(
            self.rows.frame[shard.rows], self.rows.atom[shard.rows], self.rows.species[shard.rows]
        )
        features = {
            layer.index: LayerFeatures(
                layer,
                file.read(tensor_name(kind, layer.index), layer.dim, self.dtype,
                          slice(0, shard.n_rows), [slice(0, layer.dim)]),
            )
            for layer in self.layers
        }  # fmt: skip
        return Activations(rows, features)

    def check_shard(self, number: int) -> dict[str, str]:
        """Read a whole shard; its tensors' SHA-256 by name.

        Raises:
            StoreError: it is missing or damaged.
            ForeignShardError: it is whole, but another store's or another shard.
        """
        expected = {
            tensor_name(kind, layer.index): (layer.dim, self.dtype)
            for kind in self.kinds
            for layer in self.layers
        }
        return self.file(number).check(expected)

    def sweep(self) -> None:
        """Remove what killed processes left, if every shard is in place."""
        if not self.missing():
            sweep(self.folder)
            sweep(self.folder / FOLDER)
            sweep(self.folder, LOCK)

    def _array(self, kind: str, layer: Layer) -> StoredArray:
        return StoredArray(
            store=self.folder.absolute(),
            configuration=self.configuration.sha256,
            tensor=tensor_name(kind, layer.index),
            width=layer.dim,
            dtype=self.dtype,
            counts=tuple(shard.n_rows for shard in self.shards),
            parts=((0, layer.dim),),
            tail=(layer.dim,),
        )

    def _check_kind(self, kind: str) -> None:
        if kind not in self.kinds:
            raise StoreError(
                f"{self.folder}: holds no features of {kind}, only of {', '.join(self.kinds)}; "
                "extract again to have them"
            )


def find_store(folder: Path) -> Path:
    """``folder`` if it is a store, or the only store right below it.

    Raises:
        StoreError: there is none, or there are several.
    """
    if (folder / MANIFEST).is_file():
        return folder
    found = sorted(path.parent for path in folder.glob(f"[!.]*/{MANIFEST}"))
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(path.name for path in found)
        raise StoreError(f"{folder}: holds several stores ({names}); give the folder of one")
    raise StoreError(f"{folder}: no store is here; make one with `mpprobe extract -o {folder}`")


def listed(numbers: Sequence[int]) -> str:
    """The first few of some shards: ``3, 5, 7``."""
    return ", ".join([*map(str, numbers[:8]), *(["..."] if len(numbers) > 8 else [])])
