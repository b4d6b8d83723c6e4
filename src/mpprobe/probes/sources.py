"""What a probe is given to look at: a layer's features, or those of a baseline."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mpprobe.activations import (  # noqa: F401 - the first two are kinds of sources
    MODEL,
    RANDOM_WEIGHTS,
    Activations,
    StoredModel,
)
from mpprobe.activations.stored import StoredArray
from mpprobe.errors import ProbeError
from mpprobe.models.irreps import Block
from mpprobe.models.potential import Layer, Potential
from mpprobe.probes.baselines import (
    RADIAL_FUNCTIONS,
    Weights,
    batches,
    local_electrostatics,
    neighbour_vectors,
    radial_densities,
    random_projection,
    soap,
)
from mpprobe.probes.executor import SERIAL, Executor
from mpprobe.probes.rows import BlockRows, JoinedRows, RowFiles, Rows, write_rows
from mpprobe.structures import Frame
from mpprobe.targets import Target

#: The kinds of features, as the tables call them, besides MODEL and RANDOM_WEIGHTS.
SHUFFLED = "shuffled target"
RANDOM_DIRECTION = "random direction"
SPECIES_MEAN = "species mean"
LOCAL = {0: ("SOAP", "radial densities"), 1: ("neighbour vectors",)}
SAME_WIDTH = ", same width"
ELECTROSTATICS = "local electrostatics"
#: A layer's features beside the local electrostatics, which bear no penalty.
WITH_LAYER = f"{ELECTROSTATICS} + layer"
WITH_RANDOM = f"{ELECTROSTATICS} + random weights"
#: The model's layer that the training folds choose, fold by fold.
CHOSEN = "chosen layer"


@dataclass(frozen=True)
class Source:
    """Features of every atom, and what they are.

    Attributes:
        kind: :data:`MODEL`, :data:`RANDOM_WEIGHTS`, or a local-geometry baseline.
        layer: of the model, None for baselines.
        block: which irreps, such as ``128x0e``; empty for baselines.
        values: (n_atoms, d) for l = 0, (n_atoms, channels, 3) for l = 1.
        covariates: how many of the first features bear no penalty.
    """

    kind: str
    layer: int | None
    block: str
    values: Rows
    covariates: int = 0

    @property
    def width(self) -> int:
        return self.values.shape[1]

    def beside(self, other: Source, kind: str) -> Source:
        """These features as covariates of the other's, under the name ``kind``."""
        joined = JoinedRows((self.values, other.values))
        return Source(kind, other.layer, other.block, joined, covariates=self.width)


def layer_sources(acts: Activations, kind: str, l: int) -> list[Source]:
    """The features of order ``l`` of every layer that has some, see :func:`probed_blocks`."""
    sources = []
    for t in acts.layers:
        blocks = probed_blocks(acts[t].layer, l)
        if blocks:
            block = "+".join(str(b) for b in blocks)
            sources.append(Source(kind, t, block, _block_rows(acts[t].values, blocks)))
    return sources


def _block_rows(values: Rows, blocks: tuple[Block, ...]) -> Rows:
    """The features of some blocks of one order, read when they are sliced."""
    rows = BlockRows(values, blocks)
    if isinstance(values, StoredArray):  # which reads no other columns from the disk
        return values.columns(((b.start, b.stop) for b in blocks), rows.shape[1:])
    return rows


def probed_blocks(layer: Layer, l: int) -> tuple[Block, ...]:
    """The blocks of true scalars or vectors in a layer; empty if it holds none.

    Scalars are the even ones (0e); vectors the odd ones (1o), or 1e where a model without
    parity (SevenNet) labels its vectors so.
    """
    held = {block.p for block in layer.blocks if block.l == l}
    parity = next((p for p in (("e",) if l == 0 else ("o", "e")) if p in held), None)
    return tuple(block for block in layer.blocks if (block.l, block.p) == (l, parity))


def probed_columns(layer: Layer, l: int) -> np.ndarray:
    """Columns of those blocks, shape (C, 2l + 1); C is zero if there are none."""
    columns = [np.arange(b.start, b.stop).reshape(b.mul, -1) for b in probed_blocks(layer, l)]
    return np.concatenate([np.empty((0, 2 * l + 1), dtype=int), *columns])


def check_layers(potential: Potential | StoredModel, asked: Sequence[int], target: Target) -> None:
    """Refuse a target if none of the layers asked for holds features of its order.

    Raises:
        ProbeError: there is nothing to probe.
    """
    held = [layer.index for layer in potential.layers if probed_blocks(layer, target.l)]
    if not set(held) & set(asked):
        layers = ", ".join(str(t) for t in held) or "none"
        raise ProbeError(
            f"target {target.name!r} has l = {target.l}, and layer "
            f"{', '.join(str(t) for t in asked)} of {potential.name} holds no l = {target.l} "
            f"features; layers that do: {layers}"
        )


def local_sources(
    frames: Sequence[Frame],
    cutoff: float,
    l: int,
    widths: Sequence[int],
    seed: int,
    *,
    folder: str | Path,
    chosen: Sequence[np.ndarray] | None = None,
    n_cutoffs: int = 1,
    executor: Executor = SERIAL,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[Source]:
    """The local-geometry baselines at the model's cutoff, each also projected to every width.

    SOAP knows pairs of neighbours; the two-body densities know less, but carry over better to
    compounds whose pairs of species are new.

    Args:
        frames, cutoff, seed: as for :func:`mpprobe.probes.baselines.soap`.
        l: the order of the features.
        widths: of the projections.
        folder: where the features are kept, in files; the workers must see it.
        chosen: which atoms of each structure count, masks (n,); by default all.
        n_cutoffs: the same without projections within two, three, ... cutoffs too.
        executor: who describes the structures.
        progress: called with the number of batches of structures described, and of all.
    """
    species = tuple(np.unique(np.concatenate([f.numbers for f in frames])).tolist())
    numbered = [
        (i, [frames[k] for k in batch], chosen and [chosen[k] for k in batch])
        for i, batch in enumerate(batches(frames))
    ]
    described = [(k, name) for k in range(1, n_cutoffs + 1) for name in LOCAL[l]]
    ascending = tuple(sorted(set(widths)))
    for place, (k, name) in enumerate(described):
        projected = ascending if k == 1 else ()
        describe = _Describe(name, k, k * cutoff, seed, species, projected, str(folder))
        pieces = []
        for paths in executor.map(describe, numbered):
            pieces.append(paths)
            progress(place * len(numbered) + len(pieces), len(described) * len(numbered))
        whole = name + within_cutoffs(k)
        names = [whole, *[name + SAME_WIDTH for _ in projected]]
        for kind, files in zip(names, zip(*pieces, strict=True), strict=True):
            yield Source(kind, None, "", RowFiles.of(files))


def within_cutoffs(k: int) -> str:
    """What the names of controls end with that see farther than one cutoff."""
    return f", {k} cutoffs" if k > 1 else ""


def electrostatic_source(
    frames: Sequence[Frame],
    cutoff: float,
    weights: Weights,
    l: int,
    *,
    folder: str | Path,
    chosen: Sequence[np.ndarray] | None = None,
    n_cutoffs: int = 1,
) -> Source:
    """The local electrostatics of all structures, in files; no feature bears a penalty.

    Charge-weighted sums within ``n_cutoffs`` cutoffs, with as many functions for each.
    """
    paths = []
    for number, batch in enumerate(batches(frames)):
        part = Weights(weights.name, [weights.values[k] for k in batch], weights.relative)
        values = local_electrostatics(
            [frames[k] for k in batch], n_cutoffs * cutoff, part, l,
            n_functions=n_cutoffs * RADIAL_FUNCTIONS, chosen=chosen and [chosen[k] for k in batch],
        )  # fmt: skip
        name = f"{ELECTROSTATICS}-{weights.name}-{l}-{n_cutoffs}"
        name = name.replace(" ", "-").replace("/", "-")
        paths.append(Path(folder, f"{name}-{number:06d}.npy"))
        write_rows(paths[-1], values)
    rows = RowFiles.of(paths)
    kind = ELECTROSTATICS + within_cutoffs(n_cutoffs)
    return Source(kind, None, weights.name, rows, covariates=rows.shape[1])


@dataclass(frozen=True)
class _Describe:
    """Describe a numbered batch of structures, and project it, into files: their paths."""

    name: str
    n_cutoffs: int
    cutoff: float
    seed: int
    species: tuple[int, ...]
    widths: tuple[int, ...]
    folder: str

    def __call__(self, batch: tuple[int, list[Frame], Sequence[np.ndarray] | None]) -> list[str]:
        number, frames, chosen = batch
        values = self._values(frames, chosen)
        features = [values, *(random_projection(values, w, self.seed) for w in self.widths)]
        name = f"{self.name.replace(' ', '-')}-{self.n_cutoffs}"
        paths = [
            str(Path(self.folder, f"{name}-{part}-{number:06d}.npy"))
            for part in ("whole", *self.widths)
        ]
        for path, array in zip(paths, features, strict=True):
            write_rows(path, array)
        return paths

    def _values(self, frames: list[Frame], chosen: Sequence[np.ndarray] | None) -> np.ndarray:
        options: dict[str, Any] = {"species": self.species, "chosen": chosen}
        if self.name == "SOAP":
            return soap(frames, self.cutoff, seed=self.seed, **options)
        describe = {"radial densities": radial_densities, "neighbour vectors": neighbour_vectors}
        return describe[self.name](frames, self.cutoff, **options)
