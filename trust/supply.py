"""What mpprobe is built of: packages, licences, advisories, types."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

from trust import advisories, licences, pythons, sbom
from trust.dependencies import installed, pins, runtime, version_of
from trust.outcome import ROOT, Outcome, by_tests


def check(quick: bool) -> Iterator[Outcome]:
    """Every outcome of this part."""
    yield _pinned()
    yield _bill()
    yield _licences()
    yield _advisories()
    yield _tool("types, strictly but for foreign modules", "files", "mypy",
                r"in (\d+) source files")  # fmt: skip
    yield by_tests("what linter and type checker let pass has its reason", "folders and comments",
                   ["tests/test_lint_reasons.py"])  # fmt: skip
    for version in pythons.OTHERS:
        if not quick:
            yield _wheels(version)
        yield _tests(version, quick)


def _pinned() -> Outcome:
    pinned, here = pins(), installed()
    short = [
        f"{name} {version_of(name)} is installed, constraints.txt has {pinned.get(name, 'nothing')}"
        for name in here
        if pinned.get(name) != version_of(name)
    ]
    return Outcome("every package of this environment is pinned", len(here), "packages",
                   tuple(short))  # fmt: skip


def _bill() -> Outcome:
    kept = sbom.read()
    short = sbom.disagreements(kept)
    if sbom.as_text(kept) != sbom.as_text(sbom.make()):
        short.append("the bill of materials isn't that of this environment: make sbom")
    return Outcome("bill of materials: complete, as pinned, made again the same",
                   len(kept["components"]), "packages", tuple(short))  # fmt: skip


def _licences() -> Outcome:
    names = list(runtime())
    short = licences.unexplained(names, licences.licences())
    explained = sorted(licences.EXPLAINED.keys() & set(names))
    note = f"explained in docs/supply.md: {', '.join(explained)}"
    return Outcome("licence allowed or explained", len(names), "packages", tuple(short), note)


def _advisories() -> Outcome:
    said = advisories.audit()
    note = f"asked {said.service}" if said.service else "NOT CHECKED: no advisory service reachable"
    if said.service and said.unknown:
        note += f"; it doesn't know {', '.join(said.unknown)}"
    return Outcome("known vulnerabilities, by pip-audit", len(said.checked), "packages", said.found,
                   note)  # fmt: skip


def _tool(what: str, unit: str, module: str, counted: str) -> Outcome:
    """A checker that says how many files it checked, and a line for each error."""
    done = subprocess.run([sys.executable, "-m", module], cwd=ROOT, capture_output=True, text=True)
    count = re.search(counted, done.stdout)
    errors = [line for line in done.stdout.splitlines() if ": error:" in line]
    if done.returncode and not errors:
        errors = [f"{module} ended with {done.returncode}: {(done.stdout + done.stderr)[-200:]}"]
    return Outcome(what, int(count[1]) if count else 0, unit, tuple(errors))


def _wheels(version: str) -> Outcome:
    why = pythons.without_wheel(version)
    return Outcome(f"a wheel of every pin for Python {version}", len(runtime()), "packages",
                   (why,) if why else ())  # fmt: skip


def _tests(version: str, quick: bool) -> Outcome:
    what, python = f"tests on Python {version}", pythons.environment(version)
    if not python.exists():
        how = f"make test PYTHON=python{version} VENV={python.parts[-3]}"
        return Outcome(what, 0, "tries", note=f"NOT TRIED: {how} makes the environment")
    flags = ("-m", "not slow and not gpu and not download")
    some = ["tests/models", "tests/structures", "tests/targets"] if quick else ["tests"]
    found = by_tests(what, "tries", some, *flags, python=str(python))
    return replace(found, short=tuple(f"Python {version}: {line}" for line in found.short))
