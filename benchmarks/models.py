"""SevenNet-0 on either path, loaded once for all measurements of this process."""

from __future__ import annotations

from functools import cache

import mpprobe
from mpprobe.models.potential import Potential


@cache
def sevennet_0(*, fast: bool = True) -> Potential:
    """It computes in float32 on the CPU."""
    return mpprobe.load("sevenn-0", device="cpu", dtype="float32", fast=fast)
