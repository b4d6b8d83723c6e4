"""Writing structures with per-atom results as extended XYZ."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from mpprobe.errors import StructureError
from mpprobe.files import written_beside
from mpprobe.structures.frame import Frame
from mpprobe.texts import one_line

PREFIX = "mpprobe_"
#: What is written of a frame besides what it carries, each prefixed.
LABELS = ("source", "domain", "compound")
# What ends a name in the list of a frame's columns.
_UNSAFE = re.compile(r"[\s:\"'=\x00-\x1f\x7f-\x9f]+")


def write_extxyz(
    path: str | Path,
    frames: Sequence[Frame],
    arrays: Mapping[str, Sequence[np.ndarray]] | None = None,
) -> None:
    """Write the frames with further per-atom arrays, all at once: whole or not at all.

    What the frames carry (arrays, info, reference energies and forces) is written too, and each
    frame's source, domain and compound as ``info["mpprobe_source"]`` and so on. The frames are not
    changed.

    Args:
        path: the file; compressed if it ends in ``.gz``. An existing one is replaced.
        frames: the structures.
        arrays: for each name one array a frame, of shape (n_atoms,) or (n_atoms, k), of numbers.
            The names in the file are prefixed ``mpprobe_``, and what extended XYZ can't hold in a
            name (as in ``charge:eeq``) becomes ``_``.

    Raises:
        StructureError: an array has another shape or kind, two names become one, or the file
            can't be written.
    """
    import ase.io

    path = Path(path)
    columns = _columns(frames, arrays or {})
    images = [_with_columns(frame, i, columns) for i, frame in enumerate(frames)]
    if not images:
        raise StructureError(f"{path}: no structures to write; give at least one")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_beside(path) as part:
            ase.io.write(part, images, format="extxyz")
    except OSError as error:
        raise StructureError(
            f"{path}: can't be written ({error.strerror}); choose another place"
        ) from error


def column_name(name: str) -> str:
    """The name under which an array is written: ``charge:eeq`` becomes ``mpprobe_charge_eeq``."""
    return PREFIX + re.sub(r"\W+", "_", name.removeprefix(PREFIX))


def _in_one_line(value: Any) -> Any:
    """A text as the comment line of a frame can hold it, so that it doesn't begin another frame.

    ASE writes line ends and backslashes as they are, and reads a backslash as the mark of what is
    meant literally.
    """
    return one_line(value).replace("\\", r"\\") if isinstance(value, str) else value


def _as_words(values: np.ndarray) -> np.ndarray:
    """Texts of atoms without blanks, at which columns end."""
    if values.dtype.kind not in "US":
        return values
    words = [re.sub(r"\s+", "_", one_line(str(text)).strip()) or "_" for text in values.ravel()]
    return np.array(words).reshape(values.shape)


def _columns(
    frames: Sequence[Frame], arrays: Mapping[str, Sequence[np.ndarray]]
) -> dict[str, list[np.ndarray]]:
    columns: dict[str, list[np.ndarray]] = {}
    for name, values in arrays.items():
        if len(values) != len(frames):
            raise StructureError(
                f"array {name!r}: {len(values)} given for {len(frames)} structures; "
                "give one for each"
            )
        if column_name(name) in columns:
            raise StructureError(f"array {name!r}: two are called {column_name(name)}; rename one")
        columns[column_name(name)] = [
            _column(name, frame, value) for frame, value in zip(frames, values, strict=True)
        ]
    return columns


def _column(name: str, frame: Frame, value: np.ndarray) -> np.ndarray:
    column = np.asarray(value)
    if column.ndim not in (1, 2) or len(column) != len(frame) or 0 in column.shape[1:]:
        raise StructureError(
            f"{frame.source}: array {name!r} has shape {column.shape}; "
            f"give ({len(frame)},) or ({len(frame)}, k), one row an atom"
        )
    if column.dtype.kind not in "biuf":
        raise StructureError(
            f"{frame.source}: array {name!r} is of type {column.dtype}; give real numbers"
        )
    return column


def _with_columns(frame: Frame, index: int, columns: Mapping[str, list[np.ndarray]]) -> Atoms:
    from ase.calculators.singlepoint import SinglePointCalculator

    atoms = frame.atoms.copy()
    # Stored reference values only: a live calculator's last results may be another structure's.
    if isinstance(frame.atoms.calc, SinglePointCalculator):
        atoms.calc = frame.atoms.calc
    atoms.info |= {PREFIX + label: getattr(frame, label) for label in LABELS}
    written = {k: v for k, v in atoms.info.items() if not (isinstance(v, str) and v == "")}
    atoms.info = {one_line(str(k)): _in_one_line(v) for k, v in written.items()}
    for name in [name for name in atoms.arrays if name not in ("numbers", "positions")]:
        values = atoms.arrays.pop(name)
        atoms.arrays[_UNSAFE.sub("_", name)] = _as_words(values)
    for name, values in columns.items():
        # Not set_array, which refuses to replace an array of an earlier run by one of other shape.
        atoms.arrays[name] = values[index]
    return atoms
