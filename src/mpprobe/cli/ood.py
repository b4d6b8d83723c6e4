"""``mpprobe ood``: how well forces hold, domain by domain, against reference data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from mpprobe.cli import options
from mpprobe.cli.console import note, progress, stdout


def ood(
    context: typer.Context,
    model: options.Models,
    structures: options.Structures = ["dft"],  # noqa: B006 - Typer copies it
    label: options.Labels = None,
    limit: options.Limit = None,
    forces: Annotated[
        str, typer.Option(metavar="NAME", help="Per-atom array of the reference forces (eV/Å).")
    ] = "forces",
    energy: Annotated[
        str, typer.Option(metavar="NAME", help="Info key of the reference energy (eV).")
    ] = "energy",
    resamples: Annotated[
        int, typer.Option(min=100, help="Bootstrap resamples behind each interval.")
    ] = 1000,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    dtype: options.Dtype = None,
    max_atoms: options.MaxAtoms = None,
    modal: Annotated[
        str | None,
        typer.Option(
            help="Fidelity of the multi-fidelity SevenNets among the models; by default the one "
            "called as the functional of the structures (info key xc).",
        ),
    ] = None,
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
) -> None:  # fmt: skip
    """Compare forces and energies with reference data, domain by domain, models side by side.

    The structures must carry reference forces, as the built-in set dft does.
    """
    from mpprobe.report.files import check_output

    if not dry_run:
        check_output(output, overwrite)
    from mpprobe import load, read
    from mpprobe.explain import by_domain, force_errors, reference_of

    frames = read(structures, labels=options.parse_labels(label), limit=limit, seed=seed)
    for frame in frames:
        reference_of(frame, forces, energy)
    potentials = [
        load(name, device=device, dtype=dtype, modal=_modal(name, modal, frames, quiet), head=head,
             trust_checkpoint=trust_checkpoint, fast=fast)
        for name in model
    ]  # fmt: skip
    note(_summary(potentials, frames), quiet)
    if dry_run:
        note("dry run: the input is fine; nothing was computed or written", quiet)
        return
    with progress(show_progress, quiet) as report:
        errors = force_errors(
            potentials, frames, forces=forces, energy=energy, max_atoms=max_atoms, progress=report
        )
    summary = by_domain(errors, n_resamples=resamples, seed=seed)
    _print(errors, summary, as_json)
    from mpprobe.report.domains import write_force_errors

    files = write_force_errors(
        errors, summary, output, overwrite=overwrite,
        configuration=options.effective_config(context),
    )  # fmt: skip
    note(f"written to {output}: {', '.join(file.name for file in files)}", quiet)


def _modal(name: str, modal: str | None, frames: Sequence, quiet: bool) -> str | None:
    """The fidelity for one of the models: as asked for, or that of the structures' functional."""
    from mpprobe.models.registry import modals_of

    modals = modals_of(name)
    if modals is None:  # a file may have some; loading it says so
        return modal
    functionals = {str(frame.atoms.info.get("xc")) for frame in frames}
    if modals and modal is None and len(functionals) == 1:
        same = [m for m in modals if m.lower() == min(functionals).lower()]
        if same:
            note(f"{name}: fidelity {same[0]}, the functional of the structures", quiet)
            return same[0]
    return modal if modals else None


def _summary(potentials: Sequence, frames: Sequence) -> str:
    """What is going to be compared, in a line."""
    domains = ", ".join(dict.fromkeys(frame.domain for frame in frames))
    return (
        f"{', '.join(p.name for p in potentials)}; {len(frames)} structures of "
        f"{sum(map(len, frames)):,} atoms; domains {domains}"
    )


def _print(errors, summary, as_json: bool) -> None:
    """The table and a line a model, or everything by domain as JSON."""
    from mpprobe.report.domains import LEGEND, domain_readings, domain_results, domain_table

    if as_json:
        from mpprobe.report.files import json_text

        typer.echo(json_text(domain_results(errors, summary)))
        return
    console = stdout()
    console.print(domain_table(summary))
    console.print(LEGEND, style="dim")
    for line in domain_readings(summary):
        console.print(f"• {line}", soft_wrap=True)
