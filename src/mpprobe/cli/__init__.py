"""The command line: one thin file a command. Errors become one line and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence

#: Exit codes, as documented in the README.
DONE, UNEXPECTED, USAGE, INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> None:
    """Run ``mpprobe`` and exit: 0 done, 1 unexpected, 2 bad input, 3 a package is missing,
    130 interrupted."""  # fmt: skip
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run ``mpprobe`` with ``arguments`` and return its exit code."""
    import typer

    from mpprobe.cli.app import app
    from mpprobe.errors import MPProbeError

    debug = "--debug" in arguments
    try:
        return app(args=list(arguments), standalone_mode=False) or DONE
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted; nothing was left half-written", INTERRUPTED)
    except MPProbeError as error:
        if debug:
            raise
        return _fail(str(error), error.exit_code)
    except Exception as error:
        # Typer's usage errors know how to show themselves; their class is not public.
        if hasattr(error, "show") and hasattr(error, "exit_code"):
            error.show()
            return error.exit_code
        if debug:
            raise
        summary = " ".join(f"{type(error).__name__}: {error}".split())
        return _fail(f"unexpected: {summary} (--debug shows where)", UNEXPECTED)


def _fail(message: str, code: int) -> int:
    print(f"mpprobe: {message}", file=sys.stderr)
    return code
