"""The frames of one file, in any format that ASE reads; what goes wrong is a line that names it."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator
from typing import Any

from ase import Atoms

from mpprobe.errors import StructureError, shortened
from mpprobe.structures import extxyz, poscar
from mpprobe.structures.failures import READ, Failure
from mpprobe.structures.guard import check_format, check_unpacked

# What ASE's CIF reader warns of when it leaves out a row, that is an atom.
_LOST = ("Wrong number",)

#: Each frame with its index in the whole file.
Numbered = list[tuple[int, Atoms]]


def load(path: str, index: int | slice, failures: list[Failure] | None = None) -> Numbered:
    """The chosen frames of a file, each with its index in the whole file.

    Args:
        path: the file.
        index: one frame or a slice of them, as of a list.
        failures: takes the frames that can't be read, where they can be told apart (extended XYZ);
            None to raise at the first.

    Raises:
        StructureError: the file can't be read, or there is no such frame.
    """
    with _one_line(path):
        check_unpacked(path)
        form = _format(path)
        check_format(path, form)
    if form == extxyz.FORMAT:
        return _load_extxyz(path, index, failures)
    if form == poscar.FORMAT:
        with _one_line(path):
            poscar.check_counts(path)
    return _load_any(path, index)


@contextlib.contextmanager
def left_out(source: str, failures: list[Failure] | None) -> Iterator[None]:
    """Add a StructureError to the failures, if there is a list of them, instead of raising it."""
    try:
        yield
    except StructureError as error:
        if failures is None:
            raise
        # The message may know the frame where the caller knows the file only.
        named = str(error).partition(": ")[0]
        own = named if named.startswith(f"{source}@") else source
        failures.append(Failure.of(own, READ, str(error)))


def _load_extxyz(path: str, index: int | slice, failures: list[Failure] | None) -> Numbered:
    wanted = _from_start(index)
    if wanted is None:
        with _one_line(path):
            wanted = _chosen(path, index, sum(1 for _ in extxyz.cut(path)))
    ascending = wanted if wanted.step > 0 else wanted[::-1]
    found: Numbered = []
    n = 0
    with left_out(path, failures), _one_line(path):
        for i, frame in enumerate(extxyz.cut(path) if len(ascending) else ()):
            n = i + 1
            source = f"{path}@{i}"
            if i in ascending:
                with left_out(source, failures), _one_line(source):
                    found.append((i, extxyz.parse(frame)))
            if n > ascending[-1]:
                break
        if isinstance(index, int) and n <= ascending[-1]:
            raise _no_such_frame(path, index, n)
    return found if wanted.step > 0 else found[::-1]


def _load_any(path: str, index: int | slice) -> Numbered:
    import ase.io

    # Frames behind the last one wanted needn't be read, but indices from the end need them all.
    wanted = _from_start(index)
    stop = None if wanted is None or wanted.stop == sys.maxsize else wanted.stop
    with _one_line(path):
        # Whole, since ASE takes names that begin in some ways for addresses of servers.
        images: Any = ase.io.read(
            os.path.abspath(path), index=slice(stop), do_not_split_by_at_sign=True
        )
        if not all(isinstance(atoms, Atoms) for atoms in images):
            raise ValueError("no structures in it")
    return [(i, images[i]) for i in _chosen(path, index, len(images))]


def _from_start(index: int | slice) -> range | None:
    """The wanted frames of a file of any length; None where some are counted from its end."""
    if isinstance(index, int):
        return range(index, index + 1) if index >= 0 else None
    start, stop, step = index.start or 0, index.stop, index.step or 1
    if start < 0 or step < 0 or (stop is not None and stop < 0):
        return None
    return range(start, sys.maxsize if stop is None else stop, step)


def _chosen(path: str, index: int | slice, n: int) -> range:
    """The wanted frames of a file that holds ``n``."""
    if isinstance(index, slice):
        return range(n)[index]
    if not -n <= index < n:
        raise _no_such_frame(path, index, n)
    return range(n)[index : index + 1 or None]


def _no_such_frame(path: str, index: int, n: int) -> StructureError:
    return StructureError(
        f"{path}@{index}: there is no such frame; the file holds {n}, counted from 0"
    )


def _format(path: str) -> str:
    from ase.io.formats import filetype

    return filetype(os.path.abspath(path))


@contextlib.contextmanager
def _one_line(where: str) -> Iterator[None]:
    """Say in one line that names the file whatever ASE raises or warns of."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            yield
        except StructureError:
            raise
        except Exception as error:  # ASE's readers raise whatever their parsing trips over
            reason = f"{type(error).__name__}: {error}"
            raise StructureError(
                f"{where}: can't be read as structures ({shortened(reason)}); "
                "give a file in a format ASE knows, such as extended XYZ, CIF or POSCAR"
            ) from error
    for text in dict.fromkeys(shortened(w.message) for w in said):
        if text.startswith(_LOST):
            raise StructureError(f"{where}: can't be read whole ({text}); correct the file")
        warnings.warn(f"{where}: {text}", stacklevel=2)
