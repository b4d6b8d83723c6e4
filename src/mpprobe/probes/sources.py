"""What a probe is given to look at: a layer's features, or those of a baseline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mpprobe.activations import Activations
from mpprobe.errors import ProbeError
from mpprobe.models.potential import Layer, Potential
from mpprobe.probes.baselines import (
    neighbour_vectors,
    radial_densities,
    random_projection,
    soap,
)
from mpprobe.structures import Frame
from mpprobe.targets import Target

#: The kinds of features, as the tables call them.
MODEL = "model"
RANDOM_WEIGHTS = "random weights"
SHUFFLED = "shuffled target"
RANDOM_DIRECTION = "random direction"
SPECIES_MEAN = "species mean"
LOCAL = {0: ("SOAP", "radial densities"), 1: ("neighbour vectors",)}
SAME_WIDTH = ", same width"


@dataclass(frozen=True)
class Source:
    """Features of every atom, and what they are.

    Attributes:
        kind: :data:`MODEL`, :data:`RANDOM_WEIGHTS`, or a local-geometry baseline.
        layer: of the model, None for baselines.
        block: which irreps, such as ``128x0e``; empty for baselines.
        values: (n_atoms, d) for l = 0, (n_atoms, channels, 3) for l = 1.
    """

    kind: str
    layer: int | None
    block: str
    values: np.ndarray

    @property
    def width(self) -> int:
        return self.values.shape[1]


def layer_sources(acts: Activations, kind: str, l: int) -> list[Source]:  # noqa: E741
    """The features of order ``l`` of every layer that has some.

    Scalars are the even ones (0e); vectors the odd ones (1o), or 1e where a model without
    parity (SevenNet) labels its vectors so.
    """
    sources = []
    for t in acts.layers:
        parity = _parity(acts[t].layer, l)
        if parity is not None:
            block = "+".join(str(b) for b in acts[t].blocks(l, parity))
            values = acts[t].block(l, parity)
            sources.append(Source(kind, t, block, values[:, :, 0] if l == 0 else values))
    return sources


def _parity(layer: Layer, l: int) -> str | None:  # noqa: E741
    """The parity that a true scalar or vector has in this layer, None if it holds none."""
    held = {block.p for block in layer.blocks if block.l == l}
    return next((p for p in (("e",) if l == 0 else ("o", "e")) if p in held), None)


def check_layers(potential: Potential, asked: Sequence[int], target: Target) -> None:
    """Refuse a target if none of the layers asked for holds features of its order.

    Raises:
        ProbeError: there is nothing to probe.
    """
    held = [layer.index for layer in potential.layers if _parity(layer, target.l)]
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
    l: int,  # noqa: E741
    widths: Sequence[int],
    seed: int,
) -> Iterator[Source]:
    """The local-geometry baselines at the model's cutoff, each also projected to every width.

    SOAP knows pairs of neighbours; the two-body densities know less, but carry over better to
    compounds whose pairs of species are new.
    """
    describe = {
        "SOAP": lambda: soap(frames, cutoff, seed=seed),
        "radial densities": lambda: radial_densities(frames, cutoff),
        "neighbour vectors": lambda: neighbour_vectors(frames, cutoff),
    }
    for name in LOCAL[l]:
        values = describe[name]()
        yield Source(name, None, "", values)
        for width in sorted(set(widths)):
            projected = random_projection(values, width, seed)
            yield Source(name + SAME_WIDTH, None, "", projected)
