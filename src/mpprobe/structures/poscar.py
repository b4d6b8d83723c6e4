"""What ASE's reader of POSCAR files takes for granted: that the numbers of atoms are true."""

from __future__ import annotations

from mpprobe.errors import StructureError, shortened

FORMAT = "vasp"
# The counts stand on one of these lines, from 0: before VASP 5 there was no line of symbols.
_COUNTS = (5, 6)


def check_counts(path: str) -> None:
    """Refuse counts of atoms that the file is too short for, or that aren't counts.

    Raises:
        StructureError: naming the file.
    """
    from ase.io.formats import open_with_compression

    with open_with_compression(path) as file:
        lines = file.readlines()
    for number in _COUNTS:
        counts = _counts(lines[number]) if number < len(lines) else []
        if not counts:
            continue
        if min(counts) < 0 or sum(counts) > len(lines) - number:
            shown = shortened(" + ".join(map(str, counts)), 60)
            raise StructureError(
                f"{path}: line {number + 1} declares {shown} atoms, and the file "
                f"has {len(lines)} lines; it is cut off or the numbers are wrong"
            )
        return


def _counts(line: str) -> list[int]:
    """The whole numbers with which a line begins."""
    counts = []
    for word in line.split():
        try:
            counts.append(int(word))
        except ValueError:
            break
    return counts
