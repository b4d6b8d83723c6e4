"""Mutants of the rooms that hold the science, and what the tests say to each.

mutmut makes them and forks a process for each; what differs from ``mutmut run`` is the order, any
beginning of which is a fair sample, the choice of tests, and that results are small and kept::

    python -m trust.mutants                  go on where the last run stopped
    python -m trust.mutants --survivors      try those without a reason with all of their tests
    python -m trust.mutants --minutes 60     the same, and stop after an hour
    python -m trust.mutants --only probes.ridge
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import random
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from trust.outcome import ROOT

if TYPE_CHECKING:
    from trust.reached import Reached

ROOMS = ("probes", "targets", "interventions")
RESULTS = ROOT / "trust/mutation.json"
# Why a survivor is no gap in the tests: by reason, function and change.
REASONS = ROOT / "trust/mutation-survivors.yaml"
SEED = 8

# Left out for the minutes that they take on real models; a study of a toy tests the same.
SLOW_TESTS = ("tests/probes/test_study.py",)

# Seconds of processor time that the tests of a mutant may take when nothing is wrong, at first.
MOST_SECONDS = 5.0

# One thread each: the mutants themselves fill the machine.
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")

# What a process ends with: 1 where a test failed, 3 where pytest itself did, −24 where it used up
# its time, −11 where it broke down.
_VERDICTS = {0: "survived", 1: "caught", 3: "caught", -24: "timed_out", -11: "caught"}


@dataclass
class Function:
    """What became of the mutants of one function.

    Attributes:
        source: hash of its source; where that has changed, all is tried again.
        mutants: how many there are; those that are in none of the lists have not been tried.
        caught: numbers of those that a test failed with.
        timed_out: that took five times the processor time of the tests and 10 s more, as an
            endless loop does: caught, if not by a test.
        survived: that all tests passed with, or that no test reaches: number and change.
    """

    source: str
    mutants: int
    caught: list[int] = field(default_factory=list)
    timed_out: list[int] = field(default_factory=list)
    survived: dict[str, str] = field(default_factory=dict)

    @property
    def tried(self) -> int:
        return len(self.caught) + len(self.timed_out) + len(self.survived)

    def has_tried(self, number: int) -> bool:
        return number in self.caught or number in self.timed_out or str(number) in self.survived

    def note(self, number: int, verdict: str, change: str = "") -> None:
        self.survived.pop(str(number), None)
        if verdict == "survived":
            self.survived[str(number)] = change
        else:
            found = getattr(self, verdict)
            found.append(number)
            found.sort()


@dataclass
class Results:
    """All functions by their names in mutmut, and what they were tried with.

    Attributes:
        mutmut: its version, on which the numbers of the mutants depend.
        tests: hash of each room's tests when it was last tried.
    """

    mutmut: str
    tests: dict[str, str]
    functions: dict[str, Function]

    @classmethod
    def read(cls, path: Path) -> Results:
        if not path.exists():
            return cls(version("mutmut"), {}, {})
        found = json.loads(path.read_text(encoding="utf-8"))
        functions = {name: Function(**f) for name, f in found["functions"].items()}
        return cls(found["mutmut"], found["tests"], functions)

    def write(self, path: Path) -> None:
        """One function a line, beside and renamed."""
        head = f'"mutmut": {json.dumps(self.mutmut)},\n"tests": {json.dumps(self.tests)},\n'
        lines = [
            f"{json.dumps(name)}: {json.dumps(asdict(f), ensure_ascii=False)}"
            for name, f in sorted(self.functions.items())
        ]
        text = "{\n" + head + '"functions": {\n' + ",\n".join(lines) + "\n}\n}\n"
        # Not by mpprobe.files: who has imported mpprobe before the mutants are made forks processes
        # that would try the sources as they are.
        beside = path.with_suffix(".unfinished")
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)


def room(name: str) -> str:
    """The room of a function or mutant, such as ``mpprobe.probes.ridge.x__solve``."""
    return name.split(".")[1]


def split_name(mutant: str) -> tuple[str, int]:
    """Function and number."""
    name, _, number = mutant.partition("__mutmut_")
    return name, int(number)


def hashes_of_tests(rooms: Iterable[str]) -> dict[str, str]:
    """By room."""
    return {name: _sha256(sorted((ROOT / "tests" / name).glob("*.py"))) for name in rooms}


def _sha256(files: Iterable[Path]) -> str:
    return hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest()[:12]


def carried_over(old: Results, made: dict[str, Function], tests: dict[str, str]) -> Results:
    """``old`` results of functions that are still the same, and of rooms not in ``tests``.

    Caught ones stay caught where tests have changed, since tests are seldom taken away; survivors
    stay so until they are tried again.
    """
    others = {name: f for name, f in old.functions.items() if room(name) not in tests}
    now = Results(version("mutmut"), old.tests | tests, others | made)
    for name, function in made.items():
        before = old.functions.get(name)
        if old.mutmut != now.mutmut or before is None:
            continue
        if (before.source, before.mutants) == (function.source, function.mutants):
            function.caught, function.timed_out = before.caught, before.timed_out
            function.survived = before.survived
    return now


def of_these_sources(results: Results) -> Results:
    """Without what was tried on functions that have changed since, or are gone."""
    from mutmut.mutation.file_mutation import compute_function_hashes

    now = {}
    for file in (f for name in ROOMS for f in (ROOT / "src/mpprobe" / name).glob("*.py")):
        module = f"mpprobe.{file.parent.name}.{file.stem}"
        hashes = compute_function_hashes(file.read_text(encoding="utf-8"))
        now |= {f"{module}.{name}": sha256 for name, sha256 in hashes.items()}
    kept = {
        name: f if now[name] == f.source else Function(now[name], f.mutants)
        for name, f in results.functions.items()
        if name in now
    }
    return Results(results.mutmut, results.tests, kept)


def order(functions: dict[str, Function], seed: int = SEED) -> list[str]:
    """Every mutant, so ordered that each beginning is a random sample, spread over the modules."""
    by_module = defaultdict(list)
    for name, function in sorted(functions.items()):
        numbers = range(1, function.mutants + 1)
        by_module[name.rpartition(".")[0]] += [f"{name}__mutmut_{i}" for i in numbers]
    rng = random.Random(seed)
    placed = []
    for names in by_module.values():
        rng.shuffle(names)
        shift = rng.random()
        placed += [((i + shift) / len(names), name) for i, name in enumerate(names)]
    return [name for _, name in sorted(placed)]


def make(rooms: Sequence[str] = ROOMS) -> dict[str, Function]:
    """Write the mutated sources into ``mutants/``; none of their mutants has been tried."""
    from mutmut import __main__ as mutmut
    from mutmut.configuration import config
    from mutmut.mutation.data import SourceFileMutationData
    from mutmut.mutation.trampoline import set_mutant_under_test

    config().only_mutate = [f"src/mpprobe/{name}/*.py" for name in rooms]
    set_mutant_under_test("mutant_generation")
    Path("mutants").mkdir(exist_ok=True)
    mutmut.copy_src_dir()
    mutmut.copy_also_copy_files()
    mutmut.setup_source_paths()
    mutmut.create_mutants(1)
    made: dict[str, Function] = {}
    for path in mutmut.walk_mutatable_files():
        data = SourceFileMutationData(path=path)
        data.load()
        for mutant in data.exit_code_by_key:
            name, _ = split_name(mutant)
            source = data.hash_by_function_name[name.rpartition(".")[2]]
            made.setdefault(name, Function(source, 0)).mutants += 1
    return made


def reach(rooms: Sequence[str] = ROOMS) -> Reached:
    """Which tests reach what: those that have changed since the last time are run to see."""
    from mutmut.mutation.trampoline import set_mutant_under_test
    from mutmut.workers.isolation import ForkServerRunner

    from trust.reached import Reached, Runner

    kept, hashes = Path("mutants/reached.json"), Path("mutants/reached.sha256.json")
    now, before = _hashes(rooms), json.loads(hashes.read_text()) if hashes.exists() else {}
    if before.get("src") != now["src"]:
        before = {}
    old = Reached.read(kept) if before else Reached.nothing()
    changed = [file for file, sha256 in now.items() if file != "src" and before.get(file) != sha256]
    if changed:
        set_mutant_under_test("stats")
        os.environ["MUTMUT_DEPENDENCY_DEPTH"] = "-1"
        if ForkServerRunner(1, Runner, {"limits": {}}).collect_stats(changed) != 0:
            raise RuntimeError("the tests fail without any mutant; mend that first")
        gone = {file for file in before if file != "src" and not (ROOT / file).exists()}
        old.without(gone | set(changed)).merged(Reached.read(kept)).write(kept)
        hashes.write_text(json.dumps(before | now))
    return Reached.read(kept)


def _hashes(rooms: Sequence[str]) -> dict[str, str]:
    """Of the rooms' tests file by file, and as ``src`` of what they all rest on."""
    shared = [
        *ROOT.glob("src/mpprobe/**/*.py"),
        *ROOT.glob("tests/**/*.py"),
        ROOT / "trust/reached.py",
    ]
    found = {"src": _sha256(sorted(f for f in shared if not f.name.startswith("test_")))}
    for file in sorted(f for name in rooms for f in (ROOT / "tests" / name).glob("test_*.py")):
        if str(file.relative_to(ROOT)) not in SLOW_TESTS:
            found[str(file.relative_to(ROOT))] = _sha256([file])
    return found


def attempt(
    mutants: Sequence[str], reached: Reached, *, within: float, jobs: int, until: float
) -> Iterator[tuple[str, str]]:
    """Run its tests with each mutant, in this order; yields the mutant and a verdict.

    Args:
        mutants: by name.
        reached: which tests there are.
        within: seconds of processor time, for as many tests as fit.
        jobs: processes at a time.
        until: the monotonic time after which none is begun; those begun are ended, since what
            takes long is seldom what is caught.
    """
    from mutmut.mutation.trampoline import set_mutant_under_test
    from mutmut.workers.isolation import ForkServerRunner

    from trust.reached import Runner

    set_mutant_under_test("")
    names = {split_name(mutant)[0] for mutant in mutants}
    chosen = {name: reached.chosen(name, within) for name in names}
    limits = {name: 10 + 5 * seconds for name, (_, seconds) in chosen.items()}
    runner = ForkServerRunner(jobs, Runner, {"limits": limits})
    runner.startup()
    try:
        for mutant in mutants:
            while not runner.has_capacity():
                yield _told(runner.wait_for_result())
            if time.monotonic() > until:
                break
            name, _ = split_name(mutant)
            tests, seconds = chosen[name]
            if tests:
                # Twice the limit of time on the clock, which only a process that sleeps reaches.
                runner.submit(mutant, tests, math.ceil(40 * limits[name]), seconds)
            else:
                yield mutant, "survived"
        runner.signal_work_complete()
        while runner.pending_count():
            yield _told(runner.wait_for_result())
    finally:
        runner.stop_all_workers()
        runner.shutdown()


def _told(result) -> tuple[str, str]:
    if result.exit_code not in _VERDICTS:
        raise RuntimeError(f"{result.mutant_name}: its tests ended with {result.exit_code}")
    return result.mutant_name, _VERDICTS[result.exit_code]


def change(mutant: str) -> str:
    """The lines that differ, in one: ``was → became``."""
    from mutmut.mutation.diff_apply import find_mutant, get_diff_for_mutant

    lines = get_diff_for_mutant(mutant, path=find_mutant(mutant).path).splitlines()[2:]
    was, became = ([x[1:].strip() for x in lines if x.startswith(sign)] for sign in "-+")
    return f"{' '.join(was)} → {' '.join(became)}"


def read_reasons(path: Path) -> dict[tuple[str, str], str]:
    """Why each survivor is no gap in the tests, by function and change."""
    groups = yaml.safe_load(path.read_text(encoding="utf-8")) or []
    return {
        (function, change): group["reason"]
        for group in groups
        for function, changes in group["mutants"].items()
        for change in changes
    }


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    os.chdir(ROOT)
    os.environ |= dict.fromkeys(THREADS, "1")
    rooms = options.room or ROOMS
    reasons = read_reasons(REASONS)
    made = make(rooms)
    results = carried_over(Results.read(options.results), made, hashes_of_tests(rooms))
    reached = reach(rooms)
    todo = [
        mutant
        for mutant in order(made, options.seed)
        if any(part in mutant for part in options.only or [""])
        and _is_wanted(made, mutant, reasons if options.survivors else None)
    ]
    found = attempt(
        todo[: options.at_most], reached, jobs=options.jobs,
        within=math.inf if options.survivors else MOST_SECONDS,
        until=time.monotonic() + 60 * options.minutes,
    )  # fmt: skip
    for mutant, verdict in found:
        name, number = split_name(mutant)
        made[name].note(number, verdict, change(mutant) if verdict == "survived" else "")
        print(f"{verdict} {mutant}", file=sys.stderr, flush=True)
        results.write(options.results)
    return 0


def _is_wanted(
    functions: dict[str, Function], mutant: str, reasons: dict[tuple[str, str], str] | None
) -> bool:
    """Whether it has not been tried; where ``reasons`` are given, survived without one."""
    name, number = split_name(mutant)
    function = functions[name]
    if reasons is None:
        return not function.has_tried(number)
    survived = function.survived.get(str(number))
    return survived is not None and (name, survived) not in reasons


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m trust.mutants", description=__doc__)
    parser.add_argument("--room", action="append", choices=ROOMS, help="of these (default: all)")
    parser.add_argument("--only", action="append", help="those with this in their names")
    parser.add_argument(
        "--survivors", action="store_true", help="those without a reason, with all of their tests"
    )
    parser.add_argument("--at-most", type=int, help="try no more than so many")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after so many")
    parser.add_argument("--seed", type=int, default=SEED, help="of the order")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes at a time")
    parser.add_argument("--results", type=Path, default=RESULTS, help="read, and written again")
    return parser


if __name__ == "__main__":
    sys.exit(main())
