"""``mpprobe steer``: forces when what a probe reads is moved."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mpprobe.cli import completion, options
from mpprobe.cli.console import note, progress, show
from mpprobe.cli.work import claim

if TYPE_CHECKING:
    from mpprobe.interventions.steering import SteeringPlan


def steer(
    context: typer.Context,
    model: options.Model,
    layer: Annotated[
        int,
        typer.Option(
            "-l", "--layer", metavar="INDEX", help="Whose node features are moved.",
            autocompletion=completion.one_layer,
        ),
    ],
    target: Annotated[
        str,
        typer.Option(
            "-t", "--target", metavar="TARGET", help="What to steer: `mpprobe targets`.",
            autocompletion=completion.targets,
        ),
    ] = "potential",
    part: Annotated[
        str,
        typer.Option(
            help="Of the target: within (less its mean over each species in each compound) or "
            "whole.",
            autocompletion=completion.choice("within", "whole"),
        ),
    ] = "within",
    structures: options.Structures = ["dft"],
    label: options.Labels = None,
    limit: options.Limit = None,
    on_error: options.OnError = "stop",
    forces: options.Forces = "forces",
    dose: Annotated[
        list[float],
        typer.Option(
            metavar="G", help="Amplify by 1 + G; −1 takes it away. Repeatable."
        ),
    ] = [-1.0, -0.5, 0.5, 1.0],
    delta: Annotated[
        float | None,
        typer.Option(
            help="Shift what is read of one atom of each structure by so much (the target's unit) "
            "and see who feels it; by default its root mean square."
        ),
    ] = None,
    draws: Annotated[
        int, typer.Option(min=20, help="Random directions that the effect is compared with.")
    ] = 20,
    random_weights: options.RandomWeights = True,
    in_domain: options.InDomain = ["bulk", "strained"],
    resamples: options.Resamples = 1000,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    dtype: options.Dtype = None,
    max_atoms: options.MaxAtoms = None,
    modal: options.Modal = None,
    head: options.Head = None,
    trust_checkpoint: options.Trust = False,
    fast: options.Fast = True,
    output: options.Output = Path("mpprobe-steer"),
    overwrite: options.Overwrite = False,
    config: options.Config = None,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
    show_progress: options.ShowProgress = None,
) -> int:  # fmt: skip
    """Move node features along a probe's direction, and see whether forces follow as with charges.

    What the probe reads of every atom, less its mean, is amplified. The effect stands beside that
    of random directions, of point charges, and of the same in a random-weight model.
    """
    if not dry_run:
        claim(context, output, overwrite)
    from mpprobe import Settings, load
    from mpprobe.cli.given import Given
    from mpprobe.interventions import make_steering

    given = Given(on_error)
    frames = given.with_forces(given.read(structures, label, limit, seed), forces)
    potential = load(model, device=device, dtype=dtype, modal=modal, head=head,
                     trust_checkpoint=trust_checkpoint, fast=fast)  # fmt: skip
    make = partial(
        make_steering, potential, layer=layer, target=target, part=part, doses=dose, delta=delta,
        draws=draws,
        random_weights=random_weights,
        settings=Settings(n_resamples=resamples, seed=seed, in_domain=tuple(in_domain)),
    )  # fmt: skip
    plan = make(given.usable(frames, potential, targets=[target]))
    note(_summary(plan), quiet)
    if dry_run:
        note("dry run: the input is fine; nothing was computed or written", quiet)
        return given.close(written=False, quiet=quiet)
    plan = given.tried(plan, make, potential, layers="all", forces=True,
                       random_weights=random_weights, seed=seed, max_atoms=max_atoms)  # fmt: skip
    with progress(show_progress, quiet) as report:
        found = plan.run(max_atoms=max_atoms, progress=report)
    given.mark(found.provenance)
    from mpprobe.report.steering import LEGEND, steering_results, steering_tables, write_steered

    show(steering_results(found), steering_tables(found), LEGEND, as_json)

    files = write_steered(
        found, output, overwrite=overwrite, configuration=options.effective_config(context)
    )
    note(f"written to {output}: {', '.join(file.name for file in files)}", quiet)
    return given.close()


def _summary(plan: SteeringPlan) -> str:
    """What is going to be steered, in a line."""
    return (
        f"{plan.potential.name}: {plan.target.name} ({plan.part}) steered at layer {plan.layer}; "
        f"{len(plan.frames)} structures of {sum(map(len, plan.frames)):,} atoms"
    )
