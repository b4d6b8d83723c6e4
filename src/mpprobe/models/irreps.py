"""Irreps as text: which columns of a node-feature array are which irreducible representation.

Only what mpprobe needs, so that models and stored features can be described without importing
torch; everything that computes with irreps uses e3nn.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mpprobe.errors import ModelError

_TERM = re.compile(r"(?:(\d+)x)?(\d+)([eo])")


@dataclass(frozen=True)
class Block:
    """``mul`` copies of the irrep of order ``l`` and parity ``p``, in columns start to stop.

    The columns hold ``mul`` vectors of ``2l + 1`` components one after another (e3nn's ``mul_ir``
    layout), so ``features[:, start:stop].reshape(n, mul, 2 * l + 1)`` separates them.
    """

    mul: int
    l: int
    p: str
    start: int

    @property
    def width(self) -> int:
        return self.mul * (2 * self.l + 1)

    @property
    def stop(self) -> int:
        return self.start + self.width

    def __str__(self) -> str:
        return f"{self.mul}x{self.l}{self.p}"


def parse_irreps(irreps: str) -> tuple[Block, ...]:
    """Blocks of e3nn irreps such as ``"128x0e+64x1e+32x2e"``.

    Raises:
        ModelError: ``irreps`` is not e3nn's notation.
    """
    blocks: list[Block] = []
    start = 0
    for term in irreps.replace(" ", "").split("+"):
        match = _TERM.fullmatch(term)
        if match is None:
            raise ModelError(f"irreps {irreps!r}: {term!r} is not of the form 128x0e")
        mul, order, parity = match.groups()
        block = Block(int(mul or 1), int(order), parity, start)
        blocks.append(block)
        start = block.stop
    return tuple(blocks)


def irreps_dim(irreps: str) -> int:
    """Number of columns of a feature array with these irreps."""
    return parse_irreps(irreps)[-1].stop
