"""Two runs in one folder: one is refused at once, or they share the work."""

from __future__ import annotations

import os
import shutil
import signal
import time

import pytest

from faults.commands import COMMANDS, UNFINISHED, alone, content, of_result, runner_of

#: Commands that write a folder of results, and so need it for themselves.
SOLE = [c for c in COMMANDS if c not in ("extract", "merge", "report", "toy make")]
QUICK = ("ood", "run")


def stopped(runner, command, folder, step, *more):
    """A command that stands still before its first step of that kind."""
    steps, _ = alone(runner, command, folder.with_name("alone"))
    at = 1 + next(i for i, line in enumerate(steps) if step in line)
    child, log = runner.start(command, folder, *more, fault="SIGSTOP", at=at)
    deadline = time.monotonic() + 300
    while _state(child) != "T":
        assert time.monotonic() < deadline, "it never got there"
        time.sleep(0.05)
    return child, log


def _state(process):
    with open(f"/proc/{process}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]


def go_on(runner, child, log):
    os.kill(child, signal.SIGCONT)
    return runner.wait(child, log)


@pytest.mark.parametrize("command", [
    pytest.param(c, marks=() if c in QUICK else pytest.mark.slow) for c in SOLE
])  # fmt: skip
def test_a_second_run_is_refused_at_once(command, request, tmp_path, record_property):
    runner, folder = runner_of(command, request), tmp_path / "work"
    first = stopped(runner, command, folder, "results.json")
    kinds = {"the same": command, "another": "erase" if command == "ood" else "ood"}
    for other in kinds.values():
        ended = runner.run(other, folder)
        assert ended.code == 2, ended.said
        # A study's folder has the results of steps in it, and is no other command's for that.
        assert "another run is writing there" in ended.last or (command, other) == ("run", "ood")
    assert go_on(runner, *first).code == 0
    assert content(folder) == alone(runner, command, tmp_path / "alone")[1]
    record_property("tried", len(kinds))


@pytest.mark.parametrize("command", [
    "extract", *[pytest.param(c, marks=pytest.mark.slow) for c in ("merge", "toy make", "report")]
])  # fmt: skip
def test_two_that_may_run_together_end_in_the_same(command, made, tmp_path, record_property):
    _, want = alone(made, command, tmp_path / "alone")
    both = [made.start(command, tmp_path / "work") for _ in range(2)]
    codes = {made.wait(*one).code for one in both}
    assert 0 in codes
    assert codes <= {0, 2}  # 2 where the first was there already
    assert content(tmp_path / "work") == want
    record_property("tried", 2)


def test_a_page_of_a_run_that_is_being_replaced_is_refused(made, tmp_path):
    folder = tmp_path / "work"
    run = folder / "out"
    shutil.copytree(made.files["RUN"][0], run)
    reading = {"at_page": []}
    child, log = made.start("report", folder, str(run), before=reading)
    deadline = time.monotonic() + 300
    while _state(child) != "T":
        assert time.monotonic() < deadline, "it never got there"
        time.sleep(0.05)
    assert made.run("ood", folder, "--overwrite").code == 0
    ended = go_on(made, child, log)
    assert ended.code == 2, ended.said
    assert ended.last.endswith("was replaced while it was read; write the page again")
    assert set(content(folder)) == set(of_result(content(folder), "ood"))


def test_what_a_dead_run_left_is_no_lock(made, tmp_path):
    """The system frees a lock as its process ends; a file that is left holds nobody up."""
    folder = tmp_path / "work"
    left = folder / f"out{UNFINISHED}"
    left.mkdir(parents=True)
    (left / ".lock").write_text("host-elsewhere 1")
    future = time.time() + 365 * 86400
    os.utime(left / ".lock", (future, future))
    assert made.run("ood", folder).code == 0
    assert content(folder) == alone(made, "ood", tmp_path / "alone")[1]
