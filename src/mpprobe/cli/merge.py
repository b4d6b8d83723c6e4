"""``mpprobe merge``: stores that several tasks made, joined into a whole one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mpprobe.cli import options
from mpprobe.cli.console import note, progress


def merge(
    parts: Annotated[
        list[Path],
        typer.Argument(metavar="PART...", help="Stores, or folders that hold one each."),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="DIR",
            help="Where the whole store goes; without it the parts are only checked.",
        ),
    ] = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
    show_progress: options.ShowProgress = None,
) -> None:
    """Join stores of the same configuration into one, after checking every byte of them.

    Refuses, naming it, what is missing, damaged, of another configuration, or there twice with
    different content. Given one part, it checks that the store is whole.
    """
    from mpprobe import merge_stores

    with progress(show_progress, quiet) as report:
        store = merge_stores(
            parts, output, progress=lambda done, total: report("checking shards", done, total)
        )
    if output is None:
        note("only checked; nothing was written, since there is no --output", quiet)
    whole = str(store.folder) if output or len(parts) == 1 else None
    n_shards, n_atoms = len(store.shards), sum(shard.n_rows for shard in store.shards)
    if as_json:
        import json

        typer.echo(json.dumps({"store": whole, "shards": n_shards, "atoms": n_atoms}, indent=1))
        return
    whole = whole or "the parts together"
    typer.echo(f"{whole}: complete, {n_shards} shards of {n_atoms:,} atoms")
