"""Structure files damaged at random: real ones of three formats with bytes and numbers changed."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from functools import cache

import ase.io
import numpy as np

from mpprobe import read

#: The formats, by the name of the file that ASE knows each by.
NAMES = {"extended XYZ": "in.extxyz", "CIF": "in.cif", "POSCAR": "POSCAR"}

#: What takes a number's place.
NUMBERS = (
    "nan", "-nan", "inf", "-inf", "1e400", "-1e308", "1e-400", "0", "-0", "-1", "-3", "2", "1e5",
    "99", "119", "999999999", "4294967297", "9223372036854775808", "1" + "0" * 30, "1_000", "0x10",
    "1.2.3", "1(2)", "1e", "٣", "½", "1,5", "*****", "9" * 5000,
)  # fmt: skip
#: What is put anywhere.
TEXTS = (
    "\0", "\r", "\n", "\n\n", "\t", " ", "\ufeff", "\u2028", "é", "日本", "🧪", "\u202e", "'", '"',
    "{", "}", "[", "]", "\\", "=", ";", "#", "!", "@", ":", ",", "/", "data_", "loop_", "_JSON ",
    "VEC1 1 0 0\n", "VEC2 1 0\n", "Selective dynamics\n", "Cartesian\n", "Direct\n", "H", "Xx",
    "X", "D", "none", "T", "F", "pbc=", "Lattice=", "Properties=",
)  # fmt: skip
#: What is put into the second line of an extended XYZ file, or anywhere into the others.
HEADS = (
    'pbc="T T"', 'pbc="T F T F"', "pbc=maybe", "pbc=1", 'Lattice="1 2 3"', "Lattice=nan",
    'Lattice="0 0 0 0 0 0 0 0 0"', 'Lattice="1e400 0 0 0 1 0 0 0 1"', "Lattice=",
    'Lattice="1e-9 0 0 0 1e-9 0 0 0 1e-9"', 'Lattice="1 0 0 1 0 0 1 0 0"',
    "Properties=species:S:1:pos:R:2", "Properties=species:S:1:pos:R:3:pos:R:3",
    "Properties=pos:R:3", "Properties=species:S:1", "Properties=species:S:1:pos:R:999999999",
    "Properties=species:S:-1:pos:R:3", "Properties=species:I:1:pos:S:3", "Properties=:::",
    "Properties=Z:I:1:pos:R:3", "Properties=species:S:1:pos:R:3:forces:R:1",
    "Properties=species:S:1:pos:R:3:move_mask:L:3", "Properties=species:S:1:pos:X:3",
    'a="_JSON [1, 2"', 'a="_JSON ' + "[" * 5000 + '"', 'a="_JSON {}"', "energy=often",
    "energy=nan", 'energy="1 2 3"', 'stress="1 2 3"', "forces=1", "charge=much", "compound=",
    'domain="=cmd"', 'group="1 2 3"', "domain=nan", "compound=[1,2]", "dataset=mptrj", "xc=1",
    "energy_unit=Ry", "forces_unit=nan", " ".join(f"k{i}={i}" for i in range(2000)), "a" * 20000,
    "_cell_length_a 1e400", "_cell_length_a ?", "_cell_angle_alpha 0", "_cell_angle_gamma 180",
    "_space_group_name_H-M_alt 'P 1 2 3 4'", "_symmetry_Int_Tables_number 231",
    "_space_group_IT_number -1", "_symmetry_space_group_name_H-M 'F m -3 m'",
    "loop_\n_symmetry_equiv_pos_as_xyz\n 'x,y,z'\n 'x/0,y,z'",
    "loop_\n_symmetry_equiv_pos_as_xyz\n '9**9**9**9,y,z'", ";" + "text\n" * 50,
    "loop_\n" + "\n".join(f"_key{i}" for i in range(200)) + "\n1 2 3",
    "_atom_site_occupancy 0.5", "data_two\n_cell_length_a 5", "data_" * 500,
)  # fmt: skip

_NUMBER = re.compile(r"[-+]?\d+\.?\d*(?:[eE][-+]?\d+)?")


@cache
def seeds(form: str) -> tuple[bytes, ...]:
    """Undamaged files of one format."""
    frames = sorted(read("ionic:all") + read("dft:all"), key=len)
    images = [frame.atoms for frame in frames[:: max(len(frames) // 40, 1)] if len(frame) <= 40]
    files = []
    for i in range(0, len(images), 2 if form == "extended XYZ" else 1):
        if form == "extended XYZ":
            files.append(_written(images[i : i + 1 + i % 3], "extxyz"))
        else:
            atoms = images[i].copy()
            if atoms.cell.rank < 3:
                atoms.center(vacuum=4.0)
            atoms.calc = None
            files.append(_written([atoms], "cif" if form == "CIF" else "vasp"))
    return tuple(files)


def damaged(form: str, rng: np.random.Generator) -> bytes:
    """A file of the format, damaged in one to six ways."""
    content = _pick(seeds(form), rng)
    for _ in range(min(int(rng.geometric(0.7)), 6)):
        content = _pick(WAYS, rng)(content, rng, form)
    return content


def _written(images: list, form: str) -> bytes:
    if form == "cif":
        file = io.BytesIO()
        ase.io.write(file, images, format=form)
        return file.getvalue()
    text = io.StringIO()
    ase.io.write(text, images, format=form)
    return text.getvalue().encode()


def _pick(choices, rng: np.random.Generator):
    return choices[int(rng.integers(len(choices)))]


def _place(content: bytes, rng: np.random.Generator) -> int:
    return int(rng.integers(len(content) + 1))


def _flip(content: bytes, rng: np.random.Generator, form: str) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.integers(1, 8) if changed else 0):
        changed[int(rng.integers(len(changed)))] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def _cut_off(content: bytes, rng: np.random.Generator, form: str) -> bytes:
    return content[: _place(content, rng)]


def _take_out(content: bytes, rng: np.random.Generator, form: str) -> bytes:
    first = _place(content, rng)
    return content[:first] + content[first + int(rng.integers(1, 60)) :]


def _insert(content: bytes, rng: np.random.Generator, form: str) -> bytes:
    first = _place(content, rng)
    return content[:first] + _pick(TEXTS, rng).encode() + content[first:]


def _renumber(content: bytes, rng: np.random.Generator, form: str) -> bytes:
    text = content.decode(errors="replace")
    found = list(_NUMBER.finditer(text))
    for match in sorted(rng.permutation(len(found))[: int(rng.integers(1, 4))], reverse=True):
        start, end = found[match].span()
        text = text[:start] + _pick(NUMBERS, rng) + text[end:]
    return text.encode()


def _nudge(content: bytes, rng: np.random.Generator, form: str) -> bytes:
    """Another number of the same kind, from near to far away."""
    found = list(_NUMBER.finditer(content.decode(errors="replace")))
    if not found:
        return content
    text, match = content.decode(errors="replace"), _pick(found, rng)
    value = float(match.group()) * 10.0 ** rng.normal(0, 3) + rng.normal(0, 1)
    kind = "d" if match.group().isdigit() and abs(value) < 1e18 else ".8g"
    value = int(value) if kind == "d" else value
    return (text[: match.start()] + format(value, kind) + text[match.end() :]).encode()


def _recount(content: bytes, rng: np.random.Generator, form: str) -> bytes:
    """Another number where the number of atoms stands."""
    lines = content.split(b"\n")
    line = 0 if form == "extended XYZ" else int(rng.integers(5, 8))
    if line < len(lines):
        lines[line] = _pick(NUMBERS, rng).encode()
    return b"\n".join(lines)


def _swap_tokens(content: bytes, rng: np.random.Generator, form: str) -> bytes:
    parts = re.split(rb"(\s+)", content)
    i, j = (2 * int(rng.integers((len(parts) + 1) // 2)) for _ in range(2))
    parts[i], parts[j] = parts[j], parts[i]
    return b"".join(parts)


def _repeat_lines(content: bytes, rng: np.random.Generator, form: str) -> bytes:
    lines = content.split(b"\n")
    first = int(rng.integers(len(lines)))
    part = lines[first : first + int(rng.integers(1, 12))]
    lines[first:first] = part * int(rng.integers(1, 4))
    return b"\n".join(lines)


def _shuffle_lines(content: bytes, rng: np.random.Generator, form: str) -> bytes:
    lines = content.split(b"\n")
    i, j = (int(rng.integers(len(lines))) for _ in range(2))
    lines[i], lines[j] = lines[j], lines[i]
    return b"\n".join(lines)


def _drop_line(content: bytes, rng: np.random.Generator, form: str) -> bytes:
    lines = content.split(b"\n")
    del lines[int(rng.integers(len(lines)))]
    return b"\n".join(lines)


def _head(content: bytes, rng: np.random.Generator, form: str) -> bytes:
    """A key that bodes ill, where keys stand."""
    lines = content.split(b"\n")
    key = _pick(HEADS, rng).encode()
    if form == "extended XYZ" and len(lines) > 1:
        lines[1] = key if rng.random() < 0.3 else lines[1] + b" " + key
    else:
        lines.insert(int(rng.integers(len(lines))), key)
    return b"\n".join(lines)


def _splice(content: bytes, rng: np.random.Generator, form: str) -> bytes:
    """The rest of another file, of any format."""
    other = _pick(seeds(_pick(tuple(NAMES), rng)), rng)
    return content[: _place(content, rng)] + other[_place(other, rng) :]


def _noise(content: bytes, rng: np.random.Generator, form: str) -> bytes:
    first = _place(content, rng)
    return content[:first] + rng.bytes(int(rng.integers(1, 40))) + content[first:]


WAYS: tuple[Callable[[bytes, np.random.Generator, str], bytes], ...] = (
    _flip, _cut_off, _take_out, _insert, _renumber, _nudge, _nudge, _recount, _swap_tokens,
    _repeat_lines, _shuffle_lines, _drop_line, _head, _splice, _noise,
)  # fmt: skip
