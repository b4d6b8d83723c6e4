"""How far numbers may move when what doesn't matter is changed, each with its reason.

``docs/numbers.md`` shows this table; a test holds the two together.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tolerance:
    """A bound on |Δ| ≤ absolute + relative · |value|.

    Attributes:
        absolute, relative: the bound; the unit is that of the number.
        why: no smaller.
    """

    absolute: float
    relative: float
    why: str


#: By what is changed. The unit is that of the number compared: of a score one.
TOLERANCES = {
    "batches, threads, workers": Tolerance(
        1e-4, 1e-4, "float32 sums in another order: 1e-6 of a feature, which a probe with small "
        "penalties magnifies up to a hundredfold",
    ),
    "fused or plain": Tolerance(1e-4, 1e-4, "the same sums in float32 by another kernel"),
    "store": Tolerance(1e-4, 1e-4, "batches of another size; float32 is stored as it is"),
    "float32 or float64": Tolerance(
        1e-3, 1e-3, "features of float32 have seven digits, of which differences of neighbouring "
        "atoms keep five",
    ),
    "CPU or CUDA": Tolerance(1e-3, 1e-3, "float32 sums in another order, and kernels of its own"),
    "rotation": Tolerance(1e-6, 1e-6, "float64 throughout; sums turned round to 1e-12"),
    "permutation": Tolerance(1e-6, 1e-6, "float64 sums in another order"),
    "origin": Tolerance(1e-6, 1e-6, "float64; coordinates lose a digit"),
    "cell": Tolerance(
        1e-6, 1e-6, "float64; the Ewald sums are cut elsewhere, at 2e-11 of their terms"
    ),
    "magnified": Tolerance(
        1e-3, 1e-3, "whole SOAP vectors, wider than the set has atoms, under small penalties; fits "
        "to unit charges' force constants, which are differences over 0.005 Å along x, y and z",
    ),
    "supercell": Tolerance(1e-6, 1e-6, "as for the cell"),
}  # fmt: skip
