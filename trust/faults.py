"""Processes killed, disks full, memory gone, two at once: what is lost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from trust.outcome import Outcome, cases_of, of_cases


@dataclass(frozen=True)
class Fault:
    """A row: one kind of harm, and the tests that do it.

    Attributes:
        what: happens.
        unit: of what is counted.
        tests: files or tests.
        words: one of which is in the test's name; empty for all.
    """

    what: str
    unit: str
    tests: tuple[str, ...]
    words: str = ""

    def done_by(self, case: Element) -> bool:
        """Whether a test that was run belongs here."""
        words = self.words.split(" or ")
        return case.get("file") in self.tests and any(w in case.get("name", "") for w in words)


_STEPS = "tests/faults/test_fault_steps.py"
_DISKS = "tests/faults/test_fault_disks.py"
_INPUTS = "tests/faults/test_fault_inputs.py"
_TWO = "tests/faults/test_fault_two_runs.py"
_CLOCK = "tests/faults/test_fault_clock.py"
_WORKERS = "tests/faults/test_fault_workers.py"

FAULTS = (
    Fault("killed (kill -9) at a step of writing", "kills", (_STEPS,), "SIGKILL"),
    Fault("killed at any moment, again and again", "kills",
          ("tests/activations/test_store_killed.py",)),
    Fault("killed while a line of a journal is written; garbage in one", "tries",
          (_STEPS, _CLOCK, "tests/activations/test_journal.py"),
          "torn or garbage or digit or cut_off or older"),
    Fault("Ctrl-C, or told to end (SIGTERM, SIGHUP)", "signals",
          (_STEPS, "tests/cli/test_process.py"), "SIGINT or SIGTERM or SIGHUP or interrupt"),
    Fault("disk full, or a file may not grow", "tries", (_STEPS, _DISKS),
          "ENOSPC or full_disk or limit_on or temporary or cache"),
    Fault("disk read-only, or no folder where one should be", "tries", (_STEPS, _DISKS),
          "EROFS or read_only or place_of_a_folder or mount_point"),
    Fault("nobody reads stdout any more", "tries", (_DISKS,), "stdout"),
    Fault("input deleted, cut off or overwritten", "tries", (_INPUTS,)),
    Fault("out of memory", "tries", (_STEPS, "tests/faults/test_fault_memory.py"),
          "MemoryError or memory"),
    Fault("two runs in one folder", "tries", (_TWO, "tests/activations/test_store_killed.py"),
          "second_run or two or page_of or takes_over"),
    Fault("a worker or the scheduler lost", "tries",
          (_WORKERS, "tests/scale/test_executor.py"),
          "killed or deaths or without_workers or running_scheduler or scheduler_went or kills"),
    Fault("the clock jumps; locks and parts left by dead processes", "tries", (_CLOCK, _TWO),
          "clock or dead or died or damaged"),
)  # fmt: skip


def check(quick: bool) -> Iterator[Outcome]:
    """Every outcome of this part."""
    marks = ["-m", "not slow and not gpu and not download"] if quick else []
    files = sorted({file for fault in FAULTS for file in fault.tests})
    cases, trouble = cases_of(files, *marks)
    for fault in FAULTS:
        own = [case for case in cases if fault.done_by(case)]
        yield of_cases(fault.what, fault.unit, own, trouble)
