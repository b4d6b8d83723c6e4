"""Do force constants of distant atoms follow Coulomb's law? Crystals, metals, random weights."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms

from mpprobe.activations.journal import Journal
from mpprobe.errors import StructureError
from mpprobe.models.controls import models_of
from mpprobe.models.potential import Potential
from mpprobe.probes import Settings
from mpprobe.provenance import structures_sha256, versions
from mpprobe.response.coulomb import coulomb_fit, pair_table, unit_charge_constants
from mpprobe.response.crystals import METAL
from mpprobe.response.force_constants import Progress, check_atoms, force_constants, pair_shares
from mpprobe.structures import Frame, as_frames, check
from mpprobe.targets.charges import formal_charges
from mpprobe.targets.dielectric import dielectrics
from mpprobe.targets.electrostatics import COULOMB

if TYPE_CHECKING:
    import pandas as pd

#: Multiples of the least distance between which pairs are grouped.
SHELLS = (1.0, 2.0, 3.0, np.inf)
#: Where the force constant of a pair sits.
SITES = ("on the two", "between", "elsewhere")


@dataclass(frozen=True, eq=False)
class Response:
    """Force constants K_ij of distant atoms against those of point charges.

    Attributes:
        pairs: a row for each model (``trained``, ``random weights``), structure and pair: the
            columns of :func:`mpprobe.response.pair_table`, ``compound``, ``domain``.
        axis: a row for each model, structure and pair on a line along the first lattice vector:
            ``species``, ``other``, ``distance``, ``K`` along the line (eV/Å²), and ``ratio``, the
            product of charges (e²) of which −2 z_i z_j/4πε0 r³ is as large, images left out.
        shells: a row for each model, structure, pair of species and distance: ``distance`` (Å),
            ``n``, ``rms``, root mean square component of K (eV/Å²), ``ratio``, Σ K·T / Σ T·T, the
            product of charges that the shell asks for (e²).
        fits: a row for each model, structure and range of distances, ``from`` and ``to`` in
            multiples of ``nearest`` (``all`` first: from 1 without an end, NaN): ``formal``, the
            largest formal charge (e), ``n_pairs``, ``rms`` of K, and what
            :func:`mpprobe.response.coulomb_fit` gives; ``published``, Z*²/ε∞, with ``method`` and
            ``source``, where known.
        shares: a row for each model and pair whose sites were asked for: ``compound``, ``i``,
            ``j``, ``species``, ``other``, ``distance``, ``K`` along the line between them (eV/Å²)
            and its share on the two atoms, on those inside the sphere between them, and elsewhere
            (:data:`SITES`).
        provenance: versions, settings, hashes of model and structures.
    """

    pairs: pd.DataFrame
    axis: pd.DataFrame
    shells: pd.DataFrame
    fits: pd.DataFrame
    shares: pd.DataFrame
    provenance: dict


def response(
    potential: Potential,
    structures: Atoms | Frame | Iterable[Atoms | Frame],
    *,
    atoms: Sequence[int] | None = None,
    nearest: float | None = None,
    random_weights: bool = True,
    shares: bool = False,
    settings: Settings | None = None,
    progress: Progress | None = None,
    journal: Journal | None = None,
) -> Response:
    """Compare force constants beyond the cutoff with the screened Coulomb form.

    Arguments and errors as in :func:`make_response`; see :class:`Response` for what comes out.
    """
    plan = make_response(
        potential, structures, atoms=atoms, nearest=nearest, random_weights=random_weights,
        shares=shares, settings=settings,
    )  # fmt: skip
    return plan.run(progress=progress, journal=journal)


@dataclass(frozen=True, eq=False)
class ResponsePlan:
    """Force constants to be computed, of input that has been checked.

    Attributes:
        potential, frames, nearest, random_weights, shares, settings: what will be done, and how.
        atoms: indices i in each structure.
        charges: formal charges, of metals one, (n_atoms,) for each structure.
    """

    potential: Potential
    frames: list[Frame]
    atoms: list[list[int]]
    charges: list[np.ndarray]
    nearest: float
    random_weights: bool
    shares: bool
    settings: Settings

    @property
    def provenance(self) -> dict:
        """What identifies the result."""
        return {
            "model": {"name": self.potential.name, **self.potential.provenance},
            "atoms": self.atoms,
            "nearest": self.nearest,
            "cutoff": self.potential.cutoff,
            "settings": asdict(self.settings),
            "structures_sha256": structures_sha256(self.frames),
            "versions": versions(),
        }

    def run(self, *, progress: Progress | None = None, journal: Journal | None = None) -> Response:
        """Do it; arguments and errors as in :func:`response`."""
        import pandas as pd

        journal = journal or Journal()
        pairs, shares = [], []
        unit = [unit_charge_constants(f, a) for f, a in zip(self.frames, self.atoms, strict=True)]
        for name, model in models_of(self.potential, self.random_weights, self.settings.seed):
            for k, frame in enumerate(self.frames):

                def rows(model: Potential = model, k: int = k) -> list:
                    own = force_constants(model, self.frames[k], self.atoms[k], progress)
                    return own.tolist()

                constants = np.array(journal.part(f"{name} | {k} | rows", rows))
                about = {"model": name, "structure": frame.source, "compound": frame.compound,
                         "domain": frame.domain}  # fmt: skip
                table = pair_table(
                    frame, self.atoms[k], constants, unit[k], self.charges[k], self.nearest
                )
                pairs.append(table.assign(**about))
                if self.shares:

                    def sites(
                        model: Potential = model, k: int = k, table: pd.DataFrame = table
                    ) -> list[dict]:
                        return self._shares(model, self.frames[k], table, progress)

                    found = journal.part(f"{name} | {k} | sites", sites)
                    shares += [{**about, **row} for row in found]
        table = pd.concat(pairs, ignore_index=True)
        return Response(
            table, _axis(table), _shells(table), self._fits(table), pd.DataFrame(shares),
            self.provenance,
        )  # fmt: skip

    def _fits(self, pairs: pd.DataFrame) -> pd.DataFrame:
        import pandas as pd

        rows = []
        sampling = {"n_resamples": self.settings.n_resamples, "seed": self.settings.seed}
        ranges = [(SHELLS[0], SHELLS[-1]), *itertools.pairwise(SHELLS)]
        largest = {f.source: c.max() for f, c in zip(self.frames, self.charges, strict=True)}
        for (model, structure), own in pairs.groupby(["model", "structure"], sort=False):
            about = {"model": model, "structure": structure, "compound": own["compound"].iloc[0],
                     "domain": own["domain"].iloc[0], "formal": largest[structure]}  # fmt: skip
            known = dielectrics().get(own["compound"].iloc[0])
            literature = {} if known is None else {
                "published": known.charge**2 / known.constant, "method": known.method,
                "source": known.source,
            }  # fmt: skip
            for k, (low, high) in enumerate(ranges):
                far = own["distance"] / self.nearest
                part = own[(far >= low) & (far < high)]
                if part.empty:
                    continue
                rows.append({
                    **about, "all": k == 0, "from": low,
                    "to": high if np.isfinite(high) else np.nan, "n_pairs": len(part),
                    "rms": np.sqrt(part["KK"].mean() / 9), **coulomb_fit(part, **sampling),
                    **literature,
                })  # fmt: skip
        return pd.DataFrame(rows)

    def _shares(
        self, model: Potential, frame: Frame, table: pd.DataFrame, progress: Progress | None
    ) -> list[dict]:
        chosen = list(_pairs_for_shares(table, self.nearest))
        vectors = np.array([frame.atoms.get_distance(r.i, r.j, mic=True, vector=True)
                            for r in chosen])  # fmt: skip
        lines = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        found = pair_shares(model, frame, [(r.i, r.j) for r in chosen], lines, progress)
        rows = []
        for row, own in zip(chosen, found, strict=True):
            total, where = own.sum(), _where(frame, row.i, row.j)
            rows.append({
                "i": int(row.i), "j": int(row.j), "species": row.species, "other": row.other,
                "distance": float(row.distance), "K": float(total),
                **{name: float(own[where == name].sum() / total) if total else np.nan
                   for name in SITES},
            })  # fmt: skip
        return rows


def make_response(
    potential: Potential,
    structures: Atoms | Frame | Iterable[Atoms | Frame],
    *,
    atoms: Sequence[int] | None = None,
    nearest: float | None = None,
    random_weights: bool = True,
    shares: bool = False,
    settings: Settings | None = None,
) -> ResponsePlan:
    """Check everything that :func:`response` is given, before any work is done.

    Args:
        potential: from :func:`mpprobe.load`.
        structures: with formal charges, unless their domain is ``metal``; see
            :func:`mpprobe.response.crystal`.
        atoms: which atoms' rows of the force constants; of each species the one nearest to the
            middle if not given.
        nearest: Å from which on pairs are compared; the cutoff if not given.
        random_weights: also the architecture with random weights.
        shares: also on which sites some pairs' force constants sit.
        settings: resamples and seed.

    Raises:
        StructureError: no structure, no such atom, or no pair so far apart.
        TargetError: a structure has no formal charges.
        ModelError: an element that the potential doesn't know.
    """
    frames = as_frames(structures)
    if not frames:
        raise StructureError("nothing to respond: give structures")
    check(frames, species=potential.species, cutoff=potential.cutoff)
    nearest = potential.cutoff if nearest is None else float(nearest)
    chosen = [_middle(frame) if atoms is None else list(atoms) for frame in frames]
    for frame, own in zip(frames, chosen, strict=True):
        check_atoms(frame, own)
        distances = [frame.atoms.get_distances(i, range(len(frame)), mic=True) for i in own]
        if not (np.array(distances) > nearest).any():
            raise StructureError(
                f"{frame.source}: no two atoms are farther apart than {nearest:g} Å; repeat the "
                "cell, or lower the distance"
            )
    return ResponsePlan(
        potential, frames, chosen, [_charges(frame) for frame in frames], nearest, random_weights,
        shares, settings or Settings(),
    )  # fmt: skip


def _charges(frame: Frame) -> np.ndarray:
    if frame.domain == METAL:
        return np.ones(len(frame))
    return formal_charges(frame)


def _middle(frame: Frame) -> list[int]:
    """Of each species the atom nearest to the mean position, those of lower number first."""
    distance = np.linalg.norm(frame.atoms.positions - frame.atoms.positions.mean(axis=0), axis=1)
    return [
        int(min(np.flatnonzero(frame.numbers == z), key=lambda i: (round(distance[i], 6), i)))
        for z in np.unique(frame.numbers)
    ]


def _axis(pairs: pd.DataFrame) -> pd.DataFrame:
    own = pairs[pairs["on_axis"]]
    keys = ["model", "structure", "compound", "domain", "species", "other"]
    means = own.groupby([*keys, own["distance"].round(2)], sort=False)["K_along"].mean()
    table = means.rename("K").reset_index().sort_values("distance", kind="stable")
    table = table.assign(ratio=table["K"] * table["distance"] ** 3 / (-2 * COULOMB))
    order = {key: k for k, key in enumerate(zip(pairs["model"], pairs["structure"], strict=True))}
    place = [order[key] for key in zip(table["model"], table["structure"], strict=True)]
    return table.iloc[np.argsort(place, kind="stable")].reset_index(drop=True)


def _shells(pairs: pd.DataFrame) -> pd.DataFrame:
    keys = ["model", "structure", "compound", "domain", "species", "other"]
    grouped = pairs.groupby([*keys, pairs["distance"].round(2)], sort=False)
    sums = grouped[["KT", "TT", "KK"]].sum()
    table = sums.assign(n=grouped.size())
    table = table.assign(rms=np.sqrt(table["KK"] / table["n"] / 9), ratio=table["KT"] / table["TT"])
    return table.drop(columns=["KT", "TT", "KK"]).reset_index()


def _pairs_for_shares(table: pd.DataFrame, nearest: float) -> Iterator:
    """The nearest pair of each two species in each range of distances."""
    place = np.digitize(table["distance"] / nearest, SHELLS)
    for _, own in table.groupby(["species", "other", place], sort=False):
        yield next(own.nsmallest(1, "distance").itertuples())


def _where(frame: Frame, i: int, j: int) -> np.ndarray:
    """For each site which of :data:`SITES` it is: between is inside the sphere on i and j."""
    from_i, from_j = (frame.atoms.get_distances(k, range(len(frame)), mic=True) for k in (i, j))
    between = from_i**2 + from_j**2 < frame.atoms.get_distance(i, j, mic=True) ** 2 - 1e-6
    which = np.where(between, 1, 2)
    which[[i, j]] = 0
    return np.array(SITES)[which]
