"""e3nn's linear maps, gates and radial networks on features kept apart by irrep.

Features by irrep are a dictionary from an irrep's name (``0e``, ``1o``) to a tensor of shape
(n_nodes, 2l + 1, channels), in which a linear map is one matrix product. Every module here reads
the weights of the e3nn module it stands for when it runs, so that a changed weight is seen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch

from mpprobe.models.foreign import ForeignIrreps, ForeignModule
from mpprobe.models.fused.layout import NotFusable

ByIrrep = dict[str, torch.Tensor]


@lru_cache
def names(irreps: ForeignIrreps) -> tuple[str, ...]:
    """Names of the irreps, each once, in the order of their first blocks."""
    return tuple(dict.fromkeys(str(ir) for _, ir in irreps))


@lru_cache
def _blocks(irreps: ForeignIrreps) -> tuple[tuple[str, int, int, slice], ...]:
    """Name, channels, components and columns of each block. (e3nn is slow to say.)"""
    return tuple(
        (str(ir), mul, ir.dim, piece)
        for (mul, ir), piece in zip(irreps, irreps.slices(), strict=True)
    )


def split(x: torch.Tensor, irreps: ForeignIrreps) -> ByIrrep:
    """Features in e3nn's layout, (n_nodes, irreps.dim), by irrep."""
    parts: dict[str, list[torch.Tensor]] = {}
    for name, mul, dim, piece in _blocks(irreps):
        block = x[:, piece].reshape(len(x), mul, dim).transpose(1, 2)
        parts.setdefault(name, []).append(block)
    return {name: _cat(blocks, 2) for name, blocks in parts.items()}


def join(features: ByIrrep, irreps: ForeignIrreps) -> torch.Tensor:
    """The inverse of :func:`split`."""
    used = dict.fromkeys(features, 0)
    blocks = []
    for name, mul, _, _ in _blocks(irreps):
        block = features[name].narrow(2, used[name], mul)
        blocks.append(block.transpose(1, 2).flatten(1))
        used[name] += mul
    return _cat(blocks, 1)


def rows(features: ByIrrep) -> torch.Tensor:
    """Component-major rows, (n_nodes, dim): what the kernels gather from."""
    return _cat([block.flatten(1) for block in features.values()], 1)


def _cat(tensors: list[torch.Tensor], dim: int) -> torch.Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors, dim)


class LinearByIrrep(torch.nn.Module):
    """e3nn's ``Linear``, from features by irrep to features by irrep.

    An irrep that no input has is left out of the output, where e3nn writes zeros.

    Raises:
        NotFusable: it has biases, or weights that are given from outside.
    """

    def __init__(self, linear: ForeignModule) -> None:
        super().__init__()
        if linear.bias_numel or not linear.internal_weights:
            raise NotFusable("a linear map has biases, or no weights of its own")
        self.linear: ForeignModule = linear
        self.irreps_in, self.irreps_out = linear.irreps_in, linear.irreps_out
        held = names(self.irreps_in)
        #: Irreps of the output that some input has.
        self.reached = [name for name in names(self.irreps_out) if name in held]
        self._pieces = {name: _pieces(linear, name) for name in self.reached}

    def forward(self, features: ByIrrep) -> ByIrrep:
        out = {}
        for name, pieces in self._pieces.items():
            block = features[name]
            flat = block.reshape(-1, block.shape[2]) @ self._matrix(pieces)
            out[name] = flat.view(*block.shape[:2], -1)
        return out

    def _matrix(self, pieces: list[list[Piece]]) -> torch.Tensor:
        """From all input to all output channels of one irrep."""
        weight = self.linear.weight
        columns = [_cat([piece.of(weight) for piece in column], 0) for column in pieces]
        return _cat(columns, 1)


@dataclass(frozen=True)
class Piece:
    """The matrix between two blocks: where it begins in the weights, its shape and factor.

    Blocks that the map doesn't join have no place (None) and a matrix of zeros.
    """

    start: int | None
    n_in: int
    n_out: int
    factor: float

    def of(self, weight: torch.Tensor) -> torch.Tensor:
        if self.start is None:
            return weight.new_zeros(self.n_in, self.n_out)
        matrix = weight.narrow(0, self.start, self.n_in * self.n_out).view(self.n_in, self.n_out)
        return matrix * self.factor


def _pieces(linear: ForeignModule, name: str) -> list[list[Piece]]:
    """For each output block of this irrep, the pieces from each input block of it."""
    made: dict[tuple[int, int], Piece] = {}
    start = 0
    for ins in linear.instructions:
        n_in, n_out = ins.path_shape
        made[ins.i_in, ins.i_out] = Piece(start, n_in, n_out, ins.path_weight)
        start += n_in * n_out
    inputs, outputs = (
        [(k, mul) for k, (mul, ir) in enumerate(irreps) if str(ir) == name]
        for irreps in (linear.irreps_in, linear.irreps_out)
    )
    return [
        [made.get((i, o), Piece(None, n_in, n_out, 0.0)) for i, n_in in inputs]
        for o, n_out in outputs
    ]


def by_species(
    function: Callable[[torch.Tensor, int], torch.Tensor], x: torch.Tensor, one_hot: torch.Tensor
) -> torch.Tensor:
    """``function(rows, species)`` of the rows of each species, put back in their order.

    Args:
        function: keeps the number of rows.
        x: (n_nodes, ...)
        one_hot: (n_nodes, n_species)
    """
    kinds, which = one_hot.argmax(dim=1).unique(return_inverse=True)
    if len(kinds) == 1:
        return function(x, kinds.item())
    order = which.argsort(stable=True)
    parts = x[order].split(which.bincount().tolist())
    done = [function(part, kind) for part, kind in zip(parts, kinds.tolist(), strict=True)]
    return torch.cat(done)[order.argsort()]


class SpeciesLinear(torch.nn.Module):
    """e3nn's ``FullyConnectedTensorProduct`` of features with a one-hot species.

    It is a linear map of its own for each species, so only those present are worked out.

    Raises:
        NotFusable: its second factor isn't scalar, or its weights are given from outside.
    """

    def __init__(self, product: ForeignModule) -> None:
        super().__init__()
        (_, scalar), *others = product.irreps_in2
        if others or str(scalar) != "0e" or not product.internal_weights:
            raise NotFusable("a product with the species takes more than that")
        if {ins.connection_mode for ins in product.instructions} != {"uvw"}:
            raise NotFusable("a product with the species isn't fully connected")
        self.product: ForeignModule = product
        self.irreps_in, self.irreps_out = product.irreps_in1, product.irreps_out

    def forward(self, x: torch.Tensor, one_hot: torch.Tensor) -> torch.Tensor:
        """From and to e3nn's layout; ``one_hot`` has shape (n_nodes, n_species)."""
        return by_species(self._one, x, one_hot)

    def _one(self, x: torch.Tensor, kind: int) -> torch.Tensor:
        blocks: dict[int, torch.Tensor] = {}
        for ins, weight in zip(self.product.instructions, self.product.weight_views(), strict=True):
            _, mul, dim, piece = _blocks(self.irreps_in)[ins.i_in1]
            block = x[:, piece].reshape(len(x), mul, dim).transpose(1, 2)
            factor = ins.path_weight * dim**-0.5  # the Clebsch–Gordan coefficient of l ⊗ 0 → l
            part = (block @ (weight[:, kind] * factor)).transpose(1, 2).flatten(1)
            blocks[ins.i_out] = blocks[ins.i_out] + part if ins.i_out in blocks else part
        return _cat([
            blocks.get(k, x.new_zeros(len(x), mul * ir.dim))
            for k, (mul, ir) in enumerate(self.irreps_out)
        ], 1)  # fmt: skip


class GateByIrrep(torch.nn.Module):
    """e3nn's ``Gate`` from features by irrep to features in e3nn's layout.

    Scalars pass through their activation, other irreps are multiplied by activated scalars. Gates
    that mix parities, or take an irrep in several blocks, are left to e3nn.
    """

    def __init__(self, gate: ForeignModule) -> None:
        super().__init__()
        self.gate: ForeignModule = gate
        self._names = [str(ir) for _, ir in gate.irreps_gated]
        self._muls = [mul for mul, _ in gate.irreps_gated]
        scalars = [str(ir) for _, ir in (*gate.irreps_scalars, *gate.irreps_gates)]
        self._even = (
            {*scalars} == {"0e"}
            and len(gate.irreps_scalars) == 1
            and len({*self._names}) == len(self._names)
        )

    def forward(self, features: ByIrrep) -> torch.Tensor:
        gate = self.gate
        if not self._even:
            return gate(join(features, gate.irreps_in))
        scalars, first = features["0e"], gate.irreps_scalars.dim
        out = {"0e": gate.act_scalars.acts[0](scalars.narrow(2, 0, first))}
        for name, mul, act in zip(self._names, self._muls, gate.act_gates.acts, strict=True):
            out[name] = features[name] * act(scalars.narrow(2, first, mul))
            first += mul
        return join(out, gate.irreps_out)


class Radial(torch.nn.Module):
    """e3nn's ``FullyConnectedNet`` up to its last layer, and the matrix of that layer.

    Their product is the network's output. The convolution makes it chunk by chunk.

    Raises:
        NotFusable: the last layer has an activation.
    """

    def __init__(self, network: ForeignModule) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList(
            getattr(network, f"layer{k}") for k in range(len(network.hs) - 1)
        )
        if self.layers[-1].act is not None:
            raise NotFusable("its radial network ends with an activation")

    def forward(self, edges: torch.Tensor) -> torch.Tensor:
        """Hidden values, (n_edges, width), without the constant that :meth:`matrix` takes on."""
        constant = 1.0
        layer: ForeignModule
        for layer in self.layers[:-1]:
            edges = layer.act.f(edges @ (layer.weight * (constant * _input_scale(layer))))
            constant = _output_scale(layer)
        return edges

    def matrix(self) -> torch.Tensor:
        """(width, n_weights)"""
        last: ForeignModule = self.layers[-1]
        constant = _output_scale(self.layers[-2]) if len(self.layers) > 1 else 1.0
        return last.weight * (constant * _input_scale(last) * last.var_out**0.5)


def _input_scale(layer: ForeignModule) -> float:
    return (layer.h_in * layer.var_in) ** -0.5


def _output_scale(layer: ForeignModule) -> float:
    """What the layer multiplies f(x) by: normalize2mom's constant, and its output variance."""
    constant = 1.0 if layer.act._is_id else layer.act.cst
    return constant * layer.var_out**0.5
