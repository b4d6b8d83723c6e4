"""What a study has done so far, kept beside its steps, by which it goes on and leaves out."""

from __future__ import annotations

import glob
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mpprobe.cli.steps import Step
from mpprobe.errors import MPProbeError
from mpprobe.files import replacing
from mpprobe.models.trust import file_sha256

NAME = "study.json"


class Record:
    """The steps that were begun or done in a study's folder, with what they were done from.

    Args:
        folder: of the study; it may not be there yet.

    Raises:
        MPProbeError: the record can't be read.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / NAME
        try:
            self.steps: dict[str, dict[str, Any]] = json.loads(
                self._file.read_text(encoding="utf-8")
            )["steps"]
        except (FileNotFoundError, NotADirectoryError):  # the latter is told where it's begun
            self.steps = {}
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise MPProbeError(
                f"{self._file}: can't be read as the record of a study; remove it, or choose "
                "another --output"
            ) from error

    def why(self, step: Step) -> str:
        """Why a step is to be done, in a word or two; empty if its results are there."""
        held = self.steps.get(step.name)
        if held is None:
            return "new"
        changes = [*self._changed(step, held)]
        if changes:
            return f"changed: {', '.join(changes)}"
        if held["finished"] is None:
            return "was stopped"
        return "" if step.output.exists() else "its output is gone"

    def same_options(self, step: Step) -> bool:
        """Whether the step was begun or done before with the same options."""
        held = self.steps.get(step.name)
        return held is not None and _options_of(step) == held["options"]

    def _changed(self, step: Step, held: dict[str, Any]) -> Iterator[str]:
        now = _options_of(step)
        yield from sorted(k for k in now.keys() | held["options"].keys()
                          if now.get(k) != held["options"].get(k))  # fmt: skip
        files = self._inputs(step)
        yield from sorted(f for f in files.keys() | held["inputs"].keys()
                          if files.get(f) != held["inputs"].get(f))  # fmt: skip

    def _inputs(self, step: Step) -> dict[str, str | None]:
        """SHA-256 of files among the options, and when the steps before were finished."""
        files = {file: _sha256(Path(file)) for file in _files(step.configuration)}
        steps = {name: (self.steps.get(name) or {}).get("finished") for name in step.after}
        return files | steps

    def begin(self, step: Step) -> None:
        """Keep that the step has been begun.

        Raises:
            MPProbeError: an input can't be read, or the record can't be written.
        """
        about = {"options": _options_of(step), "inputs": self._inputs(step)}
        self.steps[step.name] = {**about, "finished": None, "seconds": None}
        self._write()

    def code(self, step: Step) -> int:
        """The exit code with which the step was done: also whether structures were left out."""
        return self.steps.get(step.name, {}).get("code", 0)

    def finish(self, step: Step, seconds: float, code: int = 0) -> None:
        """Keep that the step is done, how long it took, and its exit code."""
        now = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        # The time alone is the same for two runs within a second.
        about = {"finished": f"{now} {time.time_ns()}", "seconds": seconds, "code": code}
        self.steps[step.name] |= about
        self._write()

    def _write(self) -> None:
        with replacing(self._file) as part:
            part.write_text(json.dumps({"steps": self.steps}, indent=1), encoding="utf-8")


def _sha256(file: Path) -> str:
    try:
        return file_sha256(file)
    except OSError as error:
        raise MPProbeError(f"{file}: can't be read ({error.strerror})") from error


def _options_of(step: Step) -> dict[str, Any]:
    """The command and its options, as JSON gives them back."""
    return json.loads(json.dumps({"command": " ".join(step.words), **step.configuration}))


def _files(configuration: Any) -> list[str]:
    """The files that values name, by themselves, with a slice or by a glob."""
    values = configuration.values() if isinstance(configuration, dict) else configuration
    found: list[str] = []
    for value in values:
        if isinstance(value, list):
            found += _files(value)
        elif isinstance(value, str):
            path = value if Path(value).exists() else re.sub(r"@[^/@]*$", "", value)
            found += [file for file in sorted(glob.glob(path)) if Path(file).is_file()]
    return found
