"""Whatever a linter or type checker is told to let pass says why, on its line."""

from __future__ import annotations

import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("src", "tests", "analyses", "benchmarks", "data", "trust", "docs", "examples")

#: What lets something pass, and how it looks with its rule and its reason.
_MARKS = re.compile(r"#\s*(noqa|type:\s*ignore|pragma:|ruff:\s*noqa|mypy:)", re.IGNORECASE)
_REASONED = (
    re.compile(r"# noqa: [A-Z]+\d+(, [A-Z]+\d+)* - \w"),
    re.compile(r"# type: ignore\[[\w-]+(, [\w-]+)*\]  # \w"),
    re.compile(r"# pragma: no (cover|mutate|branch) - \w"),
)


def without_reason(comments: list[str]) -> list[str]:
    """Comments that let something pass and don't say which rule and why."""
    return [c for c in comments if _MARKS.search(c) and not any(r.search(c) for r in _REASONED)]


def comments_of(path: Path) -> list[str]:
    """Ends of lines from the first comment on; # in strings is none."""
    with tokenize.open(path) as file:
        return [
            token.string
            for token in tokenize.generate_tokens(file.readline)
            if token.type == tokenize.COMMENT
        ]


@pytest.mark.parametrize("folder", FOLDERS)
def test_what_is_let_pass_has_its_reason(folder):
    found = {
        str(path.relative_to(ROOT)): lines
        for path in sorted((ROOT / folder).rglob("*.py"))
        if (lines := without_reason(comments_of(path)))
    }
    assert not found


@pytest.mark.parametrize(
    "comment",
    [
        "# noqa",
        "# noqa: F401",
        "# noqa: F401 -",
        "# noqa - because",
        "# type: ignore",
        "# type: ignore[arg-type]",
        "# type: ignore  # because",
        "# pragma: no cover",
        "# ruff: noqa: F401",
        "# mypy: ignore-errors",
    ],
)
def test_a_comment_without_rule_or_reason_is_found(comment):
    assert without_reason([comment]) == [comment]


@pytest.mark.parametrize(
    "comment",
    [
        "# noqa: F401 - for what the import does",
        "# noqa: F401, B006 - both",
        "# type: ignore[arg-type]  # the stub is wrong",
        "# pragma: no cover - needs a GPU",
        "# a comment that ignores nothing",
    ],
)
def test_a_comment_with_rule_and_reason_passes(comment):
    assert without_reason([comment]) == []


def test_a_rule_that_is_off_has_its_reason_in_the_configuration():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    lint = text.split("[tool.ruff.lint]\n")[1].split("\n[tool.ruff.lint.mccabe]")[0]
    off = [line for line in lint.splitlines() if not line.startswith("select")]
    unexplained, explained = [], False
    for line in off:
        # A comment line is of all lines up to the next bracket that opens a list.
        explained = line.startswith("#") or (explained and not line.endswith("["))
        if re.search(r'"[A-Z]+\d+"', line) and not (explained or "#" in line):
            unexplained.append(line)
    assert len(off) > 10
    assert unexplained == []
