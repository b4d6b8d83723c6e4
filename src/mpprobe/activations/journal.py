"""Finished parts of a long calculation on disk, from which the same calculation goes on."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mpprobe.files import LOCK, alone, cannot_write, replacing

#: Added to the name of an output folder, beside it.
SUFFIX = ".unfinished"
_FILE = "parts.jsonl"


class Journal:
    """Parts by name, each kept as a line of JSON as soon as it is there.

    Without a file they are kept in memory only.

    Args:
        file: of an earlier process that was stopped, or a new one.
        about: of the calculation; parts of another are dropped.

    Attributes:
        parts: by name; those that were there at the beginning first.
        found: how many were there at the beginning.

    Raises:
        StoreError: the file can't be written.
    """

    def __init__(self, file: Path | None = None, about: str = "") -> None:
        self.parts: dict[str, Any] = {}
        self._file = file
        if file is not None:
            self._begin(file, about)
        self.found = len(self.parts)

    def _begin(self, file: Path, about: str) -> None:
        header = json.dumps({"about": about})
        try:
            text = file.read_text(encoding="utf-8", errors="replace")
        except OSError:
            text = ""
        first, *lines = text.split("\n")
        if first != header:
            with replacing(file) as part:
                part.write_text(header + "\n", encoding="utf-8")
            return
        self.parts = dict(filter(None, map(_decoded, lines)))
        if not text.endswith("\n"):
            self._append(file, "")

    def part(self, name: str, make: Callable[[], Any]) -> Any:
        """The part of that name, made only if it isn't there.

        Args:
            name: of the part.
            make: gives plain data, of which JSON keeps every digit.

        Raises:
            StoreError: it can't be kept.
        """
        if name not in self.parts:
            self.parts[name] = make()
            if self._file is not None:
                self._append(self._file, _encoded(name, self.parts[name]))
        return self.parts[name]

    def _append(self, file: Path, line: str) -> None:
        try:
            with open(file, "a", encoding="utf-8") as end:
                end.write(line + "\n")
                end.flush()
                os.fsync(end.fileno())
        except OSError as error:
            raise cannot_write(file, error) from error


def _encoded(name: str, part: Any) -> str:
    held = [name, part]
    return json.dumps({"crc32": zlib.crc32(json.dumps(held).encode()), "held": held})


def _decoded(line: str) -> tuple[str, Any] | None:
    """Name and part; None for a line cut off as its process was killed, or damaged since."""
    try:
        held = json.loads(line)
        name, part = held["held"]
        whole = held["crc32"] == zlib.crc32(json.dumps([name, part]).encode())
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return (name, part) if whole else None


@contextlib.contextmanager
def held_beside(output: Path) -> Iterator[None]:
    """Hold an output for one run at a time; a journal beside it stays.

    Raises:
        StoreError: it can't be written, or another process is making it.
    """
    folder = output.with_name(output.name + SUFFIX)
    with alone(folder, output):
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                if [path.name for path in folder.iterdir()] == [LOCK]:
                    (folder / LOCK).unlink()
                    folder.rmdir()


@contextlib.contextmanager
def journal_beside(output: Path, about: Mapping) -> Iterator[Journal]:
    """A journal in the folder OUTPUT.unfinished, which goes when the work has been done.

    Parts that another calculation has left there are dropped.

    Args:
        output: where the results will go.
        about: all that decides the parts, as plain data.

    Raises:
        StoreError: it can't be written, or another process is using it.
    """
    folder = output.with_name(output.name + SUFFIX)
    digest = hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()
    with alone(folder, output):
        journal = Journal(folder / _FILE, digest)
        done = False
        try:
            yield journal
            done = True
        finally:
            if done or not journal.parts:
                shutil.rmtree(folder, ignore_errors=True)
