"""``mpprobe extract``: node features into a store, resumed where an earlier run was cut off."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mpprobe.cli import options
from mpprobe.cli.console import note, progress
from mpprobe.cli.work import choose_executor, chosen_executor

if TYPE_CHECKING:
    from collections.abc import Callable

    from mpprobe.activations import Store
    from mpprobe.activations.manifest import Configuration, Shard
    from mpprobe.models.potential import Potential
    from mpprobe.probes.executor import Executor
    from mpprobe.scale.shards import Task


def extract(
    model: options.Model,
    layer: options.Layers = ["all"],
    structures: options.Structures = ["ionic"],
    label: options.Labels = None,
    limit: options.Limit = None,
    on_error: options.OnError = "stop",
    dtype_store: Annotated[
        str, typer.Option(metavar="DTYPE", help="float32, or float16 for half the space.")
    ] = "float32",
    random_seeds: Annotated[
        int, typer.Option(min=0, help="How many random-weights models to store as controls.")
    ] = 5,
    n_shards: Annotated[
        int | None,
        typer.Option(
            min=1, help="Share the work among so many tasks (default: those of a Slurm array)."
        ),
    ] = None,
    shard_index: Annotated[
        int | None, typer.Option(min=0, help="Which of them this is, from 0.")
    ] = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    dtype: options.Dtype = None,
    max_atoms: options.MaxAtoms = None,
    modal: options.Modal = None,
    head: options.Head = None,
    trust_checkpoint: options.Trust = False,
    fast: options.Fast = True,
    executor: options.Executor = "serial",
    scheduler: options.Scheduler = None,
    workers: options.Workers = None,
    output: options.Output = Path("mpprobe-store"),
    config: options.Config = None,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
    show_progress: options.ShowProgress = None,
) -> int:
    """Extract node features into a store on disk, for `mpprobe probe --store`.

    The store is a folder inside --output, named by the model and a hash of all that decides its
    content. The same command resumes a run that was cut off, and adds to what other tasks make.
    """
    from mpprobe.scale.shards import find_task

    choose_executor(executor, scheduler, workers)
    task = find_task(n_shards, shard_index)
    from mpprobe import Store, load
    from mpprobe.activations import configure
    from mpprobe.cli.given import Given

    given = Given(on_error)
    frames = given.read(structures, label, limit, seed)
    potential = load(model, device=device, dtype=dtype, modal=modal, head=head,
                     trust_checkpoint=trust_checkpoint, fast=fast)  # fmt: skip
    # Decided from the structures and the model's elements and cutoff alone, so that every task and
    # every later run leaves out the same and comes to the same store.
    frames = given.usable(frames, potential)
    configuration = configure(
        potential, frames, layer, dtype_store=dtype_store, max_atoms=max_atoms,
        random_seeds=random_seeds, seed=seed,
    )  # fmt: skip
    note(_summary(configuration), quiet)
    share = _share(configuration.plan(), task, quiet)
    if dry_run:
        note("dry run: the input is fine; nothing was computed or written", quiet)
        return given.close(written=False, quiet=quiet)
    store = Store.begin(output, configuration, frames)
    given.list_in(store.folder)
    with (
        chosen_executor(executor, scheduler, workers, output, quiet) as workplace,
        progress(show_progress, quiet) as report,
    ):
        count = partial(report, f"node features of {potential.name}")
        if workplace:
            _by_workers(store, potential, workplace["executor"], count, share)
        else:
            store.extract(potential, share, progress=count, notify=lambda line: note(line, quiet))
    _print(store, as_json)
    return given.close()


def _share(shards: Sequence[Shard], task: Task | None, quiet: bool) -> Sequence[int]:
    """Numbers of the shards that this task does: all of them where there is but one task."""
    from mpprobe.scale.shards import assign

    if task is None:
        return range(len(shards))
    share = assign([shard.n_rows for shard in shards], task.count)[task.index]
    n_atoms = sum(shards[i].n_rows for i in share)
    note(f"{task}: {len(share)} of {len(shards)} shards, {n_atoms:,} atoms", quiet)
    return share


def _by_workers(
    store: Store,
    potential: Potential,
    executor: Executor,
    count: Callable[[int, int], None],
    share: Sequence[int],
) -> None:
    from mpprobe.probes.features import check_shared, fill_store

    check_shared([store.folder.absolute()], executor)
    fill_store(store, potential, executor, count, share)


def _summary(configuration: Configuration) -> str:
    """What is going to be extracted, in a line."""
    model, shards = configuration.model, configuration.shards
    n_frames, n_atoms = (sum(sizes) for sizes in zip(*shards, strict=True))
    files = f"{len(shards)} shard{'s' * (len(shards) != 1)}"
    return (
        f"{model.name}, layer {', '.join(str(layer.index) for layer in model.layers)}, "
        f"{_kinds(configuration)}; {n_frames:,} structures of {n_atoms:,} atoms; "
        f"{files}, {_size(configuration.n_bytes)} as {configuration.dtype_store}; "
        f"store {configuration.folder_name}"
    )


def _kinds(configuration: Configuration) -> str:
    """``model and 5 random-weights models``."""
    n = len(configuration.random_weights_seeds)
    return f"model and {n} random-weights model{'s' * (n != 1)}" if n else "model"


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:,.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:,.1f} MB"


def _print(store: Store, as_json: bool) -> None:
    """Where the store is, and how far it has come."""
    total, missing = len(store.shards), store.missing()
    if as_json:
        import json

        record = {"store": str(store.folder), "shards": total, "missing": list(missing)}
        typer.echo(json.dumps(record, indent=1))
        return
    rest = f", {len(missing)} missing" if missing else ""
    typer.echo(f"{store.folder}: {total - len(missing)} of {total} shards done{rest}")
