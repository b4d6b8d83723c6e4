"""Damaged structure files through the command line: ``python -m trust.fuzz_commands``.

Whatever the file, a command ends with 0, 2 or 4, says what is wrong in one line, and leaves whole
results or none.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import signal
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import mpprobe
from mpprobe.activations import Store
from mpprobe.cli import DONE, LEFT_OUT, USAGE, loading, run
from mpprobe.structures import write_extxyz
from trust.damage import NAMES
from trust.fuzz import Hang, make_input

SEED, INPUTS = 88, 300
MODEL = "sevenn-0"
#: Of one command, in seconds of this process.
SECONDS = 60.0


def run_commands(seed: int, numbers: range) -> Iterator[tuple[int, int | None, tuple[str, ...]]]:
    """Number, exit code and what is wrong of a command on each of the inputs."""
    mpprobe.load = loading.load = cache(mpprobe.load)  # it takes longer than all the rest
    signal.signal(signal.SIGPROF, _out_of_time)
    with tempfile.TemporaryDirectory() as place:
        good = Path(place, "good.extxyz")
        write_extxyz(good, mpprobe.read("dft", limit=3))
        for number in numbers:
            folder = Path(place, str(number))
            folder.mkdir()
            form, content = make_input(seed, number)
            file = folder / NAMES[form]
            file.write_bytes(content)
            yield number, *_run(_arguments(number, form, file, good), folder, file)


def _arguments(number: int, form: str, file: Path, good: Path) -> list[str]:
    """Commands that take turns: with good structures or without, stopping or not."""
    compare = form == "extended XYZ" and number % 2 == 0
    command = ["ood", "--resamples=100"] if compare else ["extract", "--random-seeds=0"]
    skip = ["--on-error=skip"] if number // 6 % 2 else []
    beside = ["-s", str(good)] if number // 12 % 2 else []
    return [*command, "-m", MODEL, "--device=cpu", "-s", str(file), *beside, *skip,
            "-o", str(file.parent / "out")]  # fmt: skip


def _run(arguments: list[str], folder: Path, file: Path) -> tuple[int | None, tuple[str, ...]]:
    out, err = io.StringIO(), io.StringIO()
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            warnings.simplefilter("ignore")  # they name the file, which the other part looks at
            code = run(arguments)
    except Hang:
        return None, (f"still busy after {SECONDS:g} s",)
    except BaseException as error:
        return None, (f"{type(error).__name__}: {error}",)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return code, tuple(_wrong(code, err.getvalue(), folder, file))


def _wrong(code: int, err: str, folder: Path, file: Path) -> Iterator[str]:
    """What should not be so after a command."""
    out, said = folder / "out", [line for line in err.splitlines() if line.startswith("mpprobe: ")]
    if code not in (DONE, USAGE, LEFT_OUT):
        yield f"ended with {code}: {err[-300:]}"
    if "Traceback" in err:
        yield "a traceback"
    if code == USAGE and (len(said) != 1 or not err.endswith(said[0] + "\n")):
        yield f"not one line at the end: {err[-300:]!r}"
    if code == USAGE and str(file) not in said[0] and "structures" not in said[0]:
        yield f"the file isn't named: {said[0]!r}"
    if code in (DONE, LEFT_OUT):
        yield from _unfinished(out, code)
    rest = sorted(p.name for p in folder.iterdir() if p not in (out, file))
    rest += [str(p.relative_to(folder)) for p in folder.rglob(".*")]
    if rest:
        yield f"left behind: {', '.join(rest)}"


def _unfinished(out: Path, code: int) -> Iterator[str]:
    """What isn't whole of the results."""
    results = out / "results.json"
    place = out if results.exists() else Store.open(out).folder
    if results.exists():
        json.loads(results.read_text("utf-8"))
    elif Store.open(out).missing():
        yield "the store isn't whole"
    failures = place / "failures.csv"
    if failures.exists() != (code == LEFT_OUT):
        yield f"failures.csv {'is' if failures.exists() else 'is not'} there with exit code {code}"
    if failures.exists():
        with failures.open(newline="", encoding="utf-8") as held:
            if not all(row["source"] and row["error"] for row in csv.DictReader(held)):
                yield "failures.csv has an empty reason"


def _out_of_time(signum: int, frame: object) -> None:
    raise Hang


def main(inputs: int = INPUTS, seed: int = SEED) -> int:
    codes: Counter[int | None] = Counter()
    short = []
    for number, code, wrong in run_commands(seed, range(inputs)):
        codes[code] += 1
        short += [f"input {number}: {line}" for line in wrong]
    print(json.dumps({"codes": {str(code): n for code, n in codes.items()}, "short": short}))
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
