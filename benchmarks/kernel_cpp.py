"""The convolution's forward kernel in C++ against Numba: the same loops, on the same arrays.

The C++ text is made from the Python text that Numba compiles, line by line, so that the two can't
differ in what they compute. Run alone, ``python -m benchmarks.kernel_cpp`` prints that text.
"""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cells import crystals
from benchmarks.models import sevennet_0
from benchmarks.sizes import Sizes
from benchmarks.timing import Contender, interleaved, paired_ratio
from mpprobe.models.fused import pairs_of
from mpprobe.models.fused.kernels import kernels
from mpprobe.models.fused.layout import Layout, read_layout
from mpprobe.models.fused.source import kernel_source
from mpprobe.models.potential import Potential

#: The layer whose convolution is compared: the second, which has all paths.
LAYER = 2
FLAGS = ("-O3", "-march=native", "-ffast-math", "-shared", "-fPIC", "-std=c++17")
TOLERANCE = 1e-5

_REALS = ("x", "sh", "w", "c", "signs")
_INTEGERS = ("nodes", "ptr", "fresh", "source", "row", "side")
#: Variables that count; all others hold features, weights or coefficients.
_COUNTERS = ("n", "e", "u", "m", "i", "j", "p", "s")


def measure(sizes: Sizes) -> dict[str, Any]:
    """Seconds an edge of both in one thread, or why there is nothing to compare with."""
    if shutil.which("g++") is None:
        return {"skipped": "no g++ on this machine"}
    potential = sevennet_0()
    module = potential.module._modules[f"{LAYER - 1}_convolution"].convolution
    layout, coefficients = read_layout(module)
    arguments, n_edges = _arguments(potential, layout, coefficients, sizes.kernel_repeat)
    numba_out, cpp_out = _zeros(layout, arguments), _zeros(layout, arguments)
    numba_call = partial(kernels(layout).forward, *arguments, *numba_out)
    with tempfile.TemporaryDirectory() as folder:
        cpp_call = _compiled(layout, Path(folder), arguments, cpp_out)
        numba_call()
        cpp_call()
        difference = _difference(numba_out, cpp_out)
        timings = interleaved(
            {"Numba": Contender(numba_call, 0), "C++": Contender(cpp_call, 0)},
            2 * sizes.repeats,
            sizes.least,
        )
    compiler = subprocess.run(["g++", "--version"], capture_output=True, text=True, check=True)
    return {
        "compiler": compiler.stdout.splitlines()[0], "flags": " ".join(FLAGS),
        "layer": LAYER, "directed_edges": n_edges, "largest_difference": difference,
        "microseconds_per_edge": {n: 1e6 * t.median / n_edges for n, t in timings.items()},
        "timings": {name: timing.summary() for name, timing in timings.items()},
        "ratios": {"numba_over_cpp": paired_ratio(timings["Numba"], timings["C++"])},
    }  # fmt: skip


def cpp_source(layout: Layout) -> str:
    """The forward kernel as a C function; arrays are contiguous and of ``float``."""
    python = kernel_source(layout)
    (text,) = re.findall(r"^def forward\(.*?\n((?: {4}.*\n|\n)*)", python, re.MULTILINE)
    widths = {"x": layout.input_dim, "sh": layout.sh_dim, "w": layout.n_weights,
              "signs": len(layout.sh)}  # fmt: skip
    lines, depths = [], [4]
    for line in filter(str.strip, text.splitlines()):
        depth = len(line) - len(line.lstrip())
        while depth < depths[-1]:
            lines.append("}")
            depths.pop()
        if line.endswith(":"):
            depths.append(depth + 4)
        lines.append(_translated(line.strip(), layout, widths))
    lines += ["}"] * (len(depths) - 1)
    parameters = [f"const float *__restrict {name}" for name in _REALS]
    parameters += [f"const int64_t *__restrict {name}" for name in _INTEGERS]
    parameters += ["int64_t n_nodes"]
    parameters += [f"float *__restrict out{g}" for g in range(len(layout.groups))]
    head = f'extern "C" void forward({", ".join(parameters)}) {{'
    return "\n".join(["#include <cstdint>", head, *lines, "}", ""])


def _translated(line: str, layout: Layout, widths: dict[str, int]) -> str:
    """One line of the Python kernel in C++."""
    if loop := re.fullmatch(r"for (\w+) in range\((?:(.+), )?(.+)\):", line):
        name, first, last = loop.groups()
        last = "n_nodes" if last == "len(nodes)" else last
        return f"for (int64_t {name} = {first or 0}; {name} < {last}; ++{name}) {{"
    if line.endswith(":"):
        return re.sub(r"if (.+):", r"if (\1) {", line).replace("else:", "else {")
    if line.startswith("acc = "):
        return f"float acc[{layout.output_dim}];"
    if line.startswith("acc[:] = "):
        return "for (float &value : acc) value = 0.0f;"
    for name, width in widths.items():
        line = re.sub(rf"\b{name}\[(\w+), ([^\]]+)\]", rf"{name}[\1 * {width} + \2]", line)
    for g, group in enumerate(layout.groups):
        line = line.replace(f"out{g}[i, m, u]", f"out{g}[(i * {group.dim} + m) * {group.mul} + u]")
    if declared := re.fullmatch(r"(\w+) = (.+)", line):
        kind = "int64_t" if declared.group(1) in _COUNTERS else "float"
        return f"const {kind} {line};"
    return line + ";"


def _arguments(
    potential: Potential, layout: Layout, coefficients: np.ndarray, repeat: int
) -> tuple[list[Any], int]:
    """The kernel's arguments for random features on the first chunk of a real graph."""
    pairs = pairs_of(potential.batch(crystals("NaCl", 1, repeat)))
    chunk = pairs.shared_out(1).shares[0][0]
    rng = np.random.default_rng(0)

    def random(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    n_rows = len(chunk.first)
    reals = [random(pairs.n_nodes, layout.input_dim), random(n_rows, layout.sh_dim),
             random(n_rows, layout.n_weights), coefficients.astype(np.float32),
             layout.parities().astype(np.float32)]  # fmt: skip
    graph = [chunk.nodes, chunk.ptr, chunk.fresh, chunk.source, chunk.row, chunk.side]
    return [*reals, *graph], len(chunk.source)


def _zeros(layout: Layout, arguments: list[Any]) -> list[np.ndarray]:
    n_nodes = len(arguments[0])
    return [np.zeros((n_nodes, group.dim, group.mul), np.float32) for group in layout.groups]


def _compiled(
    layout: Layout, folder: Path, arguments: list[Any], out: list[np.ndarray]
) -> Callable[[], None]:
    """The C++ kernel bound to these arrays."""
    source, library = folder / "kernel.cpp", folder / "kernel.so"
    source.write_text(cpp_source(layout))
    subprocess.run(["g++", *FLAGS, "-o", str(library), str(source)], check=True)
    function = ctypes.CDLL(str(library)).forward
    arrays = [np.ascontiguousarray(a, np.float32) for a in arguments[: len(_REALS)]]
    arrays += [np.ascontiguousarray(a, np.int64) for a in arguments[len(_REALS) :]]
    pointers = [ctypes.c_void_p(a.ctypes.data) for a in arrays]
    n_nodes = ctypes.c_int64(len(arguments[len(_REALS)]))
    outs = [ctypes.c_void_p(a.ctypes.data) for a in out]

    def call(keep: list[np.ndarray] = arrays) -> None:
        function(*pointers, n_nodes, *outs)

    return call


def _difference(ours: list[np.ndarray], theirs: list[np.ndarray]) -> float:
    """Relative to the largest message; more than rounding is an error."""
    apart = max(
        float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(ours, theirs, strict=True)
    )
    if apart > TOLERANCE:
        raise SystemExit(f"the C++ kernel differs from Numba's by {apart:.1e}")
    return apart


def main() -> None:
    module = sevennet_0().module._modules[f"{LAYER - 1}_convolution"].convolution
    print(cpp_source(read_layout(module)[0]))


if __name__ == "__main__":
    main()
