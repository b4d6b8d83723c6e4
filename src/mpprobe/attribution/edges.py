"""Which messages a number comes from: integrated gradients over the edges of every layer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms

from mpprobe.activations.finite import check_result
from mpprobe.attribution.maps import MAX_ATOMS
from mpprobe.attribution.scalars import Scalar
from mpprobe.models.graph import Batch
from mpprobe.models.potential import Potential
from mpprobe.structures import Frame, as_frames

if TYPE_CHECKING:
    import pandas as pd
    import torch


#: Steps of integrated gradients, which are smooth along this path.
_STEPS = 16


@dataclass(frozen=True, eq=False)
class EdgeAttribution:
    """How much the message on each edge of the graph adds to a number, layer by layer.

    Attributes:
        values: (n_layers, n_edges), from the first message-passing layer on, in the unit of the
            number.
        sender, receiver: atoms between which a message goes, (n_edges,).
        distances: Å, (n_edges,).
        symbols: of the atoms, (n_atoms,).
        scalar, unit: what is explained.
        value, baseline_value: the number, and what it is without any message.
        gap: value − baseline_value − Σ values.
    """

    values: np.ndarray
    sender: np.ndarray
    receiver: np.ndarray
    distances: np.ndarray
    symbols: list[str]
    scalar: str
    unit: str
    value: float
    baseline_value: float
    gap: float

    @property
    def relative_gap(self) -> float:
        difference = self.value - self.baseline_value
        return abs(self.gap / difference) if difference else np.nan

    def by_edge(self) -> pd.DataFrame:
        """A row for each layer and edge: ``layer``, ``sender``, ``receiver``, ``distance``,
        ``value``."""  # fmt: skip
        import pandas as pd

        n_layers, n_edges = self.values.shape
        return pd.DataFrame({
            "layer": np.repeat(np.arange(1, n_layers + 1), n_edges),
            "sender": np.tile(self.sender, n_layers), "receiver": np.tile(self.receiver, n_layers),
            "distance": np.tile(self.distances, n_layers), "value": self.values.ravel(),
        })  # fmt: skip

    def by_atom(self) -> pd.DataFrame:
        """A row for each atom: ``atom``, ``species``, what its messages add, ``sent``, and what
        those that it receives add, ``received``, over all layers."""  # fmt: skip
        import pandas as pd

        n, total = len(self.symbols), self.values.sum(axis=0)
        sent, received = (
            np.bincount(atoms, total, minlength=n) for atoms in (self.sender, self.receiver)
        )
        return pd.DataFrame({
            "atom": np.arange(n), "species": self.symbols, "sent": sent, "received": received,
        })  # fmt: skip


def attribute_edges(
    potential: Potential, structure: Atoms | Frame, scalar: Scalar, *, max_atoms: int = MAX_ATOMS
) -> EdgeAttribution:
    """Share a number out among the messages between atoms.

    Integrated gradients (captum's) along the path on which the messages on all edges of all layers
    grow together from nothing to what they are.

    Args:
        potential: from :func:`mpprobe.load`; its reference path is taken.
        structure: whose number.
        scalar: which, see :mod:`mpprobe.attribution.scalars`.
        max_atoms: most atoms in one forward pass, copies of the structure counted.

    Raises:
        AttributionError: no such atom.
        ModelError: an element that the potential doesn't know, a family whose messages can't be
            scaled, or a result that isn't finite.
    """
    import torch
    from captum.attr import IntegratedGradients

    (frame,) = as_frames(structure)
    scalar.check(potential, frame)

    @cache
    def batch_of(n: int) -> Batch:
        return potential.batch([frame] * n)

    single = batch_of(1)
    copies = max(1, max_atoms // len(frame))

    def number(scales: torch.Tensor) -> torch.Tensor:
        """(n, n_layers, n_edges) → (n,)."""
        with potential.scaled_messages(scales.transpose(0, 1).flatten(1)):
            return scalar.values(potential, batch_of(len(scales)))

    ones = torch.ones(
        1, len(potential.layers) - 1, single.edge_index.shape[1], dtype=potential.dtype,
        device=potential.device,
    )  # fmt: skip
    nothing = torch.zeros_like(ones)
    found = IntegratedGradients(number).attribute(
        ones, nothing, n_steps=_STEPS, internal_batch_size=copies
    )
    values = found[0].detach().cpu().numpy().astype(np.float64)
    value, start = (number(scales)[0].item() for scales in (ones, nothing))
    what = f"attributions of the {scalar.name}"
    check_result(potential, frame, what, np.append(values.ravel(), [value, start]))
    edges = single.edge_index.cpu().numpy()
    return EdgeAttribution(
        values, edges[1 - potential.receiver], edges[potential.receiver],
        single.edge_vectors().norm(dim=1).cpu().numpy(), frame.atoms.get_chemical_symbols(),
        scalar.name, scalar.unit, value, start, value - start - float(values.sum()),
    )  # fmt: skip
