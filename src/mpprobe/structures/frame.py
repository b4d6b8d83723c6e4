"""One structure with the labels that probing needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from ase.formula import Formula

from mpprobe.errors import StructureError

#: What a structure is labelled with, and the info keys that hold it unless others are named.
LABELS = ("compound", "domain", "group")


@dataclass(frozen=True)
class Frame:
    """One structure and the labels by which results are split and scored.

    Attributes:
        atoms: the structure; positions and cell in Å. Never changed by mpprobe.
        source: where it came from, ``file@index``; used in messages and tables.
        compound: what splits by compound hold out (``info["compound"]``, else the reduced formula
            as :func:`conventional_formula` writes it).
        domain: where the structure comes from: ``bulk``, ``surface``, ... (``info["domain"]``,
            else the name of its file without the ending, else ``unlabelled``).
        group: frames of one group stay together in splits by structure (``info["group"]``, else
            ``source``, so that every frame stands alone).
    """

    atoms: Atoms
    source: str
    compound: str
    domain: str
    group: str

    def __len__(self) -> int:
        return len(self.atoms)

    @property
    def numbers(self) -> np.ndarray:
        """Atomic numbers, shape (n_atoms,)."""
        return self.atoms.numbers

    @classmethod
    def from_atoms(
        cls,
        atoms: Atoms,
        source: str,
        *,
        domain: str = "unlabelled",
        labels: Mapping[str, str] | None = None,
    ) -> Frame:
        """Label ``atoms`` from its ``info``, with the defaults stated for each attribute.

        Args:
            atoms: the structure.
            source: see the attribute.
            domain: where ``info`` has none.
            labels: for ``compound``, ``domain`` or ``group``, the info key that holds it instead
                of the one of the same name, such as ``{"domain": "config_type"}``.

        Raises:
            StructureError: a key that ``labels`` names is not in ``info``.
        """
        labels = labels or {}
        for label, key in labels.items():
            if key not in atoms.info:
                held = ", ".join(map(str, atoms.info)) or "none"
                raise StructureError(
                    f"{source}: no info key {key!r} to take the {label} from; there are {held}"
                )
        compound, own_domain, group = (_label(atoms.info.get(labels.get(k, k))) for k in LABELS)
        return cls(
            atoms=atoms,
            source=source,
            compound=compound or conventional_formula(atoms),
            domain=own_domain or domain,
            group=group or source,
        )


def _label(value: object) -> str:
    """What ``info`` holds, as it stands in the file: ``0`` and ``1 2`` are labels too."""
    if value is None:
        return ""
    if isinstance(value, np.ndarray):
        value = " ".join(map(str, value.ravel().tolist()))
    return " ".join(str(value).split())


# Formulas name the non-metals in this order, after all metals (customary; IUPAC's of 1990).
_NON_METALS = (
    "B",
    "Si",
    "C",
    "Sb",
    "As",
    "P",
    "N",
    "H",
    "Te",
    "Se",
    "S",
    "I",
    "Br",
    "Cl",
    "O",
    "F",
)


def conventional_formula(atoms: Atoms) -> str:
    """The reduced formula as chemists write it: NaCl, SrTiO3, H2O; organic ones as Hill does.

    ASE's own ``empirical`` formula is alphabetical (ClNa), and would not match a user's label.
    """
    numbers, counts = np.unique(atoms.numbers, return_counts=True)
    counts //= max(np.gcd.reduce(counts), 1)
    count = dict(zip((chemical_symbols[z] for z in numbers), counts.tolist(), strict=True))
    if {"C", "H"} <= count.keys():
        return Formula.from_dict(count).format("hill")

    def place(symbol: str) -> tuple[int, str]:
        return (_NON_METALS.index(symbol) if symbol in _NON_METALS else -1, symbol)

    return "".join(f"{s}{count[s] if count[s] > 1 else ''}" for s in sorted(count, key=place))


def as_frames(structures: Atoms | Frame | Iterable[Atoms | Frame]) -> list[Frame]:
    """Frames from ASE structures, frames, or a mixture; frames pass through unchanged."""
    if isinstance(structures, (Atoms, Frame)):
        structures = [structures]
    return [
        s if isinstance(s, Frame) else Frame.from_atoms(s, f"structure@{i}")
        for i, s in enumerate(structures)
    ]
