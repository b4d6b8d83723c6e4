"""``mpprobe nonlocal``: forces between distant atoms, against reference data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mpprobe.cli import options
from mpprobe.cli.console import note, progress, show
from mpprobe.cli.work import claim


def nonlocal_forces(
    context: typer.Context,
    model: options.Models,
    structures: options.Structures = ["pairs"],
    label: options.Labels = None,
    charges: Annotated[
        str,
        typer.Option(
            metavar="CHARGES",
            help="Of the point charges: screened (published Z*/√ε), formal, eeq, dft, or the name "
            "of a per-atom array.",
        ),
    ] = "screened",
    resamples: options.Resamples = 1000,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    dtype: Annotated[
        str, typer.Option(help="float64 or float32, which is too coarse for the farthest atoms.")
    ] = "float64",
    max_atoms: options.MaxAtoms = None,
    modal: options.ModalOfData = None,
    head: options.Head = None,
    trust_checkpoint: options.Trust = False,
    fast: options.Fast = True,
    output: options.Output = Path("mpprobe-nonlocal"),
    overwrite: options.Overwrite = False,
    config: options.Config = None,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
    show_progress: options.ShowProgress = None,
) -> None:
    """Compare forces between distant atoms with reference data, and with parts of its energy.

    The structures come in groups (info key group): an undisturbed one first, then others of the
    same group with one or two atoms displaced, as in the built-in set pairs.
    """
    if not dry_run:
        claim(context, output, overwrite)
    from mpprobe import read
    from mpprobe.cli.loading import comparison, load_models
    from mpprobe.explain import by_distance, by_part, check_groups
    from mpprobe.explain import nonlocal_forces as compare

    frames = read(structures, labels=options.parse_labels(label))
    check_groups(frames, charges)
    potentials = load_models(
        model, frames, quiet, device=device, dtype=dtype, modal=modal, head=head,
        trust_checkpoint=trust_checkpoint, fast=fast,
    )  # fmt: skip
    note(comparison(potentials, frames), quiet)
    if dry_run:
        note("dry run: the input is fine; nothing was computed or written", quiet)
        return
    with progress(show_progress, quiet) as report:
        found = compare(potentials, frames, charges=charges, max_atoms=max_atoms, progress=report)
    distances = by_distance(found, n_resamples=resamples, seed=seed)
    parts = by_part(found, n_resamples=resamples, seed=seed)
    from mpprobe.report.nonlocal_forces import (
        LEGEND,
        nonlocal_results,
        nonlocal_tables,
        write_nonlocal_forces,
    )

    result = found, distances, parts
    show(nonlocal_results(*result), nonlocal_tables(*result), LEGEND, as_json)
    files = write_nonlocal_forces(
        *result, output, overwrite=overwrite,
        configuration=options.effective_config(context),
    )  # fmt: skip
    note(f"written to {output}: {', '.join(file.name for file in files)}", quiet)
