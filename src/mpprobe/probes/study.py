"""The main job: how well each layer encodes each target, beside every control."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from threadpoolctl import threadpool_limits

from mpprobe.activations import Store, StoredModel, parse_layers
from mpprobe.errors import ProbeError, require
from mpprobe.models.potential import Potential
from mpprobe.probes.chosen import chosen_atoms, kinds, resolved_atoms, resolved_within
from mpprobe.probes.duplicates import kept_together
from mpprobe.probes.executor import SERIAL, Executor
from mpprobe.probes.features import Progress, check_recipe, check_shared
from mpprobe.probes.results import Settings, Study
from mpprobe.probes.run import Run
from mpprobe.probes.sources import check_layers
from mpprobe.probes.splits import Split, make_split
from mpprobe.structures import Frame, as_frames, check
from mpprobe.targets import Target, get_target

if TYPE_CHECKING:
    from ase import Atoms

#: What is done with structures that are near duplicates.
NEAR_DUPLICATES = ("together", "apart")


def probe(
    potential: Potential | Store,
    structures: Atoms | Frame | Iterable[Atoms | Frame] | None = None,
    *,
    layers: int | str | Iterable[int | str] = "all",
    targets: str | Sequence[str] = ("potential",),
    splits: str | Sequence[str] = ("structure",),
    settings: Settings | None = None,
    max_atoms: int | None = None,
    progress: Progress | None = None,
    executor: Executor = SERIAL,
    folder: str | Path | None = None,
) -> Study:
    """Probe the node features of a potential for per-atom targets, beside every control.

    For each target and split, a ridge probe is fitted on the scalar (for vector targets, by an
    equivariant map, on the l = 1) features of each layer, within kinds (species in compounds), and
    scored on structures it has not seen. The same is done for layer 0, for the same architecture
    with random weights, for local-geometry descriptors at the same cutoff, also projected to the
    same width, for charge-weighted sums within one cutoff, for the species means, for single random
    directions of the features, and for the target shuffled within kinds. What a layer adds to the
    charge-weighted sums is scored too.

    Args:
        potential: from :func:`mpprobe.load`, or a store of node features, which needs no model.
        structures: to probe on; several compounds, dozens of structures or more. A store has its
            own.
        layers: ``all``, an index, or several.
        targets: names, see :func:`mpprobe.targets.target_names`.
        splits: ``structure``, ``compound``, ``element`` or ``domain``.
        settings: folds, assignments to them, resamples, random models, seed.
        max_atoms: most atoms in one forward pass.
        progress: called as the work goes on.
        executor: who does the work, such as :func:`mpprobe.scale.dask_executor`; by default
            this process. The result is the same to rounding.
        folder: where features are kept while the study runs (default: the system's place for
            temporary files). Workers on other machines must see it under the same path.

    Raises:
        MPProbeError: a structure, layer, target or split that can't be used; the message says
            which, and what to do.
    """
    plan = make_plan(
        potential, structures, layers=layers, targets=targets, splits=splits, settings=settings
    )
    return plan.run(max_atoms=max_atoms, progress=progress, executor=executor, folder=folder)


@dataclass(frozen=True)
class Plan:
    """A study whose input has been checked, ready to :meth:`run`.

    Attributes:
        model: the potential whose features will be probed; its description, if they are stored.
        frames, layers, targets, settings: what will be probed, and how.
        splits: of each kind, its assignments to folds.
        n_near_duplicates: structures that are near duplicates of an earlier one.
        store: where the features come from, None if they are to be computed.
    """

    model: Potential | StoredModel
    frames: list[Frame]
    layers: tuple[int, ...]
    targets: tuple[Target, ...]
    splits: tuple[tuple[Split, ...], ...]
    settings: Settings
    n_near_duplicates: int = 0
    store: Store | None = None

    def run(
        self,
        *,
        max_atoms: int | None = None,
        progress: Progress | None = None,
        executor: Executor = SERIAL,
        folder: str | Path | None = None,
    ) -> Study:
        """Make the study; arguments and errors as in :func:`probe`."""
        with tempfile.TemporaryDirectory(prefix="mpprobe-", dir=folder) as work:
            run = Run(
                self.model, self.store, self.frames, self.layers, self.settings, Path(work),
                executor, progress or _silent,
            )  # fmt: skip
            self._check_workers(executor, Path(work))
            run.compute(self.targets)
            run.read_features(max_atoms)
            # On matrices of a few hundred columns a second BLAS thread waits more than it works,
            # and on a shared machine it makes everything several times slower.
            with threadpool_limits(limits=1, user_api="blas"):
                for order in sorted({target.l for target in self.targets}):
                    run.probe_order([t for t in self.targets if t.l == order], self.splits)
                run.map_layers()
        study = run.study()
        study.provenance["near_duplicates"] = self.n_near_duplicates
        return study

    def _check_workers(self, executor: Executor, work: Path) -> None:
        """Refuse, before any work is done, workers that couldn't do it."""
        if executor.in_process:
            return
        check_shared([work, *([self.store.folder] if self.store else [])], executor)
        if self.store is None and isinstance(self.model, Potential):
            check_recipe(self.model)


def make_plan(
    potential: Potential | Store,
    structures: Atoms | Frame | Iterable[Atoms | Frame] | None = None,
    *,
    layers: int | str | Iterable[int | str] = "all",
    targets: str | Sequence[str] = ("potential",),
    splits: str | Sequence[str] = ("structure",),
    settings: Settings | None = None,
) -> Plan:
    """Check everything that :func:`probe` is given, before any work is done.

    Arguments and errors as in :func:`probe`.
    """
    settings = settings or Settings()
    store: Store | None = None
    model: Potential | StoredModel
    if isinstance(potential, Store):
        store, model = potential, potential.model
        frames = _stored_frames(store, structures)
    else:
        model = potential
        frames = [] if structures is None else as_frames(structures)
    names = [targets] if isinstance(targets, str) else list(dict.fromkeys(targets))
    splits = [splits] if isinstance(splits, str) else list(dict.fromkeys(splits))
    if not (frames and names and splits):
        raise ProbeError("nothing to probe: give structures, at least one target and one split")
    require("featomic", "the local-geometry baseline (SOAP)")
    chosen = {t.name: t for t in (get_target(name, frames) for name in names)}
    asked = parse_layers(model, layers)
    for target in chosen.values():
        check_layers(model, asked, target)
    check(frames, species=model.species, cutoff=model.cutoff)
    if settings.n_assignments < 1 or settings.random_seeds < 0:
        raise ProbeError("give at least one assignment to folds, and no fewer than zero seeds")
    if settings.near_duplicates not in NEAR_DUPLICATES:
        raise ProbeError(
            f"near duplicates {settings.near_duplicates!r}: choose {' or '.join(NEAR_DUPLICATES)}"
        )
    settings = replace(
        settings, within=resolved_within(settings.within, frames),
        atoms=resolved_atoms(settings.atoms, frames),
    )  # fmt: skip
    counted = np.concatenate(chosen_atoms(frames, settings.atoms))
    kinds(frames, settings.within)
    if settings.n_cutoffs < 1:
        raise ProbeError(f"controls within {settings.n_cutoffs} cutoffs: give one or more")
    kept, n_duplicates = kept_together(frames, model.cutoff)
    if settings.near_duplicates == "apart":
        kept = frames
    made = tuple(
        tuple(
            make_split(name, kept, n_folds=settings.n_folds, seed=settings.seed,
                       assignment=k, in_domain=settings.in_domain).taken(counted)
            for k in range(settings.n_assignments)
        )
        for name in splits
    )  # fmt: skip
    return Plan(model, frames, asked, tuple(chosen.values()), made, settings, n_duplicates, store)


def _stored_frames(store: Store, structures: object) -> list[Frame]:
    """The structures of a store that is complete."""
    if structures is not None:
        raise ProbeError(f"{store.folder}: a store has its own structures; give no others")
    missing = store.missing()
    if missing:
        raise ProbeError(
            f"{store.folder}: {len(missing)} of {len(store.shards)} shards are missing; finish it "
            "with `mpprobe extract`, or join its parts with `mpprobe merge`"
        )
    return store.frames


def _silent(what: str, done: int, total: int) -> None:
    pass
