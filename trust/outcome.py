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
    return of_cases(what, unit, *cases_of(selection, *flags, python=python))


def cases_of(
    selection: Sequence[str], *flags: str, python: str = sys.executable
) -> tuple[list[ElementTree.Element], str]:
    """Run tests once, for one row or several: the cases, and what is wrong with the run itself.

    Arguments as of :func:`by_tests`. A case has attributes ``file`` and ``name``.
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
    if cases and not (ran.returncode and not any(map(_fell_short, cases))):
        return cases, ""
    last = (ran.stdout + ran.stderr).strip().splitlines() or ["it said nothing"]
    return cases, f"pytest ended with {ran.returncode}: {last[-1]}"


def of_cases(
    what: str, unit: str, cases: Sequence[ElementTree.Element], trouble: str = ""
) -> Outcome:
    """An outcome of the cases of tests that belong to it; there must be some."""
    short = [_name(case) for case in cases if _fell_short(case)]
    if trouble or not cases:
        short.append(trouble or "no test tries it")
    skipped = [case for case in cases if _has(case, "skipped")]
    reasons = sorted({case.find("skipped").get("message", "") for case in skipped})
    tried = sum(1 if _fell_short(case) else _tried(case) for case in cases if case not in skipped)
    note = f"{len(skipped)} skipped: {'; '.join(reasons)}" if skipped else ""
    return Outcome(what, tried, unit, tuple(short), note)


def again(old: Outcome, sources: str) -> Outcome:
    """An outcome after the tests that fell short have been tried once more.

    Args:
        old: as it was; returned as it is where no test fell short.
        sources: with which they are tried now, for the note.
    """
    names = [line for line in old.short if line.startswith("tests/")]
    if not names:
        return old
    new = of_cases(old.what, old.unit, *cases_of(names))
    rest = tuple(line for line in old.short if line not in names)
    told = f"{len(names)} tests that fell short were tried again with sources {sources}"
    # Each of them had counted once.
    return Outcome(
        old.what, old.tried - len(names) + new.tried, old.unit, (*rest, *new.short),
        "; ".join(filter(None, [old.note, told, new.note])),
    )  # fmt: skip


def environment() -> dict[str, str]:
    """This process's, with this checkout's sources before those of any other installed."""
    paths = [str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def _fell_short(case: ElementTree.Element) -> bool:
    return _has(case, "failure") or _has(case, "error")


def _has(case: ElementTree.Element, kind: str) -> bool:
    return case.find(kind) is not None


def _name(case: ElementTree.Element) -> str:
    """As pytest takes it: ``tests/room/test_x.py::TestClass::test_name[parameter]``."""
    file = case.get("file", "")
    inside = case.get("classname", "").removeprefix(file.removesuffix(".py").replace("/", "."))
    return "::".join([file, *inside.strip(".").split(".")[: bool(inside)], case.get("name", "")])


def _tried(case: ElementTree.Element) -> int:
    """What the test says it tried, 1 where it says nothing."""
    values = [p.get("value") for p in case.iter("property") if p.get("name") == "tried"]
    return sum(map(int, values)) if values else 1
