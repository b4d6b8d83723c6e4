"""A study in the making: targets, features, fits and scores, in this order."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mpprobe.activations import MODEL, RANDOM_WEIGHTS, Activations, Rows, Store, StoredModel
from mpprobe.activations.capture import batches
from mpprobe.errors import ProbeError
from mpprobe.models.potential import Potential
from mpprobe.probes.baselines import label_means, weights_for
from mpprobe.probes.chosen import chosen_atoms, kinds
from mpprobe.probes.executor import Executor
from mpprobe.probes.features import (
    Progress,
    extracted_features,
    features_by_workers,
    stored_features,
)
from mpprobe.probes.fits import Fits, Fitted
from mpprobe.probes.maps import principal_components
from mpprobe.probes.results import Settings, Study
from mpprobe.probes.rows import TakenRows
from mpprobe.probes.scores import Bootstrap, Scorer, Scores
from mpprobe.probes.sources import (
    CHOSEN,
    RANDOM_DIRECTION,
    SHUFFLED,
    SPECIES_MEAN,
    WITH_LAYER,
    WITH_RANDOM,
    Source,
    electrostatic_source,
    layer_sources,
    local_sources,
)
from mpprobe.probes.splits import Split
from mpprobe.probes.tables import Key, conditional_table, difference_table, score_table
from mpprobe.provenance import structures_sha256, versions
from mpprobe.structures import Frame
from mpprobe.targets import Target, constant_within_species
from mpprobe.targets.target import rounding

ALL = "all"

# Atoms whose targets are computed as one piece of work.
TARGET_ATOMS = 200

# Sources that are fitted at a time.
THREADS = 4


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
    choices: dict[tuple[str, str], dict[int, float]] = field(default_factory=dict)
    predictions: dict[tuple[str, str, int], np.ndarray] = field(default_factory=dict)
    within: dict[tuple[str, str, int], np.ndarray] = field(default_factory=dict)
    maps: dict[int, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        masks = chosen_atoms(self.frames, self.settings.atoms)
        self.chosen = np.concatenate(masks)
        self.masks = None if self.chosen.all() else masks
        self.rows = Rows.of(self.frames).taken(self.chosen)
        self.domain = np.array([f.domain for f in self.frames])[self.rows.frame]
        self.kinds = kinds(self.frames, self.settings.within)[self.chosen]

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
            self.true[target.name] = _varied(target, np.concatenate(values)[self.chosen])

    def read_features(self, max_atoms: int | None) -> None:
        """Node features of the model and of its random-weights controls, left on disk."""
        if self.store is not None:
            self.acts = stored_features(self.store, self.asked)
            return
        options: dict[str, Any] = {
            "seed": self.settings.seed, "random_seeds": self.settings.random_seeds,
            "max_atoms": max_atoms,
        }  # fmt: skip
        potential: Any = self.model  # whose description has a store
        given = potential, self.frames, self.asked, self.folder
        if self.executor.in_process:
            self.acts = extracted_features(
                *given, progress=self.progress, chosen=self.chosen, **options
            )
        else:
            self.acts = features_by_workers(
                *given, progress=self.progress, executor=self.executor, **options
            )

    def probe_order(self, targets: Sequence[Target], splits: Sequence[Sequence[Split]]) -> None:
        """Probe targets of one order with every source of features of that order."""
        groups = self._groups(targets[0].l)
        groups += [
            [source] for source in local_sources(
                self.frames, self.model.cutoff, targets[0].l, [g[0].width for g in groups],
                self.settings.seed, folder=self.folder, chosen=self.masks,
                n_cutoffs=self.settings.n_cutoffs, executor=self.executor,
                progress=partial(self.progress, "local-geometry baseline"),
            )
        ]  # fmt: skip
        electrostatics = self._electrostatics(targets)
        names = ", ".join(target.name for target in targets)
        for i, assignments in enumerate(splits):
            name, fits = assignments[0].name, self._fits(targets, assignments)
            if fits.metric == "r2_within":
                self._species_means(targets, assignments[0], fits)
            beside = []
            for places, (local, *farther) in electrostatics:
                own, part = [targets[k] for k in places], fits.of_targets(places)
                for source in (local, *farther):
                    found = part.fit([source])
                    self._keep(source.kind, source, own, name, found.scores, found.by_domain)
                beside.append((own, part, local))
            what = f"probing {names} by {name}"
            work = partial(self._probe_group, targets, fits, beside, name)
            fits.prepare()
            layers: dict[int, Fitted] = {}
            for j, (group, fitted) in enumerate(zip(groups, self._map(work, groups), strict=True)):
                layer = group[0].layer
                if group[0].kind == MODEL and layer is not None:
                    layers[layer] = fitted
                    for k, target in enumerate(targets):
                        key = target.name, name, layer
                        self.predictions[key] = fitted.whole[..., k]
                        self.within[key] = fitted.within[..., k]
                self.progress(what, i * len(groups) + j + 1, len(splits) * len(groups))
            self._choose(targets, fits, name, layers)

    def _map(
        self, work: Callable[[list[Source]], Fitted], groups: list[list[Source]]
    ) -> Iterator[Fitted]:
        """On several threads where the work is done here: NumPy leaves the interpreter free."""
        if not self.executor.in_process:
            yield from map(work, groups)
            return
        with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as pool:
            yield from pool.map(work, groups)

    def _groups(self, order: int) -> list[list[Source]]:
        """Sources of every layer of the model, and of the models with random weights together."""
        groups: dict[tuple[str, int | None], list[Source]] = {}
        for kind, acts in self.acts.items():
            name = RANDOM_WEIGHTS if kind != MODEL else MODEL
            for source in self._layer_sources(acts, name, order):
                groups.setdefault((name, source.layer), []).append(source)
        return list(groups.values())

    def _layer_sources(self, acts: Activations, name: str, order: int) -> Iterator[Source]:
        """The features of the atoms that count; those of a store are of all atoms."""
        for source in layer_sources(acts, name, order):
            if source.values.shape[0] == len(self.rows):
                yield source
            else:
                index = np.flatnonzero(self.chosen)
                yield replace(source, values=TakenRows(source.values, index))

    def _electrostatics(self, targets: Sequence[Target]) -> list[tuple[list[int], list[Source]]]:
        """Charge-weighted sums within one cutoff and more, and the places of their targets."""
        found: dict[str, tuple[list[int], list[Source]]] = {}
        for i, target in enumerate(targets):
            weights = weights_for(target, self.frames)
            if weights.name not in found:
                sources = [
                    electrostatic_source(
                        self.frames, self.model.cutoff, weights, target.l, folder=self.folder,
                        chosen=self.masks, n_cutoffs=k,
                    )
                    for k in range(1, self.settings.n_cutoffs + 1)
                ]  # fmt: skip
                found[weights.name] = [], sources
            found[weights.name][0].append(i)
        return list(found.values())

    def _fits(self, targets: Sequence[Target], assignments: Sequence[Split]) -> Fits:
        unit = assignments[0].unit
        bootstrap = Bootstrap(int(unit.max()) + 1, self.settings.n_resamples, self.settings.seed)
        scorer = Scorer(self.rows.frame, unit, self.kinds, bootstrap)
        real = np.stack([self.true[t.name] for t in targets], axis=-1)
        return Fits(
            real, self.kinds, self.domain, assignments, scorer, self.settings.seed, self.executor
        )

    def map_layers(self) -> None:
        """Each layer's scalar features on a plane, of the model's own."""
        for source in self._layer_sources(self.acts[MODEL], MODEL, 0):
            if source.layer is not None:
                self.maps[source.layer] = principal_components(source.values)

    def _probe_group(
        self,
        targets: Sequence[Target],
        fits: Fits,
        beside: list[tuple[list[Target], Fits, Source]],
        split: str,
        group: list[Source],
    ) -> Fitted:
        """Fit and score one source, and what it adds to the local electrostatics."""
        source, layer = group[0], group[0].layer
        own = layer is not None and source.kind == MODEL
        fitted = fits.fit(group, controls=own)
        self._keep(source.kind, source, targets, split, fitted.scores, fitted.by_domain)
        if layer is not None and own:
            self._keep(SHUFFLED, source, targets, split, fitted.shuffled)
            self._keep(RANDOM_DIRECTION, source, targets, split, fitted.directions)
        if layer:
            name = WITH_LAYER if own else WITH_RANDOM
            for weighted, part, local in beside:
                both = [local.beside(member, name) for member in group]
                found = part.fit(both, brief=True)
                self._keep(name, both[0], weighted, split, found.scores)
        return fitted

    def _choose(
        self, targets: Sequence[Target], fits: Fits, split: str, layers: Mapping[int, Fitted]
    ) -> None:
        """Of the layers asked for, the one that the training folds choose; layer 0 if alone."""
        asked = [t for t in layers if t in self.asked]
        asked = [t for t in asked if t > 0] or asked
        if not asked:
            return
        for i, target in enumerate(targets):
            scores, best = fits.chosen([layers[t] for t in asked], i)
            shares = np.bincount(best.ravel(), minlength=len(asked)) / best.size
            self.choices[target.name, split] = dict(zip(asked, shares.tolist(), strict=True))
            # Named in the column of the block: the layer that most folds chose.
            block = f"layer {asked[int(shares.argmax())]}"
            self._keep(
                CHOSEN, Source(CHOSEN, None, block, np.empty((0, 0))), [target], split, [scores]
            )

    def _species_means(self, targets: Sequence[Target], split: Split, fits: Fits) -> None:
        """The means of species, which tell nothing within kinds."""
        whole = label_means(fits.targets, self.rows.species, split)
        source = Source(SPECIES_MEAN, None, "", np.empty((0, 0)))
        scores, by_domain = fits.of_means(whole)
        self._keep(SPECIES_MEAN, source, targets, split.name, scores, by_domain)

    def _keep(
        self,
        kind: str,
        source: Source,
        targets: Sequence[Target],
        split: str,
        scores: Sequence[Scores],
        by_domain: Sequence[Mapping[str, Scores]] = (),
    ) -> None:
        parts_of = by_domain or [{}] * len(targets)
        for target, own, parts in zip(targets, scores, parts_of, strict=True):
            for subset, found in {ALL: own, **parts}.items():
                key = Key(target.name, split, kind, source.layer, source.width, subset)
                self.scored[key] = found
                self.about[key] = source

    def study(self) -> Study:
        name = self.model.name
        trivial = tuple(
            t for t, y in self.true.items()
            if constant_within_species(y, self.rows.species, self.targets[t].resolution)
        )  # fmt: skip
        scored = dict(sorted(self.scored.items(), key=self._place))
        return Study(
            scores=score_table(name, scored, self.about, self.targets),
            differences=difference_table(name, scored, self.asked, self.targets),
            conditional=conditional_table(name, scored, self.targets),
            choices=self.choices,
            predictions=self.predictions,
            within=self.within,
            true=self.true,
            targets=self.targets,
            trivial=trivial,
            frames=self.frames,
            rows=self.rows,
            kinds=self.kinds,
            layers=self.asked,
            provenance=self._provenance(),
            settings=self.settings,
            maps=self.maps,
        )

    def _place(self, item: tuple[Key, Scores]) -> tuple:
        """Rows of the tables in one order, whichever thread was done first."""
        key = item[0]
        order = [MODEL, RANDOM_WEIGHTS, SHUFFLED, RANDOM_DIRECTION, CHOSEN, SPECIES_MEAN]
        kind = order.index(key.features) if key.features in order else len(order)
        layer = -1 if key.layer is None else key.layer
        names, splits = list(self.targets), list(dict.fromkeys(k.split for k in self.scored))
        return (names.index(key.target), splits.index(key.split), kind, key.features, layer,
                key.width, key.subset != ALL, key.subset)  # fmt: skip

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
        "random_weights_seeds": list(configuration.random_weights_seeds),
        "max_atoms": configuration.max_atoms,
        "versions": configuration.versions,
        "n_left_out": store.n_left_out,
    }
