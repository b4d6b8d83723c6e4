"""Node features of many structures: all layers in one forward pass, batches by atoms."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms

from mpprobe.activations.activations import Activations, LayerFeatures
from mpprobe.activations.finite import check_features
from mpprobe.activations.rows import Rows
from mpprobe.errors import ModelError
from mpprobe.models.potential import Layer, Potential
from mpprobe.structures import Frame, as_frames

if TYPE_CHECKING:
    from mpprobe.activations.manifest import StoredModel

#: Called after every batch with the number of atoms done so far and in all.
Progress = Callable[[int, int], None]

# The reference path on a CPU is quickest while its edge features stay in the caches; the fused path
# writes none, and more atoms spread the overhead of a pass; a GPU wants many.
MAX_ATOMS_REFERENCE = 100
MAX_ATOMS_FUSED = 2000
MAX_ATOMS_ACCELERATOR = 2000


def parse_layers(
    potential: Potential | StoredModel, layers: int | str | Iterable[int | str]
) -> tuple[int, ...]:
    """Layer indices, ascending, from ``all`` that there are, an index, or several.

    Raises:
        ModelError: not an index, or no such layer.
    """
    if isinstance(layers, (int, np.integer, str)):
        layers = [layers]
    chosen: set[int] = set()
    for layer in layers:
        if str(layer).lower() == "all":
            chosen.update(layer.index for layer in potential.layers)
            continue
        try:
            chosen.add(potential.layer(int(layer)).index)
        except ValueError:
            raise ModelError(f"layer {layer!r}: give a whole number, or all") from None
    if not chosen:
        raise ModelError("no layer chosen: give one or more, or all")
    return tuple(sorted(chosen))


def batch_limit(potential: Potential, max_atoms: int | None) -> int:
    """Most atoms in one forward pass: ``max_atoms``, or by device and path where that is None.

    Raises:
        ModelError: it is below 1.
    """
    if max_atoms is None and potential.device.type != "cpu":
        return MAX_ATOMS_ACCELERATOR
    if max_atoms is None:
        return MAX_ATOMS_FUSED if potential.fast else MAX_ATOMS_REFERENCE
    if max_atoms < 1:
        raise ModelError(f"max_atoms {max_atoms}: a batch needs at least one atom")
    return max_atoms


def batches(frames: Sequence[Frame], max_atoms: int) -> Iterator[list[int]]:
    """Indices of consecutive frames with at most ``max_atoms`` atoms together, or one frame."""
    batch: list[int] = []
    size = 0
    for i, frame in enumerate(frames):
        if batch and size + len(frame) > max_atoms:
            yield batch
            batch, size = [], 0
        batch.append(i)
        size += len(frame)
    if batch:
        yield batch


def stream(
    potential: Potential,
    structures: Atoms | Frame | Iterable[Atoms | Frame],
    layers: int | str | Iterable[int | str] = "all",
    *,
    max_atoms: int | None = None,
    progress: Progress | None = None,
) -> Iterator[Activations]:
    """Node features batch by batch; memory holds one batch at a time.

    Each batch's rows count its frames from where they stand in ``structures``.

    Args:
        potential: whose node features.
        structures: any number; a batch takes consecutive ones.
        layers: ``all``, an index, or several.
        max_atoms: most atoms in one forward pass; a larger structure goes alone. None chooses
            by the device and the path.
        progress: called after every batch.

    Raises:
        ModelError: a layer or an element that the potential doesn't have, or node features that
            are not finite; the message names the structure.
    """
    frames = as_frames(structures)
    chosen = parse_layers(potential, layers)
    max_atoms = batch_limit(potential, max_atoms)
    total, done = sum(len(frame) for frame in frames), 0
    for batch in batches(frames, max_atoms):
        part = [frames[i] for i in batch]
        output = potential.run(potential.batch(part), chosen, energies=False)
        rows = Rows.of(part)
        rows = Rows(rows.frame + batch[0], rows.atom, rows.species)
        values = {t: output.features[t].cpu().numpy() for t in chosen}
        check_features(values, rows, frames)
        yield Activations(rows, {t: LayerFeatures(potential.layer(t), values[t]) for t in chosen})
        done += len(rows)
        if progress is not None:
            progress(done, total)


def extract(
    potential: Potential,
    structures: Atoms | Frame | Iterable[Atoms | Frame],
    layers: int | str | Iterable[int | str] = "all",
    *,
    max_atoms: int | None = None,
    progress: Progress | None = None,
    folder: str | Path | None = None,
    chosen: np.ndarray | None = None,
) -> Activations:
    """Node features of all structures.

    Args:
        potential, structures, layers, max_atoms, progress: as in :func:`stream`.
        folder: keep the features in memory-mapped files there instead of in memory.
        chosen: which atoms to keep, a mask over those of all structures, (n_atoms,); default: all.

    Raises:
        ModelError: as in :func:`stream`.
    """
    frames = as_frames(structures)
    if not frames:
        raise ModelError("no structures to take node features of: give one or more")
    rows = Rows.of(frames)
    chosen = np.ones(len(rows), dtype=bool) if chosen is None else chosen
    kept = [potential.layer(t) for t in parse_layers(potential, layers)]
    n_kept = int(chosen.sum())
    arrays = {layer.index: _new_array(potential, layer, n_kept, folder) for layer in kept}
    first = done = 0
    for part in stream(potential, frames, layers, max_atoms=max_atoms, progress=progress):
        own = chosen[done : done + len(part.rows)]
        done += len(part.rows)
        for t, array in arrays.items():
            array[first : first + own.sum()] = np.asarray(part[t].values)[own]
        first += own.sum()
    return Activations(
        rows.taken(chosen), {t.index: LayerFeatures(t, arrays[t.index]) for t in kept}
    )


def _new_array(
    potential: Potential, layer: Layer, n_atoms: int, folder: str | Path | None
) -> np.ndarray:
    dtype = str(potential.dtype).removeprefix("torch.")
    if folder is None:
        return np.empty((n_atoms, layer.dim), dtype)
    Path(folder).mkdir(parents=True, exist_ok=True)
    path = Path(folder) / f"layer-{layer.index}.npy"
    array = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=(n_atoms, layer.dim))
    _reserve(path)
    return array


def _reserve(path: Path) -> None:
    """Take a mapped file's space on the disk now: where it's full later, the process is killed.

    Raises:
        ModelError: there is too little.
    """
    if not hasattr(os, "posix_fallocate"):
        return
    with path.open("r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise ModelError(
                    f"{path.parent}: no space for {path.stat().st_size / 1e6:,.0f} MB of node "
                    "features; set TMPDIR to a folder with more, or give fewer structures or layers"
                ) from error
            # Anything else: a file system that can't reserve space.
