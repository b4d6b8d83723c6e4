"""``mpprobe report``: one offline page from what commands have written."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mpprobe.cli import options
from mpprobe.cli.console import note

Page = Annotated[
    Path, typer.Option("-o", "--output", metavar="FILE.html", help="The page to write.")
]


def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Folders that commands have written.")
    ],
    output: Page = Path("report.html"),
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Write one page of what commands have found, which needs no network: readings, figures,
    tables, structures with what was decoded of their atoms, and provenance.

    Runs of one command stand side by side.
    """  # fmt: skip
    from mpprobe.report.page import write_report

    file = write_report(runs, output, overwrite=overwrite)
    note(f"written to {file} ({file.stat().st_size / 1e6:.1f} MB)", quiet)
