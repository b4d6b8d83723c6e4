"""``mpprobe far``: structures whose surroundings of some atoms stay, and all else is drawn anew."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mpprobe.cli import options
from mpprobe.cli.console import note


def far(
    file: Annotated[Path, typer.Argument(help="Extended XYZ to write; .gz compresses it.")],
    structures: options.Structures,
    label: options.Labels = None,
    limit: options.Limit = None,
    fixed: Annotated[
        float,
        typer.Option(
            min=0.1, metavar="RADIUS",
            help="All atoms within it of a watched one stay, Å; at least the model's cutoff.",
        ),
    ] = 5.0,
    draws: Annotated[int, typer.Option(min=2, help="Structures to make of each.")] = 8,
    amplitude: Annotated[
        float, typer.Option(min=0.001, help="Standard deviation of the displacements, Å.")
    ] = 0.3,
    atoms: Annotated[
        str | None,
        typer.Option(
            "--atoms", metavar="WHICH",
            help="The atoms watched: array:NAME (where it isn't zero), or indices as in 0,5. "
            "Default: one of each species, close together.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws.")] = 0,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:  # fmt: skip
    """Draw structures anew far from some atoms, whose surroundings stay as they are.

    Layer 1 and all that one cutoff decides can't tell such draws apart: `mpprobe probe -s FILE`
    fits and scores within them, at the watched atoms, what has come from beyond. They are said to
    be of domain far; those of one structure are of one group. Only formal charges are kept of what
    the file says of the atoms, since all that was computed is of the undisturbed structure.
    """
    import numpy as np

    from mpprobe.errors import StructureError
    from mpprobe.probes.chosen import chosen_atoms
    from mpprobe.structures import Frame, check, far_draws, read, watched_atoms, write_extxyz
    from mpprobe.targets.charges import FORMAL_ARRAYS

    if file.exists() and not overwrite:
        raise StructureError(f"{file}: is there already; choose another name, or pass --overwrite")
    frames = read(structures, labels=options.parse_labels(label), limit=limit, seed=seed)
    check(frames)
    kept = {"numbers", "positions", *FORMAL_ARRAYS}
    masks = [None] * len(frames) if atoms is None else chosen_atoms(frames, atoms)
    made = []
    for i, (frame, mask) in enumerate(zip(frames, masks, strict=True)):
        watched = watched_atoms(frame.atoms) if mask is None else np.flatnonzero(mask)
        # What was computed for the structure (energies, charges, potentials) isn't the draws'.
        base = frame.atoms.copy()
        base.arrays = {name: values for name, values in base.arrays.items() if name in kept}
        base.info = {
            "compound": frame.compound, "domain": "far", "group": f"{frame.compound}-far-{i}",
        }  # fmt: skip
        try:
            found = far_draws(
                base, watched, fixed, draws=draws, amplitude=amplitude, seed=[seed, i]
            )
        except StructureError as error:
            raise StructureError(f"{frame.source}: {error}") from error
        made += [Frame.from_atoms(drawn, frame.source) for drawn in found]
    write_extxyz(file, made)
    note(f"written to {file}: {len(made)} structures, {draws} of each of {len(frames)}", quiet)
