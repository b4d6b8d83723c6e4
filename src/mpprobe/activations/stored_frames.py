"""Structures in a store: one line of JSON each, exact to the bit, labels and results included."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from mpprobe.errors import StoreError
from mpprobe.structures import Frame

LABELS = ("source", "compound", "domain", "group")


def encode_frames(frames: Sequence[Frame]) -> bytes:
    """The frames as JSON lines, in ASE's own encoding.

    Floats are written with as many digits as give the same bits back. Beside the structure
    (arrays, info, cell, constraints) are its labels and its calculator's stored results, such as
    reference forces and charges.

    Raises:
        StoreError: a frame carries something that isn't data, such as a Python object in its info.
    """
    return "".join(_encode(frame) + "\n" for frame in frames).encode()


def _encode(frame: Frame) -> str:
    from ase.io.jsonio import encode

    calculator = frame.atoms.calc
    record = {label: getattr(frame, label) for label in LABELS}
    record["atoms"] = frame.atoms
    record["results"] = dict(getattr(calculator, "results", None) or {})
    try:
        return encode(record)
    except (TypeError, ValueError, AttributeError) as error:
        raise StoreError(
            f"{frame.source}: holds what can't be stored ({error}); remove it from the structure's "
            "info, arrays or results"
        ) from error


def decode_frames(content: bytes) -> list[Frame]:
    """The frames that :func:`encode_frames` was given."""
    return [_decode(line) for line in content.decode().splitlines()]


def _decode(line: str) -> Frame:
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.io.jsonio import decode

    record = decode(line, always_array=False)
    atoms = record["atoms"]
    if record["results"]:
        atoms.calc = SinglePointCalculator(atoms)
        atoms.calc.results.update(record["results"])
    return Frame(atoms, **{label: record[label] for label in LABELS})


@lru_cache(maxsize=2)
def read_frames(path: Path, sha256: str) -> list[Frame]:
    """The frames of a store, kept in memory for the next call: many shards need the same.

    Raises:
        StoreError: the file is missing, or isn't the one with this SHA-256.
    """
    refuse_link(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StoreError(f"{path}: can't be read ({error.strerror}); extract again") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise StoreError(f"{path}: is damaged or another store's (wrong SHA-256); extract again")
    try:
        return decode_frames(content)
    except Exception as error:  # whatever ASE makes of what isn't from here
        raise StoreError(
            f"{path}: holds what are no structures ({type(error).__name__}); extract again"
        ) from error


def refuse_link(path: Path) -> None:
    """Refuse a part of a store that lies elsewhere, since a store is what is in its folder.

    Raises:
        StoreError: it is a link.
    """
    if path.is_symlink():
        raise StoreError(
            f"{path}: is a link, and a store's own files can't lie elsewhere; put the file itself "
            "there, or extract again"
        )
