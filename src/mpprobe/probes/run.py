"""A study in the making: targets, features, fits and scores, in this order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mpprobe.activations import MODEL, Activations, Rows, Store, StoredModel
from mpprobe.activations.capture import batches
from mpprobe.errors import ProbeError
from mpprobe.models.potential import Potential
from mpprobe.probes.baselines import species_means
from mpprobe.probes.controls import shuffle_within_species
from mpprobe.probes.crossfit import apply_maps, cross_predict, random_direction_maps
from mpprobe.probes.executor import Executor
from mpprobe.probes.features import (
    Progress,
    extracted_features,
    features_by_workers,
    stored_features,
)
from mpprobe.probes.maps import principal_components
from mpprobe.probes.results import Settings, Study
from mpprobe.probes.scores import Estimate, Scorer, Scores
from mpprobe.probes.sources import (
    RANDOM_DIRECTION,
    SHUFFLED,
    SPECIES_MEAN,
    Source,
    layer_sources,
    local_sources,
)
from mpprobe.probes.splits import Split
from mpprobe.probes.tables import Key, difference_table, score_table
from mpprobe.provenance import structures_sha256, versions
from mpprobe.structures import Frame
from mpprobe.targets import Target, constant_within_species
from mpprobe.targets.target import rounding

ALL = "all"
SHUFFLES = 5

# Atoms whose targets are computed as one piece of work.
TARGET_ATOMS = 200


def _varied(target: Target, values: np.ndarray) -> np.ndarray:
    """``values``, refused if they are the same for every atom: then no score is defined."""
    if np.ptp(values, axis=0).max() <= rounding(values, target.resolution):
        raise ProbeError(
            f"target {target.name!r} is the same for every atom of these structures (to rounding), "
            "so there is nothing to find; choose another target or other structures"
        )
    return values


def _values(target: Target, cutoff: float, frames: list[Frame]) -> np.ndarray:
    return np.concatenate(target.values(frames, cutoff))


@dataclass
class Run:
    """One study in the making.

    Attributes:
        model: whose features; a description where they come from a ``store``.
        frames, asked, settings: as in :class:`mpprobe.probes.Plan`, ``asked`` being its layers.
        folder: where features are kept meanwhile.
        executor: who does the work.
        progress: told of it.
    """

    model: Potential | StoredModel
    store: Store | None
    frames: list[Frame]
    asked: tuple[int, ...]
    settings: Settings
    folder: Path
    executor: Executor
    progress: Progress
    targets: dict[str, Target] = field(default_factory=dict)
    true: dict[str, np.ndarray] = field(default_factory=dict)
    acts: dict[str, Activations] = field(default_factory=dict)
    scored: dict[Key, Scores] = field(default_factory=dict)
    about: dict[Key, Source] = field(default_factory=dict)
    predictions: dict[tuple[str, str, int], np.ndarray] = field(default_factory=dict)
    maps: dict[int, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rows = Rows.of(self.frames)
        self.domain = np.array([f.domain for f in self.frames])[self.rows.frame]
        self.scorer = Scorer.from_frames(
            self.frames, n_resamples=self.settings.n_resamples, seed=self.settings.seed
        )

    def compute(self, targets: Sequence[Target]) -> None:
        """Values of every target for every atom."""
        numbers = list(batches(self.frames, TARGET_ATOMS))
        parts = [[self.frames[i] for i in batch] for batch in numbers]
        for target in targets:
            values, done = [], 0
            compute = partial(_values, target, self.model.cutoff)
            for part, batch in zip(self.executor.map(compute, parts), numbers, strict=True):
                values.append(part)
                done += len(batch)
                self.progress(f"target {target.name}", done, len(self.frames))
            self.targets[target.name] = target
            self.true[target.name] = _varied(target, np.concatenate(values))

    def read_features(self, max_atoms: int | None) -> None:
        """Node features of the model and of its random-weight twin, left on disk."""
        if self.store is not None:
            self.acts = stored_features(self.store, self.asked)
            return
        options: dict[str, Any] = {"seed": self.settings.seed, "max_atoms": max_atoms}
        potential: Any = self.model  # whose description has a store
        given = potential, self.frames, self.asked, self.folder
        if self.executor.in_process:
            self.acts = extracted_features(*given, progress=self.progress, **options)
        else:
            self.acts = features_by_workers(
                *given, progress=self.progress, executor=self.executor, **options
            )

    def probe_order(self, targets: Sequence[Target], splits: Sequence[Split]) -> None:
        """Probe targets of one order with every source of features of that order."""
        order = targets[0].l
        sources = [
            source for kind in self.acts for source in layer_sources(self.acts[kind], kind, order)
        ]
        own = [s for s in sources if s.kind == MODEL]
        sources += local_sources(
            self.frames, self.model.cutoff, order, [s.width for s in own], self.settings.seed,
            folder=self.folder, executor=self.executor,
            progress=partial(self.progress, "local-geometry baseline"),
        )  # fmt: skip
        total = len(splits) * len(sources)
        for i, split in enumerate(splits):
            if order == 0:
                self._species_means(targets, split)
            for j, source in enumerate(sources):
                what = f"probing {', '.join(t.name for t in targets)} by {split.name}"
                self.progress(what, i * len(sources) + j, total)
                self._probe(targets, split, source)
            self.progress(what, (i + 1) * len(sources), total)

    def map_layers(self) -> None:
        """Each layer's scalar features on a plane, of the model's own."""
        for source in layer_sources(self.acts[MODEL], MODEL, 0):
            if source.layer is not None:
                self.maps[source.layer] = principal_components(source.values)

    def _probe(self, targets: Sequence[Target], split: Split, source: Source) -> None:
        """Fit and score one source on one split: targets, shuffles and random directions."""
        real = np.stack([self.true[t.name] for t in targets], axis=-1)
        layer = source.layer if source.kind == MODEL else None
        own = layer is not None
        shuffles = [
            shuffle_within_species(real, self.rows.species, self.settings.seed + 1 + k)
            for k in range(SHUFFLES if own else 0)
        ]
        y = np.concatenate([real, *shuffles], axis=-1)
        fit = cross_predict(source.values, y, split, executor=self.executor)
        found, n = fit.predictions, len(targets)
        for i, target in enumerate(targets):
            self._record(source.kind, source, target, split, found[..., i])
            if layer is not None:
                controls = [(y[..., k], found[..., k]) for k in range(n + i, y.shape[-1], n)]
                self._record_mean(SHUFFLED, source, target, split, controls)
                self.predictions[target.name, split.name, layer] = found[..., i]
        if own:
            maps = random_direction_maps(fit.probe, split, n_targets=n, seed=self.settings.seed)
            drawn = apply_maps(source.values, maps, split, executor=self.executor)
            drawn = drawn.reshape(*real.shape, -1)
            for i, target in enumerate(targets):
                pairs = [(real[..., i], drawn[..., i, k]) for k in range(drawn.shape[-1])]
                self._record_mean(RANDOM_DIRECTION, source, target, split, pairs)

    def _species_means(self, targets: Sequence[Target], split: Split) -> None:
        real = np.stack([self.true[t.name] for t in targets], axis=-1)
        found = species_means(real, self.rows.species, split)
        source = Source(SPECIES_MEAN, None, "", np.empty((0, 0)))
        for i, target in enumerate(targets):
            self._record(SPECIES_MEAN, source, target, split, found[..., i])

    def _record(
        self, kind: str, source: Source, target: Target, split: Split, predicted: np.ndarray
    ) -> None:
        """Scores over all tested atoms and over each domain."""
        y, scored = self.true[target.name], split.scored
        subsets = {ALL: self.scorer.score(y, predicted, scored)}
        if len(np.unique(self.domain)) > 1:
            subsets |= self.scorer.score_by(self.domain, y, predicted, scored)
        for subset, scores in subsets.items():
            self._keep(kind, source, target, split, subset, scores)

    def _record_mean(
        self,
        kind: str,
        source: Source,
        target: Target,
        split: Split,
        pairs: Sequence[tuple[np.ndarray, np.ndarray]],
    ) -> None:
        """The mean score over the draws of a control, over all tested atoms."""
        draws = [self.scorer.score(y, predicted, split.scored) for y, predicted in pairs]
        r2, within, mae = (
            Estimate.mean([getattr(d, m) for d in draws]) for m in ("r2", "r2_within", "mae")
        )
        mean = Scores(r2, within, mae, draws[0].n_atoms, draws[0].n_structures)
        self._keep(kind, source, target, split, ALL, mean)

    def _keep(
        self, kind: str, source: Source, target: Target, split: Split, subset: str, scores: Scores
    ) -> None:
        key = Key(target.name, split.name, kind, source.layer, source.width, subset)
        self.scored[key] = scores
        self.about[key] = source

    def study(self) -> Study:
        name = self.model.name
        trivial = tuple(
            t for t, y in self.true.items()
            if constant_within_species(self.rows.split(y), self.frames, self.targets[t].resolution)
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
            maps=self.maps,
        )

    def _provenance(self) -> dict:
        model = self.model
        return {
            "model": {
                "name": model.name,
                "cutoff": model.cutoff,
                "layers": [asdict(layer) for layer in model.layers],
                "dtype": str(model.dtype),
                "device": str(model.device),
                **model.provenance,
            },
            **({"store": _about_store(self.store)} if self.store else {}),
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


def _about_store(store: Store) -> dict:
    """What a result owes to the store that its features come from."""
    configuration = store.configuration
    return {
        "sha256": configuration.sha256,
        "dtype": configuration.dtype_store,
        "random_weights_seed": configuration.random_weights_seed,
        "max_atoms": configuration.max_atoms,
        "versions": configuration.versions,
        "n_left_out": store.n_left_out,
    }
