"""Force constants between distant atoms: a potential's, the reference's, and those of its parts."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from ase.geometry import find_mic

from mpprobe.activations.evaluate import evaluate
from mpprobe.errors import StructureError
from mpprobe.explain.forces import Progress, one_name_each
from mpprobe.models.graph import fewest_bonds
from mpprobe.models.potential import Potential
from mpprobe.probes.intervals import with_intervals
from mpprobe.probes.scores import Bootstrap, through_origin, totals_by_group
from mpprobe.provenance import structures_sha256, versions
from mpprobe.response.study import SHELLS
from mpprobe.structures import Frame, as_frames
from mpprobe.targets.charges import charges_of
from mpprobe.targets.dielectric import screened_charges
from mpprobe.targets.electrostatics import point_forces
from mpprobe.targets.reference import reference_of

if TYPE_CHECKING:
    import pandas as pd

#: Info keys of the parts of the energy (eV), and the columns made of them.
PARTS = {"e_coulomb": "coulomb", "e_kinetic": "kinetic", "e_xc": "xc"}
#: With what the model's force constants of pairs are compared, in this order.
COMPARED = ("reference", "coulomb", "kinetic", "kinetic + xc", "point charges")

# Å by which an atom counts as displaced.
_MOVED = 1e-3


@dataclass(frozen=True, eq=False)
class NonlocalForces:
    """Force constants K_ij = ∂²E/∂r_i∂r_j = −∂F_j/∂r_i of distant atoms, eV/Å².

    Attributes:
        atoms: a row for each model, structure with one displaced atom i, and atom j farther from
            it than the model's cutoff: ``model``, ``structure``, ``domain``, ``group``,
            ``displaced``, ``watched`` (indices), ``species`` (of both, ``Na-Cl``), ``distance``
            (Å), ``cutoffs`` (distance over cutoff), ``steps`` (bonds shorter than the cutoff on
            the shortest way from i to j; NaN without one), and K_ij along the displacement:
            ``model_x`` ..., ``reference_x`` ..., ``point_x`` ... for model, reference and point
            charges.
        pairs: a row for each model and structure with two displaced atoms whose single
            displacements are there too: the same labels; ``model``'s and the reference's K_ij
            along both displacements from forces, ``K_model`` and ``K_reference``; from mixed second
            differences of the reference's energies ``K_energy`` and its parts ``K_coulomb``,
            ``K_kinetic``, ``K_xc`` and ``K_kinetic + xc`` (NaN where the structures don't carry
            them); ``K_point charges``.
        provenance: versions, hashes of models and structures, and which point charges.
    """

    atoms: pd.DataFrame
    pairs: pd.DataFrame
    provenance: dict


@dataclass(frozen=True, eq=False)
class _Displaced:
    """One structure of a group, and the atoms that differ from the first.

    Attributes:
        frame: the structure.
        vectors: index of each displaced atom and its displacement in Å.
    """

    frame: Frame
    vectors: dict[int, np.ndarray]

    @property
    def key(self) -> frozenset:
        """The same for structures with the same displacements."""
        return frozenset((i, tuple(np.round(v, 3))) for i, v in self.vectors.items())


def nonlocal_forces(
    potentials: Potential | Sequence[Potential],
    structures: Atoms | Frame | Iterable[Atoms | Frame],
    *,
    charges: str = "screened",
    max_atoms: int | None = None,
    progress: Progress | None = None,
) -> NonlocalForces:
    """Compare force constants of distant atoms with the reference and with point charges.

    The structures come in groups (``info["group"]``). The first of a group is undisturbed, in the
    others one atom is displaced, or two. With one, the change of the force on every distant atom
    is compared; with two, also the mixed second difference of the reference's energy,
    [E(i, j) − E(i) − E(j) + E(0)] / (u_i u_j), and of each of its parts. The model's and the
    reference's K_ij of such a pair are from forces on j along its displacement, the mean of those
    with j undisplaced and displaced, which is the same difference to second order in u_j; and the
    mean of that and the same with i and j exchanged.

    Args:
        potentials: one or several, of different names.
        structures: with reference forces, and parts of the energy in info (:data:`PARTS`). One
            with ``same_as`` in info is another turned by a symmetry of the undisturbed one: it
            serves for energies of pairs only.
        charges: of the point charges: ``screened`` for Z*/√ε∞ of
            :func:`mpprobe.targets.dielectric.screened_charges`, or as in ``potential@CHARGES``.
        max_atoms: most atoms in one forward pass.
        progress: called after every batch.

    Raises:
        StructureError: a group that isn't as described, or no reference forces.
        TargetError: a structure can't supply the point charges.
        ModelError: two potentials of one name, an element that one doesn't know, or a result that
            isn't finite.
    """
    import pandas as pd

    potentials = one_name_each(potentials)
    frames = as_frames(structures)
    groups = _groups(frames)
    reference = {f.source: reference_of(f).forces for f in frames}
    point = {f.source: point_forces(f, _charges(f, charges)) for f in frames}
    by_atom, by_pair = [], []
    for potential in potentials:
        what = partial(progress, f"forces of {potential.name}") if progress else None
        results = evaluate(potential, frames, max_atoms, what)
        model = {f.source: x for f, (_, x) in zip(frames, results, strict=True)}
        forces = {"model": model, "reference": reference, "point": point}
        for first, *displaced in groups:
            steps = fewest_bonds(first.frame.atoms, potential.cutoff)
            singles = {d.key: d for d in displaced if len(d.vectors) == 1}
            for one in singles.values():
                if "same_as" in one.frame.atoms.info:  # the same again elsewhere
                    continue
                by_atom += _atom_rows(potential, first.frame, one, forces, steps)
            for two in (d for d in displaced if len(d.vectors) == 2):
                by_pair += _pair_rows(potential, first.frame, two, singles, forces, steps)
    provenance = {
        "models": {p.name: p.provenance for p in potentials},
        "point_charges": charges,
        "structures_sha256": structures_sha256(frames),
        "versions": versions(),
    }
    return NonlocalForces(pd.DataFrame(by_atom), pd.DataFrame(by_pair), provenance)


def check_groups(structures: Iterable[Atoms | Frame], charges: str = "screened") -> None:
    """Refuse what :func:`nonlocal_forces` would, before a model is loaded; see there."""
    frames = as_frames(structures)
    _groups(frames)
    for frame in frames:
        reference_of(frame)
        _charges(frame, charges)


def by_distance(found: NonlocalForces, *, n_resamples: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Force constants of model and point charges against the reference, by domain and distance.

    Returns:
        A row for each model, domain (and ``all``, without the domains in which no way leads from
        one atom to the other) and range of distances: ``model``, ``domain``,
        ``from`` and ``to`` (cutoffs; NaN: no end), ``n_displaced``, ``n_atoms``; the root mean
        square of all components, ``reference_rms`` and ``model_rms`` (eV/Å²); of the model
        ``slope``, Σ K K_ref / Σ K_ref², and ``correlation``, Σ K K_ref / √(Σ K² Σ K_ref²), and
        the same of the point charges, ``point_slope`` and ``point_correlation``, with 95 %
        intervals, ``_low`` and ``_high``, from a bootstrap over structures (NaN below five).
    """
    import pandas as pd

    table = found.atoms
    model, reference, point = (
        table[[f"{name}_{axis}" for axis in "xyz"]].to_numpy()
        for name in ("model", "reference", "point")
    )
    structures = {name: k for k, name in enumerate(dict.fromkeys(table["structure"]))}
    bootstrap = Bootstrap(len(structures), n_resamples, seed)
    group = table["structure"].map(structures).to_numpy()
    columns = np.stack([
        (a * b).sum(axis=1)
        for a, b in ((model, reference), (reference, reference), (model, model),
                     (point, reference), (point, point))
    ])  # fmt: skip
    connected = table.groupby(["model", "domain"])["steps"].transform("count") > 0
    rows = []
    for domain in [*dict.fromkeys(table["domain"]), "all"]:
        for name in dict.fromkeys(table["model"]):
            own = (table["model"] == name) & (
                connected if domain == "all" else table["domain"] == domain
            )
            for low, high in itertools.pairwise(SHELLS):
                chosen = (own & (table["cutoffs"] >= low) & (table["cutoffs"] < high)).to_numpy()
                if not chosen.any():
                    continue
                totals = totals_by_group(columns[:, chosen], group[chosen], bootstrap)
                rows.append({
                    "model": name, "domain": domain, "from": low,
                    "to": high if np.isfinite(high) else np.nan,
                    "n_displaced": len(np.unique(group[chosen])), "n_atoms": int(chosen.sum()),
                    "reference_rms": np.sqrt(columns[1, chosen].mean() / 3),
                    "model_rms": np.sqrt(columns[2, chosen].mean() / 3),
                    **with_intervals(_metrics(totals), bootstrap, group[chosen]),
                })  # fmt: skip
    return pd.DataFrame(rows)


def _metrics(totals: np.ndarray) -> dict[str, np.ndarray]:
    product, square, model, point_product, point = totals
    return {
        **through_origin(product, square, model),
        **{f"point_{k}": v for k, v in through_origin(point_product, square, point).items()},
    }


def by_part(found: NonlocalForces, *, n_resamples: int = 1000, seed: int = 0) -> pd.DataFrame:
    """The model's force constants of pairs against each part of the reference's.

    Returns:
        A row for each model and each of :data:`COMPARED` that the structures carry: ``model``,
        ``part``, ``n_pairs`` (those that a way connects), ``rms`` of the part and ``model_rms``
        (eV/Å²); ``slope`` and ``correlation`` of the model's K against it as in
        :func:`by_distance`, and ``difference``, the mean absolute difference (eV/Å²), with 95 %
        intervals from a bootstrap over pairs.
    """
    import pandas as pd

    table = found.pairs[found.pairs["steps"].notna()] if len(found.pairs) else found.pairs
    rows = []
    for name in dict.fromkeys(table["model"]) if len(table) else ():
        own = table[table["model"] == name]
        group = np.arange(len(own))
        bootstrap = Bootstrap(len(own), n_resamples, seed)
        y = own["K_model"].to_numpy()
        for part in COMPARED:
            x = own[f"K_{part}"].to_numpy()
            if not np.isfinite(x).all():
                continue
            columns = np.stack([x * y, x * x, y * y, np.abs(y - x)])
            product, x_square, y_square, apart = totals_by_group(columns, group, bootstrap)
            metrics = {
                **through_origin(product, x_square, y_square),
                "difference": apart / len(own),
            }
            rows.append({
                "model": name, "part": part, "n_pairs": len(own),
                "rms": np.sqrt((x**2).mean()), "model_rms": np.sqrt((y**2).mean()),
                **with_intervals(metrics, bootstrap, group),
            })  # fmt: skip
    return pd.DataFrame(rows)


def _groups(frames: Sequence[Frame]) -> list[list[_Displaced]]:
    """The structures of each group, the undisturbed one first."""
    by_name: dict[str, list[Frame]] = {}
    for frame in frames:
        by_name.setdefault(frame.group, []).append(frame)
    groups = []
    for name, members in by_name.items():
        first = members[0]
        group = [_Displaced(frame, _vectors(first, frame)) for frame in members]
        if len(members) < 2:
            raise StructureError(
                f"{first.source}: the only structure of group {name!r}; give an undisturbed "
                "structure and then others of the same info key group with one or two atoms moved"
            )
        groups.append(group)
    return groups


def _vectors(first: Frame, frame: Frame) -> dict[int, np.ndarray]:
    same = (
        np.array_equal(first.numbers, frame.numbers)
        and np.allclose(first.atoms.cell.array, frame.atoms.cell.array, atol=1e-6)
        and np.array_equal(first.atoms.pbc, frame.atoms.pbc)
    )
    vectors = _apart(first, frame) if same else None
    size = np.zeros(0) if vectors is None else np.linalg.norm(vectors, axis=1)
    moved = np.flatnonzero(size > _MOVED)
    if vectors is None or len(moved) > 2 or (frame is not first and len(moved) == 0):
        what = "has other atoms or another cell" if vectors is None else f"moves {len(moved)} atoms"
        raise StructureError(
            f"{frame.source}: {what} compared with {first.source}, the first of its group "
            f"({frame.group}); each structure of a group moves one or two atoms of the first"
        )
    return {int(i): vectors[i] for i in moved}


def _apart(first: Frame, frame: Frame) -> np.ndarray:
    """How each atom has moved, Å, (n_atoms, 3); an edge of the cell in between doesn't count."""
    vectors = frame.atoms.positions - first.atoms.positions
    if not frame.atoms.pbc.any():
        return vectors
    return find_mic(vectors, frame.atoms.cell, frame.atoms.pbc)[0]


def _charges(frame: Frame, source: str) -> np.ndarray:
    return screened_charges(frame) if source == "screened" else charges_of(frame, source)


def _labels(
    potential: Potential, first: Frame, frame: Frame, i: int, j: int, steps: np.ndarray
) -> dict:
    symbols = first.atoms.get_chemical_symbols()
    distance = first.atoms.get_distance(i, j, mic=True)
    return {
        "model": potential.name, "structure": frame.source, "domain": frame.domain,
        "group": frame.group, "displaced": i, "watched": j, "species": f"{symbols[i]}-{symbols[j]}",
        "distance": distance, "cutoffs": distance / potential.cutoff,
        "steps": steps[i, j] if np.isfinite(steps[i, j]) else np.nan,
    }  # fmt: skip


def _atom_rows(
    potential: Potential, first: Frame, one: _Displaced, forces: dict, steps: np.ndarray
) -> list[dict]:
    ((i, vector),) = one.vectors.items()
    constants = {
        name: -(of[one.frame.source] - of[first.source]) / np.linalg.norm(vector)
        for name, of in forces.items()
    }
    distances = first.atoms.get_distances(i, range(len(first)), mic=True)
    return [
        _labels(potential, first, one.frame, i, int(j), steps)
        | {f"{name}_{axis}": constants[name][j, k]
           for name in forces for k, axis in enumerate("xyz")}
        for j in np.flatnonzero(distances > potential.cutoff)
    ]  # fmt: skip


def _pair_rows(
    potential: Potential,
    first: Frame,
    two: _Displaced,
    singles: dict[frozenset, _Displaced],
    forces: dict,
    steps: np.ndarray,
) -> list[dict]:
    (i, u), (j, v) = two.vectors.items()
    only_i_moved, only_j_moved = (
        singles.get(_Displaced(two.frame, {k: w}).key) for k, w in two.vectors.items()
    )
    if only_i_moved is None or only_j_moved is None:
        return []
    frames = [two.frame, only_i_moved.frame, only_j_moved.frame, first]
    lengths = np.linalg.norm(u), np.linalg.norm(v)
    row = _labels(potential, first, two.frame, i, j, steps)
    names = {"model": "K_model", "reference": "K_reference", "point": "K_point charges"}
    for name, column in names.items():
        # Of each atom, the force along its displacement, times that.
        both, only_i, only_j, none = (
            np.array([forces[name][f.source][i] @ u, forces[name][f.source][j] @ v]) for f in frames
        )
        one, other = (both - only_i) + (only_j - none), (both - only_j) + (only_i - none)
        row[column] = -(one[0] + other[1]) / 4 / (lengths[0] * lengths[1])
    parts = {column: [_part(f, key) for f in frames] for key, column in PARTS.items()}
    parts["energy"] = [_energy(f) for f in frames]
    for column, (of_both, of_i, of_j, of_none) in parts.items():
        row[f"K_{column}"] = (of_both - of_i - of_j + of_none) / (lengths[0] * lengths[1])
    row["K_kinetic + xc"] = row["K_kinetic"] + row["K_xc"]
    return [row]


def _part(frame: Frame, key: str) -> float:
    return float(frame.atoms.info.get(key, np.nan))


def _energy(frame: Frame) -> float:
    """Stored energy whose gradient the forces are (eV), NaN if there is none."""
    results = getattr(frame.atoms.calc, "results", {})
    return float(results.get("free_energy", results.get("energy", np.nan)))
