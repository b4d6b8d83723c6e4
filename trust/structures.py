"""Structures that can't be used, made up by the hundred thousand."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

from trust import fuzz, fuzz_commands
from trust.outcome import ROOT, Outcome, by_tests, environment


def check(quick: bool) -> Iterator[Outcome]:
    """Every outcome of this part."""
    yield by_tests(
        "any structure: written and read back, checked against brute force, turned, repeated; any "
        "text as a file",
        "examples", ["tests/structures/test_properties.py"],
    )  # fmt: skip
    yield from _damaged_files(600 if quick else fuzz.INPUTS, record=not quick)
    yield _commands(12 if quick else fuzz_commands.INPUTS)
    yield by_tests(
        "bad structures among good ones: the first stops a command, or all are left out and listed",
        "tests", ["tests/cli/test_on_error.py"],
        *(("-k", "library or typing or nothing") if quick else ()),
    )  # fmt: skip


def _damaged_files(inputs: int, record: bool) -> Iterator[Outcome]:
    """A row for each format; the full run is kept in trust/fuzz.json."""
    held = fuzz.run(inputs, record=fuzz.RECORD if record else None)
    for form, counts in held["outcomes"].items():
        short = [f"input {f['input']} of seed {held['seed']}: {f['what']}"
                 for f in held["findings"] if f["format"] == form]  # fmt: skip
        yield Outcome(
            f"damaged {form} files: frames, or one line that names the file, in seconds and a GB",
            sum(counts.values()), "inputs", tuple(short),
            f"seed {held['seed']}; {fuzz.described(counts)}",
        )  # fmt: skip


def _commands(inputs: int) -> Outcome:
    """In a process of its own, since it changes how models are loaded."""
    ran = subprocess.run(
        [sys.executable, "-m", "trust.fuzz_commands", str(inputs)],
        cwd=ROOT, env=environment(), capture_output=True, text=True,
    )  # fmt: skip
    try:
        held = json.loads(ran.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        last = (ran.stderr.strip().splitlines() or ["it said nothing"])[-1]
        held = {"codes": {}, "short": [f"ended with {ran.returncode}: {last}"]}
    codes = ", ".join(f"{n} with {code}" for code, n in sorted(held["codes"].items()))
    return Outcome(
        "damaged files given to ood and extract: exit code 0, 2 or 4, whole results or none",
        sum(held["codes"].values()), "commands", tuple(held["short"]),
        f"seed {fuzz_commands.SEED}; ended {codes}",
    )  # fmt: skip
