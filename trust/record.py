"""What was found of each part the last time it was tried, and of which sources."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from mpprobe.files import written_beside
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

#: The kept record: of parts that were tried in full.
RESULTS = ROOT / "trust/results.json"


@dataclass(frozen=True)
class Tried:
    """One part, tried once.

    Attributes:
        sources: the commit, with a ``+`` behind it where files had been changed since.
        date: as in 2026-11-28.
        seconds: it took.
        versions: of Python and the packages that decide numbers.
        outcomes: the rows.
    """

    sources: str
    date: str
    seconds: int
    versions: dict[str, str]
    outcomes: tuple[Outcome, ...]


def read(path: Path = RESULTS) -> dict[str, Tried]:
    """The parts of a record; none where there is no file."""
    if not path.exists():
        return {}
    held = json.loads(path.read_text(encoding="utf-8"))
    return {name: _tried(part) for name, part in held.items()}


def _tried(part: dict) -> Tried:
    outcomes = (Outcome(**{**o, "short": tuple(o["short"])}) for o in part.pop("outcomes"))
    return Tried(**part, outcomes=tuple(outcomes))


def write(parts: Mapping[str, Tried], path: Path = RESULTS) -> None:
    """Write a record."""
    held = {name: asdict(part) for name, part in parts.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_beside(path) as part:
        part.write_text(json.dumps(held, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def sources() -> str:
    """The commit that is checked out, with a ``+`` where tracked files differ from it.

    What these runs write themselves doesn't count.
    """
    commit = _git("rev-parse", "--short=12", "HEAD")
    changed = _git("status", "--porcelain", "-uno", "--", ".", ":(exclude)trust/*.json")
    return (commit or "unknown") + ("+" if changed else "")


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip()
