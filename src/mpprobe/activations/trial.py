"""Whether a potential gives finite numbers for structures, before anything is made of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mpprobe.activations.capture import stream
from mpprobe.activations.evaluate import evaluate
from mpprobe.models.potential import Potential
from mpprobe.structures import Frame


def run_through(
    potentials: Iterable[Potential],
    frames: Sequence[Frame],
    layers: int | str | Iterable[int | str] = (),
    *,
    forces: bool = False,
    max_atoms: int | None = None,
) -> None:
    """Run potentials over structures and keep nothing; an attempt for :func:`usable`.

    Args:
        potentials: to run.
        frames: structures.
        layers: whose node features are looked at; none by default.
        forces: whether energies and forces are.
        max_atoms: most atoms in one forward pass.

    Raises:
        ModelError: a feature, energy or force isn't finite; the message names the structure.
    """
    for potential in potentials:
        if layers != ():
            for _ in stream(potential, frames, layers, max_atoms=max_atoms):
                pass
        if forces:
            for _ in evaluate(potential, frames, max_atoms):
                pass
