"""A potential of three small layers whose node features can be spoilt, and structures for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from mpprobe.models.hooks import Tap
from mpprobe.models.potential import Potential
from mpprobe.structures import Frame

SPECIES = (9, 11, 17, 19)
SCALARS, VECTORS, CUTOFF = 6, 4, 5.0

#: What is done to a layer's features, (n_atoms, width), before they go on.
Spoil = Callable[[torch.Tensor], torch.Tensor]


class _Layer(torch.nn.Module):
    """What a function gives, then spoilt."""

    def __init__(self, function, spoil: Spoil) -> None:
        super().__init__()
        self.function, self.spoil = function, spoil

    def forward(self, batch, features=None) -> torch.Tensor:
        return self.spoil(self.function(batch, features))


def _embedding(batch, features) -> torch.Tensor:
    known = torch.as_tensor(SPECIES, device=batch.numbers.device)
    return (batch.numbers[:, None] == known).to(batch.positions.dtype)


def _messages(weights: torch.Tensor, width: float):
    """Gaussians of the distances to neighbours, and unit vectors, by what the neighbours send."""

    def pass_on(batch, features) -> torch.Tensor:
        start, end = batch.edge_index
        vectors = batch.edge_vectors()
        length = vectors.norm(dim=1, keepdim=True)
        fade = 0.5 * (1 + torch.cos(np.pi * length / CUTOFF)) * (length < CUTOFF)
        sent = (features @ weights.to(features)).tanh()[end][:, None]

        def gaussians(n: int) -> torch.Tensor:
            centres = torch.linspace(2.0, 4.5, n).to(length)
            return sent * fade * torch.exp(-((length - centres) ** 2) / width)

        n = len(batch.numbers)
        scalars = torch.zeros(n, SCALARS).to(length).index_add(0, start, gaussians(SCALARS))
        terms = gaussians(VECTORS)[:, :, None] * (vectors / length)[:, None]
        summed = torch.zeros(n, VECTORS, 3).to(length).index_add(0, start, terms)
        return torch.cat([scalars, summed.flatten(1)], dim=1)

    return pass_on


class Planted(Potential):
    """E_i = a·s_i + |Σ_c b_c v_ic|² of the last layer's scalars s and vectors v."""

    family = "planted"

    def __init__(self, spoilt: Mapping[int, Spoil] | None = None, seed: int = 3) -> None:
        rng = np.random.default_rng(seed)
        spoilt = spoilt or {}
        self.spoilt = spoilt
        functions = [
            _embedding,
            _messages(torch.as_tensor(rng.normal(size=len(SPECIES))), 0.5),
            _messages(torch.as_tensor(rng.normal(size=SCALARS + 3 * VECTORS)
                                      * ([1.0] * SCALARS + [0.0] * 3 * VECTORS)), 0.8),
        ]  # fmt: skip
        self.scalar = torch.as_tensor(rng.normal(size=SCALARS))
        self.vector = torch.as_tensor(rng.normal(size=VECTORS))
        parts = [_Layer(f, spoilt.get(t, lambda x: x)) for t, f in enumerate(functions)]
        width = f"{SCALARS}x0e+{VECTORS}x1o"
        super().__init__(
            "planted", torch.nn.ModuleList(parts), cutoff=CUTOFF, species=SPECIES,
            irreps=[f"{len(SPECIES)}x0e", width, width],
            device=torch.device("cpu"), dtype=torch.float64, provenance={},
        )  # fmt: skip

    def _tap(self, layer: int) -> Tap:
        return Tap(self.module[layer], lambda x: x, lambda x, new: new)

    def _site_energies(self, batch) -> torch.Tensor:
        x = None
        for layer in self.module:
            x = layer(batch, x)
        vectors = x[:, SCALARS:].reshape(len(x), VECTORS, 3)
        along = torch.einsum("c,ncm->nm", self.vector.to(x), vectors)
        return x[:, :SCALARS] @ self.scalar.to(x) + (along**2).sum(dim=1)

    def randomised(self, seed: int = 0) -> Planted:
        twin = Planted(self.spoilt, seed=100 + seed)
        twin.provenance["random_weights_seed"] = str(seed)
        return twin


def salts(n: int = 8, compounds=("NaCl", "KF"), domains=("bulk", "surface"), seed: int = 0):
    """``n`` rattled crystals and slabs of eight atoms of each compound, with charges and forces."""
    rng = np.random.default_rng(seed)
    frames = []
    for k in range(n * len(compounds)):
        name = compounds[k % len(compounds)]
        atoms = bulk(name, "rocksalt", a=5.5 + 0.2 * rng.random(), cubic=True)
        atoms.positions += rng.normal(scale=0.12, size=atoms.positions.shape)
        atoms.info |= {"compound": name, "domain": domains[k // len(compounds) % len(domains)]}
        frames.append(labelled(atoms, f"made@{k}", rng))
    return frames


def labelled(atoms: Atoms, source: str, rng: np.random.Generator) -> Frame:
    """A frame with formal charges, reference energy and forces."""
    atoms.arrays["charge_formal"] = np.where(np.isin(atoms.numbers, (11, 19)), 1.0, -1.0)
    atoms.calc = SinglePointCalculator(
        atoms, energy=-3.0 * len(atoms), forces=rng.normal(size=(len(atoms), 3))
    )
    return Frame.from_atoms(atoms, source)
