"""Which atoms a number of another atom depends on: derivatives by positions, atom to atom."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms

from mpprobe.activations.finite import check_result
from mpprobe.attribution.scalars import Scalar
from mpprobe.models.graph import fewest_bonds
from mpprobe.models.potential import Potential
from mpprobe.structures import Frame, as_frames

if TYPE_CHECKING:
    import networkx as nx
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Influence:
    """∂s_i/∂r_j of a number s of each atom i by the position of each atom j.

    Attributes:
        frame: the structure.
        atoms: indices i.
        derivatives: (len(atoms), n_atoms, 3), in the number's unit per Å; atom j stands for all
            its images.
        distances: Å, to the nearest image of j, (len(atoms), n_atoms).
        bonds: fewest bonds shorter than the cutoff between i and j, inf without a way.
        cutoff: Å.
        scalar, unit: of the first atom's number.
    """

    frame: Frame
    atoms: tuple[int, ...]
    derivatives: np.ndarray
    distances: np.ndarray
    bonds: np.ndarray
    cutoff: float
    scalar: str
    unit: str

    @property
    def sizes(self) -> np.ndarray:
        """|∂s_i/∂r_j|, (len(atoms), n_atoms)."""
        return np.linalg.norm(self.derivatives, axis=2)

    def by_bonds(self) -> pd.DataFrame:
        """A row for each number of bonds: ``bonds``, ``n``, ``mean`` and ``largest`` size, and
        ``share``, of the sum of all squares but an atom's own."""  # fmt: skip
        return self._table(self.bonds, "bonds")

    def by_distance(self, width: float = 1.0) -> pd.DataFrame:
        """The same by distance, in ranges of ``width`` Å, named by where they begin."""
        return self._table(width * np.floor(self.distances / width), "distance")

    def _table(self, label: np.ndarray, name: str) -> pd.DataFrame:
        import pandas as pd

        other = self.bonds > 0
        table = pd.DataFrame({name: label[other], "size": self.sizes[other]})
        total = (table["size"] ** 2).sum()
        grouped = table.groupby(name)["size"]
        found = grouped.agg(n="size", mean="mean", largest="max")
        squares = grouped.agg(lambda sizes: (sizes**2).sum())
        return found.assign(share=squares / total if total else np.nan).reset_index()


def influence(
    potential: Potential,
    structure: Atoms | Frame,
    scalar: Callable[[int], Scalar],
    atoms: Sequence[int] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Influence:
    """How much a number of each atom depends on where each other atom is.

    One backward pass for each atom i through one graph.

    Args:
        potential: from :func:`mpprobe.load`.
        structure: where the derivatives are taken.
        scalar: the number of an atom, such as :class:`mpprobe.attribution.SiteEnergy`.
        atoms: indices i; all if not given.
        progress: called after every atom.

    Raises:
        AttributionError: no such atom, or weights of another width.
        ModelError: an element that the potential doesn't know, or a derivative that isn't finite.
    """
    import torch

    (frame,) = as_frames(structure)
    chosen = tuple(range(len(frame)) if atoms is None else atoms)
    numbers = [scalar(i) for i in chosen]
    for number in numbers:
        number.check(potential, frame)
    batch = potential.batch(frame)
    batch.positions.requires_grad_()
    derivatives = np.empty((len(chosen), len(frame), 3))
    for k, number in enumerate(numbers):
        (value,) = number.values(potential, batch)
        check_result(potential, frame, f"the {number.name}", value.item())
        (gradient,) = torch.autograd.grad(
            value, batch.positions, allow_unused=True, materialize_grads=True
        )
        derivatives[k] = gradient.cpu().numpy()
        check_result(potential, frame, f"derivatives of the {number.name}", derivatives[k])
        if progress is not None:
            progress(f"influence in {potential.name}", k + 1, len(chosen))
    everyone = range(len(frame))
    distances = np.array([frame.atoms.get_distances(i, everyone, mic=True) for i in chosen])
    bonds = fewest_bonds(frame.atoms, potential.cutoff)[list(chosen)]
    return Influence(
        frame, chosen, derivatives, distances.reshape(len(chosen), -1), bonds, potential.cutoff,
        numbers[0].name if numbers else "", numbers[0].unit if numbers else "",
    )  # fmt: skip


def influence_through(
    potential: Potential,
    structure: Atoms | Frame,
    scalar: Scalar,
    layer: int,
    progress: Callable[[str, int, int], None] | None = None,
) -> np.ndarray:
    """Through which atoms the influence on one number goes.

    The chain rule over one layer's features x_k: ds/dr_j = Σ_k (∂s/∂x_k)(dx_k/dr_j) and what comes
    past the layer, since later messages depend on the positions too. One backward pass for each
    atom k.

    Args:
        potential: from :func:`mpprobe.load`.
        structure: where the derivatives are taken.
        scalar: one number.
        layer: whose features; from the first on.
        progress: called after every atom.

    Returns:
        (n_atoms + 1, n_atoms, 3): the part of ds/dr_j that goes through each atom k, and in the
        last row what comes past the layer; they add up to ds/dr_j.

    Raises:
        AttributionError: no such atom, or a layer that the number doesn't depend on.
        ModelError: an element that the potential doesn't know, no such layer, or a derivative
            that isn't finite.
    """
    import torch

    (frame,) = as_frames(structure)
    scalar.check(potential, frame, potential.layer(layer).index)
    batch = potential.batch(frame)
    batch.positions.requires_grad_()
    seen: list[torch.Tensor] = []

    def see(features: torch.Tensor) -> torch.Tensor:
        seen.append(features)
        return features

    (value,) = scalar.values(potential, batch, {layer: see})
    check_result(potential, frame, f"the {scalar.name}", value.item())
    (features,) = seen

    def by_position(of: torch.Tensor) -> np.ndarray:
        (found,) = torch.autograd.grad(
            of, batch.positions, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        return found.cpu().numpy()

    total = by_position(value)
    (slopes,) = torch.autograd.grad(
        value, features, retain_graph=True, allow_unused=True, materialize_grads=True
    )
    parts = np.empty((len(frame) + 1, len(frame), 3))
    for k in range(len(frame)):
        parts[k] = by_position((slopes[k] * features[k]).sum())
        if progress is not None:
            progress(f"influence through layer {layer}", k + 1, len(frame))
    parts[-1] = total - parts[:-1].sum(axis=0)
    check_result(potential, frame, f"derivatives of the {scalar.name}", parts)
    return parts


def influence_graph(found: Influence, least: float = 0.0) -> nx.DiGraph:
    """The atoms as nodes, and an edge from j to i where j's position moves i's number.

    Args:
        found: from :func:`influence`.
        least: edges below this share of the largest size are left out.

    Returns:
        Nodes with ``species`` and ``position`` (Å); edges with ``weight``, |∂s_i/∂r_j|,
        ``distance`` (Å) and ``bonds``.
    """
    import networkx as nx

    graph = nx.DiGraph(scalar=found.scalar, unit=f"{found.unit}/Å", cutoff=found.cutoff)
    symbols = found.frame.atoms.get_chemical_symbols()
    for j, (symbol, position) in enumerate(zip(symbols, found.frame.atoms.positions, strict=True)):
        graph.add_node(j, species=symbol, position=tuple(map(float, position)))
    sizes, other = found.sizes, found.bonds > 0
    floor = least * sizes[other].max() if other.any() else 0.0
    for row, j in np.argwhere(other & (sizes > floor)):
        graph.add_edge(
            int(j), found.atoms[row], weight=float(sizes[row, j]),
            distance=float(found.distances[row, j]), bonds=float(found.bonds[row, j]),
        )  # fmt: skip
    return graph
