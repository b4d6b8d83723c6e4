"""The graph of a convolution, every pair of neighbours once, cut into chunks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from mpprobe.models.fused.room import Room

if TYPE_CHECKING:
    from torch.utils.weak import WeakTensorKeyDictionary

    from mpprobe.models.graph import Batch

#: Where a model's modules find the pairs among the data that they pass on.
PAIRS = "mpprobe_pairs"

# Rows of radial weights that a thread holds at a time: 1,024 rows of 960 in float32 are 4 MB.
CHUNK = 1024
# Fewer are done before another thread has woken.
PAIRS_PER_THREAD = 200


@dataclass(frozen=True)
class Chunk:
    """Some rows of the pairs, and their directed edges by receiving node.

    Attributes:
        rows: which pairs.
        first, second: of each pair: the node that receives from the other, shape (n_rows,).
        sides: 2 where the edge also goes the other way, else 1, shape (n_rows,).
        nodes: rows of messages, one for each receiving node, shape (n_nodes,).
        ptr: where each one's edges begin and end, shape (n_nodes + 1,).
        fresh: whether this chunk is the first to reach that row, shape (n_nodes,).
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
    fresh: np.ndarray
    source: np.ndarray
    row: np.ndarray
    side: np.ndarray


#: What one thread goes through.
Chunks = tuple[Chunk, ...]


@dataclass(frozen=True)
class SharedOut:
    """The pairs as several threads go through them at once, each into rows of its own.

    A node has its row in the messages, into which one thread sums. Where pairs of other threads
    reach the same node, they have rows further down, which :meth:`gather` adds.

    Attributes:
        shares: the chunks of each thread.
        n_nodes: of the graph.
        further: for each thread, the nodes of its further rows, which lie thread after thread.
        alone: nodes that no edge reaches.
        room: for the messages.
    """

    shares: tuple[Chunks, ...]
    n_nodes: int
    further: tuple[np.ndarray, ...]
    alone: np.ndarray
    room: Room = field(default_factory=Room, repr=False, compare=False)

    @property
    def n_rows(self) -> int:
        """Of an array that all threads can sum into."""
        return self.n_nodes + sum(map(len, self.further))

    def gather(self, out: np.ndarray) -> None:
        """Add the further rows of messages, shape (n_rows, ...), to their nodes' own."""
        out[self.alone] = 0
        first = self.n_nodes
        for nodes in self.further:
            out[nodes] += out[first : first + len(nodes)]
            first += len(nodes)


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
    _shared_out: dict[int, SharedOut] = field(default_factory=dict, repr=False, compare=False)

    def flipped(self) -> Pairs:
        """The same with the other end of each edge receiving."""
        return Pairs(self.n_nodes, self.edges, self.second, self.first, self.sides)

    def shared_out(self, n_threads: int) -> SharedOut:
        """In runs of about as many edges for at most so many threads, remembered."""
        n = max(1, min(n_threads, len(self.edges) // PAIRS_PER_THREAD))
        if n not in self._shared_out:
            edges_before = np.append(0, np.cumsum(self.sides))
            self._shared_out[n] = self._share_out(runs(edges_before, n))
        return self._shared_out[n]

    def _share_out(self, bounds: list[tuple[int, int]]) -> SharedOut:
        # Each node's row goes to the thread in which most of its edges end.
        counts = [self._edges_by_node(start, stop) for start, stop in bounds]
        reached = np.array(counts).reshape(len(bounds), self.n_nodes)
        owner = reached.argmax(axis=0) if bounds else None
        n_rows, further, shares = self.n_nodes, [], []
        for thread, (start, stop) in enumerate(bounds):
            nodes = np.flatnonzero((reached[thread] > 0) & (owner != thread))
            row_of = np.arange(self.n_nodes)
            row_of[nodes] = n_rows + np.arange(len(nodes))
            shares.append(tuple(self._cut(start, stop, row_of)))
            further.append(nodes)
            n_rows += len(nodes)
        alone = np.flatnonzero(reached.sum(axis=0) == 0)
        return SharedOut(tuple(shares), self.n_nodes, tuple(further), alone)

    def _edges_by_node(self, start: int, stop: int) -> np.ndarray:
        """How many edges of these pairs end at each node, shape (n_nodes,)."""
        first, second = self.first[start:stop], self.second[start:stop]
        receiver = np.concatenate([first, second[self.sides[start:stop] == 2]])
        return np.bincount(receiver, minlength=self.n_nodes)

    def _cut(self, start: int, stop: int, row_of: np.ndarray) -> Iterator[Chunk]:
        fresh = np.ones(self.n_nodes, dtype=bool)
        for begin in range(start, stop, CHUNK):
            rows = slice(begin, min(begin + CHUNK, stop))
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
                nodes=row_of[nodes],
                ptr=np.concatenate([[0], np.cumsum(counts)]),
                fresh=fresh[nodes],
                source=np.concatenate([second, first[back]])[order],
                row=np.concatenate([np.arange(len(first)), back])[order],
                side=np.repeat([0, 1], [len(first), len(back)])[order],
            )
            fresh[nodes] = False


def runs(weights: np.ndarray, n: int) -> list[tuple[int, int]]:
    """Cut a sequence into at most ``n`` runs of about the same total weight.

    Args:
        weights: cumulative, from 0 to the total, shape (length + 1,).
        n: number of runs wanted; empty ones are left out.
    """
    total = int(weights[-1])
    cuts = np.searchsorted(weights, [total * k // n for k in range(1, n)])
    bounds = [0, *cuts.tolist(), len(weights) - 1]
    return [(start, stop) for start, stop in pairwise(bounds) if stop > start]


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
