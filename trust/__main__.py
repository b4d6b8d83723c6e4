"""Try everything and print one table: ``python -m trust`` in the root folder."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from mpprobe import provenance
from trust.outcome import ROOT, Outcome

#: Modules of this package in the order in which they run, with what they are about. Each has a
#: function ``check(quick)`` that yields outcomes.
PARTS = {
    "hostile": "hostile files",
    "structures": "bad structures",
    "numbers": "numbers",
    "faults": "faults",
    "regression": "regression",
    "mutation": "mutants and coverage",
    "supply": "supply",
}


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    outcomes: dict[str, list[Outcome]] = {}
    for part in options.parts or PARTS:
        began = time.monotonic()
        print(f"trying: {PARTS[part]}", file=sys.stderr, flush=True)
        module = importlib.import_module(f"trust.{part}")
        outcomes[part] = list(module.check(options.quick))
        print(f"  {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    _show(outcomes)
    # A quick or partial run must not be taken for the real one.
    whole = not options.quick and set(outcomes) == set(PARTS)
    place = options.output or ROOT / ("trust/results.json" if whole else "results/trust.json")
    _write(outcomes, place)
    return 1 if _short(outcomes) else 0


def _short(outcomes: dict[str, list[Outcome]]) -> list[str]:
    return [line for found in outcomes.values() for outcome in found for line in outcome.short]


def _show(outcomes: dict[str, list[Outcome]]) -> None:
    """One table, and under it every line of what fell short."""
    console = Console(width=140, highlight=False, markup=False)
    table = Table(title="what was tried, how often, what fell short", title_justify="left")
    table.add_column("")
    table.add_column("what", overflow="fold")
    table.add_column("how often", justify="right", no_wrap=True)
    table.add_column("fell short", justify="right")
    table.add_column("note", overflow="fold")
    for part, found in outcomes.items():
        for i, o in enumerate(found):
            short = str(len(o.short)) if o.short else "nothing"
            table.add_row(
                PARTS[part] if i == 0 else "", o.what, f"{o.tried:,} {o.unit}", short, o.note
            )
        table.add_section()
    console.print(table)
    lines = _short(outcomes)
    for line in lines:
        console.print(f"fell short: {line}", soft_wrap=True)
    console.print("Nothing falls short." if not lines else f"{len(lines)} fell short.")


def _write(outcomes: dict[str, list[Outcome]], path: Path) -> None:
    results = {
        "versions": provenance.versions(),
        "parts": {part: [asdict(o) for o in found] for part, found in outcomes.items()},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"written to {path}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m trust", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="PART",
                        help=f"some of {', '.join(PARTS)}")  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="fewer tries, to see that all works")
    parser.add_argument("--output", type=Path, help="where to write the results, as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
