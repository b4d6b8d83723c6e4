"""``mpprobe response``: do forces between distant atoms follow Coulomb's law?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mpprobe.cli import completion, options
from mpprobe.cli.console import note, progress, show
from mpprobe.cli.work import wins

if TYPE_CHECKING:
    from mpprobe.models.potential import Potential


def response(
    context: typer.Context,
    model: options.Model,
    compound: Annotated[
        list[str],
        typer.Option(
            metavar="FORMULA|all",
            help="A crystal that is built in, such as NaCl, MgO or CsCl. Repeatable.",
            autocompletion=completion.choice("all", *completion.CRYSTALS),
        ),
    ] = ["NaCl", "MgO"],
    structures: Annotated[
        list[str] | None,
        typer.Option(
            "-s", "--structures", metavar="FILE|SET",
            help="Structures with formal charges, in place of the crystals. Repeatable.",
            autocompletion=completion.structures,
        ),
    ] = None,
    label: options.Labels = None,
    metals: Annotated[
        bool, typer.Option("--metals/--no-metals", help="Al and Cu, which may show no such law.")
    ] = True,
    atom: Annotated[
        list[int] | None,
        typer.Option(
            min=0, help="Whose force constants; by default one of each species. Repeatable."
        ),
    ] = None,
    beyond: Annotated[
        float | None,
        typer.Option(min=0.1, help="Å from which on pairs are compared; by default the cutoff."),
    ] = None,
    shares: Annotated[
        bool, typer.Option("--shares", help="Also on which sites some pairs' force constants sit.")
    ] = False,
    random_weights: options.RandomWeights = True,
    resamples: options.Resamples = 1000,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    dtype: options.Dtype = None,
    modal: options.Modal = None,
    head: options.Head = None,
    trust_checkpoint: options.Trust = False,
    fast: options.Fast = True,
    output: options.Output = Path("mpprobe-response"),
    overwrite: options.Overwrite = False,
    config: options.Config = None,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
    show_progress: options.ShowProgress = None,
) -> None:  # fmt: skip
    """Compare force constants beyond the cutoff with those of screened charges; needs no labels.

    Beside the crystals stand metals, random weights and published Born charges. A run that was
    stopped goes on where it was.
    """
    from mpprobe.report.files import check_output

    if not dry_run:
        check_output(output, overwrite)
    from mpprobe import Settings, load, read
    from mpprobe.cli.loading import comparison, unfinished
    from mpprobe.response import make_response

    if structures and wins(context, "compound", "structures"):
        structures = None
    frames = (
        read(structures, labels=options.parse_labels(label), seed=seed)
        if structures
        else _crystals(compound)
    )
    potential = load(model, device=device, dtype=dtype, modal=modal, head=head,
                     trust_checkpoint=trust_checkpoint, fast=fast)  # fmt: skip
    frames += _controls(potential, quiet) if metals else []
    plan = make_response(
        potential, frames, atoms=atom, nearest=beyond, random_weights=random_weights,
        shares=shares, settings=Settings(n_resamples=resamples, seed=seed),
    )  # fmt: skip
    note(comparison([potential], frames), quiet)
    if dry_run:
        note("dry run: the input is fine; nothing was computed or written", quiet)
        return
    from mpprobe.report.response import (
        LEGEND,
        response_results,
        response_tables,
        write_response,
    )

    with unfinished(output, plan, quiet) as journal:
        with progress(show_progress, quiet) as report:
            found = plan.run(progress=report, journal=journal)
        show(response_results(found), response_tables(found), LEGEND, as_json)
        files = write_response(
            found, output, overwrite=overwrite, configuration=options.effective_config(context)
        )
    note(f"written to {output}: {', '.join(file.name for file in files)}", quiet)


def _crystals(names: list[str]) -> list:
    """The ionic crystals asked for; ``all`` are those with published values."""
    from mpprobe.response import CRYSTALS, crystal
    from mpprobe.targets.dielectric import dielectrics

    if [name.lower() for name in names] == ["all"]:
        names = [name for name in CRYSTALS if name in dielectrics()]
    return [crystal(name) for name in dict.fromkeys(names)]


def _controls(potential: Potential, quiet: bool) -> list:
    """The metals that the potential knows."""
    from mpprobe.response import CRYSTALS, METAL, crystal

    made = [crystal(name) for name, known in CRYSTALS.items() if not known.charges]
    kept = [frame for frame in made if set(frame.numbers) <= set(potential.species)]
    left = [frame.compound for frame in made if frame not in kept]
    if left:
        note(f"{potential.name} doesn't know {', '.join(left)}: no {METAL} as the control", quiet)
    return kept
