"""What a structure file may not do: have a server asked, or unpack to more than memory holds."""

from __future__ import annotations

import os

from mpprobe.errors import StructureError

#: ASE's formats that are addresses of servers, and those for which it starts another program.
SERVERS, PROGRAMS = ("mysql", "postgresql"), {"castep-cell": "castep"}
#: A compressed file may unpack to the larger of these: so many bytes, and so many times its own
#: size. Structures compress to a tenth, repeated ones to a hundredth.
MOST_UNPACKED, MOST_TIMES = 1 << 28, 500

_BLOCK = 1 << 20


def check_format(path: str, form: str) -> None:
    """Refuse what ASE reads by asking another program.

    Raises:
        StructureError: it is one of :data:`SERVERS` or :data:`PROGRAMS`.
    """
    if form in PROGRAMS:
        raise StructureError(
            f"{path}: ASE reads the format {form} by starting {PROGRAMS[form]}, which mpprobe "
            "doesn't let it; write the structures to a file of another, such as extended XYZ"
        )
    if form in SERVERS:
        raise StructureError(
            f"{path}: ASE takes this name for the address of a {form} server, which mpprobe "
            "doesn't ask; write the structures to a file, such as extended XYZ"
        )


def check_unpacked(path: str) -> None:
    """Refuse a compressed file that unpacks to absurdly much.

    Raises:
        StructureError: it does.
        OSError: it can't be read.
    """
    from ase.io.formats import get_compression, open_with_compression

    if get_compression(path)[1] is None:
        return
    most, there = max(MOST_UNPACKED, MOST_TIMES * os.path.getsize(path)), 0
    with open_with_compression(path, "rb") as unpacked:
        while there <= most and (block := unpacked.read(_BLOCK)):
            there += len(block)
    if there > most:
        raise StructureError(
            f"{path}: unpacks to more than {most:,} bytes, {there // os.path.getsize(path)} times "
            "its size or more; unpack it yourself if it is what you want to read"
        )
