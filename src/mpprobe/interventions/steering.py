"""Does steering what a probe reads change energies and forces as it would those of charges?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms

from mpprobe.activations.evaluate import Evaluation, Evaluator
from mpprobe.errors import InterventionError, TargetError
from mpprobe.interventions.concepts import PARTS, concept_of, kinds_of_part
from mpprobe.interventions.effects import Effects, p_value
from mpprobe.interventions.erase import Whitening, block_columns, block_rows
from mpprobe.interventions.erasing import MIN_DRAWS, Progress, check_draws, silent
from mpprobe.interventions.steer import Direction, Steering, fit_direction, random_directions
from mpprobe.models.controls import models_of
from mpprobe.models.potential import Potential
from mpprobe.probes import Settings
from mpprobe.probes.duplicates import kept_together
from mpprobe.probes.scores import MIN_GROUPS, estimate, through_origin, totals_by_group
from mpprobe.provenance import structures_sha256, versions
from mpprobe.structures import Frame, as_frames, check
from mpprobe.targets import Target, get_target
from mpprobe.targets.charges import charges_of
from mpprobe.targets.reference import reference_forces

if TYPE_CHECKING:
    import pandas as pd

#: Factors less one by which what a probe reads is amplified.
DOSES = (-1.0, -0.5, 0.5, 1.0)
PROBE, RANDOM = "probe", "random direction"
#: Å between the edges of the ranges of distance.
BIN = 2.5


@dataclass(frozen=True, eq=False)
class Steered:
    """What steering along a probe's direction did.

    Attributes:
        doses: a row for each model (``trained``, ``random weights``), direction (``probe``,
            ``random direction``), draw, dose and domain: ``shift``, the root mean square over the
            atoms of the change of what is read, in the target's unit (of random directions: in
            units of their own), and the measures of
            :data:`mpprobe.interventions.effects.MEASURES`. A dose g multiplies by 1 + g what of it
            differs from its mean: −1 takes it away, 1 doubles it.
        atoms: a row for each model and atom: ``structure``, ``atom``, ``species``, ``domain``,
            ``slope``, ∂E/∂δ where only that atom is shifted (eV per unit; for vectors the length),
            and ``analytic``, what it is for point charges: half the charge of the atom for a
            potential, the potential for a charge; NaN for others.
        distances: a row for each model and range of distance from the one atom of each structure
            that is shifted, by ``shift``: ``from``, ``to`` (Å), ``n_atoms``, ``change``, mean |ΔF|
            (eV/Å).
        summary: a row for each model and measure: ``value``, its 95 % interval over structures,
            ``median``, ``lowest`` and ``highest`` of the random directions, ``p`` (share of values,
            this one among them, that are at least as large in size), and what point charges would
            give, ``analytic``.
        provenance: versions, settings, hashes of model and structures.
    """

    doses: pd.DataFrame
    atoms: pd.DataFrame
    distances: pd.DataFrame
    summary: pd.DataFrame
    provenance: dict


#: Measures of the summary.
MEASURES = {
    "energy_slope": "∂E/∂δ of single atoms against that of point charges",
    "energy_correlation": "the same, correlation",
    "force_slope": "ΔF against that of point charges, a dose of one",
    "force_correlation": "the same, correlation",
    "change": "mean |ΔF| at a dose of one (eV/Å)",
    "linearity": "share of ΔF over the doses that is in proportion to them",
}


def steer(
    potential: Potential,
    structures: Atoms | Frame | Iterable[Atoms | Frame],
    *,
    layer: int,
    target: str = "potential",
    part: str = "within",
    doses: Sequence[float] = DOSES,
    delta: float | None = None,
    draws: int = MIN_DRAWS,
    random_weights: bool = True,
    settings: Settings | None = None,
    max_atoms: int | None = None,
    progress: Progress | None = None,
) -> Steered:
    """Move the node features of a layer along the direction in which a probe reads a target.

    Arguments and errors as in :func:`make_steering`; see :class:`Steered` for what comes out.
    """
    plan = make_steering(
        potential, structures, layer=layer, target=target, part=part, doses=doses, delta=delta,
        draws=draws, random_weights=random_weights, settings=settings,
    )  # fmt: skip
    return plan.run(max_atoms=max_atoms, progress=progress)


@dataclass(frozen=True, eq=False)
class SteeringPlan:
    """Steering whose input has been checked, ready to :meth:`run`.

    Attributes:
        potential, frames, layer, target, part, doses, delta, draws, random_weights, settings: what
            will be steered, and how.
        concept: the target, (n_atoms, 1) or (n_atoms, 3, 1).
    """

    potential: Potential
    frames: list[Frame]
    layer: int
    target: Target
    part: str
    doses: tuple[float, ...]
    delta: float | None
    draws: int
    random_weights: bool
    settings: Settings
    concept: np.ndarray

    def run(self, *, max_atoms: int | None = None, progress: Progress | None = None) -> Steered:
        """Do it; arguments and errors as in :func:`steer`."""
        work = _Work(self, progress or silent)
        for name, model in models_of(self.potential, self.random_weights, self.settings.seed):
            work.model(name, Evaluator(model, self.frames, max_atoms))
        return work.result()

    @property
    def provenance(self) -> dict:
        """What identifies the result."""
        return {
            "model": {"name": self.potential.name, **self.potential.provenance},
            "target": self.target.name,
            "unit": self.target.unit,
            "target_l": self.target.l,
            "part": self.part,
            "layer": self.layer,
            "doses": list(self.doses),
            "delta": self.delta,
            "draws": self.draws,
            "settings": asdict(self.settings),
            "structures_sha256": structures_sha256(self.frames),
            "versions": versions(),
        }


def make_steering(
    potential: Potential,
    structures: Atoms | Frame | Iterable[Atoms | Frame],
    *,
    layer: int,
    target: str = "potential",
    part: str = "within",
    doses: Sequence[float] = DOSES,
    delta: float | None = None,
    draws: int = MIN_DRAWS,
    random_weights: bool = True,
    settings: Settings | None = None,
) -> SteeringPlan:
    """Check everything that :func:`steer` is given, before any work is done.

    Args:
        potential: from :func:`mpprobe.load`.
        structures: on which the direction is fitted and steering is felt.
        layer: index.
        target: whose direction, see :func:`mpprobe.targets.target_names`.
        part: ``within`` or ``whole``, see :data:`mpprobe.interventions.PARTS`.
        doses: factors less one by which what the probe reads is amplified; a dose of one is always
            among them.
        delta: by how much what is read of one atom of each structure is shifted, in the target's
            unit; the root mean square of what is read if not given.
        draws: random directions, 20 or more.
        random_weights: also the architecture with random weights.
        settings: resamples, seed, which domains are in domain.

    Raises:
        InterventionError: fewer draws, no dose or one of zero, no such part, a layer without
            features of the target's order.
        MPProbeError: a structure, layer or target that can't be used.
    """
    settings = settings or Settings()
    check_draws(draws)
    if part not in PARTS or part == "species":
        raise InterventionError(f"part {part!r}: steering takes within or whole")
    wanted = tuple(sorted({float(d) for d in doses} | {1.0}))
    if 0.0 in wanted or not np.isfinite(wanted).all():
        raise InterventionError("doses: give finite numbers other than zero")
    if delta is not None and not (np.isfinite(delta) and delta):
        raise InterventionError("delta: give a finite number other than zero")
    frames = as_frames(structures)
    if not frames:
        raise InterventionError("nothing to steer: give structures")
    found = get_target(target, frames)
    block_columns(potential.layer(layer), found.l)
    check(frames, species=potential.species, cutoff=potential.cutoff)
    reference_forces(frames)  # are finite, where there are any
    frames, _ = kept_together(frames, potential.cutoff)
    concept = concept_of(found, frames, potential.cutoff, part)
    return SteeringPlan(
        potential, frames, layer, found, part, wanted, delta, draws, random_weights, settings,
        concept,
    )  # fmt: skip


class _Work:
    """Steering in every model, and the rows it gathers."""

    def __init__(self, plan: SteeringPlan, progress: Progress) -> None:
        self.plan = plan
        self.progress = progress
        self.sampling = {"n_resamples": plan.settings.n_resamples, "seed": plan.settings.seed}
        self.analytic = _analytic(plan.target, plan.frames)
        self.rows: dict[str, list[dict]] = {
            "doses": [], "atoms": [], "distances": [], "summary": [],
        }  # fmt: skip

    def model(self, name: str, evaluator: Evaluator) -> None:
        """The probe's direction and the random ones in one model."""
        plan = self.plan
        columns = block_columns(evaluator.potential.layer(plan.layer), plan.target.l)
        unedited = evaluator.run(layers=[plan.layer])
        x = block_rows(unedited.features[plan.layer], columns)
        effects = Effects(plan.frames, unedited, in_domain=plan.settings.in_domain, **self.sampling)
        group = np.repeat(effects.group, effects.sizes)
        kind = kinds_of_part(plan.frames, plan.target, plan.part)
        own = fit_direction(plan.layer, columns, x, plan.concept, group, kind)
        drawn = random_directions(own, Whitening.of(x, kind), plan.draws, plan.settings.seed)
        found = self._measure(name, PROBE, evaluator, effects, own, x)
        others = []
        for k, direction in enumerate(drawn):
            others.append(self._measure(name, RANDOM, evaluator, effects, direction, x, draw=k))
            self.progress(f"random directions in {evaluator.potential.name}", k + 1, plan.draws)
        self._summarise(name, effects, found, others)
        self._distances(name, evaluator, unedited, own, plan.delta or _rms(own.read(x)))

    def _measure(
        self,
        name: str,
        kind: str,
        evaluator: Evaluator,
        effects: Effects,
        direction: Direction,
        x: np.ndarray,
        draw: int | None = None,
    ) -> dict[str, np.ndarray]:
        """Each measure of the summary, of the data set and of every resample."""
        changes, rms = {}, _rms(direction.read(x))
        for dose in self.plan.doses if kind == PROBE else (1.0,):
            edited = evaluator.run({self.plan.layer: Steering(direction, gain=dose)})
            changes[dose] = edited.forces - effects.unedited.forces
            about = {"model": name, "direction": kind, "draw": draw, "dose": dose,
                     "shift": abs(dose) * rms}  # fmt: skip
            self.rows["doses"] += [{**about, **row} for row in effects.rows(edited)]
        slopes = evaluator.slopes(self.plan.layer, direction.columns, direction.step)
        if kind == PROBE:
            self._keep_atoms(name, slopes)
        return self._measures(effects, changes, slopes)

    def _measures(self, effects: Effects, changes: dict, slopes: np.ndarray) -> dict:
        one = changes[1.0]
        doses = np.array(list(changes))
        stacked = np.stack(list(changes.values()))
        fit = np.einsum("d,dax->ax", doses, stacked) / (doses**2).sum()
        left = ((stacked - doses[:, None, None] * fit) ** 2).sum(axis=(0, 2))
        nothing = np.full(len(one), np.nan)
        s, a = (slopes[:, 0], self.analytic) if slopes.shape[1] == 1 else (nothing, nothing)
        c = effects.coulomb if effects.coulomb is not None else np.full_like(one, np.nan)
        c = c if _follows_coulomb(self.plan.target) else np.full_like(one, np.nan)
        columns = [
            s * a, a * a, s * s, (one * c).sum(axis=1), (c * c).sum(axis=1), (one**2).sum(axis=1),
            np.abs(one).sum(axis=1), np.full(len(one), 3.0), left, (stacked**2).sum(axis=(0, 2)),
        ]  # fmt: skip
        t = totals_by_group(columns, np.repeat(effects.group, effects.sizes), effects.bootstrap)
        lines = {"energy": through_origin(*t[:3]), "force": through_origin(*t[3:6])}
        with np.errstate(invalid="ignore", divide="ignore"):
            return {
                **{f"{what}_{name}": v for what, line in lines.items() for name, v in line.items()},
                "change": t[6] / t[7], "linearity": 1 - t[8] / t[9],
            }  # fmt: skip

    def _keep_atoms(self, name: str, slopes: np.ndarray) -> None:
        plan, first = self.plan, 0
        for frame in plan.frames:
            for i, symbol in enumerate(frame.atoms.get_chemical_symbols()):
                self.rows["atoms"].append({
                    "model": name, "structure": frame.source, "domain": frame.domain, "atom": i,
                    "species": symbol, "slope": _signed_length(slopes[first + i]),
                    "analytic": self.analytic[first + i],
                })  # fmt: skip
            first += len(frame)

    def _summarise(self, name: str, effects: Effects, found: dict, others: list[dict]) -> None:
        few = effects.bootstrap.n_groups < MIN_GROUPS
        for measure, values in found.items():
            if not np.isfinite(values[0]) or (measure == "linearity" and len(self.plan.doses) < 2):
                continue
            own = estimate(values, effects.bootstrap, few)
            low, high = own.interval()
            row = {"model": name, "measure": measure, "value": own.value, "low": low,
                   "high": high}  # fmt: skip
            if measure != "linearity":
                drawn = np.array([other[measure][0] for other in others])
                row |= {
                    "median": np.median(drawn), "lowest": drawn.min(), "highest": drawn.max(),
                    "p": p_value(own.value, drawn, either_sign=True),
                }  # fmt: skip
            row["analytic"] = 1.0 if measure != "change" else np.nan
            self.rows["summary"].append(row)

    def _distances(
        self,
        name: str,
        evaluator: Evaluator,
        unedited: Evaluation,
        own: Direction,
        shift: float,
    ) -> None:
        """One atom of each structure is shifted, and all feel it."""
        plan = self.plan
        rng = np.random.default_rng(plan.settings.seed)
        shifts = np.zeros((len(plan.concept), own.columns.shape[1]))
        chosen, first = [], 0
        for frame in plan.frames:
            chosen.append(int(rng.integers(len(frame))))
            shifts[first + chosen[-1], 0] = shift
            first += len(frame)
        edited = evaluator.run({plan.layer: Steering(own, shifts)})
        change = np.linalg.norm(edited.forces - unedited.forces, axis=1)
        distance = np.concatenate([
            frame.atoms.get_distances(i, range(len(frame)), mic=frame.atoms.pbc.any())
            for frame, i in zip(plan.frames, chosen, strict=True)
        ])  # fmt: skip
        place = np.floor(distance / BIN).astype(int)
        for k in np.unique(place):
            own_change = change[place == k]
            self.rows["distances"].append({
                "model": name, "shift": shift, "from": BIN * k, "to": BIN * (k + 1),
                "n_atoms": len(own_change), "change": own_change.mean(),
            })  # fmt: skip

    def result(self) -> Steered:
        import pandas as pd

        return Steered(
            **{name: pd.DataFrame(rows) for name, rows in self.rows.items()},
            provenance=self.plan.provenance,
        )


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt((values**2).sum(axis=1).mean()))


def _signed_length(slope: np.ndarray) -> float:
    return float(slope[0]) if len(slope) == 1 else float(np.linalg.norm(slope))


def _follows_coulomb(target: Target) -> bool:
    """Whether amplifying the target amplifies the forces between point charges.

    Their energy is Σ q φ/2, of which a mean over the atoms of a species is a constant.
    """
    return target.name.partition("@")[0] == "potential"


def _analytic(target: Target, frames: Sequence[Frame]) -> np.ndarray:
    """∂E/∂δ_i of point charges: q_i/2 for a potential, φ_i for a charge; NaN for others.

    Atom i has the site energy q_i φ_i/2; a charge has its potential at all others too, so that
    ∂E/∂q_i = φ_i.
    """
    nothing = np.full(sum(map(len, frames)), np.nan)
    kind, _, source = target.name.partition("@")
    try:
        if kind.startswith("potential"):
            charges = source or "formal"
            return np.concatenate([charges_of(frame, charges) for frame in frames]) / 2
        if kind.startswith("charge:"):
            name = f"potential@{kind.partition(':')[2]}"
            return np.concatenate(get_target(name).values(frames))
    except TargetError:
        pass
    return nothing
