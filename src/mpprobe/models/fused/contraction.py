"""MACE's symmetric contraction as polynomials with coefficients for each species."""

from __future__ import annotations

import torch

from mpprobe.models.foreign import ForeignModule
from mpprobe.models.fused.irreps import by_species
from mpprobe.models.fused.layout import NotFusable


class Contraction(torch.nn.Module):
    """One output irrep of ``SymmetricContraction``, for the species that are present.

    For one node of species z and one channel (Batatia et al., MACE, NeurIPS 2022),

        B_w = Σ_i Σ_k U₁[w, i, k] W₁[z, k] x_i + Σ_ij Σ_k U₂[w, i, j, k] W₂[z, k] x_i x_j + …

    up to the third order. mace contracts one index after the other, for all species at once; here
    Σ_k is worked out first, for each species that is there, and the products x_i x_j with i ≤ j
    serve both higher orders.

    Raises:
        NotFusable: a correlation order above three.
    """

    pairs: torch.Tensor
    u1: torch.Tensor
    u2: torch.Tensor
    u3: torch.Tensor

    def __init__(self, contraction: ForeignModule) -> None:
        super().__init__()
        if not 1 <= contraction.correlation <= 3:
            raise NotFusable(f"its products have correlation {contraction.correlation}")
        self.contraction: ForeignModule = contraction
        couplings = [self._couplings(nu) for nu in range(1, contraction.correlation + 1)]
        used = torch.zeros(couplings[0].shape[1], couplings[0].shape[1], dtype=torch.bool)
        for u in couplings[1:]:
            used |= (u != 0).reshape(*u.shape[:3], -1).any(-1).any(0).cpu()
        i, j = (used | used.T).triu().nonzero(as_tuple=True)
        self.register_buffer("pairs", torch.stack([i, j]), persistent=False)
        for nu, u in enumerate(couplings, start=1):
            self.register_buffer(f"u{nu}", u if nu == 1 else self._folded(u), persistent=False)

    def _couplings(self, nu: int) -> torch.Tensor:
        """U_ν with its component index first, also where the output is a scalar."""
        u = self.contraction.U_tensors(nu)
        return u if u.dim() == nu + 2 else u.unsqueeze(0)

    def _folded(self, u: torch.Tensor) -> torch.Tensor:
        """The first two of the indices as one over pairs i ≤ j: (w, pairs, …, k)."""
        i, j = self.pairs
        return u[:, i, j] + u[:, j, i] * (i != j).view(1, -1, *[1] * (u.dim() - 3))

    def _weights(self, nu: int, kind: int) -> torch.Tensor:
        """W_ν of a species: (k, channels)."""
        contraction = self.contraction
        if nu == contraction.correlation:
            return contraction.weights_max[kind]
        return contraction.weights[contraction.correlation - 1 - nu][kind]

    def forward(self, x: torch.Tensor, kind: int) -> torch.Tensor:
        """Nodes of one species, (n_nodes, channels, components), to (n_nodes, channels, w)."""
        rows = x.transpose(0, 1)
        # c channels, n nodes, i components, w components of the output, p pairs, k couplings
        linear = torch.einsum("wik,kc->ciw", self.u1, self._weights(1, kind))
        if self.contraction.correlation == 1:
            return (rows @ linear).transpose(0, 1)
        products = rows[:, :, self.pairs[0]] * rows[:, :, self.pairs[1]]
        quadratic = torch.einsum("wpk,kc->cpw", self.u2, self._weights(2, kind))
        out = products @ quadratic + rows @ linear
        if self.contraction.correlation == 3:
            cubic = torch.einsum("wpik,kc->cpwi", self.u3, self._weights(3, kind)).flatten(2)
            inner = (products @ cubic).unflatten(2, (self.u3.shape[0], -1))
            out = out + (inner * rows.unsqueeze(2)).sum(-1)
        return out.transpose(0, 1)


class SymmetricContraction(torch.nn.Module):
    """Stands for mace's module of this name, its second argument a one-hot species."""

    def __init__(self, module: ForeignModule) -> None:
        super().__init__()
        self.parts = torch.nn.ModuleList(Contraction(part) for part in module.contractions)

    def forward(self, x: torch.Tensor, one_hot: torch.Tensor) -> torch.Tensor:
        return by_species(self._one, x, one_hot)

    def _one(self, x: torch.Tensor, kind: int) -> torch.Tensor:
        return torch.cat([part(x, kind).flatten(1) for part in self.parts], dim=1)
