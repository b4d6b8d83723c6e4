"""Potentials whose energies are known: of one direction of features, and of point charges."""

from __future__ import annotations

import numpy as np
import torch

from mpprobe.models.hooks import Tap
from mpprobe.models.potential import Potential
from mpprobe.targets.electrostatics import COULOMB

SCALARS, VECTORS, CUTOFF = 6, 4, 5.0
SHELLS = (2.5, 3.5, 4.5, 5.5)


class Describe(torch.nn.Module):
    """Gaussians of the distances to the neighbours, and unit vectors, summed with a sign."""

    def __init__(self, width: float) -> None:
        super().__init__()
        self.width = width

    def forward(self, batch) -> torch.Tensor:
        start, end = batch.edge_index
        vectors = batch.edge_vectors()
        length = vectors.norm(dim=1, keepdim=True)
        fade = 0.5 * (1 + torch.cos(np.pi * length / CUTOFF))
        sign = 1 - 2 * (batch.numbers[end] != 11).to(length)[:, None]

        def gaussians(n):
            centres = torch.linspace(2.0, 4.5, n).to(length)
            return sign * fade * torch.exp(-((length - centres) ** 2) / self.width)

        scalars = torch.zeros(batch.n_atoms, SCALARS).to(length)
        scalars = scalars.index_add(0, start, gaussians(SCALARS))
        terms = gaussians(VECTORS)[:, :, None] * (vectors / length)[:, None]
        summed = torch.zeros(batch.n_atoms, VECTORS, 3).to(length).index_add(0, start, terms)
        return torch.cat([scalars, summed.flatten(1)], dim=1)


class Toy(Potential):
    """E_i = a·s_i + |Σ_c b_c v_ic|² of scalars s and vectors v."""

    family = "toy"
    irreps = ("1x0e", f"{SCALARS}x0e+{VECTORS}x1o")

    def __init__(self, scalar, vector, width=0.5) -> None:
        self.scalar = torch.as_tensor(np.asarray(scalar, dtype=np.float64))
        self.vector = torch.as_tensor(np.asarray(vector, dtype=np.float64))
        super().__init__(
            "toy", Describe(width), cutoff=CUTOFF, species=[11, 17, 35],
            irreps=self.irreps,
            device=torch.device("cpu"), dtype=torch.float64, provenance={},
        )  # fmt: skip

    def _tap(self, layer: int) -> Tap:
        return Tap(self.module, lambda x: x, lambda x, new: new)

    def _site_energies(self, batch):
        x = self.module(batch)
        vectors = x[:, SCALARS:].reshape(len(x), VECTORS, 3)
        along = torch.einsum("c,ncm->nm", self.vector, vectors)
        return x[:, :SCALARS] @ self.scalar + (along**2).sum(dim=1)

    def randomised(self, seed: int = 0) -> Toy:
        rng = np.random.default_rng(seed)
        twin = Toy(rng.normal(size=SCALARS), rng.normal(size=VECTORS), width=3 + rng.random())
        twin.provenance["random_weights_seed"] = str(seed)
        return twin


class Layered(Toy):
    """With a layer 0, which is the first scalar alone, as it comes before layer 1."""

    def __init__(self, scalar, vector, width=0.5) -> None:
        super().__init__(scalar, vector, width)
        self.module = torch.nn.Sequential(self.module, torch.nn.Identity())

    def _tap(self, layer: int) -> Tap:
        if layer:
            return Tap(self.module[1], lambda x: x, lambda x, new: new)
        return Tap(
            self.module[0], lambda x: x[:, :1], lambda x, new: torch.cat([new, x[:, 1:]], dim=1)
        )

    def randomised(self, seed: int = 0) -> Layered:
        rng = np.random.default_rng(seed)
        twin = Layered(rng.normal(size=SCALARS), rng.normal(size=VECTORS), width=3 + rng.random())
        twin.provenance["random_weights_seed"] = str(seed)
        return twin


class Curved(Layered):
    """E_i = e_i + e_i² of the energy e_i of the others: forces feel shifts, and doses not alike."""

    def _site_energies(self, batch):
        energies = super()._site_energies(batch)
        return energies + energies**2

    def randomised(self, seed: int = 0) -> Curved:
        rng = np.random.default_rng(seed)
        twin = Curved(rng.normal(size=SCALARS), rng.normal(size=VECTORS), width=3 + rng.random())
        twin.provenance["random_weights_seed"] = str(seed)
        return twin


class DescribeCharges(torch.nn.Module):
    """The potential of the other ions, and what has nothing to do with it.

    Of the latter there is enough that a random direction needn't be that of the potential.
    """

    def forward(self, batch) -> torch.Tensor:
        start, end = batch.edge_index
        charge = torch.where(batch.numbers == 11, 1.0, -1.0).to(batch.positions)
        length = batch.edge_vectors().norm(dim=1)
        potential = torch.zeros_like(charge).index_add(0, start, COULOMB * charge[end] / length)
        crowd = torch.zeros_like(charge).index_add(0, start, torch.exp(-length))
        shells = [
            torch.zeros_like(charge).index_add(0, start, 3 * torch.exp(-((length - centre) ** 2)))
            for centre in SHELLS
        ]
        return torch.stack([potential, crowd, charge, *shells], dim=1)


class PointCharges(Potential):
    """E_i = s q_i φ_i/2 + 0.3 c_i, φ and c among its features; s = 1 in the trained one."""

    family = "toy"

    def __init__(self, strength: float = 1.0) -> None:
        self.strength = strength
        super().__init__(
            "point charges", DescribeCharges(), cutoff=30.0, species=[11, 17],
            irreps=["1x0e", f"{3 + len(SHELLS)}x0e"],
            device=torch.device("cpu"), dtype=torch.float64, provenance={},
        )  # fmt: skip

    def _tap(self, layer):
        return Tap(self.module, lambda x: x, lambda x, new: new)

    def _site_energies(self, batch):
        x = self.module(batch)
        charge = torch.where(batch.numbers == 11, 1.0, -1.0).to(x)
        return 0.5 * self.strength * charge * x[:, 0] + 0.3 * x[:, 1]

    def randomised(self, seed=0):
        twin = PointCharges(0.0)
        twin.provenance["random_weights_seed"] = str(seed)
        return twin


def rattled(n: int = 8, seed: int = 0):
    """Crystals, and slabs of them, without symmetry."""
    from ase.build import bulk

    from mpprobe.structures import Frame

    rng = np.random.default_rng(seed)
    frames = []
    for k in range(n):
        atoms = bulk("NaCl", "rocksalt", a=5.6 + 0.1 * rng.random(), cubic=True)
        atoms.positions += rng.normal(scale=0.12, size=atoms.positions.shape)
        if k % 2:
            atoms.pbc = (True, True, False)
        atoms.arrays["charge_formal"] = np.where(atoms.numbers == 11, 1.0, -1.0)
        atoms.info["domain"] = "surface" if k % 2 else "bulk"
        frames.append(Frame.from_atoms(atoms, f"toy@{k}"))
    return frames


def salts(n: int = 12, seed: int = 0):
    """The same of NaCl and, every other pair, of NaBr: four kinds."""
    from mpprobe.structures import Frame

    frames = rattled(n, seed)
    for k, frame in enumerate(frames):
        if k // 2 % 2:
            atoms = frame.atoms.copy()
            atoms.numbers[atoms.numbers == 17] = 35
            atoms.set_cell(1.06 * atoms.cell.array, scale_atoms=True)
            frames[k] = Frame.from_atoms(atoms, frame.source)
    return frames
