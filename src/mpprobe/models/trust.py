"""Which checkpoint files may be loaded, and what a file is, without running anything in it.

A pickle can run any code when it is loaded. mpprobe therefore looks at a file first (its
SHA-256 and the names its pickle would import, read without executing) and loads it by a route
that runs no foreign code wherever there is one.
"""

from __future__ import annotations

import hashlib
import pickletools
import zipfile
from dataclasses import dataclass
from pathlib import Path

from mpprobe.errors import ModelError, TrustError

#: SHA-256 of checkpoints known to be what they claim: those inside the sevenn wheel.
KNOWN_SHA256 = {
    "7052cb42b7b3be42b40b97fa0d21077a48c54b5548948fc4dcf346629f813c36": "SevenNet-0 (11 July 2024)",
    "5d389fafd512e6ae2830d74d0b66ffc49a55d3832653ff8e7bf7f1343013c1d1": "SevenNet-0 (22 May 2024)",
    "81791329b37d445f46b531578c182c41792d98c7814222c9e5dde276402225fd": "SevenNet-MF-0",
    "a7ff190d41efe5b8317a03d20a468e4036a1a3e64e0b14fdbab64ac3f4bfc09d": "SevenNet-l3i5",
}


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
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"{path}: no such checkpoint file")
    try:
        sha256 = file_sha256(path)
        imports, strings = _scan(_pickle_bytes(path))
    except ModelError:
        raise
    except Exception as error:  # zipfile, pickletools and the disk all raise their own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(
            f"{path}: not a readable PyTorch checkpoint ({reason}); give the file that sevenn or "
            "mace saved"
        ) from error
    return CheckpointFile(path, sha256, imports, strings)


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


def _pickle_bytes(path: Path) -> bytes:
    """The pickle inside a checkpoint: a zip archive's data.pkl, or an old file as it is."""
    if not zipfile.is_zipfile(path):
        return path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if any(name.endswith("/constants.pkl") for name in names):
            raise ModelError(
                f"{path}: a TorchScript archive; its layers can't be hooked, so give the "
                "checkpoint it was deployed from"
            )
        members = [name for name in names if name.endswith("data.pkl") and name.count("/") <= 1]
        if not members:
            raise ModelError(f"{path}: a zip archive without a PyTorch checkpoint inside")
        return archive.read(members[0])


def _scan(data: bytes) -> tuple[frozenset[str], frozenset[str]]:
    """Names a pickle would import and its text constants, read opcode by opcode."""
    imports: set[str] = set()
    strings: list[str] = []
    for opcode, argument, _ in _operations(data):
        if opcode.name == "GLOBAL":
            imports.add(argument.replace(" ", "."))
        elif opcode.name == "STACK_GLOBAL" and len(strings) >= 2:
            # Its module and name are the two texts pushed last (or memoised: then unseen).
            imports.add(".".join(strings[-2:]))
        elif isinstance(argument, str) and "UNICODE" in opcode.name:
            strings.append(argument)
    return frozenset(imports), frozenset(strings)


def _operations(data: bytes):
    """Opcodes of every pickle in ``data``; files older than the zip format hold several."""
    import io

    stream = io.BytesIO(data)
    while stream.read(1) == b"\x80":
        stream.seek(-1, io.SEEK_CUR)
        yield from pickletools.genops(stream)
