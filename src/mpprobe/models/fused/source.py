"""Source text of the kernels of one convolution, its Clebsch–Gordan sums unrolled."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from mpprobe.models.fused.layout import Layout, Path

# Names in the text:
# x node features, sh spherical harmonics, w radial weights, c coefficients, y sh of this edge and
# direction, a_k_m1_m3 the sum over m2 of c·y, which is the same for all channels.
_HEADER = '''\
"""Written by mpprobe; safe to delete."""
import numba
import numpy as np


def _compiled(function):
    return numba.njit(
        nogil=True, fastmath=True, boundscheck=False, error_model="numpy", cache=CACHE
    )(function)
'''


def kernel_source(layout: Layout) -> str:
    """A module with the functions ``forward`` and ``backward``, for Numba to compile.

    Both take their constants as an array, so that the text depends on the layout only.
    """
    return "\n\n".join([_HEADER, _forward(layout), _backward(layout)]) + "\n"


def _forward(layout: Layout) -> str:
    """Messages of directed edges summed at their receiving nodes, whose rows may hold anything.

    A node's sum is kept in ``acc``, small enough for the first-level cache, until its edges are
    done.
    """
    outs = [f"out{g}" for g in range(len(layout.groups))]
    lines = [
        "@_compiled",
        "def forward(x, sh, w, c, signs, nodes, ptr, fresh, source, row, side, "
        + ", ".join(outs) + "):",
        f"    acc = np.empty({layout.output_dim}, x.dtype)",
        "    for n in range(len(nodes)):",
        "        acc[:] = c[0] - c[0]",
        "        for e in range(ptr[n], ptr[n + 1]):",
        "            j = source[e]",
        "            p = row[e]",
        "            s = side[e]",
        *_indented(12, _harmonics(layout)),
    ]  # fmt: skip
    for block, paths in _by_input(layout):
        lines += _indented(12, _couplings(layout, paths))
        lines += _indented(12, _forward_channels(layout, block, paths))
    lines += ["        i = nodes[n]"]
    for condition, operator in (("if fresh[n]:", "="), ("else:", "+=")):
        lines += [f"        {condition}"]
        for g, group in enumerate(layout.groups):
            place = f"acc[{group.start} + {group.mul} * m + u]"
            lines += [
                f"            for m in range({group.dim}):",
                f"                for u in range({group.mul}):",
                f"                    out{g}[i, m, u] {operator} {place}",
            ]
    return "\n".join(lines)


def _forward_channels(layout: Layout, block: int, paths: list[tuple[int, Path]]) -> Iterator[str]:
    mul, dim = layout.inputs[block].mul, layout.inputs[block].dim
    yield f"for u in range({mul}):"
    for m in range(dim):
        yield f"    x{m} = x[j, {layout.inputs[block].start + m * mul} + u]"
    for k, path in paths:
        group = layout.groups[path.group]
        yield f"    w{k} = w[p, {path.weight} + u]"
        for m3, terms in _by_output(path):
            total = " + ".join(f"a_{k}_{m1}_{m3} * x{m1}" for m1 in terms)
            place = group.start + m3 * group.mul + path.channel
            yield f"    acc[{place} + u] += w{k} * ({total})"


def _backward(layout: Layout) -> str:
    """Gradients of x (scattered), sh and w (one row a pair) of Σ g · messages.

    Goes over pairs, so that a row of ``w`` and its gradient are touched once for both directions.
    """
    lines = [
        "@_compiled",
        "def backward(x, sh, w, g, c, signs, first, second, sides, gx, gsh, gw):",
        "    zero = c[0] - c[0]",
        "    for p in range(len(first)):",
        "        gw[p, :] = zero",
        "        gsh[p, :] = zero",
        "        i = first[p]",
        "        j = second[p]",
        "        for s in range(sides[p]):",
        *_indented(12, _harmonics(layout)),
    ]
    for block, paths in _by_input(layout):
        lines += _indented(12, _couplings(layout, paths))
        lines += _indented(12, _backward_channels(layout, block, paths))
    lines += ["            i, j = j, i"]
    return "\n".join(lines)


def _backward_channels(layout: Layout, block: int, paths: list[tuple[int, Path]]) -> Iterator[str]:
    """One input block: q = Σ a·g along each path serves the gradients of both x and w."""
    mul, dim = layout.inputs[block].mul, layout.inputs[block].dim
    harmonics = sorted({(path.sh, m2) for _, path in paths for _, m2, _ in path.terms})
    for b, m2 in harmonics:
        yield f"t{b}_{m2} = zero"
    yield f"for u in range({mul}):"
    for m in range(dim):
        yield f"    x{m} = x[j, {layout.inputs[block].start + m * mul} + u]"
        yield f"    r{m} = zero"
    for k, path in paths:
        group = layout.groups[path.group]
        yield f"    w{k} = w[p, {path.weight} + u]"
        for m3, _ in _by_output(path):
            yield f"    g{m3} = g[i, {group.start + m3 * group.mul + path.channel} + u]"
        inputs = _by_component(path)
        for m1, m3s in inputs:
            yield f"    q{m1} = " + " + ".join(f"a_{k}_{m1}_{m3} * g{m3}" for m3 in m3s)
            yield f"    r{m1} += w{k} * q{m1}"
        total = " + ".join(f"x{m1} * q{m1}" for m1, _ in inputs)
        yield f"    gw[p, {path.weight} + u] += {total}"
        for m1, _ in inputs:
            yield f"    v{m1} = w{k} * x{m1}"
        first = _first_term(layout, k)
        for m2 in sorted({term[1] for term in path.terms}):
            terms = [(n, m1, m3) for n, (m1, b, m3) in enumerate(path.terms) if b == m2]
            total = " + ".join(f"c[{first + n}] * v{m1} * g{m3}" for n, m1, m3 in terms)
            yield f"    t{path.sh}_{m2} += {total}"
    for m in range(dim):
        yield f"    gx[j, {layout.inputs[block].start + m * mul} + u] += r{m}"
    for b, m2 in harmonics:
        yield f"gsh[p, {layout.sh[b].start + m2}] += signs[s, {b}] * t{b}_{m2}"


def _harmonics(layout: Layout) -> Iterator[str]:
    """Spherical harmonics in the direction this edge is gone along."""
    for b, block in enumerate(layout.sh):
        for m in range(block.dim):
            yield f"y{b}_{m} = sh[p, {block.start + m}] * signs[s, {b}]"


def _couplings(layout: Layout, paths: list[tuple[int, Path]]) -> Iterator[str]:
    for k, path in paths:
        first = _first_term(layout, k)
        by_pair: dict[tuple[int, int], list[str]] = {}
        for n, (m1, m2, m3) in enumerate(path.terms):
            by_pair.setdefault((m1, m3), []).append(f"c[{first + n}] * y{path.sh}_{m2}")
        for (m1, m3), terms in by_pair.items():
            yield f"a_{k}_{m1}_{m3} = " + " + ".join(terms)


def _first_term(layout: Layout, k: int) -> int:
    return sum(len(path.terms) for path in layout.paths[:k])


def _by_input(layout: Layout) -> Iterator[tuple[int, list[tuple[int, Path]]]]:
    """Paths (with their numbers) of each input block, which share one loop over channels."""
    numbered = sorted(enumerate(layout.paths), key=lambda pair: pair[1].input)
    for block, paths in groupby(numbered, key=lambda pair: pair[1].input):
        yield block, list(paths)


def _by_output(path: Path) -> list[tuple[int, list[int]]]:
    """For each m₃, the m₁ that reach it."""
    reach: dict[int, set[int]] = {}
    for m1, _, m3 in path.terms:
        reach.setdefault(m3, set()).add(m1)
    return [(m3, sorted(m1s)) for m3, m1s in sorted(reach.items())]


def _by_component(path: Path) -> list[tuple[int, list[int]]]:
    """For each m₁, the m₃ that it reaches."""
    reach: dict[int, set[int]] = {}
    for m1, _, m3 in path.terms:
        reach.setdefault(m1, set()).add(m3)
    return [(m1, sorted(m3s)) for m1, m3s in sorted(reach.items())]


def _indented(spaces: int, lines: Iterator[str]) -> list[str]:
    return [" " * spaces + line for line in lines]
