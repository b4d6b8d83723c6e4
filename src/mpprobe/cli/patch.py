"""``mpprobe patch``: features of one structure put into another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mpprobe.cli import completion, options
from mpprobe.cli.console import note, show
from mpprobe.cli.work import claim
from mpprobe.errors import InterventionError

if TYPE_CHECKING:
    from mpprobe.structures import Frame


def patch(
    context: typer.Context,
    model: options.Model,
    source: Annotated[
        str, typer.Option(metavar="FILE", help="One structure that features are taken from.")
    ],
    into: Annotated[
        str, typer.Option(metavar="FILE", help="One structure that they are put into.")
    ],
    atom: Annotated[
        list[int],
        typer.Option("-a", "--atom", metavar="INDEX", min=0, help="In both. Repeatable."),
    ],
    layer: Annotated[
        int,
        typer.Option(
            "-l", "--layer", metavar="INDEX", help="Whose node features are put in.",
            autocompletion=completion.one_layer,
        ),
    ],
    target: Annotated[
        str | None,
        typer.Option(
            "-t", "--target", metavar="TARGET", help="Also put in its subspace only.",
            autocompletion=completion.targets,
        ),
    ] = None,
    part: Annotated[
        str,
        typer.Option(
            help="Of the target: within, species or whole, as for erase.",
            autocompletion=completion.choice(*completion.PARTS),
        ),
    ] = "within",
    structures: options.Structures = ["dft"],
    label: options.Labels = None,
    limit: options.Limit = None,
    draws: Annotated[int, typer.Option(min=20, help="Random subspaces to compare with.")] = 20,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    dtype: options.Dtype = None,
    modal: options.Modal = None,
    head: options.Head = None,
    trust_checkpoint: options.Trust = False,
    fast: options.Fast = True,
    output: options.Output = Path("mpprobe-patch"),
    overwrite: options.Overwrite = False,
    config: options.Config = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:  # fmt: skip
    """Give atoms of one structure the node features they have in another, and see what comes over.

    With a target, also only the subspace in which it is read, fitted on --structures, beside random
    subspaces.
    """
    claim(context, output, overwrite)
    from mpprobe import Settings, load, read
    from mpprobe.interventions import patch as patch_atoms

    one, other = _one(source), _one(into)
    frames = None
    if target is not None:
        frames = read(structures, labels=options.parse_labels(label), limit=limit, seed=seed)
    potential = load(model, device=device, dtype=dtype, modal=modal, head=head,
                     trust_checkpoint=trust_checkpoint, fast=fast)  # fmt: skip
    found = patch_atoms(
        potential, one, other, layer=layer, atoms=atom, target=target, part=part,
        structures=frames, draws=draws, settings=Settings(seed=seed),
    )  # fmt: skip
    from mpprobe.report.patch import LEGEND, patch_results, patch_tables, write_patched

    show(patch_results(found), patch_tables(found), LEGEND, as_json)
    files = write_patched(
        found, output, overwrite=overwrite, configuration=options.effective_config(context)
    )
    note(f"written to {output}: {', '.join(file.name for file in files)}", quiet)


def _one(spec: str) -> Frame:
    """The one structure of a file.

    Raises:
        InterventionError: there are several.
    """
    from mpprobe import read

    frames = read([spec])
    if len(frames) > 1:
        raise InterventionError(
            f"{spec}: holds {len(frames)} structures; choose one, as in {spec}@0"
        )
    return frames[0]
