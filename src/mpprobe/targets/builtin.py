"""The targets that come with mpprobe, and how their names are read.

Electrostatic targets take the charges they come from after an ``@``: ``formal`` (the default, not
written), ``eeq``, ``dft`` or the name of a per-atom array. Names don't depend on case, except
those of arrays.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from mpprobe.errors import TargetError
from mpprobe.structures import Frame
from mpprobe.targets.charges import CHARGE_SOURCES, charges_of, dft_potential, per_atom_array
from mpprobe.targets.electrostatics import site_field, site_potential
from mpprobe.targets.shells import HALF_WIDTH, potential_beyond, shell_potential
from mpprobe.targets.target import Target

_BOUNDARY = (
    "bulk: tin-foil Ewald sum, with a uniform background if charged; "
    "slab: two-dimensional sum; cluster: open"
)
# Of sums over charges and of charges that are solved for, in their units (V, V/Å, e).
_RESOLUTION = 1e-6
_EDGES = f"edges smoothed over ±{HALF_WIDTH} Å"
_SHELL = re.compile(r"potential:shell-([0-9]+)")
_ARRAY = "array:"

#: What ASE gives its own arrays in.
_ASE_UNITS = {"forces": "eV/Å", "positions": "Å", "charges": "e", "energies": "eV"}


@dataclass(frozen=True)
class TargetInfo:
    """A line of the list of targets: the pattern of its name, its unit, l and what it is."""

    name: str
    unit: str
    l: int | None
    description: str


@dataclass(frozen=True)
class _Kind:
    """An electrostatic target before its charges are chosen."""

    name: str
    unit: str
    l: int
    kernel: Callable[[Frame, np.ndarray, float | None], np.ndarray]
    description: str
    needs_cutoff: bool = False


# Functions, not lambdas, so that a Target can be pickled and sent to a worker.
def _potential(frame: Frame, charges: np.ndarray, cutoff: float | None) -> np.ndarray:
    return site_potential(frame, charges)


def _field(frame: Frame, charges: np.ndarray, cutoff: float | None) -> np.ndarray:
    return site_field(frame, charges)


def _shell(
    frame: Frame, charges: np.ndarray, cutoff: float | None, *, shell: int | str
) -> np.ndarray:
    return shell_potential(frame, charges, int(shell), cutoff)


def _from_charges(frame: Frame, cutoff: float | None, *, kind: _Kind, source: str) -> np.ndarray:
    return kind.kernel(frame, charges_of(frame, source), cutoff)


def _stored_charges(frame: Frame, cutoff: float | None, *, source: str) -> np.ndarray:
    return charges_of(frame, source)


def _stored_potential(frame: Frame, cutoff: float | None) -> np.ndarray:
    return dft_potential(frame)


def _stored_array(frame: Frame, cutoff: float | None, *, array: str) -> np.ndarray:
    return per_atom_array(frame, array)


_POTENTIAL = _Kind("potential", "V", 0, _potential, f"potential at the site; {_BOUNDARY}")
_BEYOND = _Kind(
    "potential:beyond",
    "V",
    0,
    potential_beyond,
    f"potential less that from within r_c, {_EDGES}; {_BOUNDARY}",
    needs_cutoff=True,
)
_FIELD = _Kind("field", "V/Å", 1, _field, f"field −∇φ at the site; {_BOUNDARY}")
_ELECTROSTATIC = {kind.name: kind for kind in (_POTENTIAL, _BEYOND, _FIELD)}

_CHARGES = {
    "formal": "oxidation states; trivial given the species where each has one",
    "eeq": "electronegativity-equilibration charges of DFT-D4; a slab as if isolated",
    "dft": "charges stored with the data, the first kind found",
}

_FIXED = {
    f"charge:{source}": Target(
        f"charge:{source}", "e", 0, partial(_stored_charges, source=source), description,
        resolution=_RESOLUTION,
    )
    for source, description in _CHARGES.items()
} | {
    "potential:dft": Target(
        "potential:dft", "V", 0, _stored_potential,
        "stored electrostatic potential at the nuclei, less its mean over each structure",
        resolution=_RESOLUTION,
    )
}  # fmt: skip


def builtin_target(name: str, frames: Sequence[Frame] | None = None) -> Target | None:
    """The built-in target of that name, or None if there is none.

    Args:
        name: as typed.
        frames: where ``array:NAME`` looks for its shape; without them it is taken for l = 0.

    Raises:
        TargetError: a name of a built-in pattern that says something impossible.
    """
    if name.lower().startswith(_ARRAY):
        return _array_target(name[len(_ARRAY) :], frames)
    base, at, source = name.partition("@")
    kind = _electrostatic_kind(base.lower())
    if kind is not None:
        return _electrostatic_target(kind, source if at else "formal")
    fixed = _FIXED.get(base.lower())
    if fixed is not None and at:
        raise TargetError(f"the target {fixed.name} takes no charges; leave out @{source}")
    return fixed


def builtin_names() -> list[TargetInfo]:
    """All built-in targets, as patterns of names."""
    kinds = [_POTENTIAL, _shell_kind("K"), _BEYOND, _FIELD]
    return [
        *(TargetInfo(t.name, t.unit, t.l, t.description) for t in _FIXED.values()),
        *(TargetInfo(f"{k.name}[@CHARGES]", k.unit, k.l, k.description) for k in kinds),
        TargetInfo(f"{_ARRAY}NAME", "as given", None, "any per-atom array: a number or a vector"),
    ]


def builtin_spellings() -> list[str]:
    """Names to compare a mistyped one with."""
    return [*_FIXED, *_ELECTROSTATIC, "potential:shell-1"]


def _electrostatic_kind(base: str) -> _Kind | None:
    match = _SHELL.fullmatch(base)
    if match is None:
        return _ELECTROSTATIC.get(base)
    if int(match[1]) < 1:
        raise TargetError(f"{base}: shells count from 1, and potential:shell-1 is the innermost")
    return _shell_kind(int(match[1]))


def _shell_kind(shell: int | str) -> _Kind:
    """The target of shell ``shell``; a letter for the number stands in the list of targets."""
    inner = shell - 1 if isinstance(shell, int) else f"({shell}−1)"
    return _Kind(
        f"potential:shell-{shell}",
        "V",
        0,
        partial(_shell, shell=shell),
        f"potential from charges between {inner} r_c and {shell} r_c, {_EDGES}; "
        "unscreened, so large in a crystal",
        needs_cutoff=True,
    )


def _electrostatic_target(kind: _Kind, source: str) -> Target:
    if not source:
        raise TargetError(f"{kind.name}@ lacks its charges; write {kind.name}@eeq or {kind.name}")
    source = source.lower() if source.lower() in CHARGE_SOURCES else source
    charges = f"{source} charges" if source in CHARGE_SOURCES else f"charges of array {source}"
    return Target(
        name=kind.name if source == "formal" else f"{kind.name}@{source}",
        unit=kind.unit,
        l=kind.l,
        function=partial(_from_charges, kind=kind, source=source),
        description=f"{kind.description}; {charges}",
        needs_cutoff=kind.needs_cutoff,
        resolution=_RESOLUTION,
        charges=source,
    )


def _array_target(array: str, frames: Sequence[Frame] | None) -> Target:
    if not array:
        raise TargetError("array: lacks the name of a per-atom array, as in array:magmoms")
    return Target(
        name=f"{_ARRAY}{array}",
        unit=_ASE_UNITS.get(array, "as given"),
        l=_array_l(array, frames[0]) if frames else 0,
        function=partial(_stored_array, array=array),
        description=f"the per-atom array {array} of the structures",
    )


def _array_l(array: str, frame: Frame) -> int:
    shape = per_atom_array(frame, array).shape
    if shape[1:] not in ((), (3,)):
        raise TargetError(
            f"{frame.source}: the array {array!r} has shape {shape}; a target has one number or "
            "three Cartesian components an atom"
        )
    return len(shape) - 1
