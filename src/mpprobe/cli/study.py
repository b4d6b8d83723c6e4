"""The file of a study: which commands are run one after the other, and with which options."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpprobe.cli import options
from mpprobe.cli.steps import RESERVED, Step, commands, make_step
from mpprobe.errors import MPProbeError

_KEYS = ("output", "shared", "steps", "report")
_ADVICE = "a study has `steps:`, and if you like `output:`, `shared:` and `report:`"
_FOLDER = Path("mpprobe-study")


@dataclass(frozen=True)
class StudyFile:
    """What a study's file asks for.

    Attributes:
        folder: in which every step has its output.
        steps: in order.
    """

    folder: Path
    steps: tuple[Step, ...]


def read_study(file: Path, output: Path | None = None) -> StudyFile:
    """Read a study and check it as far as that goes without running anything.

    Args:
        file: YAML with ``steps``, a list of commands with their options by long flags; ``shared``,
            options of every step that has them; ``output``, the folder; ``report``, false for no
            report at the end.
        output: goes before that of the file.

    Raises:
        MPProbeError: what is wrong, with the file, the step and the key.
    """
    held = options.read_mapping(file, _ADVICE)
    _check_keys(file, held)
    folder = output or Path(held.get("output") or _FOLDER)
    shared = _flags(held.get("shared"), f"{file}: shared")
    asked = [_parse(file, number, item) for number, item in enumerate(held["steps"], 1)]
    # Looked up by name: it is a command like the others.
    given = [command for _, (command, _, _) in asked]
    if held.get("report", True) and "report" in commands() and "report" not in given:
        asked.append(("report", ("report", {}, f"{file}: report")))
    steps: list[Step] = []
    for name, (command, own, where) in asked:
        if name in {step.name for step in steps}:
            raise MPProbeError(f"{where}: a step of this name is there already; add `name: ...`")
        steps.append(make_step(name, command, own, shared, steps, folder, where))
    _check_shared(file, shared, steps)
    return StudyFile(folder, tuple(steps))


def _check_keys(file: Path, held: Mapping[str, Any]) -> None:
    for key in held:
        if key not in _KEYS:
            raise MPProbeError(f"{file}: {key}: no such key; {_ADVICE}")
    if not isinstance(held.get("output", ""), (str, type(None))):
        raise MPProbeError(f"{file}: output: takes the name of a folder, not {held['output']!r}")
    if not isinstance(held.get("report", True), bool):
        raise MPProbeError(f"{file}: report: takes true or false; its options go into a step")
    if not isinstance(held.get("steps"), list) or not held["steps"]:
        raise MPProbeError(f"{file}: steps: give a list of commands, as in `- probe: {{layer: 2}}`")


def _parse(file: Path, number: int, item: Any) -> tuple[str, tuple[str, dict[str, Any], str]]:
    """The name of a step; its command, its own options, and what messages begin with."""
    where = f"{file}: step {number}"
    held = {item: None} if isinstance(item, str) else item
    if not isinstance(held, dict):
        raise MPProbeError(f"{where}: give a command, as in `- probe: {{layer: 2}}`")
    rest = {str(key): value for key, value in held.items() if key != "name"}
    if len(rest) != 1:
        raise MPProbeError(
            f"{where}: give one command a step, with its options below it, and `name` if you like; "
            f"here are {', '.join(rest) or 'none'}"
        )
    ((command, own),) = rest.items()
    name = str(held.get("name") or command.replace(" ", "-"))
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise MPProbeError(f"{where}: name: {name!r} can't name a folder; use letters, digits, -")
    where += f" ({name})"
    return name, (command, _flags(own, where), where)


def _flags(given: Any, where: str) -> dict[str, Any]:
    """Options by their flags, with - for _."""
    if not isinstance(given, (dict, type(None))):
        raise MPProbeError(f"{where}: give one option a line, as in `layer: [2, 3]`")
    return {str(key).replace("_", "-"): value for key, value in (given or {}).items()}


def _check_shared(file: Path, shared: Mapping[str, Any], steps: list[Step]) -> None:
    known = frozenset().union(*(step.flags for step in steps))
    for flag in shared:
        if flag in RESERVED:
            raise MPProbeError(f"{file}: shared: {flag} is set by `mpprobe run`; leave it out")
        if flag not in known:
            raise MPProbeError(f"{file}: shared: no step has an option {flag!r}")
