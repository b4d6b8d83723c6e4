"""Which checkpoint files may be loaded, and what a file is, without running anything in it.

A pickle can run any code when it is loaded. mpprobe therefore looks at a file first (its
SHA-256 and the names its pickle would import, read without executing) and loads it by a route
that runs no foreign code wherever there is one.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickletools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpprobe.errors import ModelError, TrustError
from mpprobe.models.archives import is_archive, record, records

#: SHA-256 of checkpoints known to be what they claim: those inside the sevenn wheel.
KNOWN_SHA256 = {
    "7052cb42b7b3be42b40b97fa0d21077a48c54b5548948fc4dcf346629f813c36": "SevenNet-0 (11 July 2024)",
    "5d389fafd512e6ae2830d74d0b66ffc49a55d3832653ff8e7bf7f1343013c1d1": "SevenNet-0 (22 May 2024)",
    "81791329b37d445f46b531578c182c41792d98c7814222c9e5dde276402225fd": "SevenNet-MF-0",
    "a7ff190d41efe5b8317a03d20a468e4036a1a3e64e0b14fdbab64ac3f4bfc09d": "SevenNet-l3i5",
}


#: The largest file that is looked at; it is read into memory. Released models have at most a
#: few hundred MB.
MOST_BYTES = 4 << 30


@dataclass(frozen=True)
class CheckpointFile:
    """A checkpoint on disk, looked at but not loaded.

    Attributes:
        path: the file.
        sha256: of its bytes.
        imports: ``module.name`` of everything its pickle would import.
        strings: the text constants in its pickle (keys of a checkpoint's dict among them).
    """

    path: Path
    sha256: str
    imports: frozenset[str]
    strings: frozenset[str]

    def content(self) -> bytes:
        """The bytes that were looked at, so that what is loaded is what was decided about.

        Raises:
            ModelError: the file is another one by now, or is gone.
        """
        content = _read(self.path)
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise ModelError(f"{self.path}: was changed while it was being loaded; try again")
        return content

    @property
    def known(self) -> bool:
        return self.sha256 in KNOWN_SHA256

    def mentions(self, package: str) -> bool:
        """Whether the pickle imports anything from ``package``."""
        return any(name == package or name.startswith(package + ".") for name in self.imports)


def inspect(path: str | Path) -> CheckpointFile:
    """Look at a checkpoint without loading it.

    Raises:
        ModelError: no such file, not a PyTorch checkpoint, or a TorchScript archive.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        raise ModelError(f"{path}: a folder; give the checkpoint file in it")
    if not path.is_file():
        raise ModelError(f"{path}: no such checkpoint file")
    try:
        content = _read(path)
        imports, strings = _scan(_pickle_bytes(path, content))
    except ModelError:
        raise
    except Exception as error:  # zipfile, pickletools and the disk all raise their own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(
            f"{path}: not a readable PyTorch checkpoint ({reason}); give the file that sevenn or "
            "mace saved"
        ) from error
    return CheckpointFile(path, hashlib.sha256(content).hexdigest(), imports, strings)


def _read(path: Path) -> bytes:
    """The bytes of a checkpoint.

    Raises:
        ModelError: it is larger than any, or can't be read.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > MOST_BYTES:
                raise ModelError(
                    f"{path}: is of {size:,} bytes, and no checkpoint has more than "
                    f"{MOST_BYTES:,}; give the file that sevenn or mace saved"
                )
            return file.read(size)
    except OSError as error:
        raise ModelError(f"{path}: can't be read ({error.strerror})") from error


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def require_trust(file: CheckpointFile, trusted: bool, origin: str = "") -> None:
    """Refuse a file that only unpickling can load, unless it is known or the user trusts it.

    Raises:
        TrustError: neither known by its SHA-256 nor trusted.
    """
    if trusted or file.known:
        return
    raise TrustError(
        f"{file.path}{origin}: loading this checkpoint can run any code it holds, and its SHA-256 "
        f"{file.sha256[:16]}... isn't one mpprobe knows; if you trust where it comes from, add "
        "--trust-checkpoint (in Python: trust_checkpoint=True)"
    )


def _pickle_bytes(path: Path, content: bytes) -> bytes:
    """The pickle inside a checkpoint: a zip archive's data.pkl, or an old file as it is."""
    if not is_archive(content):
        return content
    return record(content, records(path, content)["data.pkl"])


def _scan(data: bytes) -> tuple[frozenset[str], frozenset[str]]:
    """Names a pickle would import and its text constants, read opcode by opcode.

    They say which family a file is of, no more. Whether it may be loaded is never decided by
    them, since a pickle can be written so that no scan sees what it imports.
    """
    imports: set[str] = set()
    strings: set[str] = set()
    pushed: list[str | None] = []  # what was put on the stack, the last two of it; None: no text
    memo: dict[int, str | None] = {}
    for opcode, argument, _ in _operations(data):
        name = opcode.name
        if name == "PROTO":
            memo = {}  # every pickle has its own
        elif name == "MEMOIZE" or name.endswith("PUT"):
            memo[len(memo) if argument is None else argument] = pushed[-1] if pushed else None
        elif name.endswith("GET"):
            pushed = [*pushed[-1:], memo.get(argument)]
        elif name == "STACK_GLOBAL" or name == "GLOBAL":
            parts = argument.split(" ") if argument else pushed
            imports.add(".".join(part or "?" for part in parts))
            pushed = [None]
        elif name != "FRAME":  # a frame may begin between any two others
            text = argument if isinstance(argument, str) and "UNICODE" in name else None
            pushed = [*pushed[-1:], text]
            strings.update([text] if text is not None else [])
    return frozenset(imports), frozenset(strings)


def _operations(data: bytes) -> Iterator[tuple[pickletools.OpcodeInfo, Any, int | None]]:
    """Opcodes of every pickle in ``data``.

    Files older than the zip format hold five, one after another, and then the raw numbers, which
    may look like anything.
    """
    stream = io.BytesIO(data)
    for _ in range(5):
        if stream.read(1) != b"\x80":
            return
        stream.seek(-1, io.SEEK_CUR)
        yield from pickletools.genops(stream)
