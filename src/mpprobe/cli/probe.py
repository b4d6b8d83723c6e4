"""``mpprobe probe``: how well each layer encodes a target, beside every control."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mpprobe.cli import completion, options
from mpprobe.cli.console import note, progress, show
from mpprobe.cli.work import choose_executor, choose_store, chosen_executor, claim
from mpprobe.errors import require

if TYPE_CHECKING:
    from mpprobe.probes.study import Plan


def probe(
    context: typer.Context,
    model: options.OptionalModel = None,
    store: options.Store = None,
    layer: options.Layers = ["all"],
    target: Annotated[
        list[str],
        typer.Option(
            "-t",
            "--target",
            metavar="NAME",
            help="See `mpprobe targets`. Repeatable.",
            autocompletion=completion.targets,
        ),
    ] = ["potential"],
    split: Annotated[
        list[str],
        typer.Option(
            metavar="NAME",
            help="What is held out: structure, compound, element, domain. Repeatable.",
            autocompletion=completion.choice(*completion.SPLITS),
        ),
    ] = ["structure"],
    structures: options.Structures = ["ionic"],
    label: options.Labels = None,
    limit: options.Limit = None,
    on_error: options.OnError = "stop",
    folds: options.Folds = 5,
    assignments: options.Assignments = 5,
    random_seeds: options.RandomSeeds = 5,
    near_duplicates: options.NearDuplicates = "together",
    within: options.Within = None,
    atoms: options.Atoms = None,
    control_cutoffs: options.ControlCutoffs = 1,
    resamples: options.Resamples = 1000,
    in_domain: options.InDomain = ["bulk", "strained"],
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
    output: options.Output = Path("mpprobe-results"),
    page: Annotated[
        bool, typer.Option("--report", help="Also a page, report.html: see `mpprobe report`.")
    ] = False,
    overwrite: options.Overwrite = False,
    config: options.Config = None,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
    show_progress: options.ShowProgress = None,
) -> int:
    """Probe the node features of a potential for charges, potentials or fields.

    Probes are fitted and scored within kinds (species in compounds). Each layer's score is printed
    beside its controls: the same architecture with random weights, random directions of the
    features, the target shuffled within kinds, local-geometry descriptors at the same cutoff, and
    charge-weighted sums over the neighbours; and what the layer adds to these sums.
    """
    store = choose_store(context, model, store)
    choose_executor(executor, scheduler, workers)
    if not dry_run:
        claim(context, output, overwrite)
    if page:
        require("chemiscope", "--report")
    from mpprobe import Settings, Store, load, make_plan
    from mpprobe.cli.given import Given
    from mpprobe.report.readings import counted_lines, duplicates_line

    given, frames = Given(on_error), None
    if store is None:
        frames = given.read(structures, label, limit, seed)
        source = load(model, device=device, dtype=dtype, modal=modal, head=head,
                      trust_checkpoint=trust_checkpoint, fast=fast)  # fmt: skip
        frames = given.usable(frames, source, targets=target)
    else:
        source = Store.open(store)
    make = partial(
        make_plan, source, layers=layer, targets=target, splits=split,
        settings=Settings(folds, resamples, seed, tuple(in_domain), assignments, random_seeds,
                          near_duplicates, within, atoms, control_cutoffs),
    )  # fmt: skip
    plan = make(frames)
    note(_summary(plan), quiet)
    if plan.n_near_duplicates:
        note(duplicates_line(plan.n_near_duplicates, near_duplicates), quiet)
    for line in counted_lines(plan.settings, plan.targets):
        note(line, quiet)
    for line in _stored(plan):
        note(line, quiet)
    if dry_run:
        note("dry run: the input is fine; nothing was computed or written", quiet)
        return given.close(written=False, quiet=quiet)
    if store is None:
        plan = given.tried(plan, make, source, layers=layer, seed=seed, max_atoms=max_atoms)
    with (
        chosen_executor(executor, scheduler, workers, output, quiet) as workplace,
        progress(show_progress, quiet) as report,
    ):
        study = plan.run(max_atoms=max_atoms, progress=report, **workplace)
    given.mark(study.provenance)
    from mpprobe.report.files import results, write_study
    from mpprobe.report.terminal import LEGEND, study_tables

    show(results(study), study_tables(study, by_domain=verbose), LEGEND, as_json)

    files = write_study(
        study, output, overwrite=overwrite, configuration=options.effective_config(context)
    )
    if page:
        from mpprobe.report.page import write_report

        files.append(write_report([output], output / "report.html"))
    note(f"written to {output}: {', '.join(file.name for file in files)}", quiet)
    return given.close()


def _summary(plan: Plan) -> str:
    """What is going to be probed, in a line."""
    n_atoms = sum(len(frame) for frame in plan.frames)
    return (
        f"{plan.model.name}, layer {', '.join(map(str, plan.layers))}; "
        f"{len(plan.frames)} structures of {n_atoms:,} atoms; target "
        f"{', '.join(t.name for t in plan.targets)}; held out by "
        f"{', '.join(assignments[0].name for assignments in plan.splits)}"
    )


def _stored(plan: Plan) -> Iterator[str]:
    """What to know about features that come from a store."""
    if plan.store is None:
        return
    dtype = plan.store.configuration.dtype_store
    rounded = ", rounded to about three digits" if dtype == "float16" else ""
    if plan.store.n_left_out:
        yield (
            f"{plan.store.n_left_out} structures were left out when the store was made, listed in "
            f"{plan.store.folder / 'failures.csv'}"
        )
    yield f"features from {plan.store.folder}, stored as {dtype}{rounded}"
    if len(plan.store.kinds) == 1 and "random_weights_seed" not in plan.model.provenance:
        yield "the store has no features of random weights: that control is absent from the tables"
