"""Extended XYZ cut into its frames, so that one that can't be read is named and the others are."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator
from itertools import islice
from typing import Any

from ase import Atoms

from mpprobe.errors import StructureError, shortened

FORMAT = "extxyz"
# A frame may end in its cell vectors, a line each.
_VECTOR = "VEC"
# The width of each of the properties, as in species:S:1:pos:R:3.
_COLUMNS = re.compile(r":[SRILMsrilm]:(\d{1,18})")


def cut(path: str) -> Iterator[list[str]]:
    """The lines of each frame of a file, compressed or not; one frame is kept in memory.

    ASE's own reader stops without a word at an empty line, and takes any number of atoms that a
    file declares for granted, however few lines there are.

    Raises:
        StructureError: where the next frame should begin there is something else, or the file
            ends within it. The message names file and frame.
    """
    from ase.io.formats import open_with_compression

    with open_with_compression(path) as lines:
        head, index = next(lines, ""), 0
        while head.strip():
            count = _count(head, path, index)
            frame = [head, *islice(lines, min(count + 1, sys.maxsize))]
            _check_whole(frame, count, f"{path}@{index}")
            head = next(lines, "")
            while head.lstrip().startswith(_VECTOR):
                frame.append(head)
                head = next(lines, "")
            yield frame
            index += 1
        rest = next((line for line in lines if line.strip()), None)
        if rest is not None:
            raise StructureError(
                f"{path}@{index}: an empty line stands where this frame should begin, and more "
                "text below; remove it"
            )


def parse(frame: list[str]) -> Atoms:
    """The structure in a frame's lines; raises whatever ASE's reader does.

    Raises:
        ValueError: more columns are declared than the lines have.
    """
    import ase.io

    declared = sum(map(int, _COLUMNS.findall(frame[1])))
    there = max((len(line.split()) for line in frame[2:3]), default=declared)
    if declared > there:  # ASE would make room for them, however many
        raise ValueError(f"{declared} columns are declared, and a line has {there}")
    atoms: Any = ase.io.read(io.StringIO("".join(frame)), format=FORMAT, index=0)
    return atoms


def _count(head: str, path: str, index: int) -> int:
    """The number of atoms in a frame's first line."""
    try:
        count = int(head)
    except ValueError:
        count = -1
    if count >= 0:
        return count
    shown = shortened(head, 40)
    if index == 0:
        raise StructureError(
            f"{path}: can't be read as structures (extended XYZ begins with the number of atoms, "
            f"and this file with {shown!r}); correct the file"
        )
    raise StructureError(
        f"{path}@{index}: the number of atoms should stand where there is {shown!r}; correct the "
        "file"
    )


def _check_whole(frame: list[str], declared: int, where: str) -> None:
    there = max(len(frame) - 2, 0)
    if there < declared:
        raise StructureError(
            f"{where}: declares {shortened(declared, 40)} atoms, and the file ends after {there}; "
            "it is cut off or the number is wrong"
        )
