"""Does a model use what a probe reads? Its forces without it, beside those without other things."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms

from mpprobe.activations import parse_layers
from mpprobe.activations.evaluate import Evaluation, Evaluator
from mpprobe.activations.journal import Journal
from mpprobe.errors import InterventionError
from mpprobe.interventions.concepts import PARTS, concept_of, kinds_of_part, species_columns
from mpprobe.interventions.effects import MEASURES, SIGNED, Effects, p_value
from mpprobe.interventions.erase import (
    Erasure,
    Whitening,
    block_columns,
    block_rows,
    fit_erasure,
    random_erasures,
)
from mpprobe.models.controls import models_of
from mpprobe.models.potential import Potential
from mpprobe.probes import Settings, make_split
from mpprobe.probes.baselines import label_means
from mpprobe.probes.crossfit import cross_predict
from mpprobe.probes.duplicates import kept_together
from mpprobe.probes.scores import Scorer, kind_means
from mpprobe.probes.sources import probed_blocks
from mpprobe.probes.splits import Split
from mpprobe.provenance import structures_sha256, versions
from mpprobe.structures import Frame, as_frames, check
from mpprobe.targets import Target, get_target
from mpprobe.targets.reference import reference_forces

if TYPE_CHECKING:
    import pandas as pd

#: Called with what is done, how much of it, and how much there is.
Progress = Callable[[str, int, int], None]

#: The edits, as the tables call them.
TARGET, RANDOM, SPECIES = "target", "random subspace", "species means"
#: Fewest random subspaces that an effect is compared with.
MIN_DRAWS = 20


@dataclass(frozen=True, eq=False)
class Erasing:
    """What erasing a target did.

    Attributes:
        effects: a row for each model (``trained``, ``random weights``), edit (``target``,
            ``random subspace``, ``species means``), draw and domain, with the measures of
            :data:`mpprobe.interventions.effects.MEASURES`.
        summary: a row for each model, domain and measure of the target's erasure: ``value``, its
            95 % interval over structures ``low`` and ``high``, the ``median``, ``lowest`` and
            ``highest`` of the random subspaces, and ``p``, the share of values (this one among
            them) that are at least as large (in size, for those of either sign).
        erasures: a row for each model, edit but the random ones, and layer: ``rank``, ``removed``
            (share of the block's variance), and R² of a linear map on the same structures before
            and after, ``r2_before`` and ``r2_after``; of a part within kinds (species in
            compounds), all three within kinds.
        decoding: a row for each model and layer from the first erased one: the score of a probe,
            held out by structure, of features ``before`` and ``after``, with intervals; R² within
            kinds of a probe fitted within them, for vectors and the whole target R².
        provenance: versions, settings, hashes of model and structures.
    """

    effects: pd.DataFrame
    summary: pd.DataFrame
    erasures: pd.DataFrame
    decoding: pd.DataFrame
    provenance: dict


def erase(
    potential: Potential,
    structures: Atoms | Frame | Iterable[Atoms | Frame],
    *,
    layers: int | str | Iterable[int | str],
    target: str = "potential",
    part: str = "within",
    draws: int = MIN_DRAWS,
    random_weights: bool = True,
    settings: Settings | None = None,
    max_atoms: int | None = None,
    progress: Progress | None = None,
    journal: Journal | None = None,
) -> Erasing:
    """Take out of the node features all that a linear map reads of a target, and run the rest.

    With several layers they are erased together, each on what the erasures before it have left,
    so that no later layer can repair what an earlier one has lost. Beside it stand random
    subspaces of the same rank that take away the same share of the variance, the species means,
    and the same done to the architecture with random weights.

    Args:
        potential: from :func:`mpprobe.load`.
        structures: on which erasures are fitted and felt; with reference forces, if their error
            is to be compared.
        layers: ``all`` that hold features of the target's order, an index, or several.
        target: what is erased, see :func:`mpprobe.targets.target_names`.
        part: of the target, see :data:`mpprobe.interventions.concepts.PARTS`.
        draws: random subspaces, 20 or more.
        random_weights: also the architecture with random weights.
        settings: folds of the refitted probes, resamples, seed, which domains are in domain.
        max_atoms: most atoms in one forward pass.
        progress: called as the work goes on.
        journal: keeps the effects of random subspaces; those that it has aren't computed again.

    Raises:
        InterventionError: fewer draws, no such part, a layer without features of the target's
            order, or nothing to erase.
        MPProbeError: a structure, layer or target that can't be used.
    """
    plan = make_erasing(
        potential, structures, layers=layers, target=target, part=part, draws=draws,
        random_weights=random_weights, settings=settings,
    )  # fmt: skip
    return plan.run(max_atoms=max_atoms, progress=progress, journal=journal)


@dataclass(frozen=True, eq=False)
class ErasingPlan:
    """An erasure whose input has been checked, ready to :meth:`run`.

    Attributes:
        potential, frames, layers, target, part, draws, random_weights, settings: what will be
            erased, and how.
        concept: the target's columns, see :func:`concept_of`.
        split: by structure, of the refitted probes.
    """

    potential: Potential
    frames: list[Frame]
    layers: tuple[int, ...]
    target: Target
    part: str
    draws: int
    random_weights: bool
    settings: Settings
    concept: np.ndarray
    split: Split

    @property
    def kind(self) -> np.ndarray | None:
        """The kinds (n_atoms,) within which the target is erased; None for the whole target."""
        return kinds_of_part(self.frames, self.target, self.part)

    def run(
        self,
        *,
        max_atoms: int | None = None,
        progress: Progress | None = None,
        journal: Journal | None = None,
    ) -> Erasing:
        """Do it; arguments and errors as in :func:`erase`."""
        work = _Work(self, progress or silent, journal or Journal())
        for name, model in models_of(self.potential, self.random_weights, self.settings.seed):
            work.model(name, Evaluator(model, self.frames, max_atoms))
        return work.result()

    @property
    def provenance(self) -> dict:
        """What identifies the result."""
        return {
            "model": {"name": self.potential.name, **self.potential.provenance},
            "target": self.target.name,
            "target_l": self.target.l,
            "part": self.part,
            "part_is": PARTS[self.part],
            "layers": list(self.layers),
            "draws": self.draws,
            "settings": asdict(self.settings),
            "structures_sha256": structures_sha256(self.frames),
            "versions": versions(),
        }


def make_erasing(
    potential: Potential,
    structures: Atoms | Frame | Iterable[Atoms | Frame],
    *,
    layers: int | str | Iterable[int | str],
    target: str = "potential",
    part: str = "within",
    draws: int = MIN_DRAWS,
    random_weights: bool = True,
    settings: Settings | None = None,
) -> ErasingPlan:
    """Check everything that :func:`erase` is given, before any work is done.

    Arguments and errors as in :func:`erase`.
    """
    settings = settings or Settings()
    check_draws(draws)
    frames = as_frames(structures)
    if not frames:
        raise InterventionError("nothing to erase from: give structures")
    found = get_target(target, frames)
    chosen = erased_layers(potential, layers, found, part)
    check(frames, species=potential.species, cutoff=potential.cutoff)
    reference_forces(frames)  # are finite, where there are any
    frames, _ = kept_together(frames, potential.cutoff)
    concept = concept_of(found, frames, potential.cutoff, part)
    split = make_split("structure", frames, n_folds=settings.n_folds, seed=settings.seed)
    return ErasingPlan(
        potential, frames, chosen, found, part, draws, random_weights, settings, concept, split
    )


def check_draws(draws: int) -> None:
    """Refuse fewer random controls than :data:`MIN_DRAWS`."""
    if draws < MIN_DRAWS:
        raise InterventionError(f"{draws} draws: give at least {MIN_DRAWS}, or p says too little")


def erased_layers(
    potential: Potential, layers: int | str | Iterable[int | str], target: Target, part: str
) -> tuple[int, ...]:
    """The layers to edit, ascending.

    ``all`` passes over those without features of the target's order, and over layer 0 unless the
    whole target is asked for: the species tell nothing of what is left within them.

    Raises:
        InterventionError: a layer asked for by its index holds none.
    """
    held = [layer.index for layer in potential.layers if probed_blocks(layer, target.l)]
    everything = [layers] if isinstance(layers, (str, int)) else list(layers)
    if [str(layer).lower() for layer in everything] == ["all"]:
        return tuple(t for t in held if t > 0 or part == "whole")
    chosen = parse_layers(potential, everything)
    for index in set(chosen) - set(held):
        block_columns(potential.layer(index), target.l)  # says what is missing
    return chosen


class _Work:
    """One erasure in every model, and the rows it gathers."""

    def __init__(self, plan: ErasingPlan, progress: Progress, journal: Journal) -> None:
        self.plan = plan
        self.progress = progress
        self.journal = journal
        self.order = plan.target.l
        self.sampling = {"n_resamples": plan.settings.n_resamples, "seed": plan.settings.seed}
        self.effects: list[dict] = []
        self.summary: list[dict] = []
        self.erasures: list[dict] = []
        self.decoding: list[dict] = []

    def model(self, name: str, evaluator: Evaluator) -> None:
        """Every edit of one model."""
        plan, potential = self.plan, evaluator.potential
        later = [
            t.index for t in potential.layers[plan.layers[0] :] if probed_blocks(t, self.order)
        ]
        unedited = evaluator.run(layers=later)
        effects = Effects(plan.frames, unedited, in_domain=plan.settings.in_domain, **self.sampling)
        edits, fitted_on = self._fit(name, TARGET, evaluator, plan.concept, plan.kind)
        edited = evaluator.run(edits, layers=later)
        own = self._keep(name, TARGET, effects.rows(edited))
        if self.order == 0:
            means, _ = self._fit(name, SPECIES, evaluator, species_columns(plan.frames))
            self._keep(name, SPECIES, effects.rows(evaluator.run(means)))
        drawn = self._random(name, evaluator, edits, fitted_on, effects)
        self._summarise(name, own, drawn, effects.intervals(edited))
        self._decode(name, potential, later, unedited, edited)

    def _fit(
        self,
        name: str,
        edit: str,
        evaluator: Evaluator,
        concept: np.ndarray,
        kind: np.ndarray | None = None,
    ) -> tuple[dict[int, Erasure], dict[int, Whitening]]:
        """Layer by layer, each on the features that the erasures before it leave, and of those."""
        edits: dict[int, Erasure] = {}
        fitted_on: dict[int, Whitening] = {}
        for layer in self.plan.layers:
            columns = block_columns(evaluator.potential.layer(layer), self.order)
            x = block_rows(evaluator.features([layer], edits)[layer], columns)
            edits[layer] = fit_erasure(layer, columns, x, concept, kind)
            fitted_on[layer] = Whitening.of(x, kind)
            self.erasures.append({
                "model": name, "edit": edit, "layer": layer, "rank": edits[layer].rank,
                "removed": fitted_on[layer].removed(edits[layer]),
                "r2_before": linear_r2(x, concept, kind=kind),
                "r2_after": linear_r2(edits[layer].apply(x), concept, before=x, kind=kind),
            })  # fmt: skip
        return edits, fitted_on

    def _random(
        self,
        name: str,
        evaluator: Evaluator,
        edits: Mapping[int, Erasure],
        fitted_on: Mapping[int, Whitening],
        effects: Effects,
    ) -> list[list[dict]]:
        draws = self.plan.draws
        seeds = np.random.SeedSequence(self.plan.settings.seed).spawn(len(edits))
        drawn = {}
        for (layer, erasure), seed in zip(edits.items(), seeds, strict=True):
            drawn[layer] = random_erasures(erasure, fitted_on[layer], draws, seed)
        rows = []
        what = f"random subspaces for {self.plan.target.name} in {evaluator.potential.name}"
        for k in range(draws):

            def effect(k: int = k) -> list[dict]:
                return effects.rows(evaluator.run({t: drawn[t][k] for t in drawn}))

            found = self.journal.part(f"{self.plan.target.name} | {name} | draw {k}", effect)
            rows.append(self._keep(name, RANDOM, found, draw=k))
            self.progress(what, k + 1, draws)
        return rows

    def _keep(self, name: str, edit: str, found: list[dict], draw: int | None = None) -> list[dict]:
        rows = [{"model": name, "edit": edit, "draw": draw, **row} for row in found]
        self.effects += rows
        return rows

    def _summarise(
        self,
        name: str,
        own: Sequence[dict],
        drawn: Sequence[Sequence[dict]],
        intervals: Mapping[str, Mapping[str, tuple[float, float]]],
    ) -> None:
        for i, row in enumerate(own):
            for measure in MEASURES:
                if measure == "mae_before" or not np.isfinite(row[measure]):
                    continue
                values = np.array([draw[i][measure] for draw in drawn])
                low, high = intervals[row["domain"]][measure]
                self.summary.append({
                    "model": name, "domain": row["domain"], "n_structures": row["n_structures"],
                    "measure": measure, "value": row[measure], "low": low, "high": high,
                    "median": np.median(values), "lowest": values.min(), "highest": values.max(),
                    "p": p_value(row[measure], values, either_sign=measure in SIGNED),
                })  # fmt: skip

    def _decode(
        self,
        name: str,
        potential: Potential,
        later: Sequence[int],
        unedited: Evaluation,
        edited: Evaluation,
    ) -> None:
        """How well the target itself is read from each layer, before and after."""
        plan = self.plan
        y = np.concatenate(plan.target.values(plan.frames, potential.cutoff))
        scorer = Scorer.from_frames(
            plan.frames, n_resamples=plan.settings.n_resamples, seed=plan.settings.seed
        )
        kind = plan.kind
        levels = None if kind is None else label_means(y[..., None], kind, plan.split)[..., 0]
        for layer in later:
            columns = block_columns(potential.layer(layer), self.order)
            row = {"model": name, "layer": layer, "erased": layer in plan.layers}
            for when, run in (("before", unedited), ("after", edited)):
                x = block_rows(run.features[layer], columns)
                x = x if self.order else x[:, :, 0]
                fit = cross_predict(x, y[..., None], plan.split, kinds=kind)
                scores = scorer.score(y, fit.predictions[..., 0], fit.scored, levels=levels)
                score = scores.r2 if kind is None else scores.r2_within
                low, high = score.interval()
                row |= {when: score.value, f"{when}_low": low, f"{when}_high": high}
            self.decoding.append(row)

    def result(self) -> Erasing:
        import pandas as pd

        effects, summary, erasures, decoding = (
            pd.DataFrame(rows)
            for rows in (self.effects, self.summary, self.erasures, self.decoding)
        )
        return Erasing(effects, summary, erasures, decoding, self.plan.provenance)


def linear_r2(
    x: np.ndarray,
    concept: np.ndarray,
    before: np.ndarray | None = None,
    kind: np.ndarray | None = None,
) -> float:
    """R² of the best linear map from features (n, C, 2l + 1) to the concept, on these rows.

    With a bias for scalars, without for vectors. Directions in which the features vary by
    rounding only, as after an erasure, are left out; ``before`` are the features before it, which
    say how large that is. With ``kind`` (n,) scalars have a bias for each kind. The mean over the
    concept's columns.
    """
    rows, y = _centred(x, kind), concept.reshape(-1, concept.shape[-1])
    if x.shape[2] == 1:
        y = y - (y.mean(axis=0) if kind is None else kind_means(y, kind))
    y = y[:, (y**2).sum(axis=0) > 0]
    values, vectors = np.linalg.eigh(rows.T @ rows)
    whole = rows if before is None else _centred(before, kind)
    largest = np.linalg.eigvalsh(whole.T @ whole)[-1]
    scores = (rows @ vectors)[:, values > 1e-10 * largest]
    scores /= np.linalg.norm(scores, axis=0)
    return float((((scores.T @ y) ** 2).sum(axis=0) / (y**2).sum(axis=0)).mean())


def _centred(x: np.ndarray, kind: np.ndarray | None) -> np.ndarray:
    """Rows (n · (2l + 1), C), scalars less their mean, that of their kind if given."""
    rows = np.swapaxes(x, 1, 2).reshape(-1, x.shape[1])
    if x.shape[2] > 1:
        return rows
    return rows - (rows.mean(axis=0) if kind is None else kind_means(rows, kind))


def silent(what: str, done: int, total: int) -> None:
    """Progress that nobody asked for."""
