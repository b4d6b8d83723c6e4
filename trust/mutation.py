"""Whether the tests notice when the science is changed: mutants, and branch coverage."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from statsmodels.stats.proportion import proportion_confint

from trust.mutants import (
    REASONS,
    RESULTS,
    ROOMS,
    SLOW_TESTS,
    Function,
    Results,
    hashes_of_tests,
    of_these_sources,
    read_reasons,
    room,
)
from trust.outcome import ROOT, Outcome, environment

#: Of the mutants, and of the branches.
LEAST_CAUGHT, LEAST_COVERED = 0.85, 0.90

# A quick look tries so many mutants of the room whose tests are the quickest.
QUICK_ROOM, QUICK_MUTANTS = "targets", 24


def check(quick: bool, minutes: float = math.inf) -> Iterator[Outcome]:
    """Every outcome of this part; ``minutes`` are for mutants not tried yet, and for survivors."""
    reasons = read_reasons(REASONS)
    if quick:
        yield _tried_now(reasons)
    elif minutes:
        for flags in ((), ("--survivors",)):
            _run_mutants("--minutes", str(minutes), *flags)
    results = of_these_sources(Results.read(RESULTS))
    for name in ROOMS:
        yield of_room(name, results, reasons, hashes_of_tests([name])[name])
    yield from _coverage(quick)


def of_room(
    name: str, results: Results, reasons: dict[tuple[str, str], str], tests: str
) -> Outcome:
    """What is known of the mutants of one room.

    Args:
        name: of the room.
        results: of all rooms.
        reasons: of survivors, by function and change.
        tests: hash of the room's tests as they are now.
    """
    functions = {n: f for n, f in results.functions.items() if room(n) == name}
    tried = sum(f.tried for f in functions.values())
    survived = [(n, c) for n, f in sorted(functions.items()) for c in f.survived.values()]
    short = [f"{n}: {c}" for n, c in survived if (n, c) not in reasons]
    if not tried or (tried - len(survived)) / tried < LEAST_CAUGHT:
        short.append(f"{name}: {len(survived)} of {tried} mutants survived")
    notes = [_sample(functions), _caught(functions)]
    explained = len(survived) - sum((n, c) not in reasons for n, c in survived)
    notes.append(f"{len(survived)} survived, {explained} of them for a reason given")
    if results.tests.get(name) != tests:
        notes.append("the room's tests have changed since")
    return Outcome(f"mutants of {name}/", tried, "mutants", tuple(short), "; ".join(notes))


def _sample(functions: dict[str, Function]) -> str:
    tried, total = (sum(getattr(f, n) for f in functions.values()) for n in ("tried", "mutants"))
    return "all of them" if tried == total else f"a random SAMPLE of {total:,}"


def _caught(functions: dict[str, Function]) -> str:
    """The share caught, and its exact binomial 95 % interval where not all were tried."""
    tried, total = (sum(getattr(f, n) for f in functions.values()) for n in ("tried", "mutants"))
    timed_out = sum(len(f.timed_out) for f in functions.values())
    caught = sum(len(f.caught) for f in functions.values()) + timed_out
    if not tried:
        return "none tried"
    share = f"{caught / tried:.1%} caught"
    if tried < total:
        low, high = proportion_confint(caught, tried, method="beta")
        share += f" (95 %: {low:.1%} to {high:.1%})"
    return share + (f", {timed_out} of them by their time" if timed_out else "")


def _tried_now(reasons: dict[tuple[str, str], str]) -> Outcome:
    """A few mutants, to see that all works; which ones changes from day to day."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mutation.json"
        day = int(path.parent.stat().st_mtime // 86400)
        _run_mutants(
            "--room", QUICK_ROOM, "--at-most", str(QUICK_MUTANTS), "--seed", str(day),
            "--results", str(path),
        )  # fmt: skip
        results = Results.read(path)
    found = results.functions.values()
    survived = [(n, c) for n, f in results.functions.items() for c in f.survived.values()]
    short = tuple(f"{n}: {c}" for n, c in survived if (n, c) not in reasons)
    note = f"now, seed {day}; {len(survived)} survived"
    return Outcome(
        f"a few mutants of {QUICK_ROOM}/", sum(f.tried for f in found), "mutants", short, note
    )


def _run_mutants(*arguments: str) -> None:
    command = [sys.executable, "-m", "trust.mutants", *arguments]
    subprocess.run(command, cwd=ROOT, env=environment(), check=True, stdout=subprocess.DEVNULL)


def _coverage(quick: bool) -> Iterator[Outcome]:
    """Branch coverage of each room by the default tests of all three; the quick ones are fewer."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "coverage.json"
        command = [
            sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
            *(f"tests/{name}" for name in ROOMS), *(f"--cov=mpprobe.{name}" for name in ROOMS),
            "--cov-branch", f"--cov-report=json:{report}",
            *(f"--ignore={file}" for file in SLOW_TESTS if quick),
        ]  # fmt: skip
        kept = {"COVERAGE_FILE": str(Path(folder) / "coverage"), "OMP_NUM_THREADS": "1"}
        ran = subprocess.run(
            command, cwd=ROOT, env=environment() | kept, capture_output=True, text=True
        )
        if ran.returncode:
            last = (ran.stdout + ran.stderr).strip().splitlines()[-1:]
            yield Outcome("branch coverage", 0, "branches", (f"the tests fail: {last}",))
            return
        files = json.loads(report.read_text())["files"]
    for name in ROOMS:
        summaries = [f["summary"] for path, f in files.items() if f"mpprobe/{name}/" in path]
        yield _covered(name, summaries)


def _covered(name: str, summaries: list[dict]) -> Outcome:
    branches, covered, lines, seen = (
        sum(s[key] for s in summaries)
        for key in ("num_branches", "covered_branches", "num_statements", "covered_lines")
    )
    share = covered / branches if branches else 0.0
    short = (f"{name}: {share:.1%} of the branches",) if share < LEAST_COVERED else ()
    note = f"{share:.1%} covered by the default tests of the three rooms; lines {seen / lines:.1%}"
    return Outcome(f"branches of {name}/", branches, "branches", short, note)
