"""``mpprobe ood``: how well forces hold, domain by domain, against reference data."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from mpprobe.cli import options
from mpprobe.cli.console import note, progress, show
from mpprobe.cli.work import claim


def ood(
    context: typer.Context,
    model: options.Models,
    structures: options.Structures = ["dft"],
    label: options.Labels = None,
    limit: options.Limit = None,
    on_error: options.OnError = "stop",
    forces: options.Forces = "forces",
    energy: Annotated[
        str, typer.Option(metavar="NAME", help="Info key of the reference energy (eV).")
    ] = "energy",
    resamples: options.Resamples = 1000,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    dtype: options.Dtype = None,
    max_atoms: options.MaxAtoms = None,
    modal: options.ModalOfData = None,
    head: options.Head = None,
    trust_checkpoint: options.Trust = False,
    fast: options.Fast = True,
    output: options.Output = Path("mpprobe-ood"),
    overwrite: options.Overwrite = False,
    config: options.Config = None,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
    show_progress: options.ShowProgress = None,
) -> int:  # fmt: skip
    """Compare forces and energies with reference data, domain by domain, models side by side.

    The structures must carry reference forces, as the built-in set dft does.
    """
    if not dry_run:
        claim(context, output, overwrite)
    from mpprobe.activations import run_through
    from mpprobe.cli.given import Given
    from mpprobe.cli.loading import comparison, load_models
    from mpprobe.explain import by_domain, force_errors, reference_of

    given = Given(on_error)
    frames = given.with_reference(given.read(structures, label, limit, seed), forces, energy)
    for frame in frames:
        reference_of(frame, forces, energy)
    potentials = load_models(
        model, frames, quiet, device=device, dtype=dtype, modal=modal, head=head,
        trust_checkpoint=trust_checkpoint, fast=fast,
    )  # fmt: skip
    frames = given.usable(frames, *potentials)
    note(comparison(potentials, frames), quiet)
    if dry_run:
        note("dry run: the input is fine; nothing was computed or written", quiet)
        return given.close(written=False, quiet=quiet)
    trial = partial(run_through, potentials, forces=True, max_atoms=max_atoms)
    frames = given.runnable(frames, trial)
    with progress(show_progress, quiet) as report:
        errors = force_errors(
            potentials, frames, forces=forces, energy=energy, max_atoms=max_atoms, progress=report
        )
    given.mark(errors.provenance)
    summary = by_domain(errors, n_resamples=resamples, seed=seed)
    from mpprobe.report.domains import LEGEND, domain_results, domain_table, write_force_errors

    show(domain_results(errors, summary), [domain_table(summary)], LEGEND, as_json)

    files = write_force_errors(
        errors, summary, output, overwrite=overwrite,
        configuration=options.effective_config(context),
    )  # fmt: skip
    note(f"written to {output}: {', '.join(file.name for file in files)}", quiet)
    return given.close()
