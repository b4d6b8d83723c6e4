"""The graph of a convolution, every pair of neighbours once, cut into chunks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch.utils.weak import WeakTensorKeyDictionary

    from mpprobe.models.graph import Batch

#: Where a model's modules find the pairs among the data that they pass on.
PAIRS = "mpprobe_pairs"

# Rows of radial weights held at a time for each thread: 1,024 rows of 960 in float32 are 4 MB.
CHUNK = 1024


@dataclass(frozen=True)
class Chunk:
    """Some rows of the pairs, and their directed edges sorted by receiving node.

    Attributes:
        rows: which pairs.
        first, second: of each pair: the node that receives from the other, shape (n_rows,).
        sides: 2 where the edge also goes the other way, else 1, shape (n_rows,).
        nodes: the receiving nodes, shape (n_nodes,).
        ptr: where each one's edges begin and end, shape (n_nodes + 1,).
        source: the sending node of each edge.
        row: its pair, counted from the chunk's first.
        side: 0 if it goes from the pair's second to its first, else 1.
    """

    rows: slice
    first: np.ndarray
    second: np.ndarray
    sides: np.ndarray
    nodes: np.ndarray
    ptr: np.ndarray
    source: np.ndarray
    row: np.ndarray
    side: np.ndarray

    @cached_property
    def edges_before(self) -> np.ndarray:
        """Directed edges of the pairs before each one, and of all, shape (n_rows + 1,)."""
        return np.append(0, np.cumsum(self.sides))


@dataclass(frozen=True)
class Pairs:
    """Pairs of neighbours; all that depends on distance alone is computed once for each.

    Attributes:
        n_nodes: of the graph.
        edges: which edges of the whole graph stand for the pairs, shape (n_pairs,).
        first, second: node that receives along such an edge, and node it receives from.
        sides: 2 where the reverse edge belongs to the pair, 1 where it is not in the graph or
            stands for itself.
    """

    n_nodes: int
    edges: np.ndarray
    first: np.ndarray
    second: np.ndarray
    sides: np.ndarray
    _chunks: dict[int, tuple[Chunk, ...]] = field(default_factory=dict, repr=False, compare=False)

    def flipped(self) -> Pairs:
        """The same with the other end of each edge receiving."""
        return Pairs(self.n_nodes, self.edges, self.second, self.first, self.sides)

    def chunks(self, n_threads: int = 1) -> tuple[Chunk, ...]:
        """Cut into chunks for so many threads to share, remembered for the next layer."""
        if n_threads not in self._chunks:
            self._chunks[n_threads] = tuple(self._cut(n_threads * CHUNK))
        return self._chunks[n_threads]

    def _cut(self, length: int) -> Iterator[Chunk]:
        for start in range(0, len(self.edges), length):
            rows = slice(start, min(start + length, len(self.edges)))
            first, second, sides = self.first[rows], self.second[rows], self.sides[rows]
            back = np.flatnonzero(sides == 2)
            receiver = np.concatenate([first, second[back]])
            order = np.argsort(receiver, kind="stable")
            nodes, counts = np.unique(receiver, return_counts=True)
            yield Chunk(
                rows=rows,
                first=first,
                second=second,
                sides=sides,
                nodes=nodes,
                ptr=np.concatenate([[0], np.cumsum(counts)]),
                source=np.concatenate([second, first[back]])[order],
                row=np.concatenate([np.arange(len(first)), back])[order],
                side=np.repeat([0, 1], [len(first), len(back)])[order],
            )


@cache
def _known() -> WeakTensorKeyDictionary:
    """Pairs by the graphs that they were made from, as long as those are in use."""
    from torch.utils.weak import WeakTensorKeyDictionary

    return WeakTensorKeyDictionary()


def pairs_of(batch: Batch, *, receiver: int = 0, paired: bool = True) -> Pairs:
    """The pairs of a batch's graph, remembered as long as that graph is in use.

    Args:
        batch: on the CPU.
        receiver: whether the first (0) or second (1) node of an edge receives along it.
        paired: False lets every edge stand for itself, for models that tell directions apart.
    """
    known = _known().setdefault(batch.edge_index, {})
    if (receiver, paired) not in known:
        edges = batch.edge_index.numpy()
        pairs = (
            pair_up(edges, batch.unit_shifts.numpy(), batch.n_atoms)
            if paired
            else every_edge(edges, batch.n_atoms)
        )
        known[receiver, paired] = pairs.flipped() if receiver else pairs
    return known[receiver, paired]


def pair_up(edge_index: np.ndarray, unit_shifts: np.ndarray, n_nodes: int) -> Pairs:
    """Find for every edge (i, j, S) its reverse (j, i, −S), and keep one of the two.

    Args:
        edge_index: (2, n_edges); i receives from j.
        unit_shifts: lattice vectors that j is moved by, whole numbers, shape (n_edges, 3).
        n_nodes: of the graph.
    """
    i, j = edge_index
    shift = np.rint(unit_shifts).astype(np.int64)
    reach = int(np.abs(shift).max(initial=0))
    base = 2 * reach + 1
    # One number for each translation; that of −S is its negative.
    code = (shift[:, 0] * base + shift[:, 1]) * base + shift[:, 2]
    forward = (i < j) | ((i == j) & (code > 0))
    there, back = np.flatnonzero(forward), np.flatnonzero(~forward)
    span = base**3

    def key(low: np.ndarray, high: np.ndarray, code: np.ndarray) -> np.ndarray:
        return (low * n_nodes + high) * span + code

    keys = key(i[there], j[there], code[there])
    reverse_keys = key(j[back], i[back], -code[back])
    order = np.argsort(keys)
    if not np.array_equal(keys[order], np.sort(reverse_keys)):
        return every_edge(edge_index, n_nodes)
    edges = there[order]
    return Pairs(n_nodes, edges, i[edges], j[edges], np.full(len(edges), 2))


def every_edge(edge_index: np.ndarray, n_nodes: int) -> Pairs:
    """Every edge standing for itself, for models in which directions differ otherwise."""
    i, j = edge_index
    return Pairs(n_nodes, np.arange(len(i)), i, j, np.ones(len(i), dtype=np.int64))
