"""A potential's forces and energies beside the reference, by atom and by structure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms

from mpprobe.activations.evaluate import evaluate
from mpprobe.errors import ModelError
from mpprobe.models.potential import Potential
from mpprobe.provenance import structures_sha256, versions
from mpprobe.structures import Frame, as_frames
from mpprobe.targets.reference import Reference, reference_of

if TYPE_CHECKING:
    import pandas as pd

#: Called with what is done, how many atoms of it, and how many there are.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, eq=False)
class ForceErrors:
    """Forces and energies of several potentials on structures with reference data.

    Attributes:
        structures: a row for each model and structure: ``model``, ``structure`` (file@index),
            ``compound``, ``domain``, ``group``, ``n_atoms``; ``force_mae`` and ``force_rmse``
            (eV/Å, over components), ``net_force`` of the model (eV/Å); ``energy`` and
            ``energy_reference`` (eV), ``energy_error`` (eV an atom) after
            :func:`composition_references` are removed. NaN where there is no reference energy.
        atoms: a row for each model and atom: ``model``, ``structure``, ``atom``, ``species``,
            ``compound``, ``domain``; ``force_x`` ... and ``reference_x`` ... (eV/Å), and
            ``force_error``, the length of their difference.
        provenance: versions, hashes of models and structures.
    """

    structures: pd.DataFrame
    atoms: pd.DataFrame
    provenance: dict


def force_errors(
    potentials: Potential | Sequence[Potential],
    structures: Atoms | Frame | Iterable[Atoms | Frame],
    *,
    forces: str = "forces",
    energy: str = "energy",
    max_atoms: int | None = None,
    progress: Progress | None = None,
) -> ForceErrors:
    """Compare potentials with the forces and energies that the structures carry.

    Args:
        potentials: one or several, of different names.
        structures: with reference forces.
        forces, energy: names under which they are stored, see :func:`reference_of`.
        max_atoms: most atoms in one forward pass; a larger structure goes alone.
        progress: called after every batch.

    Raises:
        StructureError: a structure has no reference forces.
        ModelError: two potentials of one name, an element that one doesn't know, or a result that
            isn't finite.
    """
    import pandas as pd

    potentials = one_name_each(potentials)
    frames = as_frames(structures)
    references = [reference_of(frame, forces, energy) for frame in frames]
    by_structure, by_atom = [], []
    for potential in potentials:
        what = partial(progress, f"forces of {potential.name}") if progress else None
        results = list(evaluate(potential, frames, max_atoms, what))
        by_structure.append(_structure_table(potential, frames, references, results))
        by_atom.append(_atom_table(potential, frames, references, results))
    provenance = {
        "models": {p.name: p.provenance for p in potentials},
        "structures_sha256": structures_sha256(frames),
        "versions": versions(),
    }
    return ForceErrors(
        pd.concat(by_structure, ignore_index=True),
        pd.concat(by_atom, ignore_index=True),
        provenance,
    )


def composition_references(counts: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Energies per species that bring two sets of energies together, least squares, eV.

    Energies of different codes and pseudopotentials differ by a constant for each atom of a
    species, which says nothing about the potential.

    Args:
        counts: atoms of each species in each structure, (n_structures, n_species).
        errors: energy less reference, eV, (n_structures,); NaN where there is none.

    Returns:
        (n_species,); where the structures leave it undetermined, the smallest that do.
    """
    known = np.isfinite(errors)
    return np.linalg.lstsq(counts[known], errors[known], rcond=None)[0]


def one_name_each(potentials: Potential | Sequence[Potential]) -> list[Potential]:
    """The potentials as a list.

    Raises:
        ModelError: two have the same name, which is what tells them apart in tables.
    """
    potentials = [potentials] if isinstance(potentials, Potential) else list(potentials)
    names = [potential.name for potential in potentials]
    if len(set(names)) < len(names):
        raise ModelError(f"{', '.join(names)}: give every model once")
    return potentials


def _structure_table(
    potential: Potential,
    frames: Sequence[Frame],
    references: Sequence[Reference],
    results: Sequence[tuple[float, np.ndarray]],
) -> pd.DataFrame:
    import pandas as pd

    rows = []
    for frame, reference, (energy, forces) in zip(frames, references, results, strict=True):
        error = forces - reference.forces
        rows.append({
            "model": potential.name, "structure": frame.source, "compound": frame.compound,
            "domain": frame.domain, "group": frame.group, "n_atoms": len(frame),
            "force_mae": np.abs(error).mean(), "force_rmse": np.sqrt((error**2).mean()),
            "net_force": np.linalg.norm(forces.sum(axis=0)), "energy": energy,
            "energy_reference": np.nan if reference.energy is None else reference.energy,
        })  # fmt: skip
    table = pd.DataFrame(rows)
    numbers = [frame.numbers for frame in frames]
    species = np.unique(np.concatenate(numbers))
    counts = np.array([(n[:, None] == species).sum(axis=0) for n in numbers], dtype=float)
    apart = (table["energy"] - table["energy_reference"]).to_numpy()
    constant = counts @ composition_references(counts, apart)
    return table.assign(energy_error=(apart - constant) / table["n_atoms"])


def _atom_table(
    potential: Potential,
    frames: Sequence[Frame],
    references: Sequence[Reference],
    results: Sequence[tuple[float, np.ndarray]],
) -> pd.DataFrame:
    import pandas as pd

    sizes = [len(frame) for frame in frames]
    forces = np.concatenate([forces for _, forces in results])
    reference = np.concatenate([reference.forces for reference in references])
    labels = {
        name: np.repeat([getattr(frame, key) for frame in frames], sizes)
        for name, key in (("structure", "source"), ("compound", "compound"), ("domain", "domain"))
    }
    columns = {f"{name}_{axis}": values[:, k]
               for name, values in (("force", forces), ("reference", reference))
               for k, axis in enumerate("xyz")}  # fmt: skip
    return pd.DataFrame({
        "model": potential.name,
        "structure": labels["structure"],
        "atom": np.concatenate([np.arange(n) for n in sizes]),
        "species": np.concatenate([frame.atoms.get_chemical_symbols() for frame in frames]),
        "compound": labels["compound"],
        "domain": labels["domain"],
        **columns,
        "force_error": np.linalg.norm(forces - reference, axis=1),
    })  # fmt: skip
