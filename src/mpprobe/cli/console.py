"""What goes where: results to stdout, progress and notes to stderr."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from mpprobe.texts import visible

#: Seconds between two lines of progress where there is no terminal to draw a bar on.
PERIOD = 20.0
# Tables are not cut off where stdout is a file: this many columns hold the widest.
FILE_WIDTH = 140


def stdout() -> Console:
    """Where results go; names of the user's are shown as they are, brackets included."""
    width = None if sys.stdout.isatty() else FILE_WIDTH
    return _Visible(width=width, highlight=False, markup=False, emoji=False)


class _Visible(Console):
    """A console that shows texts of any origin, and lets none of them command the terminal.

    What to do when nobody reads any more is left to its caller.
    """

    def on_broken_pipe(self) -> None:
        raise  # Rich would end the process here, with what it has found

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterator[Segment]:
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(visible(segment.text), segment.style)


def say(message: str) -> None:
    """A line on stderr, without what would command the terminal."""
    print(visible(message), file=sys.stderr)


def note(message: str, quiet: bool) -> None:
    """A line on stderr, unless ``quiet``."""
    if not quiet:
        say(message)


def show(results: dict[str, Any], tables: Iterable, legend: str, as_json: bool) -> None:
    """Results on stdout: all of them as JSON, or the tables, how to read them, the readings.

    Args:
        results: plain data, with ``readings`` a list of lines, and ``provenance``.
        tables: what Rich can print.
        legend: one paragraph.
        as_json: which of the two.
    """
    with _outliving_stdout():
        _print(results, tables, legend, as_json)


def _print(results: dict[str, Any], tables: Iterable, legend: str, as_json: bool) -> None:
    from mpprobe.report.files import json_text, left_out_lines

    if as_json:
        print(json_text(results))
        return
    console = stdout()
    for table in tables:
        console.print(table)
    console.print(legend, style="dim")
    for line in [*left_out_lines(results["provenance"]), *results["readings"]]:
        console.print(f"• {line}", soft_wrap=True)


@contextlib.contextmanager
def _outliving_stdout() -> Iterator[None]:
    """Go on where nobody reads stdout any more or its disk is full: the files are still written."""
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        note(f"stdout: can't be written ({error.strerror}); what follows goes to files only", False)
        # Or Python would try again, and fail, as it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def progress(show: bool | None, quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """A function to call with what is done, how much is done, and how much there is.

    On a terminal it draws a bar with the rate for each kind of work; elsewhere it prints a line
    when a kind of work begins, and now and then.
    """
    if quiet or show is False:
        yield lambda what, done, total: None
    elif show or sys.stderr.isatty():
        with _bars() as update:
            yield update
    else:
        yield _Lines()


@contextlib.contextmanager
def _bars() -> Iterator[Callable[[str, int, int], None]]:
    from rich import progress as rich_progress

    class Rate(rich_progress.ProgressColumn):
        def render(self, task: rich_progress.Task) -> str:
            speed = task.finished_speed or task.speed
            return f"{speed:,.0f}/s" if speed else ""

    columns = (
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.MofNCompleteColumn(),
        Rate(),
        rich_progress.TimeRemainingColumn(elapsed_when_finished=True),
    )
    with rich_progress.Progress(*columns, console=_Visible(stderr=True)) as bars:
        tasks: dict[str, rich_progress.TaskID] = {}

        def update(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield update


class _Lines:
    """Progress as plain lines: when work of a kind begins, and every :data:`PERIOD` seconds."""

    def __init__(self) -> None:
        self.what = ""
        self.last = self.began = 0.0

    def __call__(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if what != self.what:
            self.what, self.last, self.began = what, now, now
            say(f"{what} ({total:,})")
        elif now - self.last > PERIOD and done:
            self.last = now
            rate = done / (now - self.began)
            say(f"{what}: {done:,} of {total:,}, {rate:,.0f}/s")
