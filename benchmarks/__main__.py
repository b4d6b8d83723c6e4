"""Measure everything and write results.json: ``python -m benchmarks`` in the root folder."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import BUSY, load_of_others, machine, now, versions
from benchmarks.sizes import FULL, QUICK, Sizes
from benchmarks.tables import GOALS, show

#: Modules of this package in the order in which they run; each has a function ``measure``.
PARTS = ("extraction", "mace", "floor", "growth", "fitting", "kernel_cpp", "first_use")
ROOT = Path(__file__).parents[1]


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    warnings.filterwarnings("ignore")  # what the peers' packages warn of on every use
    # A quick run must not be taken for the real one.
    place = ROOT / ("results/benchmarks-quick.json" if options.quick else "benchmarks/results.json")
    output = options.output or place
    results = measure(QUICK if options.quick else FULL, options.only or PARTS)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    show(results)
    print(f"written to {output}")


def measure(sizes: Sizes, parts: Sequence[str]) -> dict[str, Any]:
    """All parts one after the other, with what is needed to read the figures."""
    results: dict[str, Any] = {"date": now(), "load_of_others": {"start": _watched()}}
    measured: dict[str, Any] = {}
    for part in parts:
        print(f"measuring: {part}", file=sys.stderr, flush=True)
        measured[part] = importlib.import_module(f"benchmarks.{part}").measure(sizes)
    ratios = {k: v for m in measured.values() for k, v in m.pop("ratios", {}).items()}
    results["load_of_others"]["end"] = _watched()
    return results | {
        "ratios": {name: ratios[name] for name in GOALS if name in ratios},
        "other_ratios": {name: v for name, v in ratios.items() if name not in GOALS},
        "machine": machine(),
        "versions": versions(),
        "sizes": vars(sizes),
        "measured": measured,
    }


def _watched() -> float:
    """Cores kept busy by others; said aloud where that spoils the figures."""
    load = load_of_others()
    if load > BUSY:
        print(
            f"WARNING: other processes keep {load:.1f} cores busy, so these figures are not to be "
            "trusted",
            file=sys.stderr,
        )
    return round(load, 2)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that all works")
    parser.add_argument("--only", nargs="+", choices=PARTS, metavar="PART",
                        help=f"some of {', '.join(PARTS)}")  # fmt: skip
    parser.add_argument("--output", type=Path, help="where to write the results, as JSON")
    return parser


if __name__ == "__main__":
    main()
