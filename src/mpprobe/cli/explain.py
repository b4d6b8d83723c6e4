"""``mpprobe explain``: does what a model encodes explain its force errors?"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from mpprobe.cli import completion, options
from mpprobe.cli.console import note, progress, show


def explain(
    context: typer.Context,
    model: options.Model,
    target: Annotated[
        list[str],
        typer.Option(
            "-t", "--target", metavar="TARGET",
            help="What is decoded and erased: `mpprobe targets`. Repeatable.",
            autocompletion=completion.targets,
        ),
    ] = ["potential", "charge:eeq", "field"],
    structures: options.Structures = ["dft"],
    label: options.Labels = None,
    limit: options.Limit = None,
    on_error: options.OnError = "stop",
    forces: options.Forces = "forces",
    draws: Annotated[
        int, typer.Option(min=20, help="Random subspaces that each erasure is compared with.")
    ] = 99,
    in_domain: options.InDomain = ["bulk", "strained"],
    folds: options.Folds = 5,
    resamples: options.Resamples = 1000,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    dtype: options.Dtype = None,
    max_atoms: options.MaxAtoms = None,
    modal: options.Modal = None,
    head: options.Head = None,
    trust_checkpoint: options.Trust = False,
    fast: options.Fast = True,
    output: options.Output = Path("mpprobe-explain"),
    overwrite: options.Overwrite = False,
    config: options.Config = None,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
    show_progress: options.ShowProgress = None,
) -> int:  # fmt: skip
    """Ask whether what a model encodes explains where its forces fail.

    Errors of decoded quantities beside force errors, in domain and out of it, against the distance
    from the training cloud and random weights; and forces without what is decoded. One table, one
    paragraph. A run that was stopped goes on where it was.
    """
    from mpprobe.report.files import check_output

    if not dry_run:
        check_output(output, overwrite)
    from mpprobe import Settings, load
    from mpprobe.cli.given import Given
    from mpprobe.cli.loading import comparison, unfinished
    from mpprobe.explain import make_explaining

    given = Given(on_error)
    frames = given.read(structures, label, limit, seed)
    frames = given.with_forces(frames, forces, needed=True)
    potential = load(model, device=device, dtype=dtype, modal=modal, head=head,
                     trust_checkpoint=trust_checkpoint, fast=fast)  # fmt: skip
    make = partial(
        make_explaining, potential, targets=target, draws=draws,
        settings=Settings(folds, resamples, seed, tuple(in_domain)),
    )  # fmt: skip
    plan = make(given.usable(frames, potential, targets=target))
    note(comparison([potential], plan.frames), quiet)
    if dry_run:
        note("dry run: the input is fine; nothing was computed or written", quiet)
        return given.close(written=False, quiet=quiet)
    plan = given.tried(plan, make, potential, layers="all", forces=True, seed=seed,
                       max_atoms=max_atoms)  # fmt: skip
    from mpprobe.report.explaining import (
        LEGEND,
        explained_results,
        explained_tables,
        write_explained,
    )

    with unfinished(output, plan, quiet) as journal:
        with progress(show_progress, quiet) as report:
            found = plan.run(max_atoms=max_atoms, progress=report, journal=journal)
        given.mark(found.provenance)
        show(explained_results(found), explained_tables(found), LEGEND, as_json)
        files = write_explained(
            found, output, overwrite=overwrite, configuration=options.effective_config(context)
        )
    note(f"written to {output}: {', '.join(file.name for file in files)}", quiet)
    return given.close()
