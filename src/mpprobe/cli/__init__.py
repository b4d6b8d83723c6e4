"""The command line: one thin file a command. Errors become one line and an exit code."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
import sys
from collections.abc import Iterator, Sequence

#: Exit codes, as documented in the README.
DONE, UNEXPECTED, USAGE, LEFT_OUT, INTERRUPTED = 0, 1, 2, 4, 130
#: Signals that end a command as Ctrl-C does: of a batch system, a container, a lost terminal.
ENDING = ("SIGTERM", "SIGHUP")
#: What NumPy says, without more, when a disk is full or a file may not grow.
SHORT_WRITE = re.compile(r"\d+ requested and \d+ written")
#: What a disk says that no file can be written to.
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run ``mpprobe`` and exit.

    0 done; 1 unexpected; 2 bad input, or disk or memory are full; 3 a package is missing; 4 done
    without some of the structures; 130 interrupted; 143 or 129 told to end by SIGTERM or SIGHUP.
    """
    with _ending() as told:
        code = run(sys.argv[1:] if arguments is None else arguments)
    sys.exit(128 + told[0] if told and code == INTERRUPTED else code)


@contextlib.contextmanager
def _ending() -> Iterator[list[int]]:
    """Take signals for an interrupt, save those that are ignored (nohup); gives those that came."""
    told: list[int] = []

    def end(number: int, frame: object) -> None:
        told.append(number)
        raise KeyboardInterrupt

    numbers = [getattr(signal, name) for name in ENDING if hasattr(signal, name)]
    ours = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, end)
    try:
        yield told
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def run(arguments: Sequence[str]) -> int:
    """Run ``mpprobe`` with ``arguments`` and return its exit code."""
    # Threads that wait for each other in a busy loop slow a shared machine to a crawl. Read when
    # torch is first imported, which no command has done yet.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import typer

    from mpprobe.cli import completion
    from mpprobe.cli.app import app
    from mpprobe.errors import MPProbeError

    if os.environ.get(completion.VARIABLE) == "complete_bash":
        return completion.answer_bash(app)
    try:
        code = app(args=list(arguments), prog_name="mpprobe", standalone_mode=False) or DONE
        # Some releases of Typer turn an interrupt into this code, others raise.
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        return code
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted; nothing was left half-written", INTERRUPTED)
    except MPProbeError as error:
        _show_traceback(arguments)
        return _fail(str(error), error.exit_code)
    except Exception as error:
        # Typer's usage errors know how to show themselves; their class is not public.
        if hasattr(error, "show") and hasattr(error, "exit_code"):
            error.show()
            return error.exit_code
        _show_traceback(arguments)
        if line := _for_want_of(error):
            return _fail(line, USAGE)
        summary = " ".join(f"{type(error).__name__}: {error}".split())
        return _fail(f"unexpected: {summary} (--debug shows where)", UNEXPECTED)


def _for_want_of(error: Exception) -> str:
    """The line of an error that says that memory or disk are full; empty for any other."""
    from mpprobe.errors import is_out_of_memory

    if is_out_of_memory(error):
        return "out of memory; take smaller batches with --max-atoms, or fewer structures"
    if isinstance(error, OSError):
        short = SHORT_WRITE.fullmatch(str(error))
        if short or error.errno in DISK:
            place = error.filename or "a temporary file"
            reason = "no space left, or no file may grow so large" if short else error.strerror
            return f"{place}: can't be written ({reason}); free space, or set TMPDIR elsewhere"
    return ""


def _show_traceback(arguments: Sequence[str]) -> None:
    """The traceback of the error being handled, if ``--debug`` asks for it."""
    if "--debug" in arguments:
        import traceback

        traceback.print_exc()


def _fail(message: str, code: int) -> int:
    from mpprobe.cli.console import say

    say(f"mpprobe: {message}")
    return code
