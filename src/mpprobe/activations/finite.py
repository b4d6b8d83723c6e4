"""Numbers that aren't finite, refused with the structure, the layer and the atom they begin at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mpprobe.activations.rows import Rows
from mpprobe.errors import ModelError
from mpprobe.models.graph import Batch
from mpprobe.models.hooks import Edit
from mpprobe.models.potential import Potential
from mpprobe.structures import Frame

_ADVICE = "check the structure, or try --dtype float64"


def first_not_finite(values: np.ndarray) -> int | None:
    """The first row, of (n, k), that holds NaN or infinity; None if there is none."""
    finite = np.isfinite(values).all(axis=1)
    return None if finite.all() else int(finite.argmin())


def check_features(values: Mapping[int, np.ndarray], rows: Rows, frames: Sequence[Frame]) -> None:
    """Refuse node features that aren't finite.

    Args:
        values: by layer, (n_atoms, layer.dim).
        rows: which atom each row is.
        frames: that ``rows`` counts.

    Raises:
        ModelError: names the first structure, its layer and its atom.
    """
    for layer, array in values.items():
        row = first_not_finite(array)
        if row is not None:
            raise ModelError(
                f"{frames[rows.frame[row]].source}: layer {layer} has node features that aren't "
                f"finite at atom {rows.atom[row]}; {_ADVICE}"
            )


def check_result(
    potential: Potential,
    frame: Frame,
    what: str,
    values: np.ndarray | float,
    *,
    batch: Batch | None = None,
    edits: Mapping[int, Edit] | None = None,
    first: int = 0,
) -> None:
    """Refuse a result of one structure that isn't finite, with the layer at which that begins.

    Args:
        potential: that gave it.
        frame: the structure.
        what: the result is, for the message.
        values: the result.
        batch: that it was computed in; the structure alone if not given.
        edits: that it was computed with.
        first: of the batch's atoms that is the structure's.

    Raises:
        ModelError: says from which layer on, and at which atom of it.
    """
    if np.isfinite(values).all():
        return
    where = _origin(potential, batch or potential.batch(frame), edits, first, len(frame))
    raise ModelError(
        f"{frame.source}: {potential.name} gives NaN or infinity for {what}{where}; {_ADVICE}"
    )


def _origin(
    potential: Potential, batch: Batch, edits: Mapping[int, Edit] | None, first: int, n: int
) -> str:
    """At which layer and atom the features stop being finite, from one more forward pass."""
    layers = [layer.index for layer in potential.layers]
    features = potential.run(batch, layers, edits, energies=False).features
    for t in layers:
        atom = first_not_finite(features[t].detach()[first : first + n].cpu().numpy())
        if atom is not None:
            edited = "the edited layer" if t in (edits or {}) else "layer"
            return f", from {edited} {t} on (atom {atom})"
    return ", though the node features of every layer are finite"
