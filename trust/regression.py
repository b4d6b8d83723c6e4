"""The bundled study's tables, against those kept."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from trust.golden import STUDIES, kept, made, moved
from trust.outcome import Outcome


def check(quick: bool) -> Iterator[Outcome]:
    """Every outcome of this part; in quick mode, of the small study only."""
    for study in ["small"] if quick else STUDIES:
        old = kept(study)
        with tempfile.TemporaryDirectory() as folder:
            lines = list(moved(old, made(study, Path(folder) / "run")))
        numbers = sum(table.size for table in old.values())
        note = f"{len(old)} tables, tolerances in trust/golden.py"
        yield Outcome(f"tables of the {study} study as they were", numbers, "values",
                      tuple(lines), note)  # fmt: skip
