"""The arithmetic floor: the matrix products of the radial networks, which nobody gets around.

A model that takes its radial weights from a network must multiply these matrices for every
directed edge; mpprobe does so once for each pair of neighbours. Both floors are timed as bare
``torch.mm`` calls of the same shapes, into memory that is there already.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import torch

from benchmarks.cells import atoms_in, crystals
from benchmarks.models import sevennet_0
from benchmarks.sizes import Sizes
from benchmarks.timing import Contender, interleaved, paired_ratio
from mpprobe.activations import extract
from mpprobe.models.potential import Potential

EDGES, PAIRS, FAST = "floor, every directed edge", "floor, every pair once", "fast path"
SQUARE = 1024


def measure(sizes: Sizes) -> dict[str, Any]:
    """Both floors and the fast path on the same cells, in turn."""
    potential = sevennet_0()
    structures = crystals("NaCl", sizes.cells)
    shapes = radial_shapes(potential)
    edges = [potential.batch(atoms).edge_index.shape[1] for atoms in structures]
    square = torch.rand(SQUARE, SQUARE)
    timings = interleaved(
        {
            FAST: Contender(partial(extract, potential, structures), atoms_in(structures)),
            EDGES: Contender(_products(shapes, edges), atoms_in(structures)),
            PAIRS: Contender(_products(shapes, [n // 2 for n in edges]), atoms_in(structures)),
            "square product": Contender(partial(torch.mm, square, square), 0),
        },
        sizes.repeats,
        sizes.least,
    )
    adds = sum(n * k * m for n in edges for k, m in shapes)
    return {
        "edges_per_atom": sum(edges) / atoms_in(structures),
        "multiply_adds_per_edge": adds // sum(edges),
        "gflops": {
            "these shapes": 2e-9 * adds / timings[EDGES].median,
            f"{SQUARE} x {SQUARE}": 2e-9 * SQUARE**3 / timings["square product"].median,
        },
        "timings": {name: timing.summary() for name, timing in timings.items()},
        "ratios": {
            "over_floor": paired_ratio(timings[FAST], timings[EDGES]),
            "over_floor_of_pairs": paired_ratio(timings[FAST], timings[PAIRS]),
        },
    }


def radial_shapes(potential: Potential) -> list[tuple[int, int]]:
    """Rows and columns of the matrices of all radial networks."""
    shapes = []
    for name, module in potential.module.named_modules():
        if name.endswith("_convolution"):
            widths = module.weight_nn.hs
            shapes += pairwise(widths)
    return shapes


def _products(shapes: list[tuple[int, int]], rows: list[int]) -> Callable[[], None]:
    """The products of all layers for each structure in turn."""
    longest = max(rows)
    left = {k: torch.rand(longest, k) for k, _ in shapes}
    right = [torch.rand(shape) for shape in shapes]
    out = {m: torch.empty(longest, m) for _, m in shapes}

    def multiply() -> None:
        with torch.no_grad():
            for n in rows:
                for matrix in right:
                    k, m = matrix.shape
                    torch.mm(left[k][:n], matrix, out=out[m][:n])

    return multiply
