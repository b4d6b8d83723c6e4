"""The fast path: convolutions fused into one kernel each."""

from mpprobe.models.fused.layout import NotFusable, check_cpu
from mpprobe.models.fused.pairs import PAIRS, Pairs, pairs_of

__all__ = ["PAIRS", "NotFusable", "Pairs", "check_cpu", "pairs_of"]
