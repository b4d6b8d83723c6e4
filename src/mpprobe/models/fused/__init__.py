"""The fast path: convolutions fused into one kernel each, for CPUs."""

from mpprobe.models.fused.layout import NotFusable
from mpprobe.models.fused.pairs import PAIRS, Pairs, pairs_of

__all__ = ["PAIRS", "NotFusable", "Pairs", "pairs_of"]
