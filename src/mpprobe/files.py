"""Files that are whole or not there, whatever kills the process, and locks between processes."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from mpprobe.errors import StoreError

#: What the names of unfinished files and folders begin with.
PART = ".part-"
LOCK = ".lock"
# Linux's names for "from the current folder" and "swap the two".
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def beside(path: Path) -> Path:
    """A name in the same folder that no other process and no other call has."""
    return path.with_name(f"{PART}{os.getpid()}-{secrets.token_hex(6)}-{path.name}")


@contextlib.contextmanager
def written_beside(path: Path) -> Iterator[Path]:
    """A path beside ``path`` to write a file to; it is flushed and renamed when all went well.

    Raises:
        OSError: it can't be written.
    """
    part = beside(path)
    try:
        yield part
        _put_in_place(part, path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """:func:`written_beside` for what a command leaves for its user.

    Raises:
        StoreError: it can't be written.
    """
    try:
        with written_beside(path) as part:
            yield part
    except OSError as error:
        raise cannot_write(path, error) from error


def _put_in_place(part: Path, path: Path) -> None:
    """Flush and rename; a part that is gone was swept up by a process that saw ``path`` whole."""
    try:
        flush(part)
        os.replace(part, path)
    except FileNotFoundError:
        if not path.exists():
            raise
    flush_names(path.parent)


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """An empty folder to fill, which takes the place of the folder ``path`` when all went well.

    Where the system can swap two folders (Linux), there is no moment without one at ``path``.
    Elsewhere a process killed between two renames leaves the earlier one in a folder beside, from
    which the next call puts it back. What killed processes left beside is removed.

    Raises:
        StoreError: it can't be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        clear_away(path)
        with _work_folder(path) as work:
            new, old = work / "new", work / "old"
            new.mkdir()
            yield new
            for file in filter(Path.is_file, new.rglob("*")):
                flush(file)
            _put_folder(new, path, old)
            flush_names(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error


def clear_away(path: Path) -> None:
    """Remove what killed processes that were making ``path`` left beside it.

    An earlier ``path`` that one of them had set aside is put back.
    """
    pattern = re.compile(rf"{re.escape(PART)}\d+-[0-9a-f]+-{re.escape(path.name)}")
    for work in path.parent.glob(f"{PART}*"):
        if pattern.fullmatch(work.name) and work.is_dir() and _abandoned(work):
            if (work / "old").exists() and not path.exists():
                os.replace(work / "old", path)
            shutil.rmtree(work, ignore_errors=True)


@contextlib.contextmanager
def _work_folder(path: Path) -> Iterator[Path]:
    """A folder beside ``path``, locked while it is in use and gone afterwards."""
    work = beside(path)
    work.mkdir()
    try:
        with lock(work, 0, wait=False):
            yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _put_folder(new: Path, path: Path, old: Path) -> None:
    if not path.exists():
        os.replace(new, path)
    elif not _swap(new, path):
        os.replace(path, old)
        try:
            os.replace(new, path)
        except BaseException:
            os.replace(old, path)
            raise


def _swap(one: Path, other: Path) -> bool:
    """Exchange two names in one step; False where the system or the file system can't."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None) if os.name == "posix" else None
    names = (_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other))
    return rename is not None and rename(*names, _RENAME_EXCHANGE) == 0


def _abandoned(folder: Path) -> bool:
    """Whether the process that worked there has ended; False where that can't be told."""
    try:
        import fcntl

        descriptor = os.open(folder / LOCK, os.O_RDWR)
    except (ImportError, OSError):
        return False
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1)
        return not folder.name.startswith(f"{PART}{os.getpid()}-")  # our own locks don't stop us
    except OSError:
        return False
    finally:
        os.close(descriptor)


def cannot_write(path: Path, error: OSError) -> StoreError:
    """The one-line error for a file or folder that can't be written."""
    reason = error.strerror or str(error)
    return StoreError(f"{path}: can't be written ({reason}); free space or choose another --output")


def flush(path: Path) -> None:
    """Wait until a file's content is on the disk."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_names(folder: Path) -> None:
    """Wait until a folder's list of names is on the disk, where the system can say so."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_once(path: Path, content: bytes) -> None:
    """Write a file whose content is known in advance, unless it is there already.

    Raises:
        StoreError: it can't be written.
    """
    try:
        there = path.read_bytes() == content
    except OSError:
        there = False
    if not there:
        with replacing(path) as part:
            part.write_bytes(content)


def remove(path: Path) -> None:
    """Remove a file if it is there.

    Raises:
        StoreError: it can't be removed.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error


def sweep(folder: Path, names: str = f"{PART}*") -> None:
    """Remove what killed processes left unfinished; only where every whole file is in place.

    A live process whose part is taken away finds the whole file in its place, and goes on.
    """
    for part in folder.glob(names):
        with contextlib.suppress(OSError):
            part.unlink()


@contextlib.contextmanager
def alone(folder: Path, output: Path) -> Iterator[None]:
    """Hold a folder, made if need be, for one run at a time.

    Args:
        folder: to hold.
        output: by which the run's user knows it.

    Raises:
        StoreError: it can't be written, or another process holds it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    with lock(folder, 0, wait=False) as held:
        if not held:
            raise StoreError(f"{output}: another run is writing there; choose another --output")
        yield


@contextlib.contextmanager
def lock(folder: Path, number: int, *, wait: bool) -> Iterator[bool]:
    """Hold lock ``number`` of a folder, so that two processes don't do the same work.

    Advisory: it is freed when its process ends, however that ends. Where there are no locks, as
    on some cluster file systems, it is always given; nothing's correctness depends on it.

    Args:
        folder: in which the lock file is.
        number: one byte of that file is locked for each.
        wait: until another process frees it.

    Yields:
        False if another process holds it.
    """
    try:
        descriptor, held = _open_locked(folder / LOCK, number, wait)
    except (ImportError, OSError):  # Windows, or a folder that can't be written
        yield True
        return
    try:
        yield held
    finally:
        os.close(descriptor)  # frees the lock


def _open_locked(path: Path, number: int, wait: bool) -> tuple[int, bool]:
    """The lock file's descriptor, and whether the lock was given."""
    import fcntl  # noqa: F401 - whether it is there

    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        held = _try_lock(descriptor, number, wait)
        if not held or still_there(descriptor, path):
            return descriptor, held
        os.close(descriptor)  # its last holder took the file away: the lock is on nothing


def still_there(descriptor: int, path: Path) -> bool:
    """Whether an open file is the one of that name, not one renamed or removed meanwhile."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


def _try_lock(descriptor: int, number: int, wait: bool) -> bool:
    import fcntl

    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), 1, number)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # a file system without locks
        return True
    return True
