"""``mpprobe erase``: forces without what a probe reads."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mpprobe.cli import completion, options
from mpprobe.cli.console import note, progress, show

if TYPE_CHECKING:
    from mpprobe.interventions.erasing import ErasingPlan


def erase(
    context: typer.Context,
    model: options.Model,
    layer: options.Layers = ["all"],
    target: Annotated[
        str,
        typer.Option(
            "-t", "--target", metavar="TARGET", help="What to erase: `mpprobe targets`.",
            autocompletion=completion.targets,
        ),
    ] = "potential",
    part: Annotated[
        str,
        typer.Option(
            help="Of the target: within (less its mean over each species in each compound), "
            "species (the same, one direction a species), or whole.",
            autocompletion=completion.choice(*completion.PARTS),
        ),
    ] = "within",
    structures: options.Structures = ["dft"],
    label: options.Labels = None,
    limit: options.Limit = None,
    on_error: options.OnError = "stop",
    forces: options.Forces = "forces",
    draws: Annotated[
        int, typer.Option(min=20, help="Random subspaces that the effect is compared with.")
    ] = 20,
    random_weights: options.RandomWeights = True,
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
    output: options.Output = Path("mpprobe-erase"),
    overwrite: options.Overwrite = False,
    config: options.Config = None,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
    show_progress: options.ShowProgress = None,
) -> int:  # fmt: skip
    """Erase what a linear map reads of a target, and see what the forces lose.

    Several layers are erased together. The effect stands beside that of random subspaces of the
    same rank and variance, of the species means, and of the same in a random-weight model. A run
    that was stopped goes on where it was.
    """
    from mpprobe.report.files import check_output

    if not dry_run:
        check_output(output, overwrite)
    from mpprobe import Settings, load
    from mpprobe.cli.given import Given
    from mpprobe.cli.loading import unfinished
    from mpprobe.interventions import make_erasing

    given = Given(on_error)
    frames = given.with_forces(given.read(structures, label, limit, seed), forces)
    potential = load(model, device=device, dtype=dtype, modal=modal, head=head,
                     trust_checkpoint=trust_checkpoint, fast=fast)  # fmt: skip
    make = partial(
        make_erasing, potential, layers=layer, target=target, part=part, draws=draws,
        random_weights=random_weights,
        settings=Settings(folds, resamples, seed, tuple(in_domain)),
    )  # fmt: skip
    plan = make(given.usable(frames, potential, targets=[target]))
    note(_summary(plan), quiet)
    if dry_run:
        note("dry run: the input is fine; nothing was computed or written", quiet)
        return given.close(written=False, quiet=quiet)
    plan = given.tried(plan, make, potential, layers="all", forces=True,
                       random_weights=random_weights, seed=seed, max_atoms=max_atoms)  # fmt: skip
    from mpprobe.report.erasing import LEGEND, erasing_results, erasing_tables, write_erasing

    with unfinished(output, plan, quiet) as journal:
        with progress(show_progress, quiet) as report:
            found = plan.run(max_atoms=max_atoms, progress=report, journal=journal)
        given.mark(found.provenance)
        show(erasing_results(found), erasing_tables(found, by_domain=verbose), LEGEND, as_json)
        files = write_erasing(
            found, output, overwrite=overwrite, configuration=options.effective_config(context)
        )
    note(f"written to {output}: {', '.join(file.name for file in files)}", quiet)
    return given.close()


def _summary(plan: ErasingPlan) -> str:
    """What is going to be erased, in a line."""
    layers = ", ".join(map(str, plan.layers))
    return (
        f"{plan.potential.name}: {plan.target.name} ({plan.part}) erased at layer {layers}; "
        f"{len(plan.frames)} structures of {sum(map(len, plan.frames)):,} atoms"
    )
