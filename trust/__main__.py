"""Try everything and print one table: ``python -m trust`` in the root folder."""

from __future__ import annotations

import argparse
import importlib
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

from rich.console import Console
from rich.table import Table

from mpprobe import provenance
from trust import record
from trust.outcome import ROOT, again
from trust.record import PARTS, RESULTS, Tried


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    # What a quick look finds must not be taken for the real thing.
    place = options.output or (ROOT / "results/trust.json" if options.quick else RESULTS)
    if options.show:
        parts = record.read(place)
    else:
        parts = {}
        for name in options.parts or PARTS:
            parts[name] = _again(name, place) if options.again else _try(name, options)
            # Each as it is done, so that a run that is stopped isn't lost, in place of the earlier.
            found = parts if options.quick else record.read(place) | parts
            record.write({n: found[n] for n in PARTS if n in found}, place)
    _show(parts)
    if not options.show:
        print(f"written to {place}")
    return 1 if _short(parts) else 0


def _try(name: str, options: argparse.Namespace) -> Tried:
    print(f"trying: {PARTS[name]}", file=sys.stderr, flush=True)
    began, sources = time.monotonic(), record.sources()
    more = {"minutes": options.minutes} if name == "mutation" else {}
    outcomes = tuple(importlib.import_module(f"trust.{name}").check(options.quick, **more))
    seconds = round(time.monotonic() - began)
    print(f"  {seconds} s", file=sys.stderr, flush=True)
    return Tried(sources, f"{date.today()}", seconds, provenance.versions(), outcomes)


def _again(name: str, place: Path) -> Tried:
    """The last run of a part, with those of its tests tried again that fell short."""
    part, now = record.read(place)[name], record.sources()
    return replace(part, outcomes=tuple(again(outcome, now) for outcome in part.outcomes))


def _short(parts: dict[str, Tried]) -> list[str]:
    return [line for part in parts.values() for outcome in part.outcomes for line in outcome.short]


def _show(parts: dict[str, Tried]) -> None:
    """One table, and under it every line of what fell short."""
    console = Console(width=140, highlight=False, markup=False)
    table = Table(title="what was tried, how often, what fell short", title_justify="left")
    table.add_column("")
    table.add_column("what", overflow="fold")
    table.add_column("how often", justify="right", no_wrap=True)
    table.add_column("fell short", justify="right")
    table.add_column("note", overflow="fold")
    for name, part in parts.items():
        for i, o in enumerate(part.outcomes):
            short = str(len(o.short)) if o.short else "nothing"
            table.add_row(
                PARTS[name] if i == 0 else "", o.what, f"{o.tried:,} {o.unit}", short, o.note
            )
        table.add_section()
    console.print(table)
    lines = _short(parts)
    for line in lines:
        console.print(f"fell short: {line}", soft_wrap=True)
    console.print("Nothing falls short." if not lines else f"{len(lines)} fell short.")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m trust", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="PART",
                        help=f"some of {', '.join(PARTS)}")  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="fewer tries, to see that all works")
    parser.add_argument("--minutes", type=float, default=math.inf,
                        help="for mutants not tried yet, and as many for survivors")  # fmt: skip
    parser.add_argument(
        "--again",
        action="store_true",
        help="only those tests that fell short in the last run of a part",
    )
    parser.add_argument("--show", action="store_true", help="try nothing, show the last results")
    parser.add_argument("--output", type=Path, help="the file of results, as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
