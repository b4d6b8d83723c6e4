"""The fused path of MACE: parts of its blocks, exchanged for a forward pass."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from mpprobe.models.foreign import ForeignModule
from mpprobe.models.fused.contraction import SymmetricContraction
from mpprobe.models.fused.convolution import Convolution
from mpprobe.models.fused.irreps import (
    ByIrrep,
    LinearByIrrep,
    Radial,
    SpeciesLinear,
    join,
    names,
    rows,
    split,
)
from mpprobe.models.fused.layout import NotFusable, read_layout
from mpprobe.models.fused.pairs import Pairs

#: Blocks in which an edge counts by its length only, apart from the spherical harmonics.
UNDIRECTED = ("RealAgnosticInteractionBlock", "RealAgnosticResidualInteractionBlock")
#: Blocks that also sum a density over the edges that a node receives along.
DIRECTED = (
    "RealAgnosticDensityInteractionBlock",
    "RealAgnosticDensityResidualInteractionBlock",
)


class _Graph(threading.local):
    """The pairs of the forward pass that a thread runs; mace passes on tensors only."""

    pairs: Pairs


class _Product(torch.nn.Module):
    """Stands for ``conv_tp`` as mace calls fused ones: gather, product and scatter in one."""

    def __init__(self, block: ForeignModule, radial: Radial, graph: _Graph) -> None:
        super().__init__()
        product = block.conv_tp
        if len(names(product.irreps_in1)) != len(product.irreps_in1):
            raise NotFusable("node features come in several blocks of one irrep")
        self.convolution = Convolution(*read_layout(product))
        self.radial, self.graph = radial, graph
        self.irreps_in, self.out = product.irreps_in1, names(product.irreps_out)

    def forward(
        self, x: torch.Tensor, sh: torch.Tensor, hidden: torch.Tensor, edge_index: torch.Tensor
    ) -> ByIrrep:
        messages = self.convolution(
            self.graph.pairs, rows(split(x, self.irreps_in)), sh, hidden, self.radial.matrix()
        )
        return dict(zip(self.out, messages, strict=True))


class _Linear(torch.nn.Module):
    """Stands for ``linear``: from messages by irrep to e3nn's layout."""

    def __init__(self, linear: ForeignModule) -> None:
        super().__init__()
        self.by_irrep = LinearByIrrep(linear)

    def forward(self, features: ByIrrep) -> torch.Tensor:
        return join(self.by_irrep(features), self.by_irrep.irreps_out)


@dataclass
class FusedMACE:
    """A MACE model with parts of its blocks exchanged while a forward pass runs.

    Attributes:
        module: the model; between passes it is as it was.
        paired: whether it can be given every pair of neighbours once, instead of all edges.

    Raises:
        NotFusable: one of its interactions isn't of a kind known here.
    """

    module: ForeignModule
    paired: bool = False
    _exchange: list[tuple[ForeignModule, dict[str, torch.nn.Module]]] = field(default_factory=list)
    _graph: _Graph = field(default_factory=_Graph)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _running: int = 0
    _originals: list[dict[str, torch.nn.Module]] = field(default_factory=list)

    def __post_init__(self) -> None:
        kinds = {type(block).__name__ for block in self.module.interactions}
        if unknown := kinds - {*UNDIRECTED, *DIRECTED}:
            raise NotFusable(f"its interactions are {', '.join(sorted(unknown))}")
        self.paired = kinds <= {*UNDIRECTED} and not hasattr(self.module, "pair_repulsion")
        self._exchange = [(block, self._interaction(block)) for block in self.module.interactions]
        for block in self.module.products:
            contraction = SymmetricContraction(block.symmetric_contractions)
            self._exchange.append((block, {"symmetric_contractions": contraction}))

    def _interaction(self, block: ForeignModule) -> dict[str, torch.nn.Module]:
        radial = Radial(block.conv_tp_weights)
        linear = _Linear(block.linear)
        if set(linear.by_irrep.reached) != set(names(linear.by_irrep.irreps_out)):
            raise NotFusable("its messages lack an irrep that is expected of them")
        return {
            "conv_tp_weights": radial,
            "conv_tp": _Product(block, radial, self._graph),
            "linear": linear,
            "skip_tp": SpeciesLinear(block.skip_tp),
        }

    @contextmanager
    def exchanged(self, pairs: Pairs) -> Iterator[None]:
        """The model as it runs on these pairs, also while other threads run it on theirs."""
        with self._lock:
            self._running += 1
            if self._running == 1:
                self._exchange_parts()
        self._graph.pairs = pairs
        try:
            yield
        finally:
            del self._graph.pairs
            with self._lock:
                self._running -= 1
                if self._running == 0:
                    self._put_back()

    def _exchange_parts(self) -> None:
        self._originals = [
            {name: block._modules[name] for name in parts} for block, parts in self._exchange
        ]
        for block, parts in self._exchange:
            block._modules.update(parts)
        for block in self.module.interactions:
            block.conv_fusion = True  # how mace calls a product that gathers and scatters

    def _put_back(self) -> None:
        for (block, _), parts in zip(self._exchange, self._originals, strict=True):
            block._modules.update(parts)
        for block in self.module.interactions:
            block.__dict__.pop("conv_fusion", None)
