"""The application: global options, and the commands in the order of use."""

from __future__ import annotations

from typing import Annotated

import typer

from mpprobe import __version__
from mpprobe.cli.attribute import attribute
from mpprobe.cli.doctor import doctor
from mpprobe.cli.erase import erase
from mpprobe.cli.explain import explain
from mpprobe.cli.extract import extract
from mpprobe.cli.far import far
from mpprobe.cli.merge import merge
from mpprobe.cli.models import models
from mpprobe.cli.nonlocal_forces import nonlocal_forces
from mpprobe.cli.ood import ood
from mpprobe.cli.patch import patch
from mpprobe.cli.probe import probe
from mpprobe.cli.report import report
from mpprobe.cli.response import response
from mpprobe.cli.run_study import run_study
from mpprobe.cli.steer import steer
from mpprobe.cli.targets import targets
from mpprobe.cli.toy import app as toy

app = typer.Typer(
    name="mpprobe",
    help="Open pretrained graph-neural-network interatomic potentials and probe what is inside.",
    no_args_is_help=True,
    rich_markup_mode=None,  # Rich's panels cut long flags off at 80 columns
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"mpprobe {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show it and exit."),
    ] = False,
) -> None:
    pass


app.command()(probe)
app.command()(erase)
app.command()(steer)
app.command()(patch)
app.command()(attribute)
app.command()(response)
app.command()(explain)
app.command()(ood)
app.command("nonlocal")(nonlocal_forces)
app.command()(far)
app.add_typer(toy, name="toy")
app.command()(report)
app.command()(extract)
app.command()(merge)
app.command("run")(run_study)
app.command()(models)
app.command()(targets)
app.command()(doctor)
