"""Which atoms count in a study, and what each is compared with: options of every fit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mpprobe.errors import ProbeError
from mpprobe.structures.frame import Frame

#: What structures may say themselves: the info key for ``within``, the array for ``atoms``.
WITHIN_KEY, ATOMS_ARRAY = "within", "watched"
ARRAY = "array:"
#: What the atoms of one species have in common that are of one kind.
WITHIN = ("kind", "structure", "group")


def resolved_within(within: str | None, frames: Sequence[Frame]) -> str:
    """``within`` as given; None is what all structures say (info key ``within``), else kind.

    Raises:
        ProbeError: there is no such choice.
    """
    if within is None:
        said = {str(frame.atoms.info.get(WITHIN_KEY, "kind")) for frame in frames}
        within = said.pop() if len(said) == 1 else "kind"
    if within not in WITHIN and not within.startswith(ARRAY):
        raise ProbeError(f"within {within!r}: choose {', '.join(WITHIN)}, or {ARRAY}NAME")
    return within


def resolved_atoms(atoms: str | None, frames: Sequence[Frame]) -> str:
    """``atoms`` as given; None is the array ``watched`` if all structures have it, else all."""
    if atoms is None:
        watched = all(ATOMS_ARRAY in frame.atoms.arrays for frame in frames)
        return ARRAY + ATOMS_ARRAY if watched else "all"
    return atoms


def kinds(frames: Sequence[Frame], within: str | None = "kind") -> np.ndarray:
    """Which kind each atom is, as an index: (n_atoms,).

    Atoms of one kind are of one species in one compound (``kind``), one structure
    (``structure``), one group of structures (``group``), or with one value of a per-atom array
    (``array:NAME``). None is what the structures say, see :func:`resolved_within`.

    Raises:
        ProbeError: a structure lacks the array.
    """
    within = resolved_within(within, frames)
    if within.startswith(ARRAY):
        label = np.concatenate(_arrays(frames, within))
    else:
        own = {"kind": [f.compound for f in frames], "group": [f.group for f in frames]}
        names = np.array(own.get(within, range(len(frames))))
        label = np.repeat(names, [len(frame) for frame in frames])
    index = np.unique(label, return_inverse=True)[1].ravel()
    labels = np.column_stack([index, np.concatenate([frame.numbers for frame in frames])])
    return np.unique(labels, axis=0, return_inverse=True)[1].ravel()


def chosen_atoms(frames: Sequence[Frame], atoms: str | None = "all") -> list[np.ndarray]:
    """Which atoms of each structure count: a mask (n,) for each.

    Args:
        frames: the structures.
        atoms: ``all``; ``array:NAME``, those whose value in the array isn't zero; or indices,
            the same in every structure, as in ``0,5``; None, see :func:`resolved_atoms`.

    Raises:
        ProbeError: a structure lacks the array or an index, or no atom is left.
    """
    atoms = resolved_atoms(atoms, frames)
    if atoms == "all":
        return [np.ones(len(frame), dtype=bool) for frame in frames]
    if atoms.startswith(ARRAY):
        masks = [values.astype(bool) for values in _arrays(frames, atoms)]
    else:
        masks = [_at(frame, _indices(atoms)) for frame in frames]
    if not any(mask.any() for mask in masks):
        raise ProbeError(f"atoms {atoms!r}: no atom is chosen in any structure")
    return masks


def _indices(atoms: str) -> np.ndarray:
    try:
        return np.array([int(index) for index in atoms.split(",")])
    except ValueError:
        raise ProbeError(f"atoms {atoms!r}: give all, {ARRAY}NAME, or indices as in 0,5") from None


def _at(frame: Frame, indices: np.ndarray) -> np.ndarray:
    n = len(frame)
    if indices.min() < 0 or indices.max() >= n:
        raise ProbeError(f"{frame.source}: atoms {indices.tolist()}, but it has 0 to {n - 1}")
    return np.isin(np.arange(n), indices)


def _arrays(frames: Sequence[Frame], name: str) -> list[np.ndarray]:
    key = name.removeprefix(ARRAY)
    for frame in frames:
        values = frame.atoms.arrays.get(key)
        if values is None or values.ndim > 1:
            held = ", ".join(frame.atoms.arrays)
            raise ProbeError(
                f"{frame.source}: no array {key!r} with one value an atom; there are {held}"
            )
    return [frame.atoms.arrays[key] for frame in frames]
