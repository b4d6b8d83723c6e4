"""The archive that a checkpoint is: looked through before anything in it is read.

torch writes its archives uncompressed, every file once and below one folder. One that isn't so was
made by something else, and two programs may read two different things out of it.
"""

from __future__ import annotations

import io
import zipfile
from collections import Counter
from pathlib import Path

from mpprobe.errors import ModelError

_MAGIC = b"PK\x03\x04"


def is_archive(content: bytes) -> bool:
    """Whether a checkpoint is of the zip format; older ones are pickles and numbers."""
    # Not by zipfile.is_zipfile: the older format holds whole archives, and it would find the last.
    return content[:4] == _MAGIC


def records(path: Path, content: bytes) -> dict[str, zipfile.ZipInfo]:
    """What torch would find in the archive, by the names that torch has for it.

    Args:
        path: for messages.
        content: of the file.

    Raises:
        ModelError: truncated, of TorchScript, without a checkpoint, or not as torch writes them.
    """
    if not zipfile.is_zipfile(io.BytesIO(content)):
        raise ModelError(f"{path}: a truncated zip archive; copy or download it again")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = archive.infolist()
    folder = members[0].filename.partition("/")[0] + "/" if members else ""
    names = [member.filename for member in members]
    if any(name.lower().endswith("/constants.pkl") for name in names):
        raise ModelError(
            f"{path}: a TorchScript archive; its layers can't be hooked, so give the "
            "checkpoint it was deployed from"
        )
    if folder + "data.pkl" not in names:
        raise ModelError(f"{path}: a zip archive without a PyTorch checkpoint inside")
    _check_plain(path, members, folder, len(content))
    return {member.filename.removeprefix(folder): member for member in members}


def _check_plain(path: Path, members: list[zipfile.ZipInfo], folder: str, size: int) -> None:
    """Refuse what torch doesn't write, since it may unpack to anything or be read in two ways."""
    unpacked = sum(member.file_size for member in members)
    # torch looks names up without regard to case.
    often, times = Counter(m.filename.lower() for m in members).most_common(1)[0]
    reason = ""
    if any(member.compress_type != zipfile.ZIP_STORED for member in members) or unpacked > size:
        reason = f"it unpacks to {unpacked:,} bytes, from {size:,}"
    elif times > 1:
        reason = f"it holds {often!r} {times} times"
    elif not all(member.filename.startswith(folder) for member in members):
        reason = "it holds several folders"
    if reason:
        raise ModelError(
            f"{path}: not an archive that torch wrote ({reason}); give the file that sevenn or "
            "mace saved, as it was saved"
        )


def record(content: bytes, member: zipfile.ZipInfo) -> bytes:
    """The bytes of one record, whose checksum must be right."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return archive.read(member)


def rewritten(content: bytes, members: dict[str, zipfile.ZipInfo]) -> io.BytesIO:
    """A new archive of the records, which can be read in one way only."""
    out = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as old,
        zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as new,
    ):
        for name, member in members.items():
            new.writestr(f"archive/{name}", old.read(member))
    out.seek(0)
    return out
