"""A potential beside its control: the same architecture with random weights."""

from __future__ import annotations

from collections.abc import Iterator

from mpprobe.models.potential import Potential

#: The models as tables call them.
TRAINED, RANDOM_WEIGHTS = "trained", "random weights"


def models_of(
    potential: Potential, random_weights: bool, seed: int
) -> Iterator[tuple[str, Potential]]:
    """The potential, and its architecture with random weights unless it has those already."""
    yield TRAINED, potential
    if random_weights and "random_weights_seed" not in potential.provenance:
        yield RANDOM_WEIGHTS, potential.randomised(seed)
