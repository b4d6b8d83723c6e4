"""Checkpoints fetched over the network: whole and what they should be, or not in the cache.

A file comes beside its place as ``NAME.part`` and is renamed when all of it is there and it is a
checkpoint. A download that was cut off, by whatever, goes on where it stopped if the server still
has the same file. The SHA-256 of the first file of a model is kept, and another one is refused
from then on, be it the server's or the cache's that was exchanged.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import io
import json
import os
import sys
import tempfile
import time
import urllib.request
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from mpprobe.errors import ModelError, TrustError
from mpprobe.files import still_there, written_beside
from mpprobe.models.archives import is_archive
from mpprobe.models.families import cache_folder
from mpprobe.models.trust import MOST_BYTES, CheckpointFile, inspect

_BLOCK = 1 << 18
_TIMEOUT = 60.0  # seconds in which something must come
_PERIOD = 10.0  # seconds between two lines of progress


class _FailedError(Exception):
    """Why what came isn't what was asked for."""


def fetch(
    url: str,
    places: Sequence[Path],
    *,
    name: str,
    recognises: Callable[[CheckpointFile], bool],
    licence: str = "",
) -> Path:
    """Download a checkpoint into a cache, unless another process has done so meanwhile.

    Args:
        url: of the file, https or http.
        places: where it may be kept: the first one that can be written to is taken.
        name: of the model, for messages and under which its SHA-256 is kept.
        recognises: whether a file is a checkpoint of the family.
        licence: of the weights, to be told to the user.

    Returns:
        Where it is.

    Raises:
        ModelError: it couldn't be fetched or kept, or isn't a checkpoint.
        TrustError: it isn't what was downloaded the first time.
    """
    try:
        place = _writable(places)
        with _part_of(place) as part:
            if part is not None:
                _complete(url, part, name, licence)
                _check(part, name, recognises)
                os.replace(part.path, place)
                part.about.unlink(missing_ok=True)
    except (OSError, http.client.HTTPException, _FailedError, ValueError) as error:
        own = isinstance(error, _FailedError)
        reason = " ".join(f"{'' if own else f'{type(error).__name__}: '}{error}".split())
        raise ModelError(
            f"{name}: its weights aren't on this machine and couldn't be downloaded ({reason}); "
            "try again, or download the checkpoint where there is a network, and give its path to "
            "--model"
        ) from error
    return place


def check_first(name: str, file: CheckpointFile) -> None:
    """Refuse a file that isn't the first one of that name; the first one's SHA-256 is kept.

    Where it can't be kept nothing is refused.

    Raises:
        TrustError: it is another one.
    """
    first = _first_sha256(name)
    if first is not None and first != file.sha256:
        raise TrustError(
            f"{file.path}: isn't the file that was the first one of {name} here (SHA-256 "
            f"{first[:16]}..., and it is {file.sha256[:16]}...); if you trust the new one, remove "
            f"{_note(name)}"
        )
    if first is None:
        with contextlib.suppress(OSError):
            _note(name).parent.mkdir(parents=True, exist_ok=True)
            _write(_note(name), {"model": name, "sha256": file.sha256})


def _note(name: str) -> Path:
    return cache_folder() / "models" / f"{name}.json"


def _first_sha256(name: str) -> str | None:
    try:
        return str(json.loads(_note(name).read_text(encoding="utf-8"))["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(path: Path, held: dict[str, str]) -> None:
    with written_beside(path) as part:
        part.write_text(json.dumps(held) + "\n", encoding="utf-8")


def _writable(places: Sequence[Path]) -> Path:
    """The first place whose folder can be made and written to."""
    for place in places:
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=place.parent):
                return place
        except OSError as error:
            if place == places[-1] or error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise
    raise _FailedError("there is no place to keep it")


@dataclass(frozen=True)
class _Part:
    """A file that isn't whole yet.

    Attributes:
        path: of it.
        file: open for reading and writing, without a buffer, and locked.
    """

    path: Path
    file: BinaryIO

    @property
    def about(self) -> Path:
        """What is being fetched into it."""
        return self.path.with_name(self.path.name + ".json")

    @property
    def size(self) -> int:
        return os.fstat(self.file.fileno()).st_size

    def validator(self, url: str) -> str:
        """By what the server can tell whether it still has the same file; empty if unknown."""
        try:
            held = json.loads(self.about.read_text(encoding="utf-8"))
            return str(held["validator"]) if held["url"] == url else ""
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    def begin(self, url: str, validator: str) -> None:
        """Empty it, then say what comes into it."""
        self.about.unlink(missing_ok=True)
        self.file.truncate(0)
        if validator:
            _write(self.about, {"url": url, "validator": validator})

    def remove(self) -> None:
        self.about.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)


@contextlib.contextmanager
def _part_of(place: Path) -> Iterator[_Part | None]:
    """The unfinished file beside ``place``, for this process alone; None if ``place`` is there.

    Who had to wait may hold a file that was renamed or removed meanwhile, and looks again.
    """
    path = place.with_name(place.name + ".part")
    while not place.exists():
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        with open(os.open(path, flags, 0o644), "r+b", buffering=0) as file:
            _lock(file)
            if still_there(file.fileno(), path) and not place.exists():
                yield _Part(path, file)
                return
    yield None


def _lock(file: BinaryIO) -> None:
    """Wait until nobody else has it; the system frees it when the process ends.

    Unlike :func:`mpprobe.files.lock` it is of the open file, which other threads wait for too, and
    which looking at the file by its name doesn't end.
    """
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX)
    except (ImportError, OSError):  # Windows, or a file system without locks
        pass


def _complete(url: str, part: _Part, name: str, licence: str) -> None:
    """Fetch what is missing of a part, or all of it if the server has another file by now."""
    terms = f", {licence}" if licence else ""
    print(f"{name}: downloading {url}{terms}", file=sys.stderr)
    if not (part.size and part.validator(url) and _receive(url, part, name, part.size)):
        _receive(url, part, name, 0)
    os.fsync(part.file.fileno())


def _receive(url: str, part: _Part, name: str, held: int) -> bool:
    """Fetch a file from its byte ``held`` on; False if the server doesn't go on from there.

    Raises:
        _FailedError: no length, more than any checkpoint, or cut off.
    """
    headers = {"User-Agent": "mpprobe", "Accept-Encoding": "identity"}
    if held:
        headers |= {"Range": f"bytes={held}-", "If-Range": part.validator(url)}
    try:
        answer = _opener().open(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT)
    except urllib.request.HTTPError as error:
        error.close()
        if held and error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            return error.headers.get("Content-Range") == f"bytes */{held}"  # all of it is there
        raise
    with answer:
        validator = _validator(answer)
        if answer.status == http.client.PARTIAL_CONTENT:
            begins = str(answer.headers.get("Content-Range")).startswith(f"bytes {held}-")
            if not begins or validator != part.validator(url):
                return False
        else:
            held = 0
            part.begin(url, validator)
        _copy(answer, part, name, held)
    return True


def _validator(answer: http.client.HTTPResponse) -> str:
    """The strong entity tag of a file, else when it was last changed."""
    tag = answer.headers.get("ETag", "")
    return tag if tag.startswith('"') else answer.headers.get("Last-Modified", "")


def _copy(answer: http.client.HTTPResponse, part: _Part, name: str, held: int) -> None:
    """Append what comes to a part that has ``held`` bytes."""
    left = answer.length  # None where it comes in chunks, which say by themselves where they end
    if left is None and not answer.chunked:
        raise _FailedError("the server doesn't say how long the file is")
    total, last = held + (left or 0), time.monotonic()
    part.file.seek(held)
    while block := answer.read1(_BLOCK):  # what has come so far, at most so much
        held += len(block)
        if max(held, total) > MOST_BYTES:
            raise _FailedError(f"it has more than {MOST_BYTES:,} bytes")
        part.file.write(block)
        if time.monotonic() - last > _PERIOD:
            last = time.monotonic()
            print(f"{name}: {held / 1e6:.0f} of {total / 1e6:.0f} MB", file=sys.stderr)
    if left is not None and held != total:
        raise _FailedError(f"it broke off after {held:,} of {total:,} bytes")


def _check(part: _Part, name: str, recognises: Callable[[CheckpointFile], bool]) -> None:
    """Refuse and remove what isn't a checkpoint, is damaged, or isn't the first one again."""
    try:
        file = inspect(part.path)
        if not recognises(file):
            raise _FailedError("what came isn't a checkpoint")
        _check_sums(file.content())
        check_first(name, file)
    except TrustError:
        part.remove()
        raise
    except (ModelError, zipfile.BadZipFile) as error:
        part.remove()
        raise _FailedError(f"what came isn't a checkpoint: {error}") from error
    except _FailedError:
        part.remove()
        raise


def _check_sums(content: bytes) -> None:
    """Compare the checksums of everything in an archive."""
    if is_archive(content):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise _FailedError(f"what came is damaged: {damaged}")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows to other addresses, never to another kind, such as a file of this machine."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: Any,
        code: int,
        msg: str,
        headers: Any,
        newurl: str,
    ) -> urllib.request.Request | None:
        if urlsplit(newurl).scheme not in {"https", urlsplit(req.full_url).scheme}:
            fp.close()
            raise _FailedError(f"it was redirected to {newurl}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    """For http and https only: urllib's own opens files and FTP as well."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    return opener
