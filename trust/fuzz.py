"""Damaged structure files by the hundred thousand: ``python -m trust.fuzz``.

Each is read and checked as every command does it. It must give frames, or be refused in one line
that names the file, within seconds and a gigabyte; anything else is a finding. Input i of a seed is
always the same, so that a finding can be made again from the record.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import json
import multiprocessing
import resource
import signal
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from mpprobe import provenance
from mpprobe.errors import StructureError
from mpprobe.structures import find_problems, read
from trust.damage import NAMES, damaged
from trust.outcome import ROOT

SEED, INPUTS, CHUNK = 8, 100_000, 2500
#: Of one input: seconds of this process, and bytes above what the process has anyway.
SECONDS, MEMORY = 5.0, 2**30
#: Seconds after which a worker that says nothing is taken to hang where no signal reaches it.
SILENCE = 120.0
FORMATS = tuple(NAMES)
_IN_MEMORY = Path("/dev/shm")
RECORD = ROOT / "trust/fuzz.json"

FRAMES, UNUSABLE, REFUSED = "usable", "read, and not usable", "refused"


class Hang(BaseException):
    """Out of time; no Exception, which readers would take for one of theirs."""


def make_input(seed: int, number: int) -> tuple[str, bytes]:
    """Format and content of an input."""
    form = FORMATS[number % len(FORMATS)]
    return form, damaged(form, np.random.default_rng([seed, number]))


def try_file(file: Path) -> str:
    """Read and check a file as commands do: what came of it, or ``finding: ...``."""
    said, printed = [], io.StringIO()
    try:
        with (
            warnings.catch_warnings(record=True) as said,
            contextlib.redirect_stdout(printed),
            contextlib.redirect_stderr(printed),
        ):
            warnings.simplefilter("always")
            frames = read(str(file))
            problems = find_problems(frames, species=range(1, 90), cutoff=5.0)
        lines = [str(p) for p in problems]
        outcome = UNUSABLE if problems else FRAMES
    except StructureError as error:
        lines, outcome = [str(error)], REFUSED
    except Hang:
        return f"finding: still busy after {SECONDS:g} s"
    except BaseException as error:
        return f"finding: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
    lines += [str(w.message) for w in said]
    wrong = [line for line in lines if _is_no_message(line, file)]
    if printed.getvalue():
        wrong.append(f"printed {printed.getvalue()[:100]!r}")
    return f"finding: {wrong[0][:300]!r}" if wrong else outcome


def _is_no_message(line: str, file: Path) -> bool:
    """Whether it isn't one line that begins with the file; want of memory is no answer either."""
    named = line.startswith((f"{file}: ", f"{file}@"))
    return not named or len(line.splitlines()) != 1 or len(line) > 1000 or "MemoryError" in line


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))


def _out_of_time(signum: int, frame: object) -> None:
    raise Hang


def _work(seed: int, numbers: range, pipe) -> None:
    """Try some inputs in a process of its own, and say after each what came of it."""
    for form in FORMATS:  # what is loaded once mustn't count against one input
        make_input(seed, FORMATS.index(form))
    _limit_memory()
    signal.signal(signal.SIGPROF, _out_of_time)
    # In memory where there is such a place: a disk is what takes longest.
    with tempfile.TemporaryDirectory(dir=_IN_MEMORY if _IN_MEMORY.is_dir() else None) as folder:
        for number in numbers:
            form, content = make_input(seed, number)
            file = Path(folder, NAMES[form])
            file.write_bytes(content)
            signal.setitimer(signal.ITIMER_PROF, SECONDS)  # counts work, not waiting for a core
            try:
                outcome = try_file(file)
            except Hang:
                outcome = f"finding: still busy after {SECONDS:g} s"
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
            pipe.send((number, form, outcome))


def fuzz(seed: int, numbers: range) -> Iterator[tuple[int, str, str]]:
    """Number, format and outcome of each input; a process that dies or hangs is an outcome too."""
    context = multiprocessing.get_context("spawn")
    while len(numbers):
        ours, theirs = context.Pipe(duplex=False)
        worker = context.Process(target=_work, args=(seed, numbers, theirs))
        worker.start()
        theirs.close()
        with contextlib.suppress(EOFError):
            while len(numbers) and ours.poll(SILENCE):
                number, form, outcome = ours.recv()
                numbers = numbers[1:]
                yield number, form, outcome
        worker.kill() if len(numbers) else worker.join()
        worker.join()
        if len(numbers):
            form = FORMATS[numbers[0] % len(FORMATS)]
            yield numbers[0], form, f"finding: its process ended with {worker.exitcode}"
            numbers = numbers[1:]


def run(
    inputs: int = INPUTS, seed: int = SEED, record: Path | None = None, workers: int = 1
) -> dict:
    """Try inputs, and return the record.

    With a file, it is written chunk by chunk, and a run that was stopped goes on where that ends; a
    record that is complete is begun anew.
    """
    held = _held(record, seed, inputs)
    while held["inputs"] < inputs:
        parts = _parts(held["inputs"], inputs, workers)
        with ThreadPoolExecutor(workers) as pool:
            tried = list(pool.map(lambda part: list(fuzz(seed, part)), parts))
        for number, form, outcome in itertools.chain(*tried):
            kind = "finding" if outcome.startswith("finding") else outcome
            held["outcomes"][form][kind] = held["outcomes"][form].get(kind, 0) + 1
            if kind == "finding":
                held["findings"].append({"input": number, "format": form, "what": outcome[9:]})
        held["inputs"] = end = parts[-1].stop
        if record is not None:
            record.write_text(json.dumps(held, indent=1, ensure_ascii=False) + "\n", "utf-8")
            print(f"{end:,} of {inputs:,}: {_counts(held)}", file=sys.stderr, flush=True)
    return held


def _parts(first: int, inputs: int, workers: int) -> list[range]:
    """The next chunk of each worker."""
    starts = [first + i * CHUNK for i in range(workers)]
    return [range(i, min(i + CHUNK, inputs)) for i in starts if i < inputs]


def _held(record: Path | None, seed: int, inputs: int) -> dict:
    """A record that was begun with this seed and these releases and stopped, or a new one."""
    versions = {k: v for k, v in provenance.versions().items() if k in ("mpprobe", "ase", "numpy")}
    new = {"seed": seed, "inputs": 0, "versions": versions,
           "outcomes": {form: {} for form in FORMATS}, "findings": []}  # fmt: skip
    if record is None or not record.exists():
        return new
    held = json.loads(record.read_text("utf-8"))
    same = held["seed"] == seed and held["versions"] == versions and held["inputs"] < inputs
    return held if same else new


def _counts(held: dict) -> str:
    return described(sum((Counter(counts) for counts in held["outcomes"].values()), Counter()))


def described(counts: Mapping[str, int]) -> str:
    """How often what came of it, in a line."""
    return ", ".join(f"{n:,} {kind}" for kind, n in sorted(counts.items()))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m trust.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=INPUTS)
    parser.add_argument("--workers", type=int, default=1, help="processes at a time")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--record", type=Path, default=RECORD, help="kept, and gone on from")
    parser.add_argument("--show", type=int, metavar="N", help="print input N, and what it gives")
    options = parser.parse_args()
    if options.show is not None:
        form, content = make_input(options.seed, options.show)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, NAMES[form])
            file.write_bytes(content)
            sys.stdout.buffer.write(content)
            print(f"\n--- {form}: {try_file(file)}")
        return 0
    held = run(options.inputs, options.seed, options.record, options.workers)
    print(_counts(held))
    return 1 if held["findings"] else 0


if __name__ == "__main__":
    sys.exit(main())
