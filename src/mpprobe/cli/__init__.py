"""The command line: one thin file a command. Errors become one line and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

#: Exit codes, as documented in the README.
DONE, UNEXPECTED, USAGE, LEFT_OUT, INTERRUPTED = 0, 1, 2, 4, 130


def main(arguments: Sequence[str] | None = None) -> None:
    """Run ``mpprobe`` and exit: 0 done, 1 unexpected, 2 bad input, 3 a package is missing,
    4 done without some of the structures, 130 interrupted."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


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
        summary = " ".join(f"{type(error).__name__}: {error}".split())
        return _fail(f"unexpected: {summary} (--debug shows where)", UNEXPECTED)


def _show_traceback(arguments: Sequence[str]) -> None:
    """The traceback of the error being handled, if ``--debug`` asks for it."""
    if "--debug" in arguments:
        import traceback

        traceback.print_exc()


def _fail(message: str, code: int) -> int:
    from mpprobe.cli.console import say

    say(f"mpprobe: {message}")
    return code
