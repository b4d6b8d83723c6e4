"""``mpprobe run``: a whole study from one file, resumed where it was left."""

from __future__ import annotations

import contextlib
import io
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mpprobe.cli import DONE, LEFT_OUT, options
from mpprobe.cli.console import note, stdout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpprobe.cli.record import Record
    from mpprobe.cli.steps import Step


def run_study(
    study: Annotated[
        Path, typer.Argument(metavar="STUDY.yaml", help="Steps with their options.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="DIR",
            help="Where every step has a folder; goes before `output:` of the file.",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Do every step again, also those that are done.")
    ] = False,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
    show_progress: options.ShowProgress = None,
) -> int:  # fmt: skip
    """Run the commands of a study one after the other, each into a folder of its own.

    The whole file is checked first. Given again, the same line goes on where it was stopped: steps
    that are done are left out, unless their options or input files have changed.
    """
    from mpprobe.cli.record import Record
    from mpprobe.cli.study import read_study
    from mpprobe.files import alone

    found = read_study(study, output)
    record = Record(found.folder)
    plan = _plan(found.steps, record, overwrite)
    for step, why in plan:
        if why and not _waits(step, plan):
            step.check()
    if dry_run:
        _show(plan, record, as_json, {})
        note("dry run: the input is fine; nothing was computed or written", quiet)
        return 0
    flags = ["--quiet"] * quiet + ["--debug"] * debug
    flags += [] if show_progress is None else [f"--{'' if show_progress else 'no-'}progress"]
    with alone(found.folder, found.folder), _silent(as_json):
        record = Record(found.folder)  # another run may have gone on meanwhile
        plan = _plan(found.steps, record, overwrite)
        code, seconds = _run(plan, record, overwrite, flags, quiet)
    if as_json:
        _show(plan, record, as_json, seconds)
    if code == DONE:
        note(f"the study is done: {found.folder}", quiet)
    if code == LEFT_OUT:
        lacking = [step.name for step, _ in plan if record.code(step) == LEFT_OUT]
        note(
            f"the study is done: {found.folder}; structures were left out of "
            f"{', '.join(lacking)}, listed in failures.csv of each",
            quiet=False,
        )
    return code


def _plan(steps: Sequence[Step], record: Record, overwrite: bool) -> list[tuple[Step, str]]:
    """Every step with why it is to be done; empty if it is done."""
    plan: list[tuple[Step, str]] = []
    pending: set[str] = set()
    for step in steps:
        upstream = [name for name in step.after if name in pending]
        why = record.why(step) or ("overwrite" if overwrite else "")
        if not why and upstream:
            why = f"after {', '.join(upstream)}"
        pending |= {step.name} if why else set()
        plan.append((step, why))
    return plan


def _waits(step: Step, plan: Sequence[tuple[Step, str]]) -> bool:
    """Whether the step takes what an earlier one has still to make."""
    return any(why for earlier, why in plan if earlier.name in step.after)


def _run(
    plan: Sequence[tuple[Step, str]],
    record: Record,
    overwrite: bool,
    flags: list[str],
    quiet: bool,
) -> tuple[int, dict]:
    """The exit code of the study, and the seconds that each step took."""
    seconds: dict[str, float] = {}
    for number, (step, why) in enumerate(plan, 1):
        head = f"[{number}/{len(plan)}] {step.name}"
        if not why:
            lacking = ", without some structures" * (record.code(step) == LEFT_OUT)
            note(f"{head}: done before{lacking}, in {step.output}", quiet)
            continue
        note(f"{head} ({why}): mpprobe {' '.join(step.words)} → {step.output}", quiet)
        ours = overwrite or step.name in record.steps
        _make_room(step, record)
        record.begin(step)
        began = time.monotonic()
        code = step.run(*flags, *["--overwrite"] * ours)
        if code not in (DONE, LEFT_OUT):
            return code, seconds
        seconds[step.name] = time.monotonic() - began
        record.finish(step, seconds[step.name], code)
    return max(record.code(step) for step, _ in plan), seconds


def _make_room(step: Step, record: Record) -> None:
    """Take away a store that the study made with other options; results are replaced anyway."""
    from mpprobe.errors import MPProbeError

    if step.makes_results or not step.output.exists() or record.same_options(step):
        return
    if step.name not in record.steps and any(step.output.iterdir()):
        raise MPProbeError(
            f"{step.where}: {step.output}: holds something already; move it, or choose another "
            "--output"
        )
    shutil.rmtree(step.output)


def _silent(as_json: bool) -> contextlib.AbstractContextManager:
    """Keep what steps print off stdout, which then has the study's JSON only."""
    return contextlib.redirect_stdout(io.StringIO()) if as_json else contextlib.nullcontext()


def _show(
    plan: Sequence[tuple[Step, str]], record: Record, as_json: bool, seconds: dict[str, float]
) -> None:
    """The plan, or with ``as_json`` also what was done of it."""
    rows: list[dict[str, Any]] = [
        {
            "step": step.name,
            "command": " ".join(step.words),
            "output": str(step.output),
            "to_do": why,
            "seconds": seconds.get(step.name),
            "left_out": record.code(step) == LEFT_OUT,
        }
        for step, why in plan
    ]
    if as_json:
        from mpprobe.report.files import json_text

        print(json_text({"steps": rows}))
        return
    from rich.table import Table

    table = Table()
    for column in ("step", "command", "output", "state"):
        table.add_column(column, overflow="fold")
    for row in rows:
        state = f"to do ({row['to_do']})" if row["to_do"] else "done"
        table.add_row(row["step"], row["command"], row["output"], state)
    stdout().print(table)
