"""Patching: features of some atoms of one structure put into another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms

from mpprobe.activations.evaluate import Evaluation, Evaluator
from mpprobe.errors import InterventionError
from mpprobe.interventions.concepts import concept_of, kinds_of_part
from mpprobe.interventions.erase import (
    Erasure,
    Whitening,
    block_columns,
    block_rows,
    fit_erasure,
    random_erasures,
)
from mpprobe.interventions.erasing import MIN_DRAWS, RANDOM, check_draws
from mpprobe.models.potential import Potential
from mpprobe.probes import Settings
from mpprobe.provenance import structures_sha256, versions
from mpprobe.structures import Frame, as_frames, check
from mpprobe.targets import get_target

if TYPE_CHECKING:
    import pandas as pd
    import torch

#: What is put in, as the tables call it: all features, the target's subspace, a random one.
EVERYTHING, SUBSPACE = "all features", "target's subspace"


@dataclass(frozen=True, eq=False)
class Patch:
    """An edit that gives some atoms of one structure other node features.

    The new features don't follow the atoms when they move: forces lose what came through the old
    ones, also where the values are the same.

    Attributes:
        atoms: indices, (k,).
        values: their new features, (k, layer.dim).
        subspace: only what this erasure would take away is replaced; all if None.
    """

    atoms: np.ndarray
    values: np.ndarray
    subspace: Erasure | None = None

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        """Node features (n_atoms, layer.dim) of the one structure, patched."""
        import torch

        atoms = torch.as_tensor(self.atoms, device=features.device)
        values = torch.as_tensor(self.values).to(features)
        change = values - features[atoms]
        if self.subspace is not None:
            # What the erasure takes from one less what it takes from the other.
            kept = self.subspace(values) - self.subspace(features[atoms])
            change = change - kept
        return features.index_add(0, atoms, change)


@dataclass(frozen=True, eq=False)
class Patched:
    """What putting features of one structure into another did.

    Attributes:
        atoms: a row for each thing that was put in (``all features``, ``target's subspace``) and
            atom of the structure patched into: ``atom``, ``species``, ``patched``, ``distance`` to
            the nearest patched atom (Å), site energies (eV) ``into``, ``source`` (of the patched
            atoms) and ``after``, and ``force_change``, |ΔF| (eV/Å) against the same atoms patched
            with their own features, which hold still too.
        summary: a row for each of them and each random subspace: ``draw``, ``energy_change`` (eV),
            ``share``, how much of the difference of the patched atoms' site energies comes over,
            Σ (after − into)(source − into) / Σ (source − into)², and ``force_change``, the mean.
        provenance: versions, settings, hashes of model and structures.
    """

    atoms: pd.DataFrame
    summary: pd.DataFrame
    provenance: dict


def patch(
    potential: Potential,
    source: Atoms | Frame,
    into: Atoms | Frame,
    *,
    layer: int,
    atoms: Sequence[int],
    target: str | None = None,
    part: str = "within",
    structures: Atoms | Frame | Iterable[Atoms | Frame] | None = None,
    draws: int = MIN_DRAWS,
    settings: Settings | None = None,
) -> Patched:
    """Give atoms of one structure the node features that they have in another.

    Args:
        potential: from :func:`mpprobe.load`.
        source: where the features are taken from.
        into: where they are put; the atoms have the same indices and species there.
        layer: index.
        atoms: indices.
        target: also put in only the subspace in which a linear map reads this, and random
            subspaces that hold the same share of the variance.
        part: of the target, see :data:`mpprobe.interventions.PARTS`.
        structures: on which the subspace is fitted; needed with a target.
        draws: random subspaces, 20 or more.
        settings: seed.

    Raises:
        InterventionError: no atom, one that isn't in both or is of another species, or a target
            without structures.
        MPProbeError: a structure, layer or target that can't be used.
    """
    import pandas as pd

    settings = settings or Settings()
    (source,), (into,) = as_frames(source), as_frames(into)
    chosen = _checked(source, into, atoms)
    potential.layer(layer)
    subspaces = _subspaces(potential, layer, target, part, structures, draws, settings)
    check([source, into], species=potential.species, cutoff=potential.cutoff)
    there, here = Evaluator(potential, [source]), Evaluator(potential, [into])
    taken, own = there.run(layers=[layer]), here.run(layers=[layer])
    by_atom, summary = [], []
    for name, draw, subspace in [(EVERYTHING, None, None), *subspaces]:
        before, after = (
            here.run({layer: Patch(chosen, features[layer][chosen], subspace)})
            for features in (own.features, taken.features)
        )
        summary.append({
            "patch": name, "draw": draw,
            "energy_change": float(after.energies[0] - before.energies[0]),
            "share": _share(chosen, taken, before, after),
            "force_change": float(np.abs(after.forces - before.forces).mean()),
        })  # fmt: skip
        if name != RANDOM:
            by_atom += _atom_rows(name, into, chosen, taken, before, after)
    provenance = {
        "model": {"name": potential.name, **potential.provenance},
        "source": source.source,
        "into": into.source,
        "layer": layer,
        "atoms": chosen.tolist(),
        "target": target,
        "part": part if target else None,
        "draws": draws if target else 0,
        "settings": asdict(settings),
        "structures_sha256": structures_sha256([source, into]),
        "versions": versions(),
    }
    return Patched(pd.DataFrame(by_atom), pd.DataFrame(summary), provenance)


def _checked(source: Frame, into: Frame, atoms: Sequence[int]) -> np.ndarray:
    chosen = np.unique(np.asarray(list(atoms), dtype=int))
    if not len(chosen):
        raise InterventionError("no atom to patch: give one or more indices")
    for frame in (source, into):
        if chosen.min() < 0 or chosen.max() >= len(frame):
            raise InterventionError(
                f"{frame.source}: has atoms 0 to {len(frame) - 1}, not all of "
                f"{', '.join(map(str, chosen))}"
            )
    other = chosen[source.numbers[chosen] != into.numbers[chosen]]
    if len(other):
        raise InterventionError(
            f"{into.source}: atom {other[0]} is {into.atoms.symbols[other[0]]}, and in "
            f"{source.source} it is {source.atoms.symbols[other[0]]}; patch atoms of one species"
        )
    return chosen


def _subspaces(
    potential: Potential,
    layer: int,
    target: str | None,
    part: str,
    structures: Atoms | Frame | Iterable[Atoms | Frame] | None,
    draws: int,
    settings: Settings,
) -> list[tuple[str, int | None, Erasure]]:
    """The target's subspace and random ones, fitted on some structures."""
    if target is None:
        return []
    check_draws(draws)
    frames = as_frames(structures) if structures is not None else []
    if not frames:
        raise InterventionError(f"target {target}: give the structures to fit its subspace on")
    found = get_target(target, frames)
    columns = block_columns(potential.layer(layer), found.l)
    check(frames, species=potential.species, cutoff=potential.cutoff)
    concept = concept_of(found, frames, potential.cutoff, part)
    x = block_rows(Evaluator(potential, frames).features([layer])[layer], columns)
    kind = kinds_of_part(frames, found, part)
    own = fit_erasure(layer, columns, x, concept, kind)
    drawn = random_erasures(own, Whitening.of(x, kind), draws, settings.seed)
    # What is put in is a difference of features, of which every mean is the same.
    free = [replace(erasure, mean=np.zeros(len(columns))) for erasure in (own, *drawn)]
    return [(SUBSPACE, None, free[0]), *((RANDOM, k, e) for k, e in enumerate(free[1:]))]


def _share(chosen: np.ndarray, taken: Evaluation, before: Evaluation, after: Evaluation) -> float:
    wanted = taken.site_energies[chosen] - before.site_energies[chosen]
    moved = after.site_energies[chosen] - before.site_energies[chosen]
    square = float(wanted @ wanted)
    return float(moved @ wanted) / square if square > 0 else float("nan")


def _atom_rows(
    name: str,
    into: Frame,
    chosen: np.ndarray,
    taken: Evaluation,
    before: Evaluation,
    after: Evaluation,
) -> list[dict]:
    distances = into.atoms.get_all_distances(mic=bool(into.atoms.pbc.any()))[chosen].min(axis=0)
    change = np.linalg.norm(after.forces - before.forces, axis=1)
    patched = np.isin(np.arange(len(into)), chosen)
    return [
        {
            "patch": name, "atom": i, "species": symbol, "patched": bool(patched[i]),
            "distance": distances[i], "into": before.site_energies[i],
            "source": taken.site_energies[i] if patched[i] else np.nan,
            "after": after.site_energies[i], "force_change": change[i],
        }
        for i, symbol in enumerate(into.atoms.get_chemical_symbols())
    ]  # fmt: skip
