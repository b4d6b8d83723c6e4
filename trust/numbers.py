"""Degenerate input, precision, threads, batches, and what must not change a result."""

from __future__ import annotations

from collections.abc import Iterator

from trust.outcome import Outcome


def check(quick: bool) -> Iterator[Outcome]:
    """Every outcome of this part."""
    yield from ()
