"""What public sets of reference data call the labels, and in which units they say they are.

Sets are recognised by ``info["dataset"]``. Their own keys may clash with mpprobe's (one calls a
kind of structure its ``group``), so what is said here goes before ``info``, and what the user names
before both.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from mpprobe.errors import StructureError
from mpprobe.structures.frame import Frame

#: Units that extended XYZ of ASE is in, under the keys by which some sets state theirs.
UNITS = {
    "energy_unit": ("eV",),
    "forces_unit": ("eV/A", "eV/Å", "eV/Angstrom"),
    "stress_unit": ("eV/A^3", "eV/Å^3", "eV/Å³", "eV/Angstrom^3"),
}


@dataclass(frozen=True)
class PublicSet:
    """How one public set labels its structures.

    Attributes:
        dataset: what ``info["dataset"]`` begins with.
        domain: of its structures.
        domain_key: the info key whose value decides instead, through ``domains``.
        domains: that value to domain; others become the value itself.
        group_key: the info key that structures of one group share, or None if each stands alone.
        group_pattern: what to leave out of that value.
    """

    dataset: str
    domain: str
    domain_key: str | None = None
    domains: Mapping[str, str] = field(default_factory=dict)
    group_key: str | None = None
    group_pattern: str = ""

    def labels(self, frame: Frame) -> dict[str, str]:
        """Domain and group; structures of one group are of one compound."""
        info = frame.atoms.info
        value = str(info.get(self.domain_key, "")) if self.domain_key else ""
        shared = re.sub(self.group_pattern, "", str(info.get(self.group_key, "")))
        return {
            "domain": self.domains.get(value, value or self.domain),
            "group": f"{frame.compound} {shared}" if shared else frame.source,
        }


PUBLIC_SETS = (
    # MPtrj (Deng et al. 2023) and random structures, as MatterSim (Yang et al. 2024) gives them.
    PublicSet("mattersim_mptrj", "mptrj", group_key="mptrj_traj_id"),
    PublicSet("mattersim_random-TP", "random-TP"),
    # Zuo et al. 2020; the snapshots of one run belong together.
    PublicSet(
        "mlearn", "bulk", domain_key="group",
        domains={"AIMD-NVT": "dynamics", "Elastic": "strained", "Vacancy": "vacancy",
                 "Surface": "surface"},
        group_key="description", group_pattern=r"^Snapshot \d+ of \d+ of ",
    ),
    # Supercells with random displacements, of phonopy and phono3py (Togo et al.).
    PublicSet("phonopy", "bulk"),
    PublicSet("phono3py", "bulk"),
    PublicSet("lobsterpy", "bulk"),
    PublicSet("spice", "molecule"),
)  # fmt: skip


def public_labels(frame: Frame) -> dict[str, str]:
    """``domain`` and ``group`` of a structure of a public set; empty for all others."""
    dataset = str(frame.atoms.info.get("dataset", ""))
    known = next((s for s in PUBLIC_SETS if dataset.startswith(s.dataset)), None)
    return {} if known is None else known.labels(frame)


def check_units(frame: Frame) -> None:
    """Refuse a structure that says its energies, forces or stress are in other units.

    Raises:
        StructureError: naming the unit, and the one that is needed.
    """
    for key, units in UNITS.items():
        given = frame.atoms.info.get(key)
        if given is not None and str(given) not in units:
            raise StructureError(
                f"{frame.source}: {key} is {given}, and {units[0]} is needed; convert the file"
            )
