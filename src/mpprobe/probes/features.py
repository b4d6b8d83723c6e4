"""Node features for a study: computed here, computed by workers, or read from a store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from mpprobe.activations import (
    MODEL,
    Activations,
    LayerFeatures,
    Store,
    extract,
    random_kind,
)
from mpprobe.errors import ProbeError
from mpprobe.models import load
from mpprobe.models.potential import Potential
from mpprobe.probes.executor import Executor
from mpprobe.probes.rows import RowFiles
from mpprobe.structures import Frame

#: Called with what is being done, how much of it is done, and how much there is.
Progress = Callable[[str, int, int], None]


def stored_features(store: Store, layers: Iterable[int]) -> dict[str, Activations]:
    """The features in a store by kind, of some of its layers and of layer 0; nothing is read yet.

    Raises:
        StoreError: the store is incomplete.
    """
    wanted = sorted({0, *layers})
    return {kind: _only(store.activations(kind), wanted) for kind in store.kinds}


def _only(acts: Activations, layers: Iterable[int]) -> Activations:
    return Activations(acts.rows, {t: acts[t] for t in layers})


def extracted_features(
    potential: Potential,
    frames: list[Frame],
    layers: Iterable[int],
    folder: Path,
    *,
    seed: int,
    random_seeds: int,
    max_atoms: int | None,
    progress: Progress,
    chosen: np.ndarray | None = None,
) -> dict[str, Activations]:
    """Features of a potential and of its random-weights controls, computed here, in ``folder``.

    ``chosen``: which atoms to keep, as for :func:`mpprobe.extract`.
    """
    controlled = "random_weights_seed" not in potential.provenance
    seeds = range(seed, seed + random_seeds if controlled else seed)
    models = {MODEL: lambda: potential}
    models |= {random_kind(s): partial(potential.randomised, s) for s in seeds}
    found = {}
    for kind, make in models.items():
        model = make()
        found[kind] = _in_files(
            extract(
                model, frames, {0, *layers}, max_atoms=max_atoms,
                progress=partial(progress, f"node features of {model.name}"),
                folder=folder / kind.replace(" ", "-"), chosen=chosen,
            )
        )  # fmt: skip
    return found


def _in_files(acts: Activations) -> Activations:
    """The same, each layer's file mapped slice by slice and not as a whole."""
    return Activations(
        acts.rows,
        {t: LayerFeatures(f.layer, _file_of(f.values)) for t, f in acts.features.items()},
    )


def _file_of(values: Any) -> Any:
    """The rows of the file that a memory map is of."""
    return RowFiles.of([values.filename])


def features_by_workers(
    potential: Potential,
    frames: list[Frame],
    layers: Iterable[int],
    folder: Path,
    *,
    seed: int,
    random_seeds: int,
    max_atoms: int | None,
    progress: Progress,
    executor: Executor,
) -> dict[str, Activations]:
    """The same features, computed shard by shard by the workers, in a store in ``folder``.

    Raises:
        ProbeError: the potential can't be loaded by a worker, or a worker doesn't see ``folder``.
    """
    store = Store.create(
        folder, potential, frames, layers, max_atoms=max_atoms, random_seeds=random_seeds,
        seed=seed,
    )  # fmt: skip
    fill_store(store, potential, executor, partial(progress, f"node features of {potential.name}"))
    return stored_features(store, layers)


def fill_store(
    store: Store,
    potential: Potential,
    executor: Executor,
    progress: Callable[[int, int], None] = lambda done, total: None,
    shards: Iterable[int] | None = None,
) -> None:
    """Have workers compute what a store lacks, shard by shard; they must see its folder.

    Args:
        store: begun with the potential.
        potential: from :func:`mpprobe.load`; each worker loads its own.
        executor: whose workers.
        progress: called with the atoms done and in all.
        shards: numbers of those to compute (all by default).

    Raises:
        ProbeError: the potential can't be loaded by a worker.
    """
    numbers = [shard.number for shard in store.shards] if shards is None else list(shards)
    work = partial(_extract_shard, store.folder.absolute(), check_recipe(potential))
    done, total = 0, sum(store.shards[i].n_rows for i in numbers)
    for number in executor.map(work, numbers):
        done += store.shards[number].n_rows
        progress(done, total)
    store.sweep()


def _extract_shard(folder: Path, recipe: Mapping[str, Any], shard: int) -> int:
    """Compute one shard of a store, with what this process keeps of earlier ones: its number."""
    _store(folder).extract(_potential(tuple(sorted(recipe.items()))), [shard])
    return shard


@lru_cache(maxsize=1)
def _store(folder: Path) -> Store:
    return Store.open(folder)


@lru_cache(maxsize=1)
def _potential(recipe: tuple[tuple[str, Any], ...]) -> Potential:
    potential = load(**dict(recipe))
    # Every shard asks for the twin, which takes seconds to build.
    vars(potential)["randomised"] = cache(potential.randomised)
    return potential


def check_recipe(potential: Potential) -> Mapping[str, Any]:
    """The arguments of :func:`mpprobe.load` that a worker process gets the same potential by.

    Raises:
        ProbeError: the potential wasn't made by it.
    """
    recipe = potential.recipe
    if recipe is None:
        raise ProbeError(
            f"{potential.name}: workers can load only what mpprobe.load gave; load the potential "
            "with it, or leave out the executor"
        )
    return recipe


def check_shared(folders: Iterable[Path], executor: Executor) -> None:
    """Have the workers look for these folders.

    Raises:
        ProbeError: one isn't seen by them all, as where it is on this machine's own disk.
    """
    for folder in folders:
        # More often than there are threads, so that hardly a worker is left out.
        if not all(executor.map(_exists, [folder] * 64)):
            raise ProbeError(
                f"{folder}: not every worker sees this folder; put results and store on a file "
                "system that they share"
            )


def _exists(path: Path) -> bool:
    return path.exists()
