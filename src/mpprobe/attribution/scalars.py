"""What can be explained: one number of a structure, as a function of a layer's node features."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from mpprobe.errors import AttributionError
from mpprobe.models.graph import Batch
from mpprobe.models.hooks import Edit
from mpprobe.models.potential import Potential
from mpprobe.structures import Frame

if TYPE_CHECKING:
    import torch


class Scalar(ABC):
    """One number of a structure that a potential computes.

    Attributes:
        unit: of the number.
    """

    unit: str

    @property
    @abstractmethod
    def name(self) -> str:
        """For tables."""

    @abstractmethod
    def values(
        self, potential: Potential, batch: Batch, edits: Mapping[int, Edit] | None = None
    ) -> torch.Tensor:
        """The number of each structure of a batch of copies, (n_frames,), with its graph.

        Differentiable by ``batch.positions`` if they require gradients, and by what edits use.
        """

    def check(self, potential: Potential, frame: Frame, layer: int | None = None) -> None:
        """Refuse a structure that has no such number, or a layer that it doesn't depend on.

        Raises:
            AttributionError: says which.
        """
        atom = getattr(self, "atom", 0)
        if not 0 <= atom < len(frame):
            raise AttributionError(
                f"{frame.source}: there is no atom {atom}; it has atoms 0 to {len(frame) - 1}"
            )


@dataclass(frozen=True)
class TotalEnergy(Scalar):
    """E in eV."""

    name: str = "energy"
    unit: str = "eV"

    def values(
        self, potential: Potential, batch: Batch, edits: Mapping[int, Edit] | None = None
    ) -> torch.Tensor:
        return potential.run(batch, edits=edits, keep_graph=True).energies


@dataclass(frozen=True)
class SiteEnergy(Scalar):
    """E_i of one atom in eV."""

    atom: int
    unit: str = "eV"

    @property
    def name(self) -> str:
        return f"site energy of atom {self.atom}"

    def values(
        self, potential: Potential, batch: Batch, edits: Mapping[int, Edit] | None = None
    ) -> torch.Tensor:
        energies = potential.run(batch, edits=edits, keep_graph=True).site_energies
        return energies.reshape(batch.n_frames, -1)[:, self.atom]


@dataclass(frozen=True)
class ForceComponent(Scalar):
    """F_iα of one atom in eV/Å; axis 0, 1, 2 for x, y, z."""

    atom: int
    axis: int
    unit: str = "eV/Å"

    @property
    def name(self) -> str:
        return f"force on atom {self.atom} along {'xyz'[self.axis]}"

    def values(
        self, potential: Potential, batch: Batch, edits: Mapping[int, Edit] | None = None
    ) -> torch.Tensor:
        if not batch.positions.requires_grad:
            batch = replace(batch, positions=batch.positions.detach().clone().requires_grad_())
        forces = potential.run(batch, edits=edits, forces=True, keep_graph=True).forces
        return forces.reshape(batch.n_frames, -1, 3)[:, self.atom, self.axis]

    def check(self, potential: Potential, frame: Frame, layer: int | None = None) -> None:
        super().check(potential, frame, layer)
        if self.axis not in (0, 1, 2):
            raise AttributionError(f"axis {self.axis}: give 0, 1 or 2 for x, y or z")


@dataclass(frozen=True, eq=False)
class Decoded(Scalar):
    """w·x_i + b, what a linear probe reads of one atom's node features.

    Attributes:
        atom: index.
        layer: whose features.
        weights: w, (layer.dim,).
        intercept: b.
        target: what is read, for tables.
        unit: of what is read.
    """

    atom: int
    layer: int
    weights: np.ndarray
    intercept: float = 0.0
    target: str = "decoded quantity"
    unit: str = ""

    @property
    def name(self) -> str:
        return f"{self.target} read of atom {self.atom} in layer {self.layer}"

    def values(
        self, potential: Potential, batch: Batch, edits: Mapping[int, Edit] | None = None
    ) -> torch.Tensor:
        import torch

        output = potential.run(batch, [self.layer], edits, energies=False, keep_graph=True)
        x = output.features[self.layer]
        read = x @ torch.as_tensor(self.weights).to(x) + self.intercept
        return read.reshape(batch.n_frames, -1)[:, self.atom]

    def check(self, potential: Potential, frame: Frame, layer: int | None = None) -> None:
        super().check(potential, frame, layer)
        width = potential.layer(self.layer).dim
        if np.shape(self.weights) != (width,):
            raise AttributionError(
                f"weights of shape {np.shape(self.weights)}: layer {self.layer} has {width} "
                "features"
            )
        if layer is not None and layer > self.layer:
            raise AttributionError(
                f"layer {layer}: what is read in layer {self.layer} doesn't depend on later ones"
            )


#: Those that belong to one atom.
OfAtom: TypeAlias = SiteEnergy | ForceComponent | Decoded
