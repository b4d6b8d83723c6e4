"""``mpprobe targets``: what can be probed for."""

from __future__ import annotations

import typer

from mpprobe.cli import options
from mpprobe.cli.console import stdout


def targets(as_json: options.Json = False) -> None:
    """List the targets: name, unit, order l, definition."""
    from mpprobe.targets import target_names

    entries = target_names()
    if as_json:
        import json
        from dataclasses import asdict

        typer.echo(json.dumps([asdict(entry) for entry in entries], indent=1, ensure_ascii=False))
        return
    from rich.table import Table

    table = Table(
        caption="Electrostatic targets take their charges after an @: formal (the default), eeq, "
        "dft, or a per-atom array, as in potential:shell-2@eeq.",
        caption_justify="left",
    )
    for column in ("target", "unit", "l", "definition"):
        table.add_column(column, overflow="fold", no_wrap=column == "target")
    for entry in entries:
        order = "0 or 1" if entry.l is None else str(entry.l)
        table.add_row(entry.name, entry.unit, order, entry.description)
    stdout().print(table)
