"""The structure sets that come with mpprobe, and where their files lie."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from mpprobe.errors import StructureError


@dataclass(frozen=True)
class BuiltinSet:
    """A set of structures that is read by its name.

    Attributes:
        name: what to give in place of a file.
        description: one line for listings.
        domains: what may follow ``name:``, besides ``default`` and ``all``.
        folder: of the checkout's ``data/`` that holds the file, its recipe and datasheet; the name
            itself if empty.
    """

    name: str
    description: str
    domains: tuple[str, ...]
    folder: str = ""

    @property
    def path(self) -> Path:
        """The file: inside an installed package, or in the checkout's ``data/``.

        Raises:
            StructureError: it is in neither place.
        """
        return data_file(self.folder or self.name, f"{self.name}.extxyz.gz")


def data_file(folder: str, name: str) -> Path:
    """A file that mpprobe ships: inside an installed package, or in a folder of ``data/``.

    Raises:
        StructureError: it is in neither place.
    """
    installed = Path(str(files("mpprobe"))) / "data" / name
    checkout = Path(__file__).parents[3] / "data" / folder / name
    for path in (installed, checkout):
        if path.is_file():
            return path
    raise StructureError(f"{name}: a file that comes with mpprobe is missing; reinstall mpprobe")


_SETS = (
    BuiltinSet(
        "ionic",
        "rattled, strained, defective, cut and molten ionic crystals with formal charges "
        "(no energies or forces)",
        ("bulk", "strained", "vacancy", "surface", "cluster", "melt"),
    ),
    BuiltinSet(
        "far",
        "crystals whose surroundings of a few atoms stay while all atoms farther away are drawn "
        "anew (no energies or forces)",
        ("rattled", "rattled-6", "rattled-10", "near", "vacancies", "dopants", "surfaces"),
    ),
    BuiltinSet(
        "dft",
        "small cells of nine ionic compounds and two metals with PBE energies, forces, Bader "
        "charges and site potentials",
        ("bulk", "strained", "surface", "vacancy", "cluster", "melt", "metal"),
    ),
    BuiltinSet(
        "pairs",
        "NaCl crystal, slab, molecule on a slab and free molecules with one atom displaced, or two "
        "far apart: PBE forces and parts of the energy",
        ("slab", "adsorbate", "crystal", "gap"),
        folder="dft",
    ),
)


def builtin_sets() -> dict[str, BuiltinSet]:
    """The built-in sets by name.

    ``NAME`` reads a set's default part, which holds every compound and domain, ``NAME:all`` all of
    it, and ``NAME:DOMAIN`` (or several, separated by commas) all structures of those domains.
    """
    return {s.name: s for s in _SETS}
