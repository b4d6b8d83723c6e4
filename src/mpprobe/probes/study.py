"""The main job: how well each layer encodes each target, beside every control."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from threadpoolctl import threadpool_limits

from mpprobe.activations import Rows, extract, parse_layers
from mpprobe.errors import ProbeError, require
from mpprobe.models.potential import Potential
from mpprobe.probes.baselines import species_means
from mpprobe.probes.controls import shuffle_within_species
from mpprobe.probes.crossfit import apply_maps, cross_predict, random_direction_maps
from mpprobe.probes.results import Settings, Study
from mpprobe.probes.scores import Estimate, Scorer, Scores
from mpprobe.probes.sources import (
    MODEL,
    RANDOM_DIRECTION,
    RANDOM_WEIGHTS,
    SHUFFLED,
    SPECIES_MEAN,
    Source,
    check_layers,
    layer_sources,
    local_sources,
)
from mpprobe.probes.splits import Split, make_split
from mpprobe.probes.tables import Key, difference_table, score_table
from mpprobe.provenance import structures_sha256, versions
from mpprobe.structures import Frame, as_frames, check
from mpprobe.targets import Target, constant_within_species, get_target

if TYPE_CHECKING:
    from ase import Atoms

#: Called with what is being done, how much of it is done, and how much there is.
Progress = Callable[[str, int, int], None]

ALL = "all"
SHUFFLES = 5


def probe(
    potential: Potential,
    structures: Atoms | Frame | Iterable[Atoms | Frame],
    *,
    layers: int | str | Iterable[int | str] = ALL,
    targets: str | Sequence[str] = ("potential",),
    splits: str | Sequence[str] = ("structure",),
    settings: Settings | None = None,
    max_atoms: int | None = None,
    progress: Progress | None = None,
) -> Study:
    """Probe the node features of a potential for per-atom targets, beside every control.

    For each target and split, a ridge probe is fitted on the scalar (for vector targets, by an
    equivariant map, on the l = 1) features of each layer, and scored on structures it has not
    seen. The same is done for layer 0, for the same architecture with random weights, for a
    local-geometry descriptor at the same cutoff, for that descriptor projected to the same width,
    for the species means, for one random direction of the features, and for a target shuffled
    within species.

    Args:
        potential: from :func:`mpprobe.load`.
        structures: to probe on; several compounds, dozens of structures or more.
        layers: ``all``, an index, or several.
        targets: names, see :func:`mpprobe.targets.target_names`.
        splits: ``structure``, ``compound``, ``element`` or ``domain``.
        settings: folds, resamples, seed.
        max_atoms: most atoms in one forward pass.
        progress: called as the work goes on.

    Raises:
        MPProbeError: a structure, layer, target or split that can't be used; the message says
            which, and what to do.
    """
    plan = make_plan(
        potential, structures, layers=layers, targets=targets, splits=splits, settings=settings
    )
    return plan.run(max_atoms=max_atoms, progress=progress)


@dataclass(frozen=True)
class Plan:
    """A study whose input has been checked, ready to :meth:`run`.

    Attributes:
        potential, frames, layers, targets, splits, settings: what will be probed, and how.
    """

    potential: Potential
    frames: list[Frame]
    layers: tuple[int, ...]
    targets: tuple[Target, ...]
    splits: tuple[Split, ...]
    settings: Settings

    def run(self, *, max_atoms: int | None = None, progress: Progress | None = None) -> Study:
        """Make the study; arguments as in :func:`probe`."""
        run = _Run(self.potential, self.frames, self.layers, self.settings, progress or _silent)
        run.compute(self.targets)
        with tempfile.TemporaryDirectory(prefix="mpprobe-") as folder:
            run.read_features(folder, max_atoms)
            # On matrices of a few hundred columns a second BLAS thread waits more than it works,
            # and on a shared machine it makes everything several times slower.
            with threadpool_limits(limits=1, user_api="blas"):
                for order in sorted({target.l for target in self.targets}):
                    run.probe_order([t for t in self.targets if t.l == order], self.splits)
        return run.study()


def make_plan(
    potential: Potential,
    structures: Atoms | Frame | Iterable[Atoms | Frame],
    *,
    layers: int | str | Iterable[int | str] = ALL,
    targets: str | Sequence[str] = ("potential",),
    splits: str | Sequence[str] = ("structure",),
    settings: Settings | None = None,
) -> Plan:
    """Check everything that :func:`probe` is given, before any work is done.

    Arguments and errors as in :func:`probe`.
    """
    settings = settings or Settings()
    frames = as_frames(structures)
    names = [targets] if isinstance(targets, str) else list(dict.fromkeys(targets))
    splits = [splits] if isinstance(splits, str) else list(dict.fromkeys(splits))
    if not (frames and names and splits):
        raise ProbeError("nothing to probe: give structures, at least one target and one split")
    require("featomic", "the local-geometry baseline (SOAP)")
    chosen = {t.name: t for t in (get_target(name, frames) for name in names)}
    asked = parse_layers(potential, layers)
    for target in chosen.values():
        check_layers(potential, asked, target)
    check(frames, species=potential.species, cutoff=potential.cutoff)
    made = tuple(
        make_split(name, frames, n_folds=settings.n_folds, seed=settings.seed,
                   in_domain=settings.in_domain)
        for name in splits
    )  # fmt: skip
    return Plan(potential, frames, asked, tuple(chosen.values()), made, settings)


def _silent(what: str, done: int, total: int) -> None:
    pass


def _varied(target: Target, values: np.ndarray) -> np.ndarray:
    """``values``, refused if they are the same for every atom: then no score is defined."""
    if not np.ptp(values, axis=0).any():
        raise ProbeError(
            f"target {target.name!r} is the same for every atom of these structures, so there is "
            "nothing to find; choose another target or other structures"
        )
    return values


@dataclass
class _Run:
    """One study in the making."""

    potential: Potential
    frames: list[Frame]
    asked: tuple[int, ...]
    settings: Settings
    progress: Progress
    targets: dict[str, Target] = field(default_factory=dict)
    true: dict[str, np.ndarray] = field(default_factory=dict)
    acts: dict[str, object] = field(default_factory=dict)
    scored: dict[Key, Scores] = field(default_factory=dict)
    about: dict[Key, Source] = field(default_factory=dict)
    predictions: dict[tuple[str, str, int], np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rows = Rows.of(self.frames)
        self.domain = np.array([f.domain for f in self.frames])[self.rows.frame]
        self.scorer = Scorer.from_frames(
            self.frames, n_resamples=self.settings.n_resamples, seed=self.settings.seed
        )

    def compute(self, targets: Sequence[Target]) -> None:
        """Values of every target for every atom."""
        for target in targets:
            values = []
            for i, frame in enumerate(self.frames):
                values += target.values([frame], self.potential.cutoff)
                self.progress(f"target {target.name}", i + 1, len(self.frames))
            self.targets[target.name] = target
            self.true[target.name] = _varied(target, np.concatenate(values))

    def read_features(self, folder: str, max_atoms: int | None) -> None:
        """Node features of the model and of its random-weight twin, memory-mapped."""
        from pathlib import Path

        models = {MODEL: self.potential}
        if "random_weights_seed" not in self.potential.provenance:
            models[RANDOM_WEIGHTS] = self.potential.randomised(self.settings.seed)
        for kind, model in models.items():
            place = Path(folder) / kind.replace(" ", "-")
            place.mkdir()

            def report(done: int, total: int, name: str = model.name) -> None:
                self.progress(f"node features of {name}", done, total)

            self.acts[kind] = extract(
                model, self.frames, {0, *self.asked}, max_atoms=max_atoms,
                progress=report, folder=place,
            )  # fmt: skip

    def probe_order(self, targets: Sequence[Target], splits: Sequence[Split]) -> None:
        """Probe targets of one order with every source of features of that order."""
        order = targets[0].l
        sources = [
            source for kind in self.acts for source in layer_sources(self.acts[kind], kind, order)
        ]
        own = [s for s in sources if s.kind == MODEL]
        self.progress("local-geometry baseline", 0, 1)
        widths = [s.width for s in own]
        local = local_sources(self.frames, self.potential.cutoff, order, widths, self.settings.seed)
        sources += list(local)
        total = len(splits) * len(sources)
        for i, split in enumerate(splits):
            if order == 0:
                self._species_means(targets, split)
            for j, source in enumerate(sources):
                what = f"probing {', '.join(t.name for t in targets)} by {split.name}"
                self.progress(what, i * len(sources) + j, total)
                self._probe(targets, split, source)
            self.progress(what, (i + 1) * len(sources), total)

    def _probe(self, targets: Sequence[Target], split: Split, source: Source) -> None:
        """Fit and score one source on one split: targets, shuffles and random directions."""
        real = np.stack([self.true[t.name] for t in targets], axis=-1)
        own = source.kind == MODEL
        shuffles = [
            shuffle_within_species(real, self.rows.species, self.settings.seed + 1 + k)
            for k in range(SHUFFLES if own else 0)
        ]
        y = np.concatenate([real, *shuffles], axis=-1)
        fit = cross_predict(source.values, y, split)
        found, n = fit.predictions, len(targets)
        for i, target in enumerate(targets):
            self._record(source.kind, source, target, split, found[..., i])
            if own:
                controls = [(y[..., k], found[..., k]) for k in range(n + i, y.shape[-1], n)]
                self._record_mean(SHUFFLED, source, target, split, controls)
                self.predictions[target.name, split.name, source.layer] = found[..., i]
        if own:
            maps = random_direction_maps(fit.probe, split, n_targets=n, seed=self.settings.seed)
            drawn = apply_maps(source.values, maps, split).reshape(*real.shape, -1)
            for i, target in enumerate(targets):
                pairs = [(real[..., i], drawn[..., i, k]) for k in range(drawn.shape[-1])]
                self._record_mean(RANDOM_DIRECTION, source, target, split, pairs)

    def _species_means(self, targets: Sequence[Target], split: Split) -> None:
        real = np.stack([self.true[t.name] for t in targets], axis=-1)
        found = species_means(real, self.rows.species, split)
        source = Source(SPECIES_MEAN, None, "", np.empty((0, 0)))
        for i, target in enumerate(targets):
            self._record(SPECIES_MEAN, source, target, split, found[..., i])

    def _record(self, kind, source, target, split, predicted) -> None:
        """Scores over all tested atoms and over each domain."""
        y, scored = self.true[target.name], split.scored
        subsets = {ALL: self.scorer.score(y, predicted, scored)}
        if len(np.unique(self.domain)) > 1:
            subsets |= self.scorer.score_by(self.domain, y, predicted, scored)
        for subset, scores in subsets.items():
            self._keep(kind, source, target, split, subset, scores)

    def _record_mean(self, kind, source, target, split, pairs) -> None:
        """The mean score over the draws of a control, over all tested atoms."""
        draws = [self.scorer.score(y, predicted, split.scored) for y, predicted in pairs]
        mean = Scores(
            *(Estimate.mean([getattr(d, m) for d in draws]) for m in ("r2", "r2_within", "mae")),
            draws[0].n_atoms,
            draws[0].n_structures,
        )
        self._keep(kind, source, target, split, ALL, mean)

    def _keep(self, kind, source, target, split, subset, scores) -> None:
        key = Key(target.name, split.name, kind, source.layer, source.width, subset)
        self.scored[key] = scores
        self.about[key] = source

    def study(self) -> Study:
        name = self.potential.name
        trivial = tuple(
            t for t, y in self.true.items()
            if constant_within_species(self.rows.split(y), self.frames)
        )  # fmt: skip
        return Study(
            scores=score_table(name, self.scored, self.about, self.targets),
            differences=difference_table(name, self.scored, self.asked, self.targets),
            predictions=self.predictions,
            true=self.true,
            targets=self.targets,
            trivial=trivial,
            frames=self.frames,
            rows=self.rows,
            layers=self.asked,
            provenance=self._provenance(),
        )

    def _provenance(self) -> dict:
        from dataclasses import asdict

        return {
            "model": {
                "name": self.potential.name,
                "cutoff": self.potential.cutoff,
                "layers": [asdict(layer) for layer in self.potential.layers],
                "dtype": str(self.potential.dtype),
                "device": str(self.potential.device),
                **self.potential.provenance,
            },
            "structures": {
                "n_structures": len(self.frames),
                "n_atoms": len(self.rows),
                "sha256": structures_sha256(self.frames),
            },
            "targets": {
                name: {"unit": t.unit, "l": t.l, "description": t.description}
                for name, t in self.targets.items()
            },
            "settings": asdict(self.settings),
            "versions": versions(),
        }
