"""A fault at the steps of writing of every command: nothing lost, doubled or half-written.

Every file that a command opens, renames, removes or flushes is a step (see faulting.py). Before
one of them the process is killed, told to end, or given an error; the same command follows, and in
the end its results must be those of a run that was left alone, byte for byte.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from faults.commands import COMMANDS, OUTPUTS, UNFINISHED, alone, content, of_result, runner_of

#: Exit status and the end of the last line by fault; a killed process says nothing.
ENDS = {
    "SIGKILL": (-9, ""),
    "torn": (-9, ""),
    "SIGINT": (130, "interrupted; nothing was left half-written"),
    "SIGTERM": (143, "interrupted; nothing was left half-written"),
    "SIGHUP": (129, "interrupted; nothing was left half-written"),
    "ENOSPC": (2, "No space left on device"),
    "EROFS": (2, "Read-only file system"),
    "MemoryError": (2, "out of memory"),
}
#: Commands whose output grows step by step, and that can be given again when all is done.
CONTINUED = ("extract", "run")
#: Of a study, what has been done so far: it changes with every step.
RECORD = "out/study.json"
#: What is tried in every run of the tests.
QUICK = [
    *[
        (command, fault)
        for command in ("extract", "ood")
        for fault in ("SIGKILL", "SIGTERM", "ENOSPC")
    ],
    *[(command, "SIGKILL") for command in ("merge", "report", "toy make")],
    ("extract", "MemoryError"),
]


def spread(steps, n):
    """Numbers of n steps, the first and the last among them."""
    return sorted({1 + round(k * (len(steps) - 1) / max(n - 1, 1)) for k in range(n)})


def journal(folder):
    """The parts that are kept of a run that was stopped; each must be there once."""
    file = folder / f"out{UNFINISHED}" / "parts.jsonl"
    if not file.exists():
        return []
    names = []
    for line in file.read_text().splitlines()[1:]:
        try:
            names.append(json.loads(line)["held"][0])
        except ValueError:  # torn: the last thing that happened before the kill
            continue
    assert len(names) == len(set(names)), f"doubled: {names}"
    return names


def check_left(folder, command, want, ended):
    """Under final names only what an undisturbed run has there; without a kill, nothing else."""
    left = content(folder)
    found = of_result(left, command)
    for name, value in found.items():
        assert name == RECORD or want.get(name) == value, f"{name} is half-written"
    if command not in CONTINUED:
        assert not found or set(found) == set(of_result(want, command)), "some files only"
    if ended.code >= 0:
        kept = (*want, RECORD)
        odd = [n for n in left if n not in kept and UNFINISHED not in n and "-models/" not in n]
        assert {Path(n).name for n in odd} <= {".lock"}, odd
        assert not list(folder.with_name(folder.name + ".tmp").rglob("mpprobe-*"))


def disturb(runner, command, fault, tmp_path, n):
    """Let a command meet a fault at n of its steps, one run after the other; times it did."""
    steps, want = alone(runner, command, tmp_path / "alone")
    folder, times = tmp_path / "work", 0
    for at in spread(steps, n):
        before = journal(folder)
        ended = runner.run(command, folder, fault=fault, at=at)
        if ended.code:
            times += 1
            check_end(ended, fault, steps[at - 1])
            check_left(folder, command, want, ended)
        if is_done(folder, command, want):
            shutil.rmtree(folder)  # the next fault is for another
        else:
            # A run that goes on has fewer steps, and may have been through before the fault.
            assert ended.code or command in CONTINUED, "it says that it is done"
            assert set(before) <= set(journal(folder)), "finished parts were lost"
    ended = runner.run(command, folder)
    assert ended.code == 0, ended.said
    assert settled(folder, command, fault) == want
    return times


def check_end(ended, fault, step):
    """One line and the documented exit code."""
    code, says = ENDS[fault]
    assert ended.code == code, (step, ended.said)
    assert says in ended.last, (step, ended.said)
    assert not says or ended.last.startswith("mpprobe: ")
    assert "Traceback" not in "\n".join(ended.said)


def is_done(folder, command, want):
    """Whether everything is in its place, so that the same command would refuse to do it again."""
    made = of_result(content(folder), command)
    return command not in CONTINUED and made == of_result(want, command)


def settled(folder, command, fault):
    """All files, but for the hidden parts of a single file, which nothing sweeps after a kill."""
    files = content(folder)
    if command in OUTPUTS and ENDS[fault][0] < 0:
        return {name: value for name, value in files.items() if not name.startswith(".part-")}
    return files


@pytest.mark.parametrize(("command", "fault"), QUICK)
def test_a_fault_while_writing_loses_nothing(command, fault, request, tmp_path, record_property):
    times = disturb(runner_of(command, request), command, fault, tmp_path, 2)
    assert times
    record_property("tried", times)


@pytest.mark.slow
@pytest.mark.parametrize("fault", [*ENDS])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_fault_at_many_steps_loses_nothing(command, fault, request, tmp_path, record_property):
    times = disturb(runner_of(command, request), command, fault, tmp_path, 6)
    assert times
    record_property("tried", times)
