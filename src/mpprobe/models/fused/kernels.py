"""Compiling a convolution's kernels once for all processes."""

from __future__ import annotations

import hashlib
import linecache
import os
import stat
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mpprobe.files import written_beside
from mpprobe.models.families import cache_folder
from mpprobe.models.fused.layout import Layout
from mpprobe.models.fused.source import kernel_source


@cache
def kernels(layout: Layout) -> SimpleNamespace:
    """The ``forward`` and ``backward`` functions of a convolution.

    They are compiled when they first meet a dtype, in seconds. Numba keeps the machine code beside
    the source text in :func:`cache_folder`, for the next process; where that can't be written, or
    others could have put something, every process compiles anew.
    """
    source = kernel_source(layout)
    place = _write(source)
    # Numba's cache imports the module that a function says it is from.
    scope: dict[str, object] = {"CACHE": place is not None, "__name__": __name__}
    name = str(place or f"<mpprobe kernel {_digest(source)}>")
    if place is None:
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    # What runs is the text made just now, whatever the file may hold.
    exec(compile(source, name, "exec"), scope)
    for name in ("forward", "backward"):
        _cache_if_possible(scope[name])
    return SimpleNamespace(forward=scope["forward"], backward=scope["backward"])


def _cache_if_possible(function: Any) -> None:
    """Let a full disk or a damaged file in Numba's cache cost the time of compiling, no more."""
    cache = getattr(function, "_cache", None)
    for name in ("load_overload", "save_overload"):
        if hasattr(cache, name):
            setattr(cache, name, partial(_attempt, getattr(cache, name)))


def _attempt(use: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return use(*arguments)
    except Exception:  # besides OSError, what unpickling a cut-off file raises
        return None


def _write(source: str) -> Path | None:
    """The source text as a file, which is what Numba's cache goes by; None if it can't be."""
    try:
        folder = cache_folder() / "kernels"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _is_ours(folder):
            return None
        path = folder / f"convolution_{_digest(source)}.py"
        if not path.is_file() or path.read_text(encoding="utf-8") != source:
            with written_beside(path) as part:
                part.write_text(source, encoding="utf-8")
    except (OSError, RuntimeError):  # read-only, full, or no home folder
        return None
    return path


def _is_ours(folder: Path) -> bool:
    """Whether nobody else could have put anything there: Numba unpickles what it finds.

    A folder of ours that others can write to is closed to them.
    """
    if not hasattr(os, "geteuid"):  # Windows
        return True
    status = folder.stat()
    if status.st_uid != os.geteuid():
        return False
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        folder.chmod(0o700)
    return all(entry.lstat().st_uid == os.geteuid() for entry in folder.rglob("*"))


def _digest(source: str) -> str:
    return hashlib.sha256(source.encode()).hexdigest()[:16]
