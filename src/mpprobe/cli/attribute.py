"""``mpprobe attribute``: which atoms and features a number of a structure comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mpprobe.cli import completion, options
from mpprobe.cli.console import note, progress, show
from mpprobe.cli.work import claim


def attribute(
    context: typer.Context,
    model: options.Model,
    structure: Annotated[
        str,
        typer.Option(
            "-s", "--structure", metavar="FILE|SET",
            help="One structure: a file, a slice of one (run.xyz@5), or a built-in set's first.",
            autocompletion=completion.structures,
        ),
    ],
    number: Annotated[
        str,
        typer.Option(
            "-n", "--number", metavar="NAME",
            help="What is explained: energy, site:ATOM, force:ATOM:x, or TARGET:ATOM, what a "
            "probe reads (potential:0).",
        ),
    ],
    layer: Annotated[
        int,
        typer.Option(
            "-l", "--layer", metavar="INDEX", help="Whose node features it is shared out among.",
            autocompletion=completion.one_layer,
        ),
    ],
    method: Annotated[
        str,
        typer.Option(
            help="integrated gradients, gradient × input, gradient SHAP, atom ablation, channel "
            "ablation or Shapley sampling."
        ),
    ] = "integrated gradients",
    baseline: Annotated[
        str, typer.Option(help="Compared with what: species mean (of scalars) or zero.")
    ] = "species mean",
    train: Annotated[
        list[str],
        typer.Option(
            metavar="FILE|SET", help="Structures to fit a target's probe on. Repeatable.",
            autocompletion=completion.structures,
        ),
    ] = ["ionic"],
    read: Annotated[
        int | None,
        typer.Option(metavar="INDEX", help="Layer in which that probe reads; by default --layer."),
    ] = None,
    also: Annotated[
        list[str] | None,
        typer.Option(
            metavar="edges|layers|graph",
            help="More: by edge and layer of messages; through later layers; the influence of all "
            "atoms on each other. Repeatable.",
            autocompletion=completion.choice(*completion.ATTRIBUTED),
        ),
    ] = None,
    random_weights: options.RandomWeights = True,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    dtype: options.Dtype = None,
    modal: options.Modal = None,
    head: options.Head = None,
    trust_checkpoint: options.Trust = False,
    fast: options.Fast = True,
    output: options.Output = Path("mpprobe-attribute"),
    overwrite: options.Overwrite = False,
    config: options.Config = None,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
    show_progress: options.ShowProgress = None,
) -> None:  # fmt: skip
    """Share a number of one structure out among the atoms and features of a layer.

    Beside the map stand its completeness, infidelity and sensitivity, the derivatives by the atoms'
    positions, and the same with random weights.
    """
    if not dry_run:
        claim(context, output, overwrite)
    from mpprobe import load
    from mpprobe import read as read_structures
    from mpprobe.attribution import Scalar, make_attribution, parse_number

    frame = read_structures(structure, limit=1)[0]
    decoded = not isinstance(parse_number(number), Scalar)
    potential = load(model, device=device, dtype=dtype, modal=modal, head=head,
                     trust_checkpoint=trust_checkpoint, fast=fast)  # fmt: skip
    plan = make_attribution(
        potential, frame, number, layer, method=method, baseline=baseline,
        train=read_structures(train) if decoded else (), read=read,
        more=also or (), random_weights=random_weights, seed=seed,
    )  # fmt: skip
    note(f"{potential.name}: {number} of {frame.source}, {len(frame)} atoms", quiet)
    if dry_run:
        note("dry run: the input is fine; nothing was computed or written", quiet)
        return
    with progress(show_progress, quiet) as report:
        found = plan.run(progress=report)
    from mpprobe.report.attribution import (
        LEGEND,
        attribution_results,
        attribution_tables,
        write_attribution,
    )

    show(attribution_results(found), attribution_tables(found), LEGEND, as_json)
    files = write_attribution(
        found, output, overwrite=overwrite, configuration=options.effective_config(context)
    )
    note(f"written to {output}: {', '.join(file.name for file in files)}", quiet)
