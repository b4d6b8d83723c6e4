"""What one check tried, how often, and what fell short."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Outcome:
    """One row of the table.

    Attributes:
        what: was tried.
        tried: how often.
        unit: of ``tried``, such as ``inputs`` or ``kills``.
        short: what fell short, a line each; empty where nothing did.
        note: what to know beside it: a seed, what was skipped and why.
    """

    what: str
    tried: int
    unit: str
    short: tuple[str, ...] = ()
    note: str = ""


def by_tests(
    what: str, unit: str, selection: Sequence[str], *flags: str, python: str = sys.executable
) -> Outcome:
    """Run tests, slow ones too, and count them.

    A test that tries something n times says so by ``record_property("tried", n)``, and counts n.

    Args:
        what, unit: as in :class:`Outcome`.
        selection: files, folders or single tests, from the root folder.
        flags: further flags of pytest, such as ``-m "not slow"``.
        python: that runs them.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "junit.xml"
        marks = () if "-m" in flags else ("-m", "not gpu and not download")
        # Only this family of files takes what tests say by record_property.
        family = ("-o", "junit_family=xunit1")
        command = [python, "-m", "pytest", "-q", *family, *selection, *marks, *flags]
        ran = subprocess.run(
            [*command, f"--junitxml={file}"],
            cwd=ROOT, env=environment(), capture_output=True, text=True,
        )  # fmt: skip
        cases = list(ElementTree.parse(file).iter("testcase")) if file.exists() else []
    short = [_name(case) for case in cases if _has(case, "failure") or _has(case, "error")]
    if not cases or (ran.returncode and not short):
        last = (ran.stdout + ran.stderr).strip().splitlines() or ["it said nothing"]
        short = [f"pytest ended with {ran.returncode}: {last[-1]}"]
    skipped = [case for case in cases if _has(case, "skipped")]
    reasons = sorted({case.find("skipped").get("message", "") for case in skipped})
    tried = sum(_tried(case) for case in cases if case not in skipped)
    note = f"{len(skipped)} skipped: {'; '.join(reasons)}" if skipped else ""
    return Outcome(what, tried, unit, tuple(short), note)


def environment() -> dict[str, str]:
    """This process's, with this checkout's sources before those of any other installed."""
    paths = [str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def _has(case: ElementTree.Element, kind: str) -> bool:
    return case.find(kind) is not None


def _name(case: ElementTree.Element) -> str:
    return f"{case.get('classname', '')}.{case.get('name', '')}"


def _tried(case: ElementTree.Element) -> int:
    """What the test says it tried, 1 where it says nothing."""
    values = [p.get("value") for p in case.iter("property") if p.get("name") == "tried"]
    return sum(map(int, values)) if values else 1
