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


#: By what is changed. A score, an interval and a number in its unit are held to the same bound.
TOLERANCES = {
    "batches, threads, workers": Tolerance(
        1e-4, 1e-4, "float32 sums in another order; probes with small penalties magnify the last "
        "digits. The furthest seen is a tenth of it",
    ),
    "fused or plain path": Tolerance(
        1e-4, 1e-4, "float32 sums by other kernels. The furthest seen is a third of it"
    ),
    "store": Tolerance(1e-4, 1e-4, "other batches; float32 is stored as it is"),
    "float32 or float64": Tolerance(
        1e-4, 1e-4, "seven digits of each feature. The furthest seen is a quarter of it"
    ),
    "CPU or CUDA": Tolerance(1e-3, 1e-3, "float32 sums by kernels of its own; not tried yet"),
    "rotation": Tolerance(1e-6, 1e-6, "float64; sums turned round, at 1e-12 of their terms"),
    "permutation": Tolerance(1e-6, 1e-6, "float64 sums in another order"),
    "origin": Tolerance(1e-6, 1e-6, "float64; coordinates lose a digit"),
    "cell": Tolerance(
        1e-6, 1e-6, "float64; Ewald sums are cut elsewhere, at 2e-11 of their terms"
    ),
    "supercell": Tolerance(1e-6, 1e-6, "as for the cell"),
    "any of these five, magnified": Tolerance(
        1e-3, 1e-3, "whole SOAP vectors, wider than the set has atoms, under small penalties; fits "
        "to unit charges' force constants, which are differences over 0.005 Å along x, y and z",
    ),
}  # fmt: skip


def as_rows() -> list[str]:
    """The table as docs/numbers.md has it, a line each."""
    return [
        f"| {what} | {t.absolute:g} + {t.relative:g} of the value | {t.why} |"
        for what, t in TOLERANCES.items()
    ]
